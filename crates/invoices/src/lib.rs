//! What the tasks share: the invoice, exact money, months, the lake and the task contract.
//!
//! # Layout
//! * [`money`], [`month`], [`invoice`], [`fingerprint`], [`parquet`] decide; they know no I/O and no clock.
//! * [`csv`] reads tables of text strictly: every doubt is refused with line and column.
//! * [`source`] reads the transactional database: where it is, what the table looks like,
//!   what each month's invoices add up to.
//! * [`lake`] is the object store: names, atomic puts, commit records; [`aws`] Amazon's services beside it.
//! * [`task`] is the contract of every executable: flags, logs, progress, result line, exit code.
//!
//! Architecture invariant: nothing here knows ConnectorX, Polars, Kafka or Redis. A heavy client
//! lives in the one task that uses it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod aws;
pub mod csv;
pub mod error;
pub mod fingerprint;
pub mod invoice;
pub mod key;
pub mod lake;
pub mod money;
pub mod month;
pub mod more;
pub mod parquet;
pub mod position;
pub mod source;
pub mod statistics;
pub mod task;

pub use error::{Error, Kind, Result};
pub use fingerprint::Fingerprint;
pub use invoice::{ColumnsOf, Invoice, InvoiceColumns, InvoiceOf};
pub use key::{Key, KeyKind, KeyKinds, Keys, Optional, Texts};
pub use month::{Month, Window};
pub use more::MoreColumn;

/// A named place where a test can stop, delay or abort the process; nothing without the
/// `failpoints` feature. `FAILPOINTS="write::before_record=return"` aborts there.
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::task::failpoint($name)
    };
}
