//! Executable of the task; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoices::task::run::<query_lake::Args>("query_lake", query_lake::run)
}
