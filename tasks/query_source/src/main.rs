//! Executable of the task; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoices::task::run::<query_source::Args>("query_source", query_source::run)
}
