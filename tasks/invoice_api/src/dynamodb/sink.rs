//! Follows the change events and the decisions and applies them to DynamoDB.
//!
//! As for the caches, an event announces a change and carries no value: the row is read in Postgres,
//! with its decision, and written under the event's position. Whatever is repeated, comes late or is
//! done by two at a time ends the same.

use super::args::SinkArgs;
use super::client::Client;
use super::item::{number, read_number};
use super::load::floor;
use super::names;
use super::origin::{self, Origin};
use super::writer::Write;
use super::{Both, tables::Tables};
use crate::envelope::{self, Message as Said};
use crate::events::Holes;
use crate::feed::{Cursor, STEP_LAST, follow};
use crate::metrics::Counter;
use crate::store::Reader;
use crate::store::postgres::Connection;
use crate::version::{Change, decision_rank};
use invoices::source::ColumnNames;
use invoices::task::{Task, check_stop};
use invoices::{Error, Kind, Result};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const GAP: &str = "events are missing; see docs/migrate-source.md, then start once with --accept-new-topic and \
    load again";
const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);
const BATCH_MAX: usize = 1000;
/// Ids of one query.
const READ_MAX: usize = 200;
/// Pause before a read that missed its change is done again, and how often.
const LATE_PAUSE: Duration = Duration::from_millis(5);
const LATE_ATTEMPTS: usize = 400;
/// Longest wait for transactions that may have been open while the connector's snapshot read its rows.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);
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
    let source = begin(args, both, &consumer, counts).await?;
    consumer.subscribe(&[&args.topic]).map_err(failed)?;
    let mut follower = Follower {
        consumer: consumer.clone(),
        topic: args.topic.clone(),
        columns: args.both.source.columns.clone(),
        positions: HashMap::new(),
    };
    let mut reader = Reader::Postgres(Box::new(both.connection()));
    let mut connection = both.connection();
    let mut logged = Instant::now();
    while !is_stopping() {
        let counted = counts.clone();
        let polled = tokio::task::spawn_blocking(move || {
            let arrived = follower.poll(&counted);
            (follower, arrived)
        });
        let (back, arrived) = polled.await.map_err(|_| Error::bug("reading from Kafka panicked"))?;
        follower = back;
        let Arrived { mut changes, emptied } = arrived?;
        if !changes.is_empty() {
            while let Err(error) = place_rows(&mut connection, &mut changes).await {
                survive(error).await?;
                if is_stopping() {
                    return Ok(());
                }
            }
            while let Err(error) = apply(&mut reader, both, &source, &changes, counts).await {
                survive(error).await?;
                if is_stopping() {
                    return Ok(());
                }
            }
        }
        if let Some(change) = emptied {
            tracing::warn!("the source's table was truncated; every item is read again");
            while let Err(error) = read_again(both, &source, change, counts).await {
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

/// Looks whose events these are. With another source that was accepted everything in DynamoDB is read again
/// there, and the topic is followed from its end, behind the events of the old one.
async fn begin(
    args: &SinkArgs,
    both: &Both,
    consumer: &Arc<BaseConsumer>,
    counts: &Arc<Counts>,
) -> Result<Origin> {
    let source = loop {
        match origin::of_source(both, args.accept_new_source).await {
            Ok(source) => break source,
            Err(error) => survive(error).await?,
        }
        check_stop()?;
    };
    let topic = loop {
        let found = {
            let (consumer, topic, group) = (consumer.clone(), args.topic.clone(), args.group.clone());
            let accepts_gap = args.accept_new_topic;
            let asked =
                tokio::task::spawn_blocking(move || look_at_topic(&consumer, &topic, &group, accepts_gap));
            asked.await.map_err(|_| Error::bug("asking Kafka panicked"))?
        };
        let compared = match found {
            // A topic that is not there yet has no events to miss.
            Ok(None) => break None,
            Ok(Some(identity)) => origin::of_topic(both, &identity, args.accept_new_topic).await,
            Err(error) => Err(error),
        };
        match compared {
            Ok(topic) => break Some(topic),
            Err(error) => survive(error).await?,
        }
        check_stop()?;
    };
    if topic.as_ref().is_some_and(|topic| topic.is_new) && !source.is_new {
        tracing::warn!("going on with another topic, from its beginning; load what it lacks");
        skip_to(consumer, &args.topic, false).await?;
    }
    if source.is_new {
        tracing::warn!("going on with another source, from the topic's end: every item is read again");
        if topic.is_some() {
            skip_to(consumer, &args.topic, true).await?;
        }
        // Below every change of the new source and above every change of the old one.
        while let Err(error) = read_again(both, &source, Change::of_row(0, 0), counts).await {
            survive(error).await?;
            check_stop()?;
        }
    }
    // Noted last: whoever is interrupted before does all of it again.
    for origin in [Some(&source), topic.as_ref()].into_iter().flatten().filter(|origin| origin.is_new) {
        while let Err(error) = origin.keep(both).await {
            survive(error).await?;
            check_stop()?;
        }
    }
    Ok(source)
}

/// Gives rows of the connector's snapshots a position. The snapshot's own won't do: a transaction that was
/// open then has written below it and commits later. So they get one that is surely below every change that
/// a read from now on lacks.
async fn place_rows(connection: &mut Connection, changes: &mut HashMap<i64, Change>) -> Result<()> {
    let mut rows: Vec<&mut Change> = changes.values_mut().filter(|change| change.xid == 0).collect();
    if !rows.is_empty() {
        let position = floor(connection, OPEN_PATIENCE).await?;
        rows.iter_mut().for_each(|row| row.lsn = position);
    }
    Ok(())
}

/// The topic's id, none without a topic; refuses a gap between what was applied and what is there.
fn look_at_topic(
    consumer: &BaseConsumer,
    topic: &str,
    group: &str,
    accepts_gap: bool,
) -> Result<Option<String>> {
    let failed = |error| Error::retry("Kafka does not answer").because(error);
    let metadata = consumer.fetch_metadata(Some(topic), KAFKA_TIMEOUT).map_err(failed)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let partitions: Vec<i32> =
        found.map(|found| found.partitions().iter().map(|p| p.id()).collect()).unwrap_or_default();
    if partitions.is_empty() {
        return Ok(None);
    }
    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        list.add_partition(topic, *partition);
    }
    let committed = consumer.committed_offsets(list, KAFKA_TIMEOUT).map_err(failed)?;
    for element in committed.elements() {
        let Offset::Offset(offset) = element.offset() else { continue };
        let (low, high) =
            consumer.fetch_watermarks(topic, element.partition(), KAFKA_TIMEOUT).map_err(failed)?;
        if !(low..=high).contains(&offset) && !accepts_gap {
            return Err(Error::config(format!(
                "the group {group} has applied partition {} of {topic} up to offset {offset}, and the topic has \
                 {low} to {high}: {GAP}",
                element.partition()
            )));
        }
    }
    let identity = kafka_topic::identity(consumer.client(), topic, KAFKA_TIMEOUT);
    let identity =
        identity.map_err(|why| Error::retry(format!("the topic {topic} can't be asked for: {why}")))?;
    Ok(Some(identity.as_text().to_owned()))
}

/// Commits the end, or the beginning, of every partition as the group's place. A sink that was killed is a
/// member of the group until its session ends, and nobody else can commit before.
async fn skip_to(consumer: &Arc<BaseConsumer>, topic: &str, is_end: bool) -> Result<()> {
    loop {
        let (consumer, topic) = (consumer.clone(), topic.to_owned());
        let committed = tokio::task::spawn_blocking(move || commit_place(&consumer, &topic, is_end)).await;
        match committed.map_err(|_| Error::bug("committing in Kafka panicked"))? {
            Ok(()) => return Ok(()),
            Err(error) => survive(error).await?,
        }
        check_stop()?;
    }
}

fn commit_place(consumer: &BaseConsumer, topic: &str, is_end: bool) -> Result<()> {
    let failed = |error| Error::retry("Kafka does not answer").because(error);
    let metadata = consumer.fetch_metadata(Some(topic), KAFKA_TIMEOUT).map_err(failed)?;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), KAFKA_TIMEOUT).map_err(failed)?;
        let offset = Offset::Offset(if is_end { high } else { low });
        list.add_partition_offset(topic, partition.id(), offset).map_err(failed)?;
    }
    consumer.commit(&list, CommitMode::Sync).map_err(failed)
}

/// Reads every invoice that DynamoDB has again in the source, a page at a time, and writes it under one
/// change's position.
async fn read_again(both: &Both, source: &Origin, change: Change, counts: &Counts) -> Result<()> {
    let mut reader = Reader::Postgres(Box::new(both.connection()));
    let mut start = Value::Null;
    loop {
        check_stop()?;
        let mut scan = json!({
            "TableName": both.writer.tables.invoices, "ProjectionExpression": "invoice_id",
            "FilterExpression": "attribute_exists(amount)", "ConsistentRead": true,
        });
        if !start.is_null() {
            scan["ExclusiveStartKey"] = start;
        }
        let mut page = both.writer.client.ask("Scan", &scan).await?;
        let items = page["Items"].as_array().into_iter().flatten();
        let changes: HashMap<i64, Change> =
            items.filter_map(|item| Some((read_number(&item["invoice_id"])?, change))).collect();
        if !changes.is_empty() {
            apply(&mut reader, both, source, &changes, counts).await?;
        }
        start = page["LastEvaluatedKey"].take();
        if start.is_null() {
            return Ok(());
        }
    }
}

/// What has arrived.
#[derive(Default)]
struct Arrived {
    /// The latest change of each invoice.
    changes: HashMap<i64, Change>,
    /// A truncation that came after them.
    emptied: Option<Change>,
}

/// Reads the topic.
struct Follower {
    consumer: Arc<BaseConsumer>,
    topic: String,
    columns: ColumnNames,
    /// Offsets that are expected next, by partition.
    positions: HashMap<i32, i64>,
}

impl Follower {
    /// Takes what has arrived; blocks.
    ///
    /// # Errors
    /// Configuration when events were removed before they were read.
    fn poll(&mut self, counts: &Counts) -> Result<Arrived> {
        let mut arrived = Arrived::default();
        let changes = &mut arrived.changes;
        let mut holes = Holes::default();
        let mut patience = POLL;
        while changes.len() < BATCH_MAX {
            let message = match self.consumer.poll(patience) {
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
            holes.pass(&mut self.positions, &message);
            match envelope::decode(message.payload(), &self.columns) {
                Ok(Said::Emptied(change)) => {
                    arrived.emptied = Some(change);
                    break;
                }
                Ok(Said::Rows(events)) => {
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
                    tracing::error!(partition, offset, "a message of {} is skipped: {reason}", self.topic);
                }
            }
        }
        self.refuse_gaps(&holes)?;
        Ok(arrived)
    }

    fn refuse_gaps(&self, holes: &Holes) -> Result<()> {
        loop {
            match holes.removed(&self.consumer, &self.topic) {
                Ok(None) => return Ok(()),
                Ok(Some(what)) => return Err(Error::config(format!("{what}: {GAP}"))),
                Err(error) => tracing::warn!("{error}"),
            }
            check_stop()?;
            std::thread::sleep(RETRY_PAUSE);
        }
    }
}

async fn apply(
    reader: &mut Reader,
    both: &Both,
    source: &Origin,
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
                        let lsn = Some(source.stored(change.lsn));
                        writes.push(Write { id: *id, lsn, view, decided: 0 });
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
    let mut cursors: Option<Vec<Cursor>> = None;
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
    cursors: &mut Vec<Cursor>,
    counts: &Counts,
) -> Result<()> {
    let rows = follow(connection, cursors).await?;
    if rows.is_empty() {
        return Ok(());
    }
    let mut reached = cursors.clone();
    let mut ranks: HashMap<i64, u64> = HashMap::new();
    for row in &rows {
        let id: i64 = row.get(2);
        Cursor::of(row).pass(&mut reached);
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
    keep_positions(both, &reached, false).await?;
    *cursors = reached;
    Ok(())
}

/// The last decision of each partition, in the snapshot of the connection.
///
/// # Errors
/// Retry when the source doesn't answer.
pub async fn ends(connection: &mut Connection, has_decisions: bool) -> Result<Vec<Cursor>> {
    if !has_decisions {
        return Ok(Vec::new());
    }
    let sql = "select s.partition, d.log_offset from (select distinct partition from risk.stream_offsets) s \
               cross join lateral (select log_offset from risk.decisions d where d.partition = s.partition \
               order by log_offset desc limit 1) d";
    let rows = connection.query(sql, &[]).await?;
    let end =
        |row: &tokio_postgres::Row| Cursor { partition: row.get(0), log_offset: row.get(1), step: STEP_LAST };
    Ok(rows.iter().map(end).collect())
}

/// Notes how far the decisions have been applied; `only_new` leaves what is noted already.
///
/// # Errors
/// As [`Client::call`].
pub async fn keep_positions(both: &Both, positions: &[Cursor], only_new: bool) -> Result<()> {
    for Cursor { partition, log_offset, step } in positions {
        let item = json!({
            "name": { "S": format!("decisions-{partition}") },
            "partition": number(i64::from(*partition)),
            "log_offset": number(*log_offset),
            "step": number(i64::from(*step)),
        });
        let mut put = json!({ "TableName": both.writer.tables.positions, "Item": item });
        if only_new {
            put["ConditionExpression"] = json!("attribute_not_exists(log_offset)");
        }
        both.writer.client.call("PutItem", &put).await?;
    }
    Ok(())
}

async fn positions(client: &Client, tables: &Tables) -> Result<Vec<Cursor>> {
    let scan = json!({ "TableName": tables.positions, "ConsistentRead": true });
    let answer = client.ask("Scan", &scan).await?;
    let items = answer["Items"].as_array().into_iter().flatten();
    let position = |item: &Value| {
        let partition = i32::try_from(read_number(&item["partition"])?).ok()?;
        let step = read_number(&item["step"]).and_then(|step| i32::try_from(step).ok()).unwrap_or(STEP_LAST);
        Some(Cursor { partition, log_offset: read_number(&item["log_offset"])?, step })
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
