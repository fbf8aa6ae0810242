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
    /// None for SQLite, for records of older programs, and where the role may not ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// The exported snapshot's id; empty for SQLite.
    pub snapshot: String,
    /// Everything committed up to this write-ahead log position is in it (Postgres), as a number.
    pub lsn: u64,
    /// When the snapshot was taken, microseconds since 1970-01-01 UTC by the source's clock.
    pub taken_at_us: i64,
}

/// Which Postgres cluster it was, and which of its histories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Made by initdb; text, because many readers of JSON take numbers for floats.
    pub system_identifier: String,
    /// Grows with every promotion and every recovery to a point in time.
    pub timeline: u32,
}

impl SourceSnapshot {
    /// Whether this snapshot is of a later state than the other.
    ///
    /// Positions are compared within one cluster alone, timeline before position: what a promoted replica
    /// or a recovery has left out lies beyond the new timeline's positions. Between clusters, and where a
    /// record of old knows no cluster, the time at which the snapshots were taken decides. A SQLite file has
    /// neither cluster nor position, and so the time alone.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        let by_time = (self.taken_at_us, other.taken_at_us);
        match (&self.cluster, &other.cluster) {
            (Some(mine), Some(theirs)) if mine.system_identifier == theirs.system_identifier => {
                (mine.timeline, self.lsn, by_time.0) > (theirs.timeline, other.lsn, by_time.1)
            }
            (None, None) if self.source == other.source => (self.lsn, by_time.0) > (other.lsn, by_time.1),
            _ => by_time.0 > by_time.1,
        }
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
    /// Rows of the record that this one replaced, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_before: Option<u64>,
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

    /// Whether the partition lost more than 90 % of its rows with this commit.
    pub fn lost_most_rows(&self) -> bool {
        self.rows_before.is_some_and(|before| lost_most(before, self.rows))
    }

    /// Whether the lake still holds exactly the recorded objects.
    pub fn describes(&self, listed: &[Object]) -> bool {
        self.objects.len() == listed.len()
            && self.objects.iter().zip(listed).all(|(recorded, object)| *recorded == object.into())
    }
}

/// Whether more than 90 % of the rows are gone.
pub fn lost_most(rows_before: u64, rows: u64) -> bool {
    u128::from(rows) * 10 < u128::from(rows_before)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(cluster: Option<(&str, u32)>, lsn: u64, taken_at_us: i64) -> SourceSnapshot {
        let cluster = cluster.map(|(system_identifier, timeline)| Cluster {
            system_identifier: system_identifier.to_owned(),
            timeline,
        });
        SourceSnapshot { source: "db:5432/shop".into(), cluster, snapshot: String::new(), lsn, taken_at_us }
    }

    #[test]
    fn within_a_cluster_the_timeline_and_then_the_position_decide() {
        let before = snapshot(Some(("7", 1)), 500, 90);
        assert!(snapshot(Some(("7", 1)), 501, 10).is_newer_than(&before), "a clock that was put back");
        assert!(!snapshot(Some(("7", 1)), 499, 99).is_newer_than(&before), "a replica that lags");
        assert!(snapshot(Some(("7", 2)), 300, 99).is_newer_than(&before), "a promotion that lost commits");
        assert!(!before.is_newer_than(&snapshot(Some(("7", 2)), 300, 10)), "the old primary, still there");
    }

    #[test]
    fn between_clusters_and_with_records_of_old_the_time_decides() {
        let old = snapshot(Some(("7", 3)), 1 << 40, 50);
        let restored = snapshot(Some(("8", 1)), 100, 60);
        assert!(restored.is_newer_than(&old) && !old.is_newer_than(&restored));
        let without = snapshot(None, 1 << 40, 50);
        assert!(restored.is_newer_than(&without) && !without.is_newer_than(&restored));
        assert!(!snapshot(None, 100, 60).is_newer_than(&without), "nobody knows, so the position decides");
    }

    #[test]
    fn a_record_of_an_older_program_is_read() {
        let text = r#"{"source":"db:5432/shop","snapshot":"3-1","lsn":7,"taken_at_us":9}"#;
        let read: SourceSnapshot = serde_json::from_str(text).unwrap();
        assert_eq!((read.cluster, read.lsn), (None, 7));
    }

    #[test]
    fn nine_tenths_may_go_and_no_more() {
        assert!(!lost_most(100, 10) && lost_most(100, 9) && lost_most(1, 0) && !lost_most(0, 0));
    }
}
