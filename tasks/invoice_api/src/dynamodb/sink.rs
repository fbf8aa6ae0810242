//! Follows the change events and the decisions and applies them to DynamoDB.
//!
//! As for the caches, an event announces a change and carries no value: the row is read in Postgres,
//! with its decision, and written under the event's position. Whatever is repeated, comes late or is
//! done by two at a time ends the same.

use super::args::SinkArgs;
use super::client::Client;
use super::item::{number, read_number};
use super::names;
use super::writer::Write;
use super::{Both, tables::Tables};
use crate::envelope;
use crate::feed::{FOLLOW, PAGE};
use crate::metrics::Counter;
use crate::store::Reader;
use crate::store::postgres::Connection;
use crate::version::{Change, decision_rank};
use invoices::task::{Task, check_stop};
use invoices::{Error, Kind, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(100);
const BATCH_MAX: usize = 1000;
/// Ids of one query.
const READ_MAX: usize = 200;
/// Pause before a read that missed its change is done again, and how often.
const LATE_PAUSE: Duration = Duration::from_millis(5);
const LATE_ATTEMPTS: usize = 400;
/// Pause after a failure of a service.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
const LOG_EVERY: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Counts {
    events: Counter,
    undecodable: Counter,
    /// Rows whose amount is not exact; they stay as they were.
    unreadable: Counter,
    writes: Counter,
    /// Updates that found something newer.
    late: Counter,
    decisions: Counter,
    names: Counter,
}

impl Counts {
    fn facts(&self) -> Value {
        json!({
            "command": "dynamodb sink", "events": self.events.get(), "undecodable": self.undecodable.get(),
            "unreadable": self.unreadable.get(), "writes": self.writes.get(), "late": self.late.get(),
            "decisions": self.decisions.get(), "names": self.names.get(),
        })
    }
}

/// Runs until a signal.
///
/// # Errors
/// Configuration for a table or a privilege that is missing; services that are away are waited for.
pub fn run(args: &SinkArgs, both: &Both, task: &Task) -> Result<Value> {
    let counts = Arc::new(Counts::default());
    task.block_on(both.writer.tables.create(&both.writer.client))?;
    let outcome = task.block_on(async {
        tokio::try_join!(
            follow_events(args, both, &counts),
            follow_decisions(both, &counts),
            follow_names(args, both, &counts)
        )
    });
    outcome?;
    Ok(counts.facts())
}

fn is_stopping() -> bool {
    check_stop().is_err()
}

/// Waits in short steps, so that a signal ends it.
async fn pause(duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until && !is_stopping() {
        tokio::time::sleep(duration.min(FOLLOW_EVERY)).await;
    }
}

/// What can pass is waited for; everything else ends the sink.
async fn survive(error: Error) -> Result<()> {
    if error.kind() != Kind::Retry {
        return Err(error);
    }
    if !is_stopping() {
        tracing::warn!("{error}");
        pause(RETRY_PAUSE).await;
    }
    Ok(())
}

async fn follow_events(args: &SinkArgs, both: &Both, counts: &Arc<Counts>) -> Result<()> {
    let failed = |error| Error::config("the Kafka client can't be set up").because(error);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &args.brokers).set("group.id", &args.group);
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("fetch.wait.max.ms", "20").set("isolation.level", "read_committed");
    config.set("topic.metadata.refresh.interval.ms", "10000");
    for option in &args.kafka_options {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("--kafka-option {option:?} is not key=value")))?;
        config.set(key, value);
    }
    let consumer: Arc<BaseConsumer> = Arc::new(config.create().map_err(failed)?);
    consumer.subscribe(&[&args.topic]).map_err(failed)?;
    let id_column = &args.both.source.columns.invoice_id_column;
    let mut reader = Reader::Postgres(Box::new(both.connection()));
    let mut logged = Instant::now();
    while !is_stopping() {
        let polled = {
            let (consumer, id_column, counts) = (consumer.clone(), id_column.clone(), counts.clone());
            tokio::task::spawn_blocking(move || poll(&consumer, &id_column, &counts)).await
        };
        let changes = polled.map_err(|_| Error::bug("reading from Kafka panicked"))?;
        if !changes.is_empty() {
            while let Err(error) = apply(&mut reader, both, &changes, counts).await {
                survive(error).await?;
                if is_stopping() {
                    return Ok(());
                }
            }
        }
        // What has been applied needn't be seen again; a commit that fails costs a repetition.
        let _ = consumer.commit_consumer_state(CommitMode::Async);
        if logged.elapsed() > LOG_EVERY {
            logged = Instant::now();
            tracing::info!(events = counts.events.get(), writes = counts.writes.get(), "sink");
        }
    }
    let _ = consumer.commit_consumer_state(CommitMode::Sync);
    Ok(())
}

/// The latest change of each invoice in what has arrived.
fn poll(consumer: &BaseConsumer, id_column: &str, counts: &Counts) -> HashMap<i64, Change> {
    let mut changes: HashMap<i64, Change> = HashMap::new();
    let mut patience = POLL;
    while changes.len() < BATCH_MAX {
        let message = match consumer.poll(patience) {
            None => break,
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                tracing::warn!("Kafka does not answer: {error}");
                std::thread::sleep(POLL);
                break;
            }
        };
        patience = Duration::ZERO;
        counts.events.add(1);
        match envelope::decode(message.payload(), id_column) {
            Ok(events) => {
                for event in events {
                    let latest = changes.entry(event.id).or_insert(event.change);
                    if event.change.lsn >= latest.lsn {
                        *latest = event.change;
                    }
                }
            }
            Err(reason) => {
                counts.undecodable.add(1);
                let (partition, offset) = (message.partition(), message.offset());
                tracing::error!(partition, offset, "a message of {} is left out: {reason}", message.topic());
            }
        }
    }
    changes
}

async fn apply(
    reader: &mut Reader,
    both: &Both,
    changes: &HashMap<i64, Change>,
    counts: &Counts,
) -> Result<()> {
    let mut wanted: Vec<i64> = changes.keys().copied().collect();
    for _ in 0..LATE_ATTEMPTS {
        check_stop()?;
        let mut late = Vec::new();
        for chunk in wanted.chunks(READ_MAX) {
            let mut writes = Vec::with_capacity(chunk.len());
            for (ids, read) in read_all(reader, chunk, counts).await? {
                for (index, (id, view)) in ids.iter().zip(read.found.iter().cloned()).enumerate() {
                    let Some(change) = changes.get(id).copied() else { continue };
                    if read.snapshot_of(index).sees(change) {
                        writes.push(Write { id: *id, lsn: Some(change.lsn), view, decided: 0 });
                    } else {
                        late.push(*id);
                    }
                }
            }
            counts.writes.add(writes.len() as u64);
            counts.late.add(both.writer.write(writes).await?);
        }
        if late.is_empty() {
            return Ok(());
        }
        // An event can arrive before its transaction is visible to others.
        wanted = late;
        tokio::time::sleep(LATE_PAUSE).await;
    }
    Err(Error::retry(format!("{} changes that were announced are not visible in the source", wanted.len())))
}

/// Reads in one query, or one by one when a row can't be shown, which is left out.
async fn read_all(
    reader: &mut Reader,
    ids: &[i64],
    counts: &Counts,
) -> Result<Vec<(Vec<i64>, crate::store::Read)>> {
    match reader.read(ids).await {
        Ok(read) => return Ok(vec![(ids.to_vec(), read)]),
        Err(error) if error.kind() == Kind::Refused => {}
        Err(error) => return Err(error),
    }
    let mut reads = Vec::with_capacity(ids.len());
    for id in ids {
        match reader.read(&[*id]).await {
            Ok(read) => reads.push((vec![*id], read)),
            Err(error) if error.kind() == Kind::Refused => {
                counts.unreadable.add(1);
                tracing::error!("{error}; it stays as it was in DynamoDB");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(reads)
}

async fn follow_decisions(both: &Both, counts: &Counts) -> Result<()> {
    if !both.plan.has_decisions {
        return Ok(());
    }
    let mut connection = both.connection();
    let mut reader = Reader::Postgres(Box::new(both.connection()));
    let mut cursors: Option<Vec<(i32, i64)>> = None;
    while !is_stopping() {
        let outcome = match &mut cursors {
            None => {
                positions(&both.writer.client, &both.writer.tables).await.map(|found| cursors = Some(found))
            }
            Some(cursors) => follow_once(&mut connection, &mut reader, both, cursors, counts).await,
        };
        match outcome {
            Ok(()) => tokio::time::sleep(FOLLOW_EVERY).await,
            Err(error) => survive(error).await?,
        }
    }
    Ok(())
}

async fn follow_once(
    connection: &mut Connection,
    reader: &mut Reader,
    both: &Both,
    cursors: &mut Vec<(i32, i64)>,
    counts: &Counts,
) -> Result<()> {
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = cursors.iter().copied().unzip();
    let rows = connection.query(FOLLOW, &[&partitions, &offsets, &PAGE]).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut reached: HashMap<i32, i64> = cursors.iter().copied().collect();
    let mut ranks: HashMap<i64, u64> = HashMap::new();
    for row in &rows {
        let (partition, offset, id): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let furthest = reached.entry(partition).or_insert(offset);
        *furthest = offset.max(*furthest);
        let rank = decision_rank(row.get::<_, i64>(10).unsigned_abs(), row.get(3));
        let highest = ranks.entry(id).or_insert(rank);
        *highest = rank.max(*highest);
    }
    let ids: Vec<i64> = ranks.keys().copied().collect();
    for (ids, read) in read_all(reader, &ids, counts).await? {
        let writes = ids.iter().zip(read.found).map(|(id, view)| Write {
            id: *id,
            lsn: None,
            view,
            decided: ranks.get(id).copied().unwrap_or(0),
        });
        counts.late.add(both.writer.write(writes.collect()).await?);
    }
    counts.decisions.add(rows.len() as u64);
    let reached: Vec<(i32, i64)> = reached.into_iter().collect();
    keep_positions(both, &reached, false).await?;
    *cursors = reached;
    Ok(())
}

/// The last decision of each partition, in the snapshot of the connection.
///
/// # Errors
/// Retry when the source doesn't answer.
pub async fn ends(connection: &mut Connection, has_decisions: bool) -> Result<Vec<(i32, i64)>> {
    if !has_decisions {
        return Ok(Vec::new());
    }
    let sql = "select s.partition, d.log_offset from (select distinct partition from risk.stream_offsets) s \
               cross join lateral (select log_offset from risk.decisions d where d.partition = s.partition \
               order by log_offset desc limit 1) d";
    let rows = connection.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Notes how far the decisions have been applied; `only_new` leaves what is noted already.
///
/// # Errors
/// As [`Client::call`].
pub async fn keep_positions(both: &Both, positions: &[(i32, i64)], only_new: bool) -> Result<()> {
    for (partition, offset) in positions {
        let item = json!({
            "name": { "S": format!("decisions-{partition}") },
            "partition": number(i64::from(*partition)),
            "log_offset": number(*offset),
        });
        let mut put = json!({ "TableName": both.writer.tables.positions, "Item": item });
        if only_new {
            put["ConditionExpression"] = json!("attribute_not_exists(log_offset)");
        }
        both.writer.client.call("PutItem", &put).await?;
    }
    Ok(())
}

async fn positions(client: &Client, tables: &Tables) -> Result<Vec<(i32, i64)>> {
    let scan = json!({ "TableName": tables.positions, "ConsistentRead": true });
    let answer = client.ask("Scan", &scan).await?;
    let items = answer["Items"].as_array().into_iter().flatten();
    let position = |item: &Value| {
        let partition = i32::try_from(read_number(&item["partition"])?).ok()?;
        Some((partition, read_number(&item["log_offset"])?))
    };
    Ok(items.filter_map(position).collect())
}

async fn follow_names(args: &SinkArgs, both: &Both, counts: &Counts) -> Result<()> {
    let mut connection = both.connection();
    while !is_stopping() {
        match names::synchronise(&mut connection, both).await {
            Ok(count) => {
                counts.names.add(count as u64);
                pause(Duration::from_secs(u64::from(args.names_every_seconds))).await;
            }
            Err(error) => survive(error).await?,
        }
    }
    Ok(())
}
