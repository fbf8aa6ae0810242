//! Change events from Kafka. Every process reads all partitions by itself, without a group, and
//! announces what has changed to the caches.
//!
//! Positions up to which Redis knows everything are kept in Redis: whoever starts goes on from there
//! and believes Redis only when it has caught up.

use crate::envelope::{self, Message as Said};
use crate::freshener::Freshener;
use crate::metrics::Metrics;
use crate::version::Change;
use invoices::position;
use invoices::source::ColumnNames;
use invoices::task::check_stop;
use invoices::{Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);
const BATCH_MAX: usize = 1000;
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How often new partitions and the distance to the end are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

pub struct Events {
    pub brokers: String,
    pub topic: String,
    pub options: Vec<String>,
    pub columns: ColumnNames,
    pub freshener: Arc<Freshener>,
    pub metrics: Arc<Metrics>,
    /// Of the source, where the store's positions carry it (DynamoDB); 0 otherwise.
    pub epoch: Arc<AtomicU32>,
}

impl Events {
    /// Follows the topic on a thread of its own until the process stops.
    pub fn follow(self, runtime: Handle) {
        if let Some(redis) = self.freshener.redis() {
            redis.set_behind(true);
        }
        self.metrics.event_lag_ms.set(-1);
        self.metrics.events_behind.set(-1);
        std::thread::spawn(move || {
            while check_stop().is_ok() {
                if let Err(error) = self.follow_once(&runtime) {
                    tracing::warn!("{error}");
                    self.metrics.events_behind.set(-1);
                    std::thread::sleep(RETRY_PAUSE);
                }
            }
        });
    }

    fn consumer(&self) -> Result<BaseConsumer> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "invoice_api");
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("fetch.wait.max.ms", "20").set("isolation.level", "read_committed");
        for option in &self.options {
            let (key, value) = option
                .split_once('=')
                .ok_or_else(|| Error::usage(format!("--kafka-option {option:?} is not key=value")))?;
            config.set(key, value);
        }
        config.create().map_err(|error| Error::config("the Kafka client can't be set up").because(error))
    }

    fn follow_once(&self, runtime: &Handle) -> Result<()> {
        let failed = |error| Error::retry("Kafka does not answer").because(error);
        let consumer = self.consumer()?;
        let partitions = self.partitions(&consumer)?;
        let identity = kafka_topic::identity(consumer.client(), &self.topic, METADATA_TIMEOUT)
            .map_err(|why| Error::retry(format!("the topic {} can't be asked for: {why}", self.topic)))?;
        let log = self.log_name(identity.as_text());
        let stored = runtime.block_on(async {
            match self.freshener.redis() {
                Some(redis) => redis.offsets(&log).await.unwrap_or_default(),
                None => HashMap::new(),
            }
        });
        let mut positions: HashMap<i32, i64> = HashMap::new();
        let mut ends: HashMap<i32, i64> = HashMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in &partitions {
            let (first, end) =
                consumer.fetch_watermarks(&self.topic, *partition, METADATA_TIMEOUT).map_err(failed)?;
            let start = match stored.get(partition).copied() {
                Some(position) if (first..=end).contains(&position) => position,
                _ => {
                    // Another topic, a gap, or nobody has followed yet: what was missed is not known, so the
                    // caches begin empty, and what was before doesn't matter.
                    self.freshener.forget_all(None);
                    end
                }
            };
            let added = assignment.add_partition_offset(&self.topic, *partition, Offset::Offset(start));
            added.map_err(failed)?;
            positions.insert(*partition, start);
            ends.insert(*partition, end);
        }
        consumer.assign(&assignment).map_err(failed)?;
        tracing::info!(partitions = partitions.len(), "following {}", self.topic);
        let mut looked_at = Instant::now();
        let mut has_caught_up = false;
        while check_stop().is_ok() {
            let changes = self.poll(&consumer, &mut positions)?;
            let has_changes = !changes.is_empty();
            let is_told = runtime.block_on(async {
                let is_told = self.freshener.announce(changes).await;
                if let Some(redis) = self.freshener.redis()
                    && is_told
                    && (has_changes || !has_caught_up)
                {
                    redis.set_offsets(&log, &positions).await;
                }
                is_told
            });
            let behind: i64 = ends
                .iter()
                .map(|(partition, end)| (end - positions.get(partition).unwrap_or(end)).max(0))
                .sum();
            self.metrics.events_behind.set(behind);
            has_caught_up |= behind == 0;
            if let Some(redis) = self.freshener.redis()
                && is_told
                && has_caught_up
                && redis.is_behind()
            {
                redis.set_behind(false);
            }
            if looked_at.elapsed() > LOOK_EVERY {
                looked_at = Instant::now();
                if self.partitions(&consumer)?.len() != partitions.len() {
                    tracing::info!("{} has other partitions now", self.topic);
                    return Ok(());
                }
                let now = kafka_topic::identity(consumer.client(), &self.topic, METADATA_TIMEOUT);
                if now.is_ok_and(|now| now != identity) {
                    tracing::warn!("{} was made again; the caches begin empty", self.topic);
                    return Ok(());
                }
                for partition in &partitions {
                    let (_, end) = consumer
                        .fetch_watermarks(&self.topic, *partition, METADATA_TIMEOUT)
                        .map_err(failed)?;
                    if positions.get(partition).is_some_and(|position| *position > end) {
                        tracing::warn!(
                            "{} ends before what was read of it; the caches begin empty",
                            self.topic
                        );
                        return Ok(());
                    }
                    ends.insert(*partition, end);
                }
            }
        }
        Ok(())
    }

    fn stored(&self, change: Change) -> Change {
        Change { lsn: position::stored(self.epoch.load(Ordering::Relaxed), change.lsn), ..change }
    }

    /// Under which name positions are kept: those of a topic that was made again are its own.
    fn log_name(&self, topic_id: &str) -> String {
        if topic_id.is_empty() { self.topic.clone() } else { format!("{}:{topic_id}", self.topic) }
    }

    fn partitions(&self, consumer: &BaseConsumer) -> Result<Vec<i32>> {
        let metadata = consumer
            .fetch_metadata(Some(&self.topic), METADATA_TIMEOUT)
            .map_err(|error| Error::retry("Kafka does not answer").because(error))?;
        let topic =
            metadata.topics().iter().find(|topic| topic.name() == self.topic && topic.error().is_none());
        let partitions: Vec<i32> =
            topic.map(|topic| topic.partitions().iter().map(|p| p.id()).collect()).unwrap_or_default();
        if partitions.is_empty() {
            return Err(Error::retry(format!("the topic {} does not exist yet", self.topic)));
        }
        Ok(partitions)
    }

    /// What has arrived, at most a batch; waits for the first message only.
    fn poll(&self, consumer: &BaseConsumer, positions: &mut HashMap<i32, i64>) -> Result<Vec<(i64, Change)>> {
        let mut changes = Vec::new();
        let mut holes = Holes::default();
        let mut patience = POLL;
        while changes.len() < BATCH_MAX {
            let message = match consumer.poll(patience) {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(Error::retry("Kafka does not answer").because(error)),
            };
            patience = Duration::ZERO;
            holes.pass(positions, &message);
            self.metrics.events.add(1);
            match envelope::decode(message.payload(), &self.columns) {
                Ok(Said::Emptied(change)) => {
                    tracing::warn!("the source's table was truncated; the caches begin empty");
                    self.freshener.forget_all(Some(self.stored(change)));
                }
                Ok(Said::Rows(events)) => {
                    for event in events {
                        if let Some(committed_ms) = event.committed_ms {
                            let now_ms = chrono::Utc::now().timestamp_millis();
                            self.metrics.event_lag_ms.set((now_ms - committed_ms).max(0));
                        }
                        changes.push((event.id, self.stored(event.change)));
                    }
                }
                Err(reason) => {
                    self.metrics.events_undecodable.add(1);
                    let (partition, offset) = (message.partition(), message.offset());
                    tracing::warn!(partition, offset, "a message of {} is skipped: {reason}", self.topic);
                }
            }
        }
        match holes.removed(consumer, &self.topic)? {
            // What was missed is not known: followed anew, with empty caches.
            Some(what) => Err(Error::retry(what)),
            None => Ok(changes),
        }
    }
}

/// Offsets that were expected and did not come, by partition. Transaction markers leave some; when the
/// log begins behind one, messages were removed before they were read.
#[derive(Default)]
pub struct Holes {
    first: HashMap<i32, i64>,
}

impl Holes {
    /// Takes note of a message that has come.
    pub fn pass<M: Message>(&mut self, positions: &mut HashMap<i32, i64>, message: &M) {
        let (partition, offset) = (message.partition(), message.offset());
        let expected = positions.insert(partition, offset + 1).unwrap_or(offset);
        if expected < offset {
            self.first.entry(partition).or_insert(expected);
        }
    }

    /// Asks the brokers whether a hole is a gap, and says which.
    ///
    /// # Errors
    /// Retry when Kafka doesn't answer.
    pub fn removed(&self, consumer: &BaseConsumer, topic: &str) -> Result<Option<String>> {
        for (partition, expected) in &self.first {
            let (first, _) = consumer
                .fetch_watermarks(topic, *partition, METADATA_TIMEOUT)
                .map_err(|error| Error::retry("Kafka does not answer").because(error))?;
            if first > *expected {
                return Ok(Some(format!(
                    "{topic} has removed messages of partition {partition} from offset {expected} on before they \
                     were read"
                )));
            }
        }
        Ok(None)
    }
}
