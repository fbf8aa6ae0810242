//! The Kafka client: settings, rebalances, watermarks.

use invoices::{Error, Result};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaErrorCode;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Largest message that is taken from or put into a topic, bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

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
    /// End of each partition's log for readers of committed messages.
    ends: HashMap<i32, i64>,
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

    pub fn ends(&self) -> HashMap<i32, i64> {
        self.with(|shared| shared.ends.clone())
    }

    pub fn set_before_revoke(&self, act: impl Fn() + Send + 'static) {
        *self.before_revoke.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(act));
    }
}

impl ClientContext for Context {
    fn stats(&self, statistics: Statistics) {
        self.with(|shared| {
            for topic in statistics.topics.values() {
                for (partition, facts) in topic.partitions.iter().filter(|(partition, _)| **partition >= 0) {
                    shared.ends.insert(*partition, facts.ls_offset.max(facts.eof_offset));
                }
            }
        });
    }

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

/// Settings that consumers and producers share, with those of `--kafka-config` over them.
///
/// # Errors
/// Configuration: a file that can't be read or a line without `=`.
pub fn config(brokers: &str, file: Option<&Path>) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config.set("message.max.bytes", MESSAGE_BYTES_MAX.to_string());
    config.set("log.queue", "false").remove("log.queue");
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

/// A consumer in a group; offsets are the database's business, the group's are a hint.
///
/// # Errors
/// Configuration: settings that librdkafka doesn't accept.
pub fn consumer(mut config: ClientConfig, group: &str, instance: Option<&str>) -> Result<SharedConsumer> {
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.partition.eof", "true")
        .set("session.timeout.ms", "10000")
        .set("heartbeat.interval.ms", "1000")
        .set("fetch.wait.max.ms", "10")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.message.max.bytes", "4194304")
        .set("fetch.max.bytes", MESSAGE_BYTES_MAX.to_string())
        .set("receive.message.max.bytes", (MESSAGE_BYTES_MAX + 1024 * 1024).to_string())
        .set("queued.max.messages.kbytes", "65536")
        .set("statistics.interval.ms", "1000")
        .set("allow.auto.create.topics", "false");
    if let Some(instance) = instance {
        config.set("group.instance.id", instance);
    }
    let created = config.create_with_context(Context::default());
    created.map(Arc::new).map_err(|error| Error::config("cannot make a Kafka consumer").because(error))
}

/// Gives up partitions and leaves the group. Dropping a consumer can hang (librdkafka's bug tracker
/// knows several ways), so it is left to the end of the process.
pub fn leave(consumer: SharedConsumer) {
    consumer.unsubscribe();
    let _ = consumer.poll(std::time::Duration::from_millis(200));
    std::mem::forget(consumer);
}
