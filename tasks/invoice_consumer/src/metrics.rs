//! Counters, gauges and latency histograms in Prometheus' text format.

use crate::decision::Status;
use crate::store::Sealed;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Upper bounds of the latency buckets, milliseconds.
const BOUNDS_MS: [u64; 15] = [1, 2, 5, 10, 15, 20, 25, 50, 75, 100, 250, 500, 1_000, 10_000, 60_000];
/// A loop that has not turned for this long is not healthy.
const HEALTHY_SECONDS: u64 = 60;

/// Now, in microseconds since 1970.
pub fn now_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as i64)
}

/// A histogram of latencies.
#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; BOUNDS_MS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    fn observe(&self, us: u64) {
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_MS) {
            if us <= bound * 1000 {
                bucket.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str, help: &str) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS_MS) {
            let count = bucket.load(Ordering::Relaxed);
            let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {count}", bound as f64 / 1000.0);
        }
        let count = self.count.load(Ordering::Relaxed);
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ =
            writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

/// A replication slot as last seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotFacts {
    /// Bytes of log that it holds back; none when it does not exist.
    pub lag_bytes: Option<u64>,
    pub is_lost: bool,
    pub is_active: bool,
}

/// Everything that is measured.
#[derive(Default)]
pub struct Metrics {
    messages: AtomicU64,
    decisions: [AtomicU64; 4],
    by_rule: Mutex<BTreeMap<String, u64>>,
    dead_letters: AtomicU64,
    duplicates: AtomicU64,
    batches: AtomicU64,
    notifications: AtomicU64,
    rebalances: AtomicU64,
    heals: AtomicU64,
    reloads_failed: AtomicU64,
    shadow_differences: AtomicU64,
    webhook_delivered: AtomicU64,
    webhook_failed: AtomicU64,
    topic_delivered: AtomicU64,
    businesses: AtomicI64,
    partitions: AtomicI64,
    lag: Mutex<BTreeMap<i32, i64>>,
    slot: Mutex<Option<SlotFacts>>,
    from_commit: Histogram,
    from_receipt: Histogram,
    transactions: Histogram,
    database_up: AtomicBool,
    turned_at_s: AtomicU64,
}

impl Metrics {
    /// A batch is committed.
    pub fn written(&self, batch: &Sealed) {
        let now = now_us();
        self.messages.fetch_add(batch.messages, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.notifications.fetch_add(batch.notification_count, Ordering::Relaxed);
        self.dead_letters.fetch_add(batch.dead_letters.len() as u64, Ordering::Relaxed);
        for (total, count) in self.decisions.iter().zip(batch.by_status) {
            total.fetch_add(count, Ordering::Relaxed);
        }
        let mut by_rule = self.by_rule.lock().unwrap_or_else(PoisonError::into_inner);
        for (rule, count) in &batch.by_rule {
            *by_rule.entry(rule.clone()).or_default() += count;
        }
        drop(by_rule);
        for (received, committed) in &batch.times_us {
            self.from_receipt.observe((now - received).max(0) as u64);
            if let Some(committed) = committed {
                self.from_commit.observe((now - committed).max(0) as u64);
            }
        }
    }

    /// A truncation has withdrawn so many invoices.
    pub fn withdrew(&self, count: u64) {
        let status = Status::ALL.iter().position(|status| *status == Status::Withdrawn);
        if let Some(total) = status.and_then(|status| self.decisions.get(status)) {
            total.fetch_add(count, Ordering::Relaxed);
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.notifications.fetch_add(count, Ordering::Relaxed);
    }

    /// A transaction took this long.
    pub fn transaction(&self, took: Duration) {
        self.transactions.observe(took.as_micros() as u64);
    }

    pub fn set_database_up(&self, up: bool) {
        self.database_up.store(up, Ordering::Relaxed);
    }

    /// The loop has turned: what it knows of itself.
    pub fn turned(&self, rebalances: u64, partitions: usize, businesses: usize) {
        self.rebalances.store(rebalances, Ordering::Relaxed);
        self.partitions.store(partitions as i64, Ordering::Relaxed);
        self.businesses.store(businesses as i64, Ordering::Relaxed);
        self.turned_at_s.store(now_us() as u64 / 1_000_000, Ordering::Relaxed);
    }

    pub fn rules(&self, reloads_failed: u64, differences: u64) {
        self.reloads_failed.store(reloads_failed, Ordering::Relaxed);
        self.shadow_differences.store(differences, Ordering::Relaxed);
    }

    pub fn duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    pub fn healed(&self) {
        self.heals.fetch_add(1, Ordering::Relaxed);
    }

    pub fn webhook(&self, delivered: bool) {
        let counter = if delivered { &self.webhook_delivered } else { &self.webhook_failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn topic_delivered(&self, count: u64) {
        self.topic_delivered.fetch_add(count, Ordering::Relaxed);
    }

    pub fn set_lag(&self, lag: BTreeMap<i32, i64>) {
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner) = lag;
    }

    pub fn set_slot(&self, facts: SlotFacts) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(facts);
    }

    /// Whether the loop turns; a process that isn't healthy should be started again.
    pub fn is_healthy(&self) -> bool {
        let turned = self.turned_at_s.load(Ordering::Relaxed);
        turned == 0 || now_us() as u64 / 1_000_000 < turned + HEALTHY_SECONDS
    }

    /// Whether it has partitions and a database.
    pub fn is_ready(&self) -> bool {
        self.is_healthy()
            && self.database_up.load(Ordering::Relaxed)
            && self.partitions.load(Ordering::Relaxed) > 0
    }

    /// For the result line.
    pub fn totals(&self) -> serde_json::Value {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let statuses = Status::ALL.iter().zip(&self.decisions);
        let mut line = serde_json::Map::new();
        line.insert("messages".into(), get(&self.messages).into());
        line.insert("decisions".into(), self.decisions.iter().map(get).sum::<u64>().into());
        line.extend(statuses.map(|(status, count)| (status.name().to_owned(), get(count).into())));
        line.insert("duplicates".into(), get(&self.duplicates).into());
        line.insert("dead_letters".into(), get(&self.dead_letters).into());
        line.insert("batches".into(), get(&self.batches).into());
        line.insert("businesses".into(), self.businesses.load(Ordering::Relaxed).into());
        serde_json::Value::Object(line)
    }

    /// All of it in Prometheus' text format.
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        for (name, help, counter) in [
            ("messages", "Messages dealt with and committed", &self.messages),
            ("dead_letters", "Messages that could not be decoded", &self.dead_letters),
            ("duplicates", "Changes that had been decided before", &self.duplicates),
            ("batches", "Transactions committed", &self.batches),
            ("notifications", "Changes of status put into the outbox", &self.notifications),
            ("rebalances", "Assignments and revocations of partitions", &self.rebalances),
            ("partitions_healed", "Partitions that stood still and were fetched again", &self.heals),
            ("rule_reloads_failed", "Changed rule files that were wrong", &self.reloads_failed),
            (
                "shadow_differences",
                "Decisions that the candidate rules make differently",
                &self.shadow_differences,
            ),
            ("webhook_delivered", "Notifications that the webhook accepted", &self.webhook_delivered),
            ("webhook_failed", "Tries that the webhook did not accept", &self.webhook_failed),
            ("topic_delivered", "Notifications sent to the Kafka topic", &self.topic_delivered),
        ] {
            let value = counter.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "# HELP risk_{name}_total {help}\n# TYPE risk_{name}_total counter\nrisk_{name}_total {value}"
            );
        }
        let _ = writeln!(
            text,
            "# HELP risk_decisions_total Decisions by status\n# TYPE risk_decisions_total counter"
        );
        for (status, count) in Status::ALL.iter().zip(&self.decisions) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(text, "risk_decisions_total{{status=\"{}\"}} {count}", status.name());
        }
        let _ = writeln!(
            text,
            "# HELP risk_rules_fired_total Rules that fired\n# TYPE risk_rules_fired_total counter"
        );
        for (rule, count) in self.by_rule.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let rule = rule.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
            let _ = writeln!(text, "risk_rules_fired_total{{rule=\"{rule}\"}} {count}");
        }
        for (name, help, value) in [
            ("partitions", "Partitions assigned", self.partitions.load(Ordering::Relaxed)),
            ("businesses", "Businesses in the state", self.businesses.load(Ordering::Relaxed)),
            (
                "database_up",
                "Whether the decisions' database answers",
                i64::from(self.database_up.load(Ordering::Relaxed)),
            ),
        ] {
            let _ =
                writeln!(text, "# HELP risk_{name} {help}\n# TYPE risk_{name} gauge\nrisk_{name} {value}");
        }
        let _ = writeln!(
            text,
            "# HELP risk_lag_messages Messages not yet decided\n# TYPE risk_lag_messages gauge"
        );
        for (partition, lag) in self.lag.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(text, "risk_lag_messages{{partition=\"{partition}\"}} {lag}");
        }
        if let Some(slot) = &*self.slot.lock().unwrap_or_else(PoisonError::into_inner) {
            let lag = slot.lag_bytes.map_or(-1, |lag| lag as i64);
            for (name, help, value) in [
                (
                    "slot_lag_bytes",
                    "Log that the source keeps for the replication slot; -1 without a slot",
                    lag,
                ),
                ("slot_lost", "Whether the slot lost changes", i64::from(slot.is_lost)),
                ("slot_active", "Whether a connector reads the slot", i64::from(slot.is_active)),
            ] {
                let _ = writeln!(
                    text,
                    "# HELP risk_{name} {help}\n# TYPE risk_{name} gauge\nrisk_{name} {value}"
                );
            }
        }
        self.from_commit.write(
            &mut text,
            "risk_commit_to_decision_seconds",
            "Source commit to committed decision",
        );
        self.from_receipt.write(
            &mut text,
            "risk_receipt_to_decision_seconds",
            "Receipt to committed decision",
        );
        self.transactions.write(&mut text, "risk_transaction_seconds", "Writing one batch, commit included");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative() {
        let metrics = Metrics::default();
        for us in [500, 4_000, 4_000, 99_000_000] {
            metrics.from_receipt.observe(us);
        }
        let text = metrics.exposition();
        assert!(text.contains("risk_receipt_to_decision_seconds_bucket{le=\"0.001\"} 1\n"), "{text}");
        assert!(text.contains("risk_receipt_to_decision_seconds_bucket{le=\"0.005\"} 3\n"));
        assert!(text.contains("risk_receipt_to_decision_seconds_bucket{le=\"60\"} 3\n"));
        assert!(text.contains("risk_receipt_to_decision_seconds_bucket{le=\"+Inf\"} 4\n"));
    }
}
