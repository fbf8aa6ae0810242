//! The Kafka client: settings, rebalances, watermarks.

use invoices::{Error, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::types::RDKafkaErrorCode;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Largest message that is taken from or put into a topic, bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// A consumer that several threads use.
pub type SharedConsumer = Arc<BaseConsumer<Context>>;

/// What the client calls back with.
#[derive(Default)]
pub struct Context {
    shared: Mutex<Shared>,
    /// Run before partitions are given away, so that their decisions are written first.
    before_revoke: Mutex<Option<Box<dyn Fn() + Send>>>,
}

#[derive(Default)]
struct Shared {
    assigned: BTreeSet<i32>,
    /// Assigned or revoked since they were last asked for.
    changed: BTreeSet<i32>,
    rebalances: u64,
    ends: HashMap<i32, End>,
    topic_id: Option<String>,
}

/// End of a partition's log for readers of committed messages, and since when it is known.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Where the log begins now.
    pub low: i64,
    pub offset: i64,
    pub since: Instant,
    /// When the broker was asked: positions that were reached later it can't speak of.
    pub asked: Instant,
}

impl Context {
    fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn assigned(&self) -> BTreeSet<i32> {
        self.with(|shared| shared.assigned.clone())
    }

    /// Partitions whose owner may have changed since the last call.
    pub fn take_changed(&self) -> BTreeSet<i32> {
        self.with(|shared| std::mem::take(&mut shared.changed))
    }

    pub fn rebalances(&self) -> u64 {
        self.with(|shared| shared.rebalances)
    }

    pub fn ends(&self) -> HashMap<i32, End> {
        self.with(|shared| shared.ends.clone())
    }

    /// The topic's id as it was seen last; none before the brokers have said it.
    pub fn topic_id(&self) -> Option<String> {
        self.with(|shared| shared.topic_id.clone())
    }

    fn saw_topic(&self, id: String) {
        self.with(|shared| shared.topic_id = Some(id));
    }

    fn saw_end(&self, partition: i32, low: i64, offset: i64, asked: Instant) {
        self.with(|shared| {
            let seen = End { low, offset, since: Instant::now(), asked };
            let end = shared.ends.entry(partition).or_insert(seen);
            if end.offset != offset {
                *end = seen;
            }
            (end.low, end.asked) = (low, asked);
        });
    }

    pub fn set_before_revoke(&self, act: impl Fn() + Send + 'static) {
        *self.before_revoke.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
    }
}

impl ClientContext for Context {
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        // The end of a partition is no error; polling sees it too.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!("Kafka: {reason} ({error})");
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(_) = rebalance
            && let Some(act) = &*self.before_revoke.lock().unwrap_or_else(PoisonError::into_inner)
        {
            act();
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let (list, gained) = match rebalance {
            Rebalance::Assign(list) => (list, true),
            Rebalance::Revoke(list) => (list, false),
            Rebalance::Error(error) => {
                tracing::warn!("rebalance failed: {error}");
                return;
            }
        };
        let partitions: Vec<i32> = list.elements().iter().map(|element| element.partition()).collect();
        tracing::info!(?partitions, "partitions {}", if gained { "assigned" } else { "revoked" });
        self.with(|shared| {
            shared.rebalances += 1;
            for partition in partitions {
                shared.changed.insert(partition);
                if gained {
                    shared.assigned.insert(partition)
                } else {
                    shared.assigned.remove(&partition)
                };
            }
        });
    }
}

/// Settings that all clients share, with those of `--kafka-config` over them.
///
/// # Errors
/// Configuration: a file that can't be read or a line without `=`.
pub fn config(brokers: &str, file: Option<&Path>) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config.set("message.max.bytes", MESSAGE_BYTES_MAX.to_string());
    let Some(path) = file else { return Ok(config) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::config(format!("cannot read {}", path.display())).because(error))?;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once('=').ok_or_else(|| {
            // The line itself may be a secret.
            Error::config(format!("{} has a line without =; each is name=value", path.display()))
        })?;
        config.set(name.trim(), value.trim());
    }
    Ok(config)
}

/// What correctness rests on; `--kafka-config` can't change it.
const CONSUMER_FIXED: [(&str, &str); 5] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "earliest"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
];

/// Unless `--kafka-config` says otherwise.
const CONSUMER_DEFAULTS: [(&str, &str); 9] = [
    ("partition.assignment.strategy", "cooperative-sticky"),
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "1000"),
    ("fetch.wait.max.ms", "10"),
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.message.max.bytes", "4194304"),
    ("queued.max.messages.kbytes", "65536"),
    // A broker or a topic that was away is found again within seconds, not minutes.
    ("reconnect.backoff.max.ms", "1000"),
    ("topic.metadata.refresh.interval.ms", "5000"),
];

/// A consumer in a group; offsets are the database's business, the group's are a hint.
///
/// # Errors
/// Configuration: settings that librdkafka doesn't accept.
pub fn consumer(mut config: ClientConfig, group: &str, instance: Option<&str>) -> Result<SharedConsumer> {
    for (name, value) in CONSUMER_DEFAULTS {
        if config.get(name).is_none() {
            config.set(name, value);
        }
    }
    for (name, value) in CONSUMER_FIXED {
        config.set(name, value);
    }
    config
        .set("group.id", group)
        .set("fetch.max.bytes", MESSAGE_BYTES_MAX.to_string())
        .set("receive.message.max.bytes", (MESSAGE_BYTES_MAX + 1024 * 1024).to_string());
    if let Some(instance) = instance {
        config.set("group.instance.id", instance);
    }
    let created = config.create_with_context(Context::default());
    created.map(Arc::new).map_err(|error| Error::config("cannot make a Kafka consumer").because(error))
}

/// Asks the broker where the logs end and whose they are, every second until the process ends. What the client itself
/// knows comes with fetched messages, so a partition that is not fetched any more would look finished.
pub fn watch_ends(consumer: SharedConsumer, topic: String) {
    std::thread::spawn(move || {
        loop {
            let assigned = consumer.context().assigned();
            if !assigned.is_empty() {
                match kafka_topic::identity(consumer.client(), &topic, ASK_TIMEOUT) {
                    Ok(identity) => consumer.context().saw_topic(identity.as_text().to_owned()),
                    Err(why) => tracing::debug!("cannot ask for the topic's id: {why}"),
                }
            }
            for partition in assigned {
                let asked = Instant::now();
                match consumer.fetch_watermarks(&topic, partition, ASK_TIMEOUT) {
                    Ok((low, end)) => consumer.context().saw_end(partition, low, end, asked),
                    Err(error) => tracing::debug!(partition, "cannot ask for the end of the log: {error}"),
                }
            }
            std::thread::sleep(ASK_EVERY);
        }
    });
}

/// Gives up partitions and leaves the group. Dropping a consumer can hang (librdkafka's bug tracker
/// knows several ways), so it is left to the end of the process.
pub fn leave(consumer: SharedConsumer) {
    consumer.unsubscribe();
    let _ = consumer.poll(Duration::from_millis(200));
    std::mem::forget(consumer);
}
