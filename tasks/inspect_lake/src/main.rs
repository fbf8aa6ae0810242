//! Executable of the task; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoices::task::run::<inspect_lake::Args>("inspect_lake", inspect_lake::run)
}
