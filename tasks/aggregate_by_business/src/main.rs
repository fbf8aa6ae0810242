//! Executable of the task; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoices::task::run::<aggregate_by_business::Args>("aggregate_by_business", aggregate_by_business::run)
}
