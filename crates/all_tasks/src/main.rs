//! Every task in one executable: it is the task whose name it is called by, or that its first word names.
//!
//! Polars, the database drivers and the Kafka client are compiled, linked and shipped once instead of once per task.

mod reference;

use clap::CommandFactory;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

macro_rules! tasks {
    ($($(#[$condition:meta])? $task:ident),+ $(,)?) => {
        const NAMES: &[&str] = &[$($(#[$condition])? stringify!($task)),+];

        fn run(name: &str) -> Option<ExitCode> {
            $($(#[$condition])? if name == stringify!($task) {
                return Some(invoices::task::run::<$task::Args>(stringify!($task), $task::run));
            })+
            None
        }

        /// What each task's command line says of itself.
        fn commands() -> Vec<(&'static str, clap::Command)> {
            vec![$($(#[$condition])? (stringify!($task), $task::Args::command())),+]
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
    let mut words = std::env::args_os();
    let called = words.next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or_default().to_string_lossy();
    if let Some(code) = run(&name) {
        return code;
    }
    let first = words.next().unwrap_or_default();
    if first == "--list" {
        println!("{}", NAMES.join("\n"));
        return ExitCode::SUCCESS;
    }
    if first == "--reference" {
        let Some(folder) = words.next() else {
            eprintln!("--reference needs the folder to write the pages to");
            return ExitCode::from(2);
        };
        return write_reference(Path::new(&folder));
    }
    if let Some(task) = NAMES.iter().find(|task| first == **task) {
        // Called anew by that name, so that a task reads its own arguments alone.
        let failed = std::env::current_exe().map(|own| Command::new(own).arg0(task).args(words).exec());
        eprintln!("cannot start {task}: {}", failed.unwrap_or_else(|error| error));
        return ExitCode::from(70);
    }
    eprintln!(
        "name a task as the first word, or call this executable by a link of its name: {}",
        NAMES.join(", ")
    );
    ExitCode::from(2)
}

/// Writes the book's pages of flags and variables; a test compares them with the committed ones.
fn write_reference(folder: &Path) -> ExitCode {
    for (name, page) in reference::pages(&commands()) {
        let path = folder.join(name);
        if let Err(error) = std::fs::write(&path, page) {
            eprintln!("{} can't be written: {error}", path.display());
            return ExitCode::from(78);
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(feature = "query_lake")]
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
