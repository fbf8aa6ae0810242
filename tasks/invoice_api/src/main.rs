//! Executable of the task; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoices::task::run::<invoice_api::Args>("invoice_api", invoice_api::run)
}
