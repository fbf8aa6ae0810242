//! What the service holds, and how it is opened and ended.

use super::assignment::Partition;
use super::checkpointer::Checkpointer;
use super::dead_letters::DeadLetters;
use super::kafka::{self, SharedConsumer};
use super::watchdog::Watchdog;
use super::writer::Writer;
use super::{BEFORE_REVOKE, topics};
use crate::args::Args;
use crate::checkpoint::Checkpoints;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::onnx::Model;
use crate::rule_files::RuleFiles;
use crate::slot::Slot;
use crate::store::Store;
use crate::{decode_options, http};
use change_events::Decoder;
use invoices::task::Task;
use invoices::{Error, Kind, Result};
use postgres::Client;
use rdkafka::consumer::Consumer;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time to write what is decided when the process is asked to end, within the contract's ten seconds.
const DRAIN: Duration = Duration::from_secs(5);

pub(super) struct Service<'a> {
    pub(super) args: &'a Args,
    pub(super) store: Store,
    pub(super) consumer: SharedConsumer,
    pub(super) partitions: HashMap<i32, Partition>,
    /// When partitions were last read to their end.
    pub(super) at_end: HashMap<i32, Instant>,
    pub(super) writer: Arc<Writer>,
    pub(super) checkpointer: Option<Checkpointer>,
    pub(super) letters: DeadLetters,
    pub(super) decoder: Decoder,
    pub(super) rules: RuleFiles,
    pub(super) model: Model,
    pub(super) metrics: Arc<Metrics>,
    pub(super) client: Option<Client>,
    pub(super) watchdog: Watchdog,
    pub(super) looked: Instant,
    /// Epochs of the sources that this run has accepted, by partition: each once.
    pub(super) accepted_sources: HashMap<i32, u32>,
    /// Partitions whose log doesn't seem to be the one that was read: loaded again by the main loop.
    pub(super) doubted: BTreeSet<i32>,
}

impl<'a> Service<'a> {
    /// Starts everything and joins the group.
    ///
    /// # Errors
    /// Configuration: rules, tables, topics, addresses; retry when database or brokers don't answer.
    pub(super) fn open(args: &'a Args, brokers: &str, decisions: &str, task: &Task) -> Result<Self> {
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
        serve(args, &metrics)?;
        notifier(args, &store, &metrics, &config, task)?.start();
        let consumer = kafka::consumer(config, &args.service.group, args.service.instance.as_deref())?;
        let writer = Arc::new(Writer::start(store.clone(), Arc::clone(&consumer), Arc::clone(&metrics)));
        subscribe(args, &consumer, &writer)?;
        tracing::info!(topic = args.topic, group = args.service.group, database = store.name(), "consuming");
        Ok(Self {
            args,
            store,
            consumer,
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
        })
    }

    /// Writes what is decided, keeps the state, leaves the group; the totals of the run.
    ///
    /// # Errors
    /// The one that ended the loop, unless the process was asked to end; retry when decisions are not written.
    pub(super) fn end(mut self, outcome: Result<()>, task: &Task) -> Result<Value> {
        let is_written = self.writer.flush(DRAIN);
        let is_fenced = self.writer.check_fenced();
        let totals = self.metrics.totals();
        if outcome.is_ok() && is_written && matches!(is_fenced, Ok(false)) {
            self.keep_at_end();
        }
        let consumer = Arc::clone(&self.consumer);
        drop(self);
        kafka::leave(consumer);
        match outcome {
            // Asked to end while it waited for something: what is decided is written all the same.
            Err(error) if error.kind() == Kind::Retry && task.check_stop().is_err() => {
                tracing::info!("{error}");
            }
            other => other?,
        }
        is_fenced?;
        if !is_written {
            return Err(Error::retry(
                "the database did not take the last decisions; they will be made again",
            )
            .with_facts(totals));
        }
        Ok(totals)
    }
}

/// What tells of the consumer and watches the source's slot.
fn serve(args: &Args, metrics: &Arc<Metrics>) -> Result<()> {
    if let Some(address) = args.service.listen {
        let bound = http::serve(address, Arc::clone(metrics))?;
        tracing::info!("serving /metrics, /health and /ready on {bound}");
    }
    if let Some(source) = &args.service.slot_source {
        Slot::new(source, &args.service.slot_name, args.service.slot_lag_bytes_max)?
            .watch(Arc::clone(metrics));
    }
    Ok(())
}

fn subscribe(args: &Args, consumer: &SharedConsumer, writer: &Arc<Writer>) -> Result<()> {
    let before_revoke = Arc::clone(writer);
    consumer.context().set_before_revoke(move || {
        before_revoke.flush(BEFORE_REVOKE);
    });
    kafka::watch_ends(Arc::clone(consumer), args.topic.clone());
    let subscribed = consumer.subscribe(&[&args.topic]);
    subscribed.map_err(|error| Error::config("cannot subscribe to the topic").because(error))
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
