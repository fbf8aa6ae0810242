//! The live feed: follows the decisions table by its primary key, announces decided invoices to the
//! caches and hands the decisions to whoever listens.

use crate::freshener::Freshener;
use crate::metrics::Metrics;
use crate::render::{amount_text, time_text};
use crate::store::postgres::{Connection, Micros};
use crate::version::{Change, decision_rank};
use invoices::Result;
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

const POLL: Duration = Duration::from_millis(100);
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Decisions of a partition that one poll takes.
pub const PAGE: i64 = 500;
/// Decisions kept for listeners that come or come back.
const REMEMBERED: usize = 500;
/// Decisions that a slow listener may lag behind before it loses some.
const CHANNEL: usize = 2048;

/// A decision as the feed shows it.
#[derive(Debug, Clone, Serialize)]
pub struct FeedItem {
    /// `partition-offset`, unique and in the order of its partition.
    #[serde(skip)]
    pub id: String,
    pub invoice_id: i64,
    pub status: String,
    pub score: i16,
    pub rules: Value,
    pub issuer_id: Option<i64>,
    pub receiver_id: Option<i64>,
    pub amount_usd: String,
    pub decided_at: String,
}

pub struct Feed {
    sender: broadcast::Sender<Arc<FeedItem>>,
    recent: Mutex<VecDeque<Arc<FeedItem>>>,
}

impl Feed {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { sender: broadcast::channel(CHANNEL).0, recent: Mutex::default() })
    }

    /// What was decided lately, oldest first, and what will be.
    pub fn listen(&self) -> (Vec<Arc<FeedItem>>, broadcast::Receiver<Arc<FeedItem>>) {
        // Subscribed under the lock that `publish` takes: nothing is missed, nothing comes twice.
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        (recent.iter().cloned().collect(), self.sender.subscribe())
    }

    fn publish(&self, item: FeedItem) {
        let item = Arc::new(item);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() == REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(item.clone());
        // Nobody may be listening.
        let _ = self.sender.send(item);
    }

    /// Follows the table until the process ends.
    pub async fn follow(
        self: Arc<Self>,
        mut connection: Connection,
        freshener: Arc<Freshener>,
        metrics: Arc<Metrics>,
    ) {
        let mut cursors: Option<Vec<(i32, i64)>> = None;
        loop {
            let done = match &mut cursors {
                None => start(&mut connection).await.map(|found| cursors = Some(found)),
                Some(cursors) => self.step(&mut connection, cursors, &freshener, &metrics).await,
            };
            match done {
                Ok(()) => tokio::time::sleep(POLL).await,
                Err(error) => {
                    tracing::debug!("the decisions can't be followed: {error}");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
        }
    }

    async fn step(
        &self,
        connection: &mut Connection,
        cursors: &mut Vec<(i32, i64)>,
        freshener: &Freshener,
        metrics: &Metrics,
    ) -> Result<()> {
        let partitions: Vec<i32> = cursors.iter().map(|(partition, _)| *partition).collect();
        let offsets: Vec<i64> = cursors.iter().map(|(_, offset)| *offset).collect();
        let rows = connection.query(FOLLOW, &[&partitions, &offsets, &PAGE]).await?;
        let mut changes = Vec::with_capacity(rows.len());
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            let (partition, offset): (i32, i64) = (row.get(0), row.get(1));
            match cursors.iter_mut().find(|(known, _)| *known == partition) {
                Some((_, last)) => *last = offset,
                None => cursors.push((partition, offset)),
            }
            let xid: i64 = row.get(11);
            let rank = decision_rank(row.get::<_, i64>(10) as u64, row.get(3));
            changes.push((row.get::<_, i64>(2), Change::of_decision(xid as u64, rank)));
            items.push(item(row));
        }
        metrics.decisions.add(rows.len() as u64);
        // First the caches, so that who hears of a decision also reads it.
        if !changes.is_empty() {
            freshener.announce(changes).await;
        }
        items.into_iter().for_each(|item| self.publish(item));
        Ok(())
    }
}

/// Each partition's place shortly before its end, so that the feed begins with something.
async fn start(connection: &mut Connection) -> Result<Vec<(i32, i64)>> {
    let rows = connection.query(START, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Partitions by hops over the primary key; the 50th decision from the end of each, or its beginning.
const START: &str = "\
with recursive known(partition) as (
    (select partition from risk.decisions order by partition limit 1)
    union all
    select (select d.partition from risk.decisions d where d.partition > known.partition order by d.partition limit 1)
    from known where known.partition is not null
)
select partition, coalesce((select log_offset from risk.decisions d where d.partition = known.partition
                            order by log_offset desc offset 50 limit 1), -1)
from known where partition is not null";

/// New decisions of the known partitions, and the first ones of partitions that are new.
pub const FOLLOW: &str = "\
with cursors(partition, after) as (select * from unnest($1::int4[], $2::int8[])),
new_partitions(partition, after) as (
    select s.partition, -1::int8 from (select distinct partition from risk.stream_offsets) s
    where s.partition <> all ($1::int4[])
)
select d.partition, d.log_offset, d.invoice_id, d.status, d.score, d.rules::text, d.issuer_id, d.receiver_id,
       d.amount_cents, d.decided_at, d.lsn, d.xmin::text::int8
from (select * from cursors union all select * from new_partitions) c
cross join lateral (
    select d.*, d.xmin from risk.decisions d
    where d.partition = c.partition and d.log_offset > c.after order by d.log_offset limit $3
) d
order by d.decided_at, d.partition, d.log_offset";

fn item(row: &tokio_postgres::Row) -> FeedItem {
    let rules: Option<String> = row.get(5);
    let cents: i64 = row.get(8);
    FeedItem {
        id: format!("{}-{}", row.get::<_, i32>(0), row.get::<_, i64>(1)),
        invoice_id: row.get(2),
        status: row.get(3),
        score: row.get(4),
        rules: raw(rules.as_deref()),
        issuer_id: row.get(6),
        receiver_id: row.get(7),
        amount_usd: amount_text(cents, 2),
        decided_at: time_text(row.get::<_, Micros>(9).0),
    }
}

/// JSON from the database; an empty list when there is none.
pub fn raw(json: Option<&str>) -> Value {
    json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_else(|| Value::Array(Vec::new()))
}
