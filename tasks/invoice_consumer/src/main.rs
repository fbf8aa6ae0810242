//! Executable of the task; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    invoices::task::run::<invoice_consumer::Args>("invoice_consumer", invoice_consumer::run)
}
