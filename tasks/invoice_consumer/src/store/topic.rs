//! To which topic a stored offset belongs.

use super::Store;
use invoices::source::postgres::failed;
use invoices::{Error, Result};
use postgres::Client;

const NOTING: &str = "cannot note where the topic is read";

/// What is read of a partition next, and of which topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub partition: i32,
    /// The offset that is stored now; if another consumer has moved it, nothing is noted.
    pub stored: i64,
    pub next_offset: i64,
    pub topic_id: String,
    /// How often the topic was replaced, this time included.
    pub topic_epoch: u32,
}

impl Store {
    /// Notes the topic of a partition's offset with its epoch; false when
    /// another consumer was faster.
    ///
    /// # Errors
    /// Retry when the database doesn't answer.
    pub fn note_place(&self, client: &mut Client, place: &Place) -> Result<bool> {
        let sql = "update risk.stream_offsets set next_offset = $4, topic_id = $5, \
            topic_epoch = $6, updated_at = now() \
            where topic = $1 and partition = $2 and next_offset = $3";
        let epoch = place.topic_epoch as i32;
        let values: [&(dyn postgres::types::ToSql + Sync); 6] =
            [&self.topic, &place.partition, &place.stored, &place.next_offset, &place.topic_id, &epoch];
        let noted = client.execute(sql, &values).map_err(|error| failed(NOTING, error))?;
        Ok(noted == 1)
    }

    /// Checks that the tables have the columns of this version.
    ///
    /// # Errors
    /// Configuration when they don't.
    pub(super) fn check_columns(&self, client: &mut Client) -> Result<()> {
        let sql = "select count(*) from pg_attribute where not attisdropped and ( \
            (attrelid = to_regclass('risk.stream_offsets') and attname in ('topic_id', 'topic_epoch', 'source_epoch')) \
            or (attrelid = to_regclass('risk.decisions') and attname = 'step'))";
        let row = client.query_one(sql, &[]).map_err(|error| failed(NOTING, error))?;
        if row.get::<_, i64>(0) < 4 {
            return Err(Error::config(
                "the decision tables are of an earlier version; apply postgres-scripts/sql/05_decisions.sql again, \
                 as their owner",
            ));
        }
        Ok(())
    }
}
