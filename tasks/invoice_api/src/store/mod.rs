//! Where invoices are read when no cache has them: Postgres by primary key, a SQLite file, or DynamoDB.

pub mod dynamodb;
pub mod postgres;
pub mod sqlite;

use crate::entry::InvoiceView;
use crate::version::{Applied, Snapshot};
use invoices::Result;

/// What one read found.
pub struct Read {
    pub snapshot: Snapshot,
    /// The invoices in the order of the ids asked for.
    pub found: Vec<Option<InvoiceView>>,
    /// What has been applied to each of them, where the store says so.
    pub applied: Vec<Applied>,
}

impl Read {
    /// Invoices that were all read in one snapshot.
    pub fn in_snapshot(snapshot: Snapshot, found: Vec<Option<InvoiceView>>) -> Self {
        Self { snapshot, found, applied: Vec::new() }
    }

    /// What the read of one of the ids could see.
    pub fn snapshot_of(&self, index: usize) -> Snapshot {
        match self.applied.get(index) {
            Some(applied) => Snapshot::of_applied(*applied),
            None => self.snapshot.clone(),
        }
    }
}

/// Sides of a business's invoices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Issued,
    Received,
    Both,
}

/// Which of a business's invoices: newest ids first, below `before`.
#[derive(Debug, Clone, Copy)]
pub struct PageOf {
    pub business_id: i64,
    pub side: Side,
    /// Ids below this one; none for the first page.
    pub before: Option<i64>,
    pub limit: u16,
}

/// Reads by id. Each loader worker has one.
pub enum Reader {
    Postgres(Box<postgres::Connection>),
    Sqlite(sqlite::File),
    Dynamodb(dynamodb::Items),
}

impl Reader {
    /// The invoices of the ids, all in one query.
    ///
    /// # Errors
    /// Retry when the source doesn't answer in time.
    pub async fn read(&mut self, ids: &[i64]) -> Result<Read> {
        match self {
            Self::Postgres(connection) => connection.read(ids).await,
            Self::Sqlite(file) => file.read(ids).await,
            Self::Dynamodb(items) => items.read(ids).await,
        }
    }

    /// A page of a business's invoices with their ids.
    ///
    /// # Errors
    /// Retry when the source doesn't answer in time.
    pub async fn page(&mut self, page: PageOf) -> Result<Vec<(i64, InvoiceView)>> {
        match self {
            Self::Postgres(connection) => connection.page(page).await,
            Self::Sqlite(file) => file.page(page).await,
            Self::Dynamodb(items) => items.page(page).await,
        }
    }

    /// A business's name, when the source has one.
    pub async fn business_name(&mut self, business_id: i64) -> Result<Option<String>> {
        match self {
            Self::Postgres(connection) => connection.business_name(business_id).await,
            Self::Sqlite(file) => file.business_name(business_id).await,
            Self::Dynamodb(items) => items.business_name(business_id).await,
        }
    }
}
