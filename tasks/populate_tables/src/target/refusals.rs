//! What the tables' constraints mean, in words that hold for both databases.

use invoices::Error;
use serde_json::json;

/// An invoice names a business that doesn't exist; `key` is such as `issuer_id 99`.
pub fn unknown_business(key: &str) -> Error {
    Error::refused(format!(
        "an invoice has {key}, which is not among the customers; every issuer and receiver must be a customer (--customers-csv adds some), nothing was loaded"
    ))
}

/// A row has an id that the table has already; `key` is such as `invoice_id 7`, and kept for who knows the row's line.
pub fn taken(table: &str, key: &str) -> Error {
    Error::refused(format!("{table} has {key} already; every id can be there only once, nothing was loaded"))
        .with_facts(json!({ "taken": key }))
}
