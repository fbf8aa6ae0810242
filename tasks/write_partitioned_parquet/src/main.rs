//! Executable of the task; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoices::task::run::<write_partitioned_parquet::Args>(
        "write_partitioned_parquet",
        write_partitioned_parquet::run,
    )
}
