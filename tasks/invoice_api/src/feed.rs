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
const PAGE: i64 = 500;
/// Decisions kept for listeners that come or come back.
const REMEMBERED: usize = 500;
/// Decisions that a slow listener may lag behind before it loses some.
const CHANNEL: usize = 2048;

/// A decision as the feed shows it.
#[derive(Debug, Clone, Serialize)]
pub struct FeedItem {
    /// `partition-offset`, and the step of a message's second decision; unique and in the order of its partition.
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
        let mut cursors: Option<Vec<Cursor>> = None;
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
        cursors: &mut Vec<Cursor>,
        freshener: &Freshener,
        metrics: &Metrics,
    ) -> Result<()> {
        let rows = follow(connection, cursors).await?;
        let mut changes = Vec::with_capacity(rows.len());
        let mut items = Vec::with_capacity(rows.len());
        for row in &rows {
            Cursor::of(row).pass(cursors);
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
async fn start(connection: &mut Connection) -> Result<Vec<Cursor>> {
    let rows = connection.query(START, &[]).await?;
    let place =
        |row: &tokio_postgres::Row| Cursor { partition: row.get(0), log_offset: row.get(1), step: STEP_LAST };
    Ok(rows.iter().map(place).collect())
}

/// How far a partition's decisions were followed. One message may make many of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub partition: i32,
    pub log_offset: i64,
    pub step: i32,
}

/// Behind all decisions of a message.
pub const STEP_LAST: i32 = i32::MAX;

impl Cursor {
    /// The place of a row of [`FOLLOW`].
    pub fn of(row: &tokio_postgres::Row) -> Self {
        Self { partition: row.get(0), log_offset: row.get(1), step: row.get(12) }
    }

    /// Notes that everything up to here is followed.
    pub fn pass(self, cursors: &mut Vec<Self>) {
        match cursors.iter_mut().find(|known| known.partition == self.partition) {
            Some(known) => *known = self.max(*known),
            None => cursors.push(self),
        }
    }
}

/// The next decisions behind the cursors, at most a page of each partition.
pub async fn follow(connection: &mut Connection, cursors: &[Cursor]) -> Result<Vec<tokio_postgres::Row>> {
    let partitions: Vec<i32> = cursors.iter().map(|cursor| cursor.partition).collect();
    let offsets: Vec<i64> = cursors.iter().map(|cursor| cursor.log_offset).collect();
    let steps: Vec<i32> = cursors.iter().map(|cursor| cursor.step).collect();
    connection.query(FOLLOW, &[&partitions, &offsets, &steps, &PAGE]).await
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
const FOLLOW: &str = "\
with cursors(partition, after, step) as (select * from unnest($1::int4[], $2::int8[], $3::int4[])),
new_partitions(partition, after, step) as (
    select s.partition, -1::int8, 0 from (select distinct partition from risk.stream_offsets) s
    where s.partition <> all ($1::int4[])
)
select d.partition, d.log_offset, d.invoice_id, d.status, d.score, d.rules::text, d.issuer_id, d.receiver_id,
       d.amount_cents, d.decided_at, d.lsn, d.xmin::text::int8, d.step
from (select * from cursors union all select * from new_partitions) c
cross join lateral (
    select d.*, d.xmin from risk.decisions d
    where d.partition = c.partition and (d.log_offset, d.step) > (c.after, c.step)
    order by d.log_offset, d.step limit $4
) d
order by d.decided_at, d.partition, d.log_offset, d.step";

fn id_of(place: Cursor) -> String {
    let Cursor { partition, log_offset, step } = place;
    if step == 0 { format!("{partition}-{log_offset}") } else { format!("{partition}-{log_offset}-{step}") }
}

fn item(row: &tokio_postgres::Row) -> FeedItem {
    let rules: Option<String> = row.get(5);
    let cents: i64 = row.get(8);
    FeedItem {
        id: id_of(Cursor::of(row)),
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
