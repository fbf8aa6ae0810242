//! Counters and latencies in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, microseconds.
const BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];
/// Statuses that are counted one by one.
const STATUSES: [u16; 15] = [200, 304, 400, 401, 403, 404, 405, 408, 413, 414, 429, 431, 500, 503, 504];

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Metrics {
    statuses: [Counter; STATUSES.len()],
    other_statuses: Counter,
    buckets: [Counter; BOUNDS_US.len()],
    latency_us: Counter,
    requests: Counter,
    pub local_hits: Counter,
    pub redis_hits: Counter,
    /// Invoices read in the source, and the queries that took.
    pub source_loads: Counter,
    pub source_queries: Counter,
    pub source_errors: Counter,
    pub stale_served: Counter,
    /// Reads that came back older than an announced change.
    pub late_reads: Counter,
    pub redis_errors: Counter,
    pub redis_garbage: Counter,
    pub events: Counter,
    pub events_undecodable: Counter,
    /// Time from the last event's commit to its announcement here, milliseconds; -1 before the first.
    pub event_lag_ms: Gauge,
    /// Messages between the consumer and the end of the topic; -1 when unknown.
    pub events_behind: Gauge,
    pub decisions: Counter,
    pub rate_limited: Counter,
    pub feed_clients: Gauge,
}

impl Metrics {
    pub fn record(&self, status: u16, took: Duration) {
        self.requests.add(1);
        match STATUSES.iter().position(|known| *known == status) {
            Some(index) => self.statuses[index].add(1),
            None => self.other_statuses.add(1),
        }
        let took_us = took.as_micros() as u64;
        self.latency_us.add(took_us);
        if let Some(index) = BOUNDS_US.iter().position(|bound| took_us <= *bound) {
            self.buckets[index].add(1);
        }
    }

    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// All of it as text; `entries` is the size of the process's cache.
    pub fn render(&self, entries: usize) -> String {
        let mut text = String::new();
        text.push_str("# TYPE invoice_api_responses_total counter\n");
        for (status, count) in STATUSES.iter().zip(&self.statuses).filter(|(_, count)| count.get() > 0) {
            let _ = writeln!(text, "invoice_api_responses_total{{status=\"{status}\"}} {}", count.get());
        }
        let _ =
            writeln!(text, "invoice_api_responses_total{{status=\"other\"}} {}", self.other_statuses.get());
        text.push_str("# TYPE invoice_api_request_seconds histogram\n");
        let mut sum = 0;
        for (bound, count) in BOUNDS_US.iter().zip(&self.buckets) {
            sum += count.get();
            let seconds = *bound as f64 / 1e6;
            let _ = writeln!(text, "invoice_api_request_seconds_bucket{{le=\"{seconds}\"}} {sum}");
        }
        let _ = writeln!(text, "invoice_api_request_seconds_bucket{{le=\"+Inf\"}} {}", self.requests.get());
        let _ = writeln!(text, "invoice_api_request_seconds_sum {}", self.latency_us.get() as f64 / 1e6);
        let _ = writeln!(text, "invoice_api_request_seconds_count {}", self.requests.get());
        for (name, counter) in [
            ("local_hits", &self.local_hits),
            ("redis_hits", &self.redis_hits),
            ("source_loads", &self.source_loads),
            ("source_queries", &self.source_queries),
            ("source_errors", &self.source_errors),
            ("stale_served", &self.stale_served),
            ("late_reads", &self.late_reads),
            ("redis_errors", &self.redis_errors),
            ("redis_garbage", &self.redis_garbage),
            ("events", &self.events),
            ("events_undecodable", &self.events_undecodable),
            ("decisions", &self.decisions),
            ("rate_limited", &self.rate_limited),
        ] {
            let value = counter.get();
            let _ =
                writeln!(text, "# TYPE invoice_api_{name}_total counter\ninvoice_api_{name}_total {value}");
        }
        for (name, value) in [
            ("cache_entries", entries as i64),
            ("event_lag_ms", self.event_lag_ms.get()),
            ("events_behind", self.events_behind.get()),
            ("feed_clients", self.feed_clients.get()),
        ] {
            let _ = writeln!(text, "# TYPE invoice_api_{name} gauge\ninvoice_api_{name} {value}");
        }
        text
    }
}
