//! The service: Kafka in, decisions in Postgres out, each effect exactly once.
//!
//! One thread polls, decodes and decides; another writes the batch before. A partition's state and
//! offset are loaded from the database when its first message arrives, whatever the broker's offset
//! says; a batch moves the offset from where it was loaded, in the transaction of its decisions, so a
//! crash, a rebalance or a second owner can neither lose nor repeat anything.

mod checkpointer;
pub mod dead_letters;
mod decide;
pub mod kafka;
mod place;
mod topics;
mod watchdog;
mod writer;

use crate::args::Args;
use crate::checkpoint::Checkpoints;
use crate::decode::Decoder;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::onnx::Model;
use crate::rule_files::RuleFiles;
use crate::slot::Slot;
use crate::store::{Loaded, Store};
use crate::{decode_options, http};
use checkpointer::Checkpointer;
use dead_letters::{DeadLetters, Letter};
use invoices::task::Task;
use invoices::{Error, Kind, Result};
use kafka::{End, SharedConsumer};
use postgres::Client;
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use watchdog::{Remedy, Watchdog};
use writer::Writer;

/// How long one poll waits for a first message.
const IDLE: Duration = Duration::from_millis(100);
/// Most bytes of one batch; a single message may be larger.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time to write what is decided when the process is asked to end, within the contract's ten seconds.
const DRAIN: Duration = Duration::from_secs(5);
/// Time to write what is decided before partitions are given away.
const BEFORE_REVOKE: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The end of a log is asked for every second, so it is known a little later than it is reached.
const LOOK_SLACK: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);
/// A queue that is full for this long is worth telling the group that this consumer lives.
const STALLED: Duration = Duration::from_millis(100);

/// A partition that this consumer decides.
struct Partition {
    loaded: Loaded,
    /// Sought to its own offset once; larger offsets after that are holes in the log.
    is_placed: bool,
    /// Where it was when it was looked at last.
    looked: Option<(i64, Instant)>,
}

impl Partition {
    /// Whether the log seems to be another one, or to have lost what comes next; the database and the
    /// brokers are asked before anything is concluded.
    fn is_doubtful(&self, end: End, topic_id: Option<&str>, is_read: bool) -> bool {
        let noted = self.loaded.topic_id.as_deref();
        if topic_id.is_some_and(|id| noted.is_some_and(|noted| noted != id)) {
            return true;
        }
        // A position that was reached after the broker was asked may well lie behind that end.
        let Some((position, _)) = self.looked.filter(|(_, at)| *at < end.asked) else { return false };
        let stands_still = position == self.loaded.next_offset && !is_read;
        end.offset < position || (end.low > position && stands_still)
    }
}

struct Service<'a> {
    args: &'a Args,
    store: Store,
    consumer: SharedConsumer,
    partitions: HashMap<i32, Partition>,
    /// When partitions were last read to their end.
    at_end: HashMap<i32, Instant>,
    writer: Arc<Writer>,
    checkpointer: Option<Checkpointer>,
    letters: DeadLetters,
    decoder: Decoder,
    rules: RuleFiles,
    model: Model,
    metrics: Arc<Metrics>,
    client: Option<Client>,
    watchdog: Watchdog,
    looked: Instant,
    /// Epochs of the sources that this run has accepted, by partition: each once.
    accepted_sources: HashMap<i32, u32>,
    /// Partitions whose log doesn't seem to be the one that was read: loaded again by the main loop.
    doubted: BTreeSet<i32>,
}

/// Runs the service until it is asked to end, or, with `--exit-at-end`, until everything is decided.
///
/// # Errors
/// Configuration at the start, and when topic or source begin anew; retry when a stuck partition can't be healed. A database or a broker
/// that is away is waited for.
pub fn run(args: &Args, brokers: &str, decisions: &str, task: &Task) -> Result<Value> {
    let model = Model::open(args.model.onnx_model.as_deref())?;
    let rules = RuleFiles::open(&args.rules, model.version.has_score())?;
    let store = Store::new(decisions, &args.topic)?;
    store.check(&model.version)?;
    let checkpointer = checkpointer(args, &store, task)?;
    let metrics = Arc::new(Metrics::default());
    metrics.set_database_up(true);
    let config = kafka::config(brokers, args.service.kafka_config.as_deref())?;
    let letters = DeadLetters::new(config.clone(), &args.service.group, args.dead_letter_topic());
    topics::make_dead_letter_topic(&config, &letters.topic, task)?;
    if let Some(address) = args.service.listen {
        let bound = http::serve(address, Arc::clone(&metrics))?;
        tracing::info!("serving /metrics, /health and /ready on {bound}");
    }
    if let Some(source) = &args.service.slot_source {
        Slot::new(source, &args.service.slot_name, args.service.slot_lag_bytes_max)?
            .watch(Arc::clone(&metrics));
    }
    notifier(args, &store, &metrics, &config, task)?.start();
    let consumer = kafka::consumer(config, &args.service.group, args.service.instance.as_deref())?;
    let writer = Arc::new(Writer::start(store.clone(), Arc::clone(&consumer), Arc::clone(&metrics)));
    let before_revoke = Arc::clone(&writer);
    consumer.context().set_before_revoke(move || {
        before_revoke.flush(BEFORE_REVOKE);
    });
    kafka::watch_ends(Arc::clone(&consumer), args.topic.clone());
    let subscribed = consumer.subscribe(&[&args.topic]);
    subscribed.map_err(|error| Error::config("cannot subscribe to the topic").because(error))?;
    tracing::info!(topic = args.topic, group = args.service.group, database = store.name(), "consuming");
    let mut service = Service {
        args,
        store,
        consumer: Arc::clone(&consumer),
        partitions: HashMap::new(),
        at_end: HashMap::new(),
        writer,
        checkpointer,
        letters,
        decoder: Decoder::new(decode_options(&args.decoding)),
        rules,
        model,
        metrics,
        client: None,
        watchdog: Watchdog::new(Duration::from_secs(args.service.stuck_seconds)),
        looked: Instant::now(),
        accepted_sources: HashMap::new(),
        doubted: BTreeSet::new(),
    };
    let outcome = service.run(task);
    let is_written = service.writer.flush(DRAIN);
    let totals = service.metrics.totals();
    if outcome.is_ok() && is_written && !service.writer.check_fenced()? {
        service.keep_at_end();
    }
    drop(service);
    kafka::leave(consumer);
    match outcome {
        // Asked to end while it waited for something: what is decided is written all the same.
        Err(error) if error.kind() == Kind::Retry && task.check_stop().is_err() => tracing::info!("{error}"),
        other => other?,
    }
    if !is_written {
        return Err(Error::retry("the database did not take the last decisions; they will be made again")
            .with_facts(totals));
    }
    Ok(totals)
}

fn checkpointer(args: &Args, store: &Store, task: &Task) -> Result<Option<Checkpointer>> {
    let Some(url) = &args.service.checkpoints else { return Ok(None) };
    let checkpoints = Checkpoints::open(url, &args.topic, task.runtime.handle().clone())?;
    Ok(Some(Checkpointer::start(store.clone(), checkpoints, args.service.checkpoint_every)))
}

fn notifier(
    args: &Args,
    store: &Store,
    metrics: &Arc<Metrics>,
    config: &rdkafka::ClientConfig,
    task: &Task,
) -> Result<Notifier> {
    let secret = std::env::var("WEBHOOK_SECRET").ok().filter(|secret| !secret.is_empty());
    let webhook = match (&args.service.webhook_url, secret) {
        (Some(url), Some(secret)) => Some((url.clone(), secret.into_bytes())),
        (Some(_), None) => {
            return Err(Error::config(
                "set WEBHOOK_SECRET in the environment: the webhook's requests are signed with it",
            ));
        }
        (None, _) => None,
    };
    let topic = args.service.notify_topic.clone().map(|topic| (config.clone(), topic));
    let (store, metrics) = (store.clone(), Arc::clone(metrics));
    Ok(Notifier { store, metrics, webhook, topic, runtime: task.runtime.handle().clone() })
}

impl Service<'_> {
    fn run(&mut self, task: &Task) -> Result<()> {
        let consumer = Arc::clone(&self.consumer);
        while task.check_stop().is_ok() {
            self.look_around()?;
            self.refresh_rules()?;
            let messages = self.collect(&consumer)?;
            if self.writer.check_fenced()? {
                self.forget_all()?;
                continue;
            }
            let mut changed = consumer.context().take_changed();
            changed.append(&mut self.doubted);
            if !changed.is_empty() {
                self.flush()?;
            }
            for partition in changed {
                self.forget(partition);
                self.begin(partition)?;
            }
            if !messages.is_empty() {
                self.decide_all(messages)?;
            } else if self.is_finished() && !self.writer.has_open() {
                break;
            }
            self.hand_over()?;
        }
        Ok(())
    }

    /// Looks for changed rules; one batch is decided by one rule set.
    fn refresh_rules(&mut self) -> Result<()> {
        let before = self.rules.active();
        self.rules.refresh();
        if Arc::ptr_eq(&before, &self.rules.active()) { Ok(()) } else { self.flush() }
    }

    /// Takes what is there, up to the batch's limits; waits only for the first message, and no longer
    /// than the open batch does.
    fn collect<'m>(&mut self, consumer: &'m SharedConsumer) -> Result<Vec<BorrowedMessage<'m>>> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut wait = self.writer.due_in().unwrap_or(IDLE);
        while messages.len() < self.args.service.batch_max as usize && bytes < BATCH_BYTES_MAX {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    wait = Duration::ZERO;
                    bytes += message.payload_len();
                    self.at_end.remove(&message.partition());
                    messages.push(message);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.at_end.insert(partition, Instant::now());
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => {
                    if error.rdkafka_error_code()
                        == Some(rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition)
                    {
                        tracing::warn!("the topic {} does not exist yet", self.args.topic);
                    } else {
                        tracing::warn!("Kafka: {error}");
                    }
                    break;
                }
                None => break,
            }
        }
        Ok(messages)
    }

    /// The messages that come next in their partitions; partitions that are new are loaded and placed.
    fn in_order<'m>(&mut self, messages: Vec<BorrowedMessage<'m>>) -> Result<Vec<BorrowedMessage<'m>>> {
        let assigned = self.consumer.context().assigned();
        let mut next: HashMap<i32, i64> = HashMap::new();
        let mut seek: BTreeMap<i32, i64> = BTreeMap::new();
        let mut holes: BTreeMap<i32, i64> = BTreeMap::new();
        let mut kept = Vec::with_capacity(messages.len());
        for message in messages {
            let (number, offset) = (message.partition(), message.offset());
            if seek.contains_key(&number) || !assigned.contains(&number) {
                continue;
            }
            if !self.partitions.contains_key(&number) {
                self.load(number)?;
            }
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            let wanted = *next.get(&number).unwrap_or(&partition.loaded.next_offset);
            if !partition.is_placed {
                partition.is_placed = true;
                if offset != wanted {
                    seek.insert(number, wanted);
                    continue;
                }
            }
            if offset < wanted {
                continue;
            }
            if offset > wanted {
                tracing::info!(partition = number, from = wanted, to = offset, "offsets are not in the log");
                holes.entry(number).or_insert(wanted);
            }
            next.insert(number, offset + 1);
            kept.push(message);
        }
        for (partition, offset) in seek {
            self.seek(partition, offset);
        }
        for (partition, from) in holes {
            if !self.is_within_log(partition, from) {
                kept.retain(|message| message.partition() != partition);
                self.begin_again(partition)?;
            }
        }
        Ok(kept)
    }

    /// Writes what is decided and loads a partition from the database, which asks whose log it is.
    fn begin_again(&mut self, partition: i32) -> Result<()> {
        self.flush()?;
        self.forget(partition);
        self.begin(partition)
    }

    /// Loads a partition that was assigned and goes to its own offset, whatever the broker's says.
    fn begin(&mut self, partition: i32) -> Result<()> {
        if !self.consumer.context().assigned().contains(&partition) {
            return Ok(());
        }
        self.load(partition)?;
        if let Some(loaded) = self.partitions.get(&partition) {
            let offset = loaded.loaded.next_offset;
            self.seek(partition, offset);
        }
        Ok(())
    }

    fn load(&mut self, partition: i32) -> Result<()> {
        let started = Instant::now();
        let checkpoints = self.checkpointer.as_ref().map(|checkpointer| checkpointer.checkpoints.clone());
        let loaded = loop {
            let loaded =
                self.with_database(|store, client| store.load(client, partition, checkpoints.as_ref()))?;
            let Some(loaded) = loaded else { return Ok(()) };
            if self.belongs(partition, &loaded)? {
                break loaded;
            }
        };
        tracing::info!(
            partition,
            next_offset = loaded.next_offset,
            invoices = loaded.ids.len(),
            decisions = loaded.decisions,
            from_checkpoint = loaded.decisions_kept,
            businesses = loaded.engine.state.businesses(),
            seconds = started.elapsed().as_secs_f32(),
            "state loaded"
        );
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.loaded(partition, loaded.decisions_kept);
        }
        self.partitions.insert(partition, Partition { loaded, is_placed: false, looked: None });
        Ok(())
    }

    fn seek(&mut self, partition: i32, offset: i64) {
        let done =
            self.consumer.seek(&self.args.topic, partition, Offset::Offset(offset), Duration::from_secs(5));
        self.at_end.remove(&partition);
        if let Err(error) = done {
            // The partition is loaded and sought again with its next message.
            tracing::warn!(partition, offset, "cannot seek: {error}");
            self.partitions.remove(&partition);
        }
    }

    /// Asks the database until it answers; none when the process is to end.
    fn with_database<T>(&mut self, ask: impl Fn(&Store, &mut Client) -> Result<T>) -> Result<Option<T>> {
        loop {
            let client = match self.client.take() {
                Some(client) => Ok(client),
                None => self.store.connect(),
            };
            let answer = client.and_then(|mut client| {
                let answer = ask(&self.store, &mut client)?;
                self.client = Some(client);
                Ok(answer)
            });
            match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if error.kind() == Kind::Retry => {
                    tracing::warn!("{error}; trying again");
                    self.metrics.set_database_up(false);
                    std::thread::sleep(RETRY);
                    self.stay_in_group()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a letter until the topic takes it; false when the partition was taken away meanwhile.
    fn send_letter(&mut self, message: &BorrowedMessage<'_>, place: i64, reason: &str) -> Result<bool> {
        let letter = Letter {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            place,
            key: message.key(),
            payload: message.payload(),
            reason,
        };
        loop {
            match self.letters.send(&letter) {
                Ok(()) => {
                    let (partition, offset) = (letter.partition, letter.offset);
                    tracing::warn!(partition, offset, "dead letter: {reason}");
                    return Ok(true);
                }
                Err(error) if error.kind() == Kind::Retry => {
                    tracing::warn!("{error}; nothing past it is committed; trying again");
                    std::thread::sleep(RETRY);
                    self.stay_in_group()?;
                }
                Err(error) => return Err(error),
            }
            if !self.consumer.context().assigned().contains(&letter.partition) {
                return Ok(false);
            }
        }
    }

    /// Hands the open batch over when it is due; while the queue is full the group hears that this
    /// consumer lives.
    fn hand_over(&mut self) -> Result<()> {
        while !self.writer.hand_over(self.args.service.batch_max) {
            if !self.writer.wait_for_room(STALLED) {
                self.writer.check()?;
                self.stay_in_group()?;
            }
        }
        Ok(())
    }

    /// Waits until everything that is decided is written.
    fn flush(&mut self) -> Result<()> {
        while !self.writer.flush(IDLE) {
            self.writer.check()?;
            self.stay_in_group()?;
        }
        Ok(())
    }

    /// Serves the group without taking messages.
    ///
    /// # Errors
    /// Retry when the process is to end: what is not written will be decided again.
    fn stay_in_group(&mut self) -> Result<()> {
        invoices::task::check_stop()?;
        self.watchdog.reset();
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.look_around()?;
        let Ok(assignment) = self.consumer.assignment() else { return Ok(()) };
        let _ = self.consumer.pause(&assignment);
        if let Some(Ok(message)) = self.consumer.poll(Duration::ZERO) {
            // Taken by accident: it comes again.
            let (partition, offset) = (message.partition(), message.offset());
            drop(message);
            self.seek(partition, offset);
        }
        let _ = self.consumer.resume(&assignment);
        Ok(())
    }

    fn keep_at_end(&mut self) {
        if let Some(checkpointer) = self.checkpointer.take() {
            checkpointer.keep_at_end(std::mem::take(&mut self.partitions));
        }
    }

    fn forget(&mut self, partition: i32) {
        self.partitions.remove(&partition);
        self.letters.forget(partition);
        self.at_end.remove(&partition);
    }

    /// Loads every partition again from the database, offsets included.
    fn forget_all(&mut self) -> Result<()> {
        self.writer.discard(BEFORE_REVOKE);
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        for partition in numbers {
            self.forget(partition);
        }
        for partition in self.consumer.context().assigned() {
            self.begin(partition)?;
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        let assigned = self.consumer.context().assigned();
        self.args.service.exit_at_end
            && !assigned.is_empty()
            && assigned.iter().all(|partition| self.at_end.contains_key(partition))
    }

    /// Once a second: metrics, and partitions that stand still.
    fn look_around(&mut self) -> Result<()> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        let context = self.consumer.context();
        let (assigned, ends) = (context.assigned(), context.ends());
        let businesses =
            self.partitions.values().map(|partition| partition.loaded.engine.state.businesses()).sum();
        self.metrics.turned(context.rebalances(), assigned.len(), businesses);
        self.metrics.rules(self.rules.reloads_failed, self.rules.differences);
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.look(&self.partitions);
        }
        let mut lag = BTreeMap::new();
        let mut heal = Vec::new();
        let topic_id = context.topic_id().filter(|id| !id.is_empty());
        for number in assigned {
            let (Some(end), Some(partition)) = (ends.get(&number), self.partitions.get_mut(&number)) else {
                continue;
            };
            let position = partition.loaded.next_offset;
            let is_read = self.at_end.contains_key(&number);
            if partition.is_doubtful(*end, topic_id.as_deref(), is_read) {
                self.doubted.insert(number);
            }
            partition.looked = Some((position, self.looked));
            lag.insert(number, (end.offset - position).max(0));
            // Read to the end that is known; what lies between is transaction markers.
            let is_at_end = self.at_end.get(&number).is_some_and(|at| *at + LOOK_SLACK >= end.since);
            let end = if is_at_end { position } else { end.offset };
            match self.watchdog.look(self.looked, number, position, end) {
                Some(Remedy::Seek) => heal.push((number, position)),
                Some(Remedy::GiveUp) => {
                    return Err(Error::retry(format!(
                        "partition {number} stands still at offset {position}"
                    )));
                }
                None => {}
            }
        }
        self.metrics.set_lag(lag);
        for (partition, offset) in heal {
            tracing::error!(partition, offset, "the partition stands still; fetching it again");
            self.metrics.healed();
            if let Ok(assignment) = self.consumer.assignment() {
                let _ = self.consumer.resume(&assignment);
            }
            self.seek(partition, offset);
        }
        if !self.partitions.is_empty()
            && invoices::task::is_failpoint_set("risk::stall")
            && let Ok(assignment) = self.consumer.assignment()
        {
            let _ = self.consumer.pause(&assignment);
        }
        Ok(())
    }
}
