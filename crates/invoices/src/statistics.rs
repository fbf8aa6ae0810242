//! Columns of the statistics per business, staged and published: `invoice_by_business` and
//! `business_last_n_months`. The one place that knows their names, order and types.

use crate::key::KeyKind;
use crate::money::MoneyType;
use crate::parquet::amount_type;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

pub const BUSINESS_ID: &str = "business_id";
pub const TOTAL_ISSUED: &str = "total_amount_issued";
pub const TOTAL_RECEIVED: &str = "total_amount_received";
pub const ISSUED_COUNT: &str = "issued_count";
pub const RECEIVED_COUNT: &str = "received_count";
pub const MIN_ISSUED: &str = "min_amount_issued";
pub const MAX_ISSUED: &str = "max_amount_issued";
pub const MIN_RECEIVED: &str = "min_amount_received";
pub const MAX_RECEIVED: &str = "max_amount_received";
pub const FIRST_DATE: &str = "first_issue_date";
pub const LAST_DATE: &str = "last_issue_date";
/// Distinct other businesses; counts of different months do not add up, so windows lack it.
pub const COUNTERPARTIES: &str = "counterparties";

/// Digits of a sum, the most that a 128-bit decimal has.
pub const TOTAL_PRECISION: u8 = 38;

/// Rows of a row group at most. Rows are sorted by business, and a reader of one business reads one
/// group: some 400 KB of all columns.
pub const ROWS_PER_GROUP: usize = 16 * 1024;

/// Which table the statistics are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One month: all columns.
    Month,
    /// A window of months: all but [`COUNTERPARTIES`].
    Window,
}

/// Arrow schema of the statistics in their order, partition column `business_id` included.
/// NULL is: no business (`business_id`), or no invoice on that side (minimum and maximum).
pub fn schema(money: MoneyType, scope: Scope, business: KeyKind) -> SchemaRef {
    let total = DataType::Decimal128(TOTAL_PRECISION, money.scale as i8);
    let amount = amount_type(money);
    let date = DataType::Timestamp(TimeUnit::Microsecond, None);
    let mut columns = vec![
        (BUSINESS_ID, business.data_type()),
        (TOTAL_ISSUED, total.clone()),
        (TOTAL_RECEIVED, total),
        (ISSUED_COUNT, DataType::Int64),
        (RECEIVED_COUNT, DataType::Int64),
        (MIN_ISSUED, amount.clone()),
        (MAX_ISSUED, amount.clone()),
        (MIN_RECEIVED, amount.clone()),
        (MAX_RECEIVED, amount),
        (FIRST_DATE, date.clone()),
        (LAST_DATE, date),
    ];
    if scope == Scope::Month {
        columns.push((COUNTERPARTIES, DataType::Int64));
    }
    let fields = columns.into_iter().map(|(name, data_type)| Field::new(name, data_type, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
