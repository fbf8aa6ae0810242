//! The transactional database: one table of invoices, read in one consistent state.

pub mod args;
mod cluster;
pub mod condition;
pub mod postgres;
pub mod repeated;
pub mod sqlite;
pub mod sqlite_types;
pub mod table;
pub mod url;

pub use args::{AmountUnit, ColumnNames, SelectArgs, SourceArgs};
pub use url::SourceUrl;

use crate::error::{Error, Result};
use crate::fingerprint::{Fingerprint, NULL_BUSINESS};
use crate::lake::commit::SourceSnapshot;
use crate::money::MoneyType;
use crate::month::{Month, Window};
use crate::parquet::Shape;
use std::collections::BTreeMap;

/// Fingerprints of the months that have invoices.
pub type MonthFingerprints = BTreeMap<Month, Fingerprint>;

/// An open source, standing in one snapshot until it is dropped.
pub enum Source {
    Postgres(Box<postgres::Session>),
    Sqlite(Box<sqlite::Session>),
}

impl Source {
    /// Connects, takes the snapshot and looks at the table.
    ///
    /// # Errors
    /// Retry when the database doesn't answer, configuration for a missing table, column or
    /// privilege and for types that can't hold invoices exactly.
    pub fn open(args: &SourceArgs, select: &SelectArgs) -> Result<Self> {
        match args.url()? {
            SourceUrl::Postgres(url) => {
                Ok(Self::Postgres(Box::new(postgres::Session::open(url, args, select)?)))
            }
            SourceUrl::Sqlite(path) => {
                Ok(Self::Sqlite(Box::new(sqlite::Session::open(&path, args, select)?)))
            }
        }
    }

    /// Which state the session reads.
    pub fn snapshot(&self) -> &SourceSnapshot {
        match self {
            Self::Postgres(session) => &session.snapshot,
            Self::Sqlite(session) => &session.snapshot,
        }
    }

    /// Type of the amounts.
    pub fn money(&self) -> MoneyType {
        match self {
            Self::Postgres(session) => session.table.money,
            Self::Sqlite(session) => session.money,
        }
    }

    /// What the rows look like in the lake.
    pub fn shape(&self) -> Shape {
        let (keys, more) = match self {
            Self::Postgres(session) => (session.table.keys, &session.table.more),
            Self::Sqlite(session) => (session.keys, &session.more),
        };
        let more = more.iter().map(|(column, _)| column.clone()).collect();
        Shape { money: self.money(), keys, more }
    }

    /// What each month of the window adds up to; months without invoices are absent.
    ///
    /// # Errors
    /// Refused for invoices that belong to no month (no date, infinite, beyond year 9999) and for
    /// amounts that are not exact numbers of the column's type.
    pub fn fingerprints(&mut self, window: Window) -> Result<MonthFingerprints> {
        match self {
            Self::Postgres(session) => session.fingerprints(window),
            Self::Sqlite(session) => session.fingerprints(window),
        }
    }

    /// The sentence for a business whose id stands for NULL on the way, if the table has one. Looked for
    /// when a month differs from what the source says of it: a pass over the table.
    ///
    /// # Errors
    /// When the source can't be asked.
    pub fn smallest_business(&mut self) -> Result<Option<Error>> {
        match self {
            Self::Postgres(session) => session.smallest_business(),
            Self::Sqlite(_) => Ok(None),
        }
    }
}

/// The sentence for an invoice of a business whose id stands for NULL.
fn reserved(invoice: impl std::fmt::Display, column: &str) -> Error {
    Error::refused(format!(
        "invoice {invoice}: {column} is {NULL_BUSINESS}, the smallest number there is, which stands for a missing \
         business on the way to the lake; give the business another id, or NULL if nobody is meant"
    ))
}

/// Invoices that the sentence below names.
const UNDATED_NAMED: usize = 3;

/// The sentence for invoices whose date lies in no month.
fn undated(count: i64, column: &str, examples: &[String]) -> Error {
    let examples = examples.join(", ");
    Error::refused(format!(
        "{count} invoices belong to no month: their {column} is NULL, infinite, or outside years 1 to 9999 ({examples}); correct them in the source"
    ))
}
