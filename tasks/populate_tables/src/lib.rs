//! `populate_tables`: fills the source tables `customers` and `invoices`, from a seed or from files.
//!
//! # Layout
//! * [`args`]: flags and help.
//! * [`generate`]: customers and invoices out of a seed; pure, and the same on every machine.
//! * [`events`]: labels of planted cases, and the rows as change events.
//! * [`files`]: customers and invoices out of CSV files, every bad line named.
//! * [`target`]: the two databases; each loads everything in one transaction or nothing.
//! * [`fill`]: what is loaded, in which order.
//! * [`summary`]: what was added, for the result line.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod args;
mod customer;
mod events;
mod files;
mod fill;
mod generate;
mod summary;
mod target;
#[cfg(test)]
mod tests;

pub use args::Args;
pub use customer::Customer;

use invoices::Result;
use invoices::money::MoneyType;
use invoices::source::SourceUrl;
use invoices::task::Task;
use summary::Summary;

/// The type of `invoices.amount_usd`.
pub const CENTS: MoneyType = MoneyType { precision: 12, scale: 2 };

/// Runs the task; see the crate documentation.
///
/// # Errors
/// Refused for bad lines and for rows that the tables' constraints don't allow; retry,
/// configuration and usage as the contract says. Nothing is loaded then.
pub fn run(args: &Args, _task: &Task) -> Result<serde_json::Value> {
    load(args).map(Summary::into_json)
}

fn load(args: &Args) -> Result<Summary> {
    args.check()?;
    match args.source.parse()? {
        SourceUrl::Postgres(url) => target::postgres::load(&url, |target| fill::fill(target, args)),
        SourceUrl::Sqlite(path) => target::sqlite::load(&path, |target| fill::fill(target, args)),
    }
}
