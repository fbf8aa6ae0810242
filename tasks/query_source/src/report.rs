//! What the run did, for the result line, and what it would do, for `--dry-run`.

use crate::fingerprint_of;
use crate::guard::Loss;
use crate::plan::{Known, Plan};
use invoices::lake::commit::SourceSnapshot;
use invoices::source::{MonthFingerprints, Source};
use invoices::{Fingerprint, Month, Window, money};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Counts of one run.
pub struct Report {
    window: Window,
    snapshot: SourceSnapshot,
    scale: u8,
    written: u64,
    emptied: u64,
    unchanged: u64,
    total: Fingerprint,
    bytes: u64,
    planned: Option<Vec<Value>>,
    /// Sentences for whoever looks after the run; also in the log.
    warnings: Vec<String>,
    lost: Vec<Loss>,
}

impl Report {
    pub fn new(window: Window, source: &Source) -> Self {
        Self {
            window,
            snapshot: source.snapshot().clone(),
            scale: source.money().scale,
            written: 0,
            emptied: 0,
            unchanged: 0,
            total: Fingerprint::default(),
            bytes: 0,
            planned: None,
            warnings: Vec::new(),
            lost: Vec::new(),
        }
    }

    pub fn planned(&mut self, plan: &Plan) {
        self.unchanged = plan.keep.len() as u64;
        tracing::info!(
            first = %self.window.first, last = %self.window.last, snapshot = self.snapshot.snapshot,
            "reading {} of {} months, {} unchanged", plan.read.len(), self.window.len(), plan.keep.len()
        );
    }

    pub fn wrote(&mut self, fingerprint: &Fingerprint, bytes: u64) {
        self.written += 1;
        self.total.merge(*fingerprint);
        self.bytes += bytes;
    }

    pub fn emptied(&mut self) {
        self.emptied += 1;
    }

    pub fn warn(&mut self, sentence: String) {
        tracing::warn!("{sentence}");
        self.warnings.push(sentence);
    }

    pub fn lost(&mut self, losses: Vec<Loss>) {
        for loss in &losses {
            self.warn(loss.sentence());
        }
        self.lost.extend(losses);
    }

    /// Another run wrote the month meanwhile, with the same invoices.
    pub fn same(&mut self) {
        self.unchanged += 1;
    }

    /// A line per month for `--dry-run`, on stderr for people and in the result for programs.
    pub fn explain(&mut self, plan: &Plan, known: &BTreeMap<Month, Known>, source: &MonthFingerprints) {
        let mut lines = Vec::new();
        for month in &plan.read {
            let expected = fingerprint_of(source, *month);
            let objects = known.get(month).map_or(&[][..], |known| &known.objects);
            let replaced_bytes: u64 = objects.iter().map(|object| object.size).sum();
            let amount = money::format(expected.amount, self.scale);
            tracing::info!(
                rows = expected.rows,
                amount,
                replaced_objects = objects.len(),
                replaced_bytes,
                "would read {month}"
            );
            self.total.merge(expected);
            lines.push(json!({
                "month": month, "rows": expected.rows, "amount": amount,
                "replaced_objects": objects.len(), "replaced_bytes": replaced_bytes,
            }));
        }
        self.planned = Some(lines);
    }

    pub fn into_json(self) -> Value {
        let mut line = json!({
            "first_month": self.window.first,
            "last_month": self.window.last,
            "months_written": self.written,
            "months_unchanged": self.unchanged,
            "months_emptied": self.emptied,
            "rows": self.total.rows,
            "amount_usd": money::format(self.total.amount, self.scale),
            "bytes": self.bytes,
            "snapshot": self.snapshot.snapshot,
            "lsn": self.snapshot.lsn,
        });
        if !self.warnings.is_empty() {
            line["warnings"] = json!(self.warnings);
        }
        if !self.lost.is_empty() {
            let lost = |loss: &Loss| json!({ "month": loss.month, "rows_before": loss.rows_before, "rows": loss.rows });
            line["months_lost_most"] = json!(self.lost.iter().map(lost).collect::<Vec<_>>());
        }
        if let Some(planned) = self.planned {
            line["dry_run"] = json!(true);
            line["would_read"] = json!(planned);
        }
        line
    }
}
