//! Tells the caches what has changed: the process's own at once, Redis without ever losing a change.
//!
//! While Redis can't take an announcement nobody here believes it; the announcements are kept, and
//! when they are too many Redis is emptied instead.

use crate::local::Local;
use crate::redis_cache::RedisCache;
use crate::version::Change;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Invoices whose announcements are kept for a Redis that is down.
const OWED_MAX: usize = 200_000;
/// Invoices of one pipeline.
const CHUNK: usize = 500;

pub struct Freshener {
    local: Arc<Local>,
    redis: Option<Arc<RedisCache>>,
    owed: Mutex<HashMap<i64, Vec<Change>>>,
}

impl Freshener {
    pub fn new(local: Arc<Local>, redis: Option<Arc<RedisCache>>) -> Self {
        Self { local, redis, owed: Mutex::default() }
    }

    pub fn redis(&self) -> Option<&Arc<RedisCache>> {
        self.redis.as_ref()
    }

    /// Empties all caches: after a truncation, or when changes were missed. Redis is emptied by the next
    /// announcement and not believed before.
    pub fn forget_all(&self, emptied: Option<Change>) {
        self.local.clear(emptied);
        if let Some(redis) = &self.redis {
            redis.demand_clearing();
        }
    }

    /// Announces changes; whether Redis has them all, so that positions may move on there.
    pub async fn announce(&self, changes: Vec<(i64, Change)>) -> bool {
        for (id, change) in &changes {
            self.local.announce(*id, *change);
        }
        let Some(redis) = &self.redis else { return true };
        let mut owed = self.owed.lock().await;
        for (id, change) in changes {
            owed.entry(id).or_default().push(change);
        }
        if owed.len() > OWED_MAX {
            owed.clear();
            redis.demand_clearing();
        }
        if redis.needs_clearing() && !redis.clear().await {
            return false;
        }
        while !owed.is_empty() {
            let ids: Vec<i64> = owed.keys().take(CHUNK).copied().collect();
            let chunk: HashMap<i64, Vec<Change>> =
                ids.iter().filter_map(|id| Some((*id, owed.remove(id)?))).collect();
            if !redis.announce(&chunk).await {
                owed.extend(chunk);
                redis.set_owed(true);
                return false;
            }
        }
        redis.set_owed(false);
        true
    }
}
