//! The cache that all processes share. It is an optimisation and never a dependency: every request has
//! a time limit, a failure switches it off for half a second, and what it holds is checked.

use crate::entry::Entry;
use crate::local::now;
use crate::metrics::Metrics;
use crate::version::{Change, Snapshot, Version};
use invoices::{Error, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Pause after a failure, during which nothing is asked of Redis.
const PAUSE: Duration = Duration::from_millis(500);
/// A process that dies while it loads holds up the others no longer than this.
const LEASE: Duration = Duration::from_secs(1);
/// How long an announced change outlives the loads that it must hold back.
const ANNOUNCEMENT_MS: u64 = 60_000;
/// Tries of compare-and-set before another process is left to win.
const ATTEMPTS: usize = 4;

/// Sets KEYS[1] to ARGV[2] for ARGV[3] ms if it is still ARGV[1]; tells what is there otherwise.
/// A key of another type than string is no entry and counts as absent.
const COMPARE_AND_SET: &str = "\
local found = redis.pcall('GET', KEYS[1])
if type(found) ~= 'string' then found = '' end
if found ~= ARGV[1] then return found end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false";

const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end return 1";

/// What a write needs to know of the key's content before it; empty for an absent key.
pub type Raw = Vec<u8>;

pub struct RedisCache {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    timeout: Duration,
    stale_seconds: u32,
    started: Instant,
    /// Milliseconds since `started` before which nothing is asked.
    paused_until: AtomicU64,
    /// Announced changes are not in Redis yet: what it holds may be old.
    is_behind: AtomicBool,
    is_owed: AtomicBool,
    /// Of which source the entries are is not known yet.
    is_strange: AtomicBool,
    /// Identity of the server; another one may have come back with old content.
    run_id: Mutex<Option<String>>,
    needs_clearing: AtomicBool,
    lease_token: String,
    /// Before every key: versions of different stores can't be compared, so each store has entries of its own.
    prefix: &'static str,
    metrics: Arc<Metrics>,
}

impl RedisCache {
    pub fn new(
        url: &str,
        timeout_ms: u64,
        stale_seconds: u32,
        prefix: &'static str,
        metrics: Arc<Metrics>,
    ) -> Result<Self> {
        let client = Client::open(url)
            .map_err(|_| Error::config("REDIS_URL can't be parsed; use redis://host:port/db"))?;
        Ok(Self {
            client,
            connection: Mutex::new(None),
            timeout: Duration::from_millis(timeout_ms.max(1)),
            stale_seconds,
            started: Instant::now(),
            paused_until: AtomicU64::new(0),
            is_behind: AtomicBool::new(false),
            is_owed: AtomicBool::new(false),
            is_strange: AtomicBool::new(false),
            run_id: Mutex::new(None),
            needs_clearing: AtomicBool::new(false),
            lease_token: format!("{:032x}", rand::random::<u128>()),
            prefix,
            metrics,
        })
    }

    fn key(&self, id: i64) -> String {
        format!("{}invoice:{id}", self.prefix)
    }

    fn lease_key(&self, id: i64) -> String {
        format!("{}invoice-lease:{id}", self.prefix)
    }

    fn offsets_key(&self, topic: &str) -> String {
        format!("{}invoice-offsets:{topic}", self.prefix)
    }

    /// Whether it answers, for the state of the pipeline.
    pub async fn is_up(&self) -> bool {
        self.run::<Vec<String>>(redis::pipe().cmd("PING")).await.is_ok()
    }

    /// Cached entries with their raw bytes; none when Redis can't be asked or can't be believed.
    pub async fn get_many(&self, ids: &[i64]) -> Option<Vec<(Raw, Option<Entry>)>> {
        if self.is_behind() {
            return None;
        }
        let raws = self.raw(ids).await?;
        // Changes may have been announced while the answer was on its way.
        if self.is_behind() {
            return None;
        }
        let decoded = ids.iter().zip(raws).map(|(id, raw)| {
            let entry = Entry::decode(*id, &raw);
            if entry.is_none() && !raw.is_empty() {
                self.metrics.redis_garbage.add(1);
            }
            (raw, entry)
        });
        Some(decoded.collect())
    }

    async fn raw(&self, ids: &[i64]) -> Option<Vec<Raw>> {
        let mut pipe = redis::pipe();
        pipe.cmd("MGET");
        for id in ids {
            pipe.arg(self.key(*id));
        }
        let mut answers: Vec<Vec<Option<Raw>>> = self.run(&pipe).await.ok()?;
        let found = answers.pop()?;
        (found.len() == ids.len()).then(|| found.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// Which of the ids this process may load now; none when Redis can't be asked.
    pub async fn lease(&self, ids: &[i64]) -> Option<Vec<bool>> {
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.cmd("SET").arg(self.lease_key(*id)).arg(&self.lease_token).arg("NX");
            pipe.arg("PX").arg(LEASE.as_millis() as u64);
        }
        let answers: Vec<Value> = self.run(&pipe).await.ok()?;
        Some(answers.iter().map(|answer| matches!(answer, Value::Okay | Value::SimpleString(_))).collect())
    }

    pub async fn release(&self, ids: &[i64]) {
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.cmd("EVAL").arg(RELEASE).arg(1).arg(self.lease_key(*id)).arg(&self.lease_token).ignore();
        }
        let _ = self.run::<()>(&pipe).await;
    }

    /// Keeps what was read, unless Redis knows of a newer state. `before` is what was there.
    pub async fn keep_reads(&self, reads: Vec<(i64, Raw, Snapshot, Entry)>) {
        let reads =
            reads.into_iter().map(|(id, raw, snapshot, entry)| (id, raw, (snapshot, entry))).collect();
        let decide = |_: i64, cached: Option<Entry>, (snapshot, read): &(Snapshot, Entry)| {
            let version = match cached {
                Some(cached) => cached.version.after_read(snapshot)?,
                None => Version { waits_for: Vec::new(), ..read.version.clone() },
            };
            Some(Entry { version, ..read.clone() })
        };
        self.compare_and_set(reads, decide).await;
    }

    /// Notes changes that the cached states lack. Whether Redis has taken them.
    pub async fn announce(&self, changes: &HashMap<i64, Vec<Change>>) -> bool {
        if changes.is_empty() {
            return true;
        }
        let ids: Vec<i64> = changes.keys().copied().collect();
        let Some(raws) = self.raw(&ids).await else { return false };
        let items = ids.iter().zip(raws).map(|(id, raw)| (*id, raw, ()));
        let decide = |id: i64, cached: Option<Entry>, (): &()| {
            let base = cached.unwrap_or_else(|| Entry::of_announcement(Version::default()));
            let mut version = base.version.clone();
            for change in changes.get(&id)? {
                version = version.announced(*change).unwrap_or(version);
            }
            (version != base.version).then_some(Entry { version, ..base })
        };
        if self.compare_and_set(items.collect(), decide).await {
            return true;
        }
        // A full Redis refuses to write and still deletes.
        let mut pipe = redis::pipe();
        pipe.cmd("DEL");
        for id in &ids {
            pipe.arg(self.key(*id));
        }
        self.run::<Value>(&pipe).await.is_ok()
    }

    /// Whether every item was written, or needed no writing.
    async fn compare_and_set<T>(
        &self,
        mut items: Vec<(i64, Raw, T)>,
        decide: impl Fn(i64, Option<Entry>, &T) -> Option<Entry>,
    ) -> bool {
        for _ in 0..ATTEMPTS {
            let mut pipe = redis::pipe();
            let mut written = Vec::new();
            for (id, before, item) in items {
                let Some(after) = decide(id, Entry::decode(id, &before), &item) else { continue };
                let lifetime_ms = if after.is_known {
                    let fresh = after.expires.saturating_sub(now());
                    u64::from(fresh.saturating_add(self.stale_seconds).max(1)) * 1000
                } else {
                    ANNOUNCEMENT_MS
                };
                pipe.cmd("EVAL").arg(COMPARE_AND_SET).arg(1).arg(self.key(id));
                pipe.arg(&before).arg(after.encode(id)).arg(lifetime_ms);
                written.push((id, item));
            }
            if written.is_empty() {
                return true;
            }
            let Ok(answers) = self.run::<Vec<Option<Raw>>>(&pipe).await else { return false };
            // A text is what another process wrote meanwhile.
            items = written
                .into_iter()
                .zip(answers)
                .filter_map(|((id, item), found)| found.map(|found| (id, found, item)))
                .collect();
            if items.is_empty() {
                return true;
            }
        }
        false
    }

    /// Whether Redis lacks announced changes, so that nobody may believe it.
    pub fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Release);
    }

    pub fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
            || self.is_owed.load(Ordering::Acquire)
            || self.is_strange.load(Ordering::Acquire)
            || self.needs_clearing()
    }

    /// Whether announcements wait here because Redis did not take them.
    pub fn set_owed(&self, is_owed: bool) {
        self.is_owed.store(is_owed, Ordering::Release);
    }

    pub fn needs_clearing(&self) -> bool {
        self.needs_clearing.load(Ordering::Acquire)
    }

    pub fn demand_clearing(&self) {
        self.needs_clearing.store(true, Ordering::Release);
    }

    /// Whose entries these are: those of another source are removed before anything is believed. False
    /// while Redis can't be asked.
    pub async fn note_source(&self, source: &str) -> bool {
        self.is_strange.store(true, Ordering::Release);
        let key = format!("{}invoice-source", self.prefix);
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(&key);
        let Ok(mut found) = self.run::<Vec<Option<String>>>(&pipe).await else { return false };
        let noted = found.pop().flatten();
        if noted.as_deref() != Some(source) {
            // Unknown entries are removed too; in an empty Redis that costs nothing.
            self.demand_clearing();
            if !self.clear().await {
                return false;
            }
            let mut pipe = redis::pipe();
            pipe.cmd("SET").arg(&key).arg(source).ignore();
            if self.run::<()>(&pipe).await.is_err() {
                return false;
            }
        }
        self.is_strange.store(false, Ordering::Release);
        true
    }

    /// Removes every entry; whether that succeeded.
    pub async fn clear(&self) -> bool {
        let mut cursor = "0".to_owned();
        loop {
            let mut pipe = redis::pipe();
            let pattern = format!("{}invoice:*", self.prefix);
            pipe.cmd("SCAN").arg(&cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(1000);
            let Ok(mut pages) = self.run::<Vec<(String, Vec<String>)>>(&pipe).await else { return false };
            let Some((next, keys)) = pages.pop() else { return false };
            if !keys.is_empty() && self.run::<Value>(redis::pipe().cmd("UNLINK").arg(keys)).await.is_err() {
                return false;
            }
            if next == "0" {
                self.needs_clearing.store(false, Ordering::Release);
                return true;
            }
            cursor = next;
        }
    }

    /// Positions in the topic up to which changes have been announced here, by partition.
    pub async fn offsets(&self, topic: &str) -> Option<HashMap<i32, i64>> {
        let mut pipe = redis::pipe();
        pipe.cmd("HGETALL").arg(self.offsets_key(topic));
        self.run::<Vec<HashMap<i32, i64>>>(&pipe).await.ok()?.pop()
    }

    pub async fn set_offsets(&self, topic: &str, offsets: &HashMap<i32, i64>) {
        let mut pipe = redis::pipe();
        for (partition, offset) in offsets {
            pipe.cmd("HSET").arg(self.offsets_key(topic)).arg(partition).arg(offset).ignore();
        }
        let _ = self.run::<()>(&pipe).await;
    }

    /// Runs commands within the time limit. A server's refusal (out of memory, read-only) is an error
    /// that leaves the connection; anything else closes it and pauses.
    async fn run<T: FromRedisValue>(&self, pipe: &Pipeline) -> std::result::Result<T, ()> {
        if self.elapsed_ms() < self.paused_until.load(Ordering::Relaxed) {
            return Err(());
        }
        let outcome = tokio::time::timeout(self.timeout, async {
            let mut connection = self.connected().await?;
            pipe.query_async::<T>(&mut connection).await
        });
        match outcome.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.code().is_some() => {
                self.metrics.redis_errors.add(1);
                tracing::debug!("Redis refuses: {error}");
                Err(())
            }
            failed => {
                self.metrics.redis_errors.add(1);
                let until = self.elapsed_ms() + PAUSE.as_millis() as u64;
                if self.paused_until.swap(until, Ordering::Relaxed) + 10_000 < until {
                    let reason = failed.err().map_or("it can't be reached", |_| "it is too slow");
                    tracing::warn!("Redis is not used for now: {reason}");
                }
                *self.connection.lock().await = None;
                Err(())
            }
        }
    }

    async fn connected(&self) -> redis::RedisResult<MultiplexedConnection> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = &*slot {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
        let run_id =
            info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().to_owned();
        let previous = self.run_id.lock().await.replace(run_id.clone());
        if previous.is_some_and(|previous| previous != run_id) {
            self.demand_clearing();
        }
        *slot = Some(connection.clone());
        Ok(connection)
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}
