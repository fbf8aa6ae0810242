//! The databases that are filled. What is inserted between opening and committing is one
//! transaction: whatever ends the program before the commit, nothing of it is loaded.

pub mod postgres;
mod refusals;
pub mod sqlite;

use crate::Customer;
use invoices::{Invoice, Result};

/// How many rows a table has, and its highest id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    pub rows: u64,
    pub last_id: Option<i64>,
}

/// Rows to insert. The first error ends the load and is returned.
pub type Source<'a, T> = &'a mut dyn Iterator<Item = Result<T>>;

/// An open transaction on the two tables, which exist.
pub trait Target {
    fn customers(&mut self) -> Result<Extent>;

    /// The lowest ids in order, at most `limit` of them.
    fn customer_ids(&mut self, limit: Option<u64>) -> Result<Vec<i64>>;

    fn last_invoice_id(&mut self) -> Result<Option<i64>>;

    /// # Errors
    /// Refused for an id that is taken.
    fn insert_customers(&mut self, rows: Source<'_, Customer>) -> Result<()>;

    /// # Errors
    /// Refused for an id that is taken and for businesses that are not among the customers;
    /// Postgres may notice the latter only at the commit.
    fn insert_invoices(&mut self, rows: Source<'_, Invoice>) -> Result<()>;
}
