//! The state of the pipeline for the console: what each lake table holds, whether it is proven, how far
//! behind the change events are.

use crate::http::State;
use invoices::Result;
use invoices::lake::Lake;
use invoices::lake::names::Table;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Listing a lake costs requests; so long is an answer good enough.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);
/// Tables that readers see.
const TABLES: [Table; 3] = [Table::Invoices, Table::ByBusiness, Table::LastNMonths];

#[derive(Default)]
pub struct Pipeline {
    remembered: Mutex<Option<(Instant, Vec<Value>)>>,
}

impl Pipeline {
    /// Tables, caches and stream as JSON.
    ///
    /// # Errors
    /// Retry when the lake doesn't answer.
    pub async fn state(&self, state: &State) -> Result<Value> {
        let tables = self.tables(state.months.lake()).await?;
        let redis = match &state.redis {
            None => "not used",
            Some(redis) if !redis.is_up().await => "down",
            Some(redis) if redis.is_behind() => "catching up",
            Some(_) => "up",
        };
        let metrics = &state.metrics;
        let stream = state.has_events.then(|| {
            json!({
                "events": metrics.events.get(),
                "events_behind": known(metrics.events_behind.get()),
                "lag_ms": known(metrics.event_lag_ms.get()),
                "undecodable": metrics.events_undecodable.get(),
            })
        });
        Ok(json!({
            "tables": tables,
            "stream": stream,
            "decisions": { "followed": state.has_decisions, "seen": metrics.decisions.get() },
            "cache": {
                "entries": state.local.len(),
                "local_hits": metrics.local_hits.get(),
                "redis_hits": metrics.redis_hits.get(),
                "source_loads": metrics.source_loads.get(),
                "redis": redis,
                "source": if state.source_is_up.load(Ordering::Relaxed) { "up" } else { "down" },
            },
        }))
    }

    async fn tables(&self, lake: &Lake) -> Result<Vec<Value>> {
        let mut remembered = self.remembered.lock().await;
        if let Some((at, tables)) = &*remembered
            && at.elapsed() < REMEMBERED_FOR
        {
            return Ok(tables.clone());
        }
        let mut tables = Vec::new();
        for table in TABLES {
            tables.push(describe(lake, table).await?);
        }
        *remembered = Some((Instant::now(), tables.clone()));
        Ok(tables)
    }
}

/// A negative gauge means: not known.
fn known(value: i64) -> Option<i64> {
    (value >= 0).then_some(value)
}

async fn describe(lake: &Lake, table: Table) -> Result<Value> {
    let records = lake.read_commits(table).await?;
    let objects = lake.list(table.name()).await?;
    let mut by_partition: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for object in objects {
        let prefix = format!("{}/", table.name());
        let below = object.path.strip_prefix(&prefix).unwrap_or_default();
        if let Some((partition, _)) = records.get_key_value(below).or_else(|| {
            // The record's partition is the longest one that begins the object's path.
            records.iter().find(|(partition, _)| below.starts_with(&format!("{partition}/")))
        }) {
            by_partition.entry(partition).or_default().push(object);
        }
    }
    let proven = |(partition, record): &(&String, &invoices::lake::commit::CommitRecord)| {
        let listed = by_partition.get(partition.as_str()).map(Vec::as_slice).unwrap_or_default();
        record.describes(listed)
    };
    let unproven: Vec<&String> =
        records.iter().filter(|entry| !proven(entry)).map(|(partition, _)| partition).collect();
    let last = records.values().max_by(|a, b| a.committed_at.cmp(&b.committed_at));
    Ok(json!({
        "table": table.name(),
        "partitions": records.len(),
        "rows": records.values().map(|record| record.rows).sum::<u64>(),
        "objects": records.values().map(|record| record.objects.len()).sum::<usize>(),
        "last_run": last.map(|record| &record.committed_at),
        "newest_partition": records.keys().next_back(),
        "proof": if records.is_empty() { "empty" } else if unproven.is_empty() { "proven" } else { "differs" },
        "differing": unproven.iter().take(10).collect::<Vec<_>>(),
    }))
}
