//! The read-through path behind the process's own cache: one load per id however many wait for it.
//!
//! Whoever misses puts the id into a queue, once; a few workers, each with one connection to the
//! source, take whatever waits, ask Redis for all of it, lease what Redis lacks (so that of all
//! processes one loads), and read the rest in one query. Alone, an id travels at once; under load,
//! batches form by themselves: docs/decisions/0032.

use crate::entry::{Entry, InvoiceView, Seconds};
use crate::local::{Local, now};
use crate::metrics::Metrics;
use crate::redis_cache::{Raw, RedisCache};
use crate::store::{Read, Reader};
use crate::version::{Snapshot, Version};
use invoices::Kind;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

/// Ids of one query at most.
const BATCH_MAX: usize = 64;
/// Ids that may wait; beyond it the service is overloaded and says so.
const WAITING_MAX: usize = 20_000;
/// Longest time that a request waits for its invoice.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often the load of another process is looked for, and for how long.
const LEASE_POLL: Duration = Duration::from_millis(5);
const LEASE_PATIENCE: Duration = Duration::from_millis(1200);
/// Pause before a read that missed an announced change is done again.
const LATE_PAUSE: Duration = Duration::from_millis(3);
const LATE_ATTEMPTS: usize = 5;

/// How ages are limited.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    pub ttl_seconds: u32,
    pub negative_ttl_seconds: u32,
    pub stale_seconds: u32,
}

impl Lifetimes {
    /// When a state read now expires: never later than the TTL, up to a fifth earlier, so that what
    /// was loaded together does not expire together.
    fn expiry(self, is_found: bool) -> Seconds {
        let ttl = if is_found { self.ttl_seconds } else { self.negative_ttl_seconds };
        let jitter = rand::random_range(0..=ttl / 5);
        now() + ttl - jitter
    }
}

#[derive(Debug, Clone)]
pub enum Outcome {
    Current(Entry),
    /// The source doesn't answer; this is what was known last.
    Stale(Entry),
    Unavailable,
    Overloaded,
    /// The row can't be shown: its amount is not an exact number.
    Unreadable,
}

/// An id with what Redis holds for it, when Redis could be asked.
type Wanted = (i64, Option<(Raw, Option<Entry>)>);

struct Pending {
    since: Instant,
    waiting: Vec<oneshot::Sender<Outcome>>,
}

pub struct Loader {
    local: Arc<Local>,
    redis: Option<Arc<RedisCache>>,
    metrics: Arc<Metrics>,
    lifetimes: Lifetimes,
    queue: mpsc::Sender<i64>,
    pending: Mutex<HashMap<i64, Pending>>,
}

impl Loader {
    /// Starts a worker for each reader.
    pub fn start(
        local: Arc<Local>,
        redis: Option<Arc<RedisCache>>,
        metrics: Arc<Metrics>,
        lifetimes: Lifetimes,
        readers: Vec<Reader>,
    ) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let loader = Arc::new(Self { local, redis, metrics, lifetimes, queue, pending: Mutex::default() });
        let waiting = Arc::new(AsyncMutex::new(waiting));
        for reader in readers {
            tokio::spawn(loader.clone().work(reader, waiting.clone()));
        }
        loader
    }

    /// The invoice from the nearest place that has it.
    pub async fn get(&self, id: i64) -> Outcome {
        let cached = self.local.get(id);
        if let Some(entry) = &cached
            && entry.is_fresh(now())
        {
            self.metrics.local_hits.add(1);
            return Outcome::Current(entry.clone());
        }
        let outcome = self.load(id).await;
        match (outcome, cached) {
            (Outcome::Unavailable, Some(entry))
                if entry.serves_as_stale(now(), self.lifetimes.stale_seconds) =>
            {
                self.metrics.stale_served.add(1);
                Outcome::Stale(entry)
            }
            (outcome, _) => outcome,
        }
    }

    async fn load(&self, id: i64) -> Outcome {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut pending = self.pending();
            let entry =
                pending.entry(id).or_insert_with(|| Pending { since: Instant::now(), waiting: vec![] });
            entry.waiting.push(answer);
            entry.waiting.len() == 1
        };
        if is_first && self.queue.try_send(id).is_err() {
            self.deliver(id, Outcome::Overloaded);
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(outcome)) => outcome,
            _ => Outcome::Unavailable,
        }
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<i64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, id: i64, outcome: Outcome) {
        let done = self.pending().remove(&id);
        for answer in done.into_iter().flat_map(|pending| pending.waiting) {
            let _ = answer.send(outcome.clone());
        }
    }

    async fn work(self: Arc<Self>, mut reader: Reader, waiting: Arc<AsyncMutex<mpsc::Receiver<i64>>>) {
        let mut ids = Vec::with_capacity(BATCH_MAX);
        loop {
            ids.clear();
            if waiting.lock().await.recv_many(&mut ids, BATCH_MAX).await == 0 {
                return;
            }
            self.load_batch(&mut reader, &ids).await;
        }
    }

    async fn load_batch(self: &Arc<Self>, reader: &mut Reader, ids: &[i64]) {
        let shared = self.ask_redis(ids).await;
        let Some(shared) = shared else {
            let mine = ids.iter().map(|id| (*id, None)).collect();
            return self.read(reader, mine, false).await;
        };
        let mut missing = Vec::new();
        for (id, (raw, entry)) in ids.iter().zip(shared) {
            match entry {
                Some(entry) if entry.is_fresh(now()) => {
                    let kept = self.local.adopt(*id, entry);
                    if kept.is_fresh(now()) {
                        self.metrics.redis_hits.add(1);
                        self.deliver(*id, Outcome::Current(kept));
                        continue;
                    }
                    missing.push((*id, Some((raw, None))));
                }
                other => {
                    for change in other.iter().flat_map(|entry| &entry.version.waits_for) {
                        self.local.announce(*id, *change);
                    }
                    missing.push((*id, Some((raw, other))));
                }
            }
        }
        if missing.is_empty() {
            return;
        }
        let wanted: Vec<i64> = missing.iter().map(|(id, _)| *id).collect();
        let leased = match &self.redis {
            Some(redis) => redis.lease(&wanted).await.unwrap_or_else(|| vec![true; wanted.len()]),
            None => vec![true; wanted.len()],
        };
        let mut mine = Vec::new();
        for ((id, before), is_leased) in missing.into_iter().zip(leased) {
            if is_leased || self.has_waited(id) {
                mine.push((id, before));
            } else {
                self.look_again_later(id);
            }
        }
        if !mine.is_empty() {
            self.read(reader, mine, true).await;
        }
    }

    async fn ask_redis(&self, ids: &[i64]) -> Option<Vec<(Raw, Option<Entry>)>> {
        self.redis.as_ref()?.get_many(ids).await
    }

    fn has_waited(&self, id: i64) -> bool {
        self.pending().get(&id).is_none_or(|pending| pending.since.elapsed() > LEASE_PATIENCE)
    }

    /// Another process loads this id; its answer will be in Redis soon.
    fn look_again_later(self: &Arc<Self>, id: i64) {
        let loader = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LEASE_POLL).await;
            if loader.queue.send(id).await.is_err() {
                loader.deliver(id, Outcome::Unavailable);
            }
        });
    }

    /// Reads ids in the source and gives the answers to whoever waits, the caches afterwards.
    async fn read(self: &Arc<Self>, reader: &mut Reader, mut wanted: Vec<Wanted>, is_leased: bool) {
        let all: Vec<i64> = wanted.iter().map(|(id, _)| *id).collect();
        for attempt in 1..=LATE_ATTEMPTS {
            let ids: Vec<i64> = wanted.iter().map(|(id, _)| *id).collect();
            self.metrics.source_queries.add(1);
            self.metrics.source_loads.add(ids.len() as u64);
            let read = match reader.read(&ids).await {
                Ok(read) => read,
                Err(error) if error.kind() == Kind::Refused && ids.len() > 1 => {
                    return self.read_one_by_one(reader, wanted).await;
                }
                Err(error) => {
                    self.metrics.source_errors.add(1);
                    tracing::warn!("{error}");
                    let is_unreadable = error.kind() == Kind::Refused;
                    for (id, before) in wanted {
                        self.deliver(id, self.instead(is_unreadable, before));
                    }
                    break;
                }
            };
            wanted = self.keep(read, wanted, attempt == LATE_ATTEMPTS, is_leased);
            if wanted.is_empty() {
                return;
            }
            self.metrics.late_reads.add(wanted.len() as u64);
            tokio::time::sleep(LATE_PAUSE).await;
        }
        self.release(all, is_leased);
    }

    async fn read_one_by_one(&self, reader: &mut Reader, wanted: Vec<Wanted>) {
        for (id, before) in wanted {
            let outcome = match reader.read(&[id]).await {
                Ok(read) => {
                    let snapshot = read.snapshot_of(0);
                    let (_, entry) = self.kept(id, &snapshot, read.found.into_iter().next().flatten());
                    Outcome::Current(entry)
                }
                Err(error) => self.instead(error.kind() == Kind::Refused, before),
            };
            self.deliver(id, outcome);
        }
    }

    fn instead(&self, is_unreadable: bool, before: Option<(Raw, Option<Entry>)>) -> Outcome {
        if is_unreadable {
            return Outcome::Unreadable;
        }
        match before.and_then(|(_, entry)| entry) {
            Some(entry) if entry.serves_as_stale(now(), self.lifetimes.stale_seconds) => {
                self.metrics.stale_served.add(1);
                Outcome::Stale(entry)
            }
            _ => Outcome::Unavailable,
        }
    }

    /// Caches and delivers what was read; returns what must be read again because it misses an
    /// announced change.
    fn keep(
        self: &Arc<Self>,
        read: Read,
        wanted: Vec<Wanted>,
        is_last_attempt: bool,
        is_leased: bool,
    ) -> Vec<Wanted> {
        let mut late = Vec::new();
        let mut shared = Vec::new();
        for (index, (id, before)) in wanted.into_iter().enumerate() {
            let snapshot = read.snapshot_of(index);
            let found = read.found.get(index).cloned().flatten();
            let (is_kept, entry) = self.kept(id, &snapshot, found);
            if !is_kept && !is_last_attempt {
                late.push((id, before));
                continue;
            }
            if is_kept && let Some((raw, _)) = before {
                shared.push((id, raw, snapshot, entry.clone()));
            }
            self.deliver(id, Outcome::Current(entry));
        }
        self.share(shared, is_leased);
        late
    }

    fn kept(&self, id: i64, snapshot: &Snapshot, found: Option<InvoiceView>) -> (bool, Entry) {
        let expires = self.lifetimes.expiry(found.is_some());
        match self.local.keep_read(id, snapshot, found.clone(), expires) {
            Some(entry) => (true, entry),
            None => {
                let version = Version::of_read(snapshot);
                (false, Entry { found, version, expires, is_known: true })
            }
        }
    }

    /// Nobody waits for Redis to take what was read.
    fn share(&self, reads: Vec<(i64, Raw, Snapshot, Entry)>, is_leased: bool) {
        let Some(redis) = self.redis.clone() else { return };
        if reads.is_empty() {
            return;
        }
        tokio::spawn(async move {
            let ids: Vec<i64> = reads.iter().map(|(id, ..)| *id).collect();
            redis.keep_reads(reads).await;
            if is_leased {
                redis.release(&ids).await;
            }
        });
    }

    fn release(&self, ids: Vec<i64>, is_leased: bool) {
        if let Some(redis) = self.redis.clone()
            && is_leased
        {
            tokio::spawn(async move { redis.release(&ids).await });
        }
    }
}
