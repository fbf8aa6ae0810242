//! `invoice_api`: one invoice by its id over HTTP, from a read-through cache; and the console.
//!
//! # Layout
//! * [`args`]: flags and help.
//! * [`version`], [`entry`], [`envelope`], [`render`] decide; they know no I/O.
//! * [`local`], [`redis_cache`]: the caches of the process and of all processes.
//! * [`store`]: Postgres, SQLite or DynamoDB; [`loader`]: who reads there, and once.
//! * [`dynamodb`]: the table's later home, and how it is kept equal.
//! * [`events`], [`feed`]: what changes; [`freshener`]: how the caches hear of it.
//! * [`months`], [`pipeline`]: what the lake knows.
//! * [`tokens`], [`http`]: who may ask, and the answers.
//!
//! Architecture invariant: no cache is ever the truth. Whatever Redis holds, or doesn't, an answer that
//! is not marked as stale is what the source said after the last change that was announced.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod args;
mod dynamodb;
mod entry;
mod envelope;
mod events;
mod feed;
mod freshener;
mod http;
mod loader;
mod local;
mod metrics;
mod months;
mod pipeline;
mod redis_cache;
mod render;
mod store;
mod tokens;
mod version;

pub use args::Args;

use args::{Command, ServeArgs, Store};
use dynamodb::client::Client;
use dynamodb::tables::Tables;
use events::Events;
use feed::Feed;
use freshener::Freshener;
use http::State;
use invoices::lake::Lake;
use invoices::money::{MAX_PRECISION, MoneyType};
use invoices::position;
use invoices::source::{SelectArgs, Source, SourceUrl};
use invoices::task::Task;
use invoices::{Error, Kind, Result};
use loader::{Lifetimes, Loader};
use local::Local;
use metrics::Metrics;
use months::Months;
use pipeline::Pipeline;
use redis_cache::RedisCache;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};
use store::Reader;
use store::dynamodb::Items;
use store::postgres::{Connection, Plan};
use tokens::Tokens;
use tokio::sync::Mutex;
use version::Change;

/// Connections for lists and names.
const LIST_CONNECTIONS: usize = 2;
/// How long a busy DynamoDB is asked again before a request gives up.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// How often the source is asked whether it lives, and the token file whether it has changed.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// How often DynamoDB is asked of which source its items are.
const EPOCH_EVERY: Duration = Duration::from_secs(5);

/// Serves until a signal, or makes a token; see the crate documentation.
///
/// # Errors
/// Configuration for what is missing or can't be used, retry when the source is down at the start.
pub fn run(args: &Args, task: &Task) -> Result<Value> {
    match &args.command {
        Some(Command::Token(args)) => {
            let token = tokens::create(&args.tokens, &args.name, &args.scopes)?;
            Ok(json!({ "command": "token", "name": args.name, "scopes": args.scopes, "token": token }))
        }
        Some(Command::Dynamodb(command)) => dynamodb::run(command, task),
        None => serve(args.serve.given()?, task),
    }
}

fn serve(args: &ServeArgs, task: &Task) -> Result<Value> {
    let tokens = Tokens::read(&args.tokens)?;
    if tokens.is_empty() {
        return Err(Error::config("the token file holds no token; make one with `invoice_api token`"));
    }
    if args.store == Store::Postgres {
        // Checks the source as every task does, before anything is served.
        let source = Source::open(&args.source, &SelectArgs::default())?;
        source.shape().keys.require_integers("invoice_api")?;
    }
    let source = open_source(args)?;
    let lake = Lake::open(&args.lake)?;
    let metrics = Arc::new(Metrics::default());
    let redis = match &args.redis {
        Some(url) => {
            let redis = RedisCache::new(
                url,
                args.redis_timeout_ms,
                args.stale_seconds,
                source.key_prefix(),
                metrics.clone(),
            )?;
            Some(Arc::new(redis))
        }
        None => None,
    };
    let served = task.block_on(async {
        let listener = http::serve::listen(args.listen).await?;
        let address = listener.local_addr().map_err(Error::from)?;
        let local = Arc::new(Local::new(args.cache_entries));
        let lifetimes = Lifetimes {
            ttl_seconds: args.ttl_seconds,
            negative_ttl_seconds: args.negative_ttl_seconds,
            stale_seconds: args.stale_seconds,
        };
        let readers = (0..args.connections).map(|_| source.reader()).collect();
        let loader = Loader::start(local.clone(), redis.clone(), metrics.clone(), lifetimes, readers);
        let freshener = Arc::new(Freshener::new(local.clone(), redis.clone()));
        let epoch = Arc::new(AtomicU32::new(0));
        if let OpenSource::Dynamodb { items, .. } = &source {
            watch_epoch(items, epoch.clone()).await;
        }
        let feed = Feed::new();
        if let Some(connection) = source.decisions() {
            tokio::spawn(feed.clone().follow(connection, freshener.clone(), metrics.clone()));
        }
        if let Some(brokers) = &args.brokers {
            let events = Events {
                brokers: brokers.clone(),
                topic: args.topic.clone(),
                options: args.kafka_options.clone(),
                columns: args.columns().clone(),
                freshener: freshener.clone(),
                metrics: metrics.clone(),
                epoch: epoch.clone(),
            };
            events.follow(tokio::runtime::Handle::current());
        }
        let state = Arc::new(State {
            scale: source.scale(),
            local,
            redis,
            loader,
            readers: (0..LIST_CONNECTIONS).map(|_| Mutex::new(source.reader())).collect(),
            months: Months::new(lake),
            pipeline: Pipeline::default(),
            feed,
            tokens: RwLock::new(Arc::new(tokens)),
            metrics: metrics.clone(),
            has_events: args.brokers.is_some(),
            has_decisions: source.has_decisions(),
            source_is_up: AtomicBool::new(true),
            args: args.clone(),
        });
        let identity = Identity { plan: source.plan(), epoch: source.is_dynamodb().then_some(epoch) };
        tokio::spawn(watch(state.clone(), source.reader(), freshener, identity));
        tracing::info!("listening on http://{address}");
        http::serve::serve(listener, http::router(state)).await
    });
    served?;
    Ok(json!({ "requests": metrics.requests(), "source_loads": metrics.source_loads.get() }))
}

/// The source, ready to be read from any number of connections.
enum OpenSource {
    Postgres(Arc<Plan>),
    Sqlite(store::sqlite::File),
    Dynamodb { items: Items, decisions: Arc<Plan> },
}

fn open_source(args: &ServeArgs) -> Result<OpenSource> {
    match args.source.url()? {
        SourceUrl::Postgres(url) if args.store == Store::Dynamodb => {
            let store = &args.dynamodb;
            let client = Client::new(store.dynamodb_endpoint.as_deref(), &store.region, STORE_PATIENCE)?;
            let money = MoneyType { precision: MAX_PRECISION, scale: args.source.amount_scale };
            let items = Items::new(client, Tables::named(&store.dynamodb_table), money);
            Ok(OpenSource::Dynamodb { items, decisions: Arc::new(Plan::of_decisions(url, money)) })
        }
        SourceUrl::Sqlite(_) if args.store == Store::Dynamodb => {
            Err(Error::usage("with --store dynamodb the source is the Postgres that holds the decisions"))
        }
        SourceUrl::Postgres(url) => {
            Ok(OpenSource::Postgres(Arc::new(Plan::make(url, &args.source, &args.customers_table)?)))
        }
        SourceUrl::Sqlite(path) => Ok(OpenSource::Sqlite(store::sqlite::File::open(&path, &args.source)?)),
    }
}

impl OpenSource {
    fn reader(&self) -> Reader {
        match self {
            Self::Postgres(plan) => Reader::Postgres(Box::new(Connection::new(plan.clone()))),
            Self::Sqlite(file) => Reader::Sqlite(file.clone()),
            Self::Dynamodb { items, .. } => Reader::Dynamodb(items.clone()),
        }
    }

    fn scale(&self) -> u8 {
        match self {
            Self::Postgres(plan) => plan.money().scale,
            Self::Sqlite(file) => file.money().scale,
            Self::Dynamodb { items, .. } => items.money().scale,
        }
    }

    fn has_decisions(&self) -> bool {
        match self {
            Self::Postgres(plan) | Self::Dynamodb { decisions: plan, .. } => plan.has_decisions,
            Self::Sqlite(_) => false,
        }
    }

    /// Entries of different stores have versions that can't be compared.
    fn key_prefix(&self) -> &'static str {
        if self.is_dynamodb() { "dynamodb-" } else { "" }
    }

    fn is_dynamodb(&self) -> bool {
        matches!(self, Self::Dynamodb { .. })
    }

    /// Where the invoices are read, when that is Postgres.
    fn plan(&self) -> Option<Arc<Plan>> {
        match self {
            Self::Postgres(plan) => Some(plan.clone()),
            _ => None,
        }
    }

    /// A connection that can follow the decisions, where there are some.
    fn decisions(&self) -> Option<Connection> {
        match self {
            Self::Postgres(plan) | Self::Dynamodb { decisions: plan, .. } if plan.has_decisions => {
                Some(Connection::new(plan.clone()))
            }
            _ => None,
        }
    }
}

/// What tells one source from another that has taken its place.
struct Identity {
    /// Where the source is Postgres.
    plan: Option<Arc<Plan>>,
    /// Of the source whose changes are in DynamoDB.
    epoch: Option<Arc<AtomicU32>>,
}

impl Identity {
    /// None while it isn't known.
    fn now(&self) -> Option<String> {
        let epoch = || self.epoch.as_ref().map(|_| format!("epoch {}", self.epoch()));
        self.plan.as_ref().and_then(|plan| plan.cluster()).filter(|now| !now.is_empty()).or_else(epoch)
    }

    fn epoch(&self) -> u32 {
        self.epoch.as_ref().map_or(0, |epoch| epoch.load(Ordering::Relaxed))
    }
}

/// Looks at the source and at the token file now and then.
async fn watch(state: Arc<State>, mut reader: Reader, freshener: Arc<Freshener>, identity: Identity) {
    let mut read_at = modified(&state.args.tokens);
    let mut known = Known::default();
    loop {
        watch_identity(&identity, &state, &freshener, &mut known).await;
        tokio::time::sleep(WATCH_EVERY).await;
        // Redis may have come back, by itself or old, and lack what was announced meanwhile.
        if let Some(redis) = &state.redis {
            redis.is_up().await;
        }
        freshener.announce(Vec::new()).await;
        // A row that can't be shown is the row's fault.
        let is_up = reader.read(&[0]).await.map_or_else(|error| error.kind() == Kind::Refused, |_| true);
        state.source_is_up.store(is_up, Ordering::Relaxed);
        let changed_at = modified(&state.args.tokens);
        if changed_at == read_at {
            continue;
        }
        match Tokens::read(&state.args.tokens) {
            Ok(tokens) => {
                let tokens = Arc::new(tokens);
                match state.tokens.write() {
                    Ok(mut slot) => *slot = tokens,
                    Err(poisoned) => *poisoned.into_inner() = tokens,
                }
                read_at = changed_at;
            }
            Err(error) => tracing::warn!("the tokens stay as they were: {error}"),
        }
    }
}

/// Keeps the epoch that positions in DynamoDB have, for comparing events with them.
async fn watch_epoch(items: &Items, epoch: Arc<AtomicU32>) {
    let items = items.clone();
    let look = async move |items: &Items| match items.source_epoch().await {
        Ok(found) => epoch.store(found, Ordering::Relaxed),
        Err(error) => tracing::debug!("the epoch of the source is not known: {error}"),
    };
    look(&items).await;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(EPOCH_EVERY).await;
            look(&items).await;
        }
    });
}

/// To which source the caches belong.
#[derive(Default)]
struct Known {
    source: Option<String>,
    /// Redis says so too, or there is none.
    is_noted: bool,
}

/// Another cluster under the source's address counts positions and transactions anew: the caches begin
/// empty.
async fn watch_identity(identity: &Identity, state: &State, freshener: &Freshener, known: &mut Known) {
    let Some(now) = identity.now() else { return };
    if known.source.as_ref() != Some(&now) {
        if let Some(before) = &known.source {
            tracing::warn!(before, now, "the source is another cluster or timeline; the caches begin empty");
            // In place of a truncation of the old source, which the new one's snapshots would never see. Items
            // of DynamoDB are kept when they have been read in the new source.
            freshener.forget_all(Some(Change::of_row(position::stored(identity.epoch(), 0), 0)));
        }
        *known = Known { source: Some(now.clone()), is_noted: false };
    }
    if !known.is_noted {
        known.is_noted = match &state.redis {
            Some(redis) => redis.note_source(&now).await,
            None => true,
        };
    }
}

fn modified(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
