//! Every task in one executable, for the image: it is the task whose name it is called by.
//!
//! Polars, the database drivers and the Kafka client are in the image once instead of once per task.

use std::path::Path;
use std::process::ExitCode;

macro_rules! tasks {
    ($($(#[$condition:meta])? $task:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$($(#[$condition])? stringify!($task)),+];

        fn run(name: &str) -> Option<ExitCode> {
            $($(#[$condition])? if name == stringify!($task) {
                return Some(invoices::task::run::<$task::Args>(stringify!($task), $task::run));
            })+
            None
        }
    };
}

tasks!(
    aggregate_by_business,
    inspect_lake,
    invoice_api,
    invoice_consumer,
    populate_tables,
    #[cfg(feature = "query_lake")]
    query_lake,
    query_source,
    write_partitioned_parquet,
);

fn main() -> ExitCode {
    let mut words = std::env::args();
    let called = words.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default().to_string_lossy();
    if let Some(code) = run(&name) {
        return code;
    }
    if words.next().as_deref() == Some("--list") {
        println!("{}", NAMES.join("\n"));
        return ExitCode::SUCCESS;
    }
    eprintln!("this executable is called by a task's name: link it as {}", NAMES.join(", "));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_task_of_the_workspace_is_in_it() -> std::io::Result<()> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tasks"))? {
            found.push(entry?.file_name());
        }
        found.sort();
        assert_eq!(found, super::NAMES);
        Ok(())
    }
}
