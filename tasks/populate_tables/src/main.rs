//! Executable of the task; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoices::task::run::<populate_tables::Args>("populate_tables", populate_tables::run)
}
