//! Commit records: what a partition held when its last run ended, written after its objects.
//!
//! A record is JSON at `_commits/<table>/<partition>.json`. It is a claim, never the data: whoever
//! uses it compares its ETags with the objects, and an object that isn't the recorded one counts as
//! unknown and is made again.

use super::{Lake, Object, names, names::Table};
use crate::error::{Error, Result};
use crate::fingerprint::{Fingerprint, FingerprintRecord};
use crate::money::MoneyType;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which state of the source a partition shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceSnapshot {
    /// Host and database, or file; no user, no secret.
    pub source: String,
    /// The exported snapshot's id; empty for SQLite.
    pub snapshot: String,
    /// Everything committed up to this write-ahead log position is in it (Postgres), as a number.
    pub lsn: u64,
    /// When the snapshot was taken, microseconds since 1970-01-01 UTC by the source's clock.
    pub taken_at_us: i64,
}

impl SourceSnapshot {
    /// Whether this snapshot is of a later state than the other.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.lsn, self.taken_at_us) > (other.lsn, other.taken_at_us)
    }
}

/// One written object of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRecord {
    pub path: String,
    pub size: u64,
    pub etag: String,
}

impl From<&Object> for ObjectRecord {
    fn from(object: &Object) -> Self {
        Self { path: object.path.clone(), size: object.size, etag: object.etag.clone() }
    }
}

impl From<&ObjectRecord> for Object {
    fn from(record: &ObjectRecord) -> Self {
        Self { path: record.path.clone(), size: record.size, etag: record.etag.clone() }
    }
}

/// What the last run wrote for one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    pub table: String,
    pub partition: String,
    /// Rows in the objects.
    pub rows: u64,
    /// The invoices that the partition stands for.
    pub invoices: FingerprintRecord,
    pub money: MoneyType,
    pub snapshot: SourceSnapshot,
    /// ETag of the objects it was computed from, by path.
    pub inputs: BTreeMap<String, String>,
    /// What else decides the content: partitioning, layout version.
    pub options: String,
    pub objects: Vec<ObjectRecord>,
    /// RFC 3339 UTC, by the writer's clock.
    pub committed_at: String,
    /// Name and version of the writer.
    pub program: String,
}

impl CommitRecord {
    /// The invoices' fingerprint.
    ///
    /// # Errors
    /// Refused when the record was edited into something that is not a fingerprint.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        self.invoices.parse(self.money.scale).ok_or_else(|| {
            let (table, partition) = (&self.table, &self.partition);
            Error::refused(format!("the commit record of {table} {partition} holds unreadable totals"))
        })
    }

    /// Whether the lake still holds exactly the recorded objects.
    pub fn describes(&self, listed: &[Object]) -> bool {
        self.objects.len() == listed.len()
            && self.objects.iter().zip(listed).all(|(recorded, object)| *recorded == object.into())
    }
}

/// Now, as commit records write it.
pub fn now_text() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl Lake {
    /// The last commit record of a partition; none when there is none or it is unreadable, which
    /// makes the partition count as unknown.
    pub async fn read_commit(&self, table: Table, partition: &str) -> Result<Option<CommitRecord>> {
        let found = self.get(&names::commit(table, partition)).await?;
        Ok(found.and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok()))
    }

    /// All commit records of a table by partition.
    pub async fn read_commits(&self, table: Table) -> Result<BTreeMap<String, CommitRecord>> {
        let objects = self.list(&format!("_commits/{}", table.name())).await?;
        futures::stream::iter(objects)
            .map(|object| async move {
                let found = self.get(&object.path).await?;
                let record: Option<CommitRecord> =
                    found.and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok());
                Ok(record.map(|record| (record.partition.clone(), record)))
            })
            .buffer_unordered(super::CONCURRENCY)
            .try_filter_map(|entry| async move { Ok(entry) })
            .try_collect()
            .await
    }

    /// Writes the commit record; the last step of a partition.
    pub async fn write_commit(&self, table: Table, record: &CommitRecord) -> Result<()> {
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| Error::bug("a commit record cannot be written as JSON").because(error))?;
        self.put(&names::commit(table, &record.partition), text.into()).await?;
        Ok(())
    }
}
