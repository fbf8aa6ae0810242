//! The business as the table `customers` keeps it.

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Customer {
    pub customer_id: i64,
    pub customer_name: String,
}
