//! The effects of one micro-batch, encoded where they were decided: one transaction writes them all.

use super::copy::CopyRows;
use super::kpi::Changes;
use crate::decision::{Decision, Status};
use crate::model::Version;
use crate::rules::RuleSet;
use std::collections::BTreeMap;
use std::sync::Arc;

const DECISION_FIELDS: i16 = 27;
const NOTIFICATION_FIELDS: i16 = 6;

/// Columns of [`Batch::decisions`] in their order.
pub const DECISION_COLUMNS: &str = "partition, log_offset, step, invoice_id, lsn, op, status, score, rules, features, \
    model, rule_set, issue_date, filed_at, issuer_id, receiver_id, amount_cents, previous_status, \
    previous_issue_date, previous_filed_at, previous_issuer_id, previous_receiver_id, previous_amount_cents, \
    previous_lsn, committed_at, received_at, decided_at";

/// A message that was put into the dead-letter topic.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub partition: i32,
    pub place: i64,
    pub reason: String,
}

/// From which offset to which a batch moves a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub from: i64,
    pub to: i64,
    pub epochs: Epochs,
}

/// Which topic and which source a partition's messages belong to: how often each was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epochs {
    pub topic: u32,
    pub source: u32,
}

/// Where a decision came from and when.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub partition: i32,
    /// The offset with the topic's epoch.
    pub place: i64,
    /// Which of the message's decisions this is.
    pub step: i32,
    pub received_us: i64,
    pub decided_us: i64,
}

/// Everything that one transaction writes.
pub struct Batch {
    pub steps: BTreeMap<i32, Step>,
    pub messages: u64,
    decisions: CopyRows,
    notifications: CopyRows,
    pub decision_count: u64,
    pub notification_count: u64,
    pub changes: Changes,
    pub dead_letters: Vec<DeadLetter>,
    pub rules: Arc<RuleSet>,
    pub model: Arc<Version>,
    /// Receipt and source commit of each decision, for the latency histograms.
    pub times_us: Vec<(i64, Option<i64>)>,
    /// Decisions by status, in the order of [`Status::ALL`], and by rule.
    pub by_status: [u64; 4],
    pub by_rule: BTreeMap<String, u64>,
}

impl Batch {
    pub fn new(rules: Arc<RuleSet>, model: Arc<Version>) -> Self {
        Self {
            steps: BTreeMap::new(),
            messages: 0,
            decisions: CopyRows::new(DECISION_FIELDS),
            notifications: CopyRows::new(NOTIFICATION_FIELDS),
            decision_count: 0,
            notification_count: 0,
            changes: Changes::default(),
            dead_letters: Vec::new(),
            rules,
            model,
            times_us: Vec::new(),
            by_status: [0; 4],
            by_rule: BTreeMap::new(),
        }
    }

    /// Takes note that a message was dealt with; `next` is the offset before it.
    pub fn advance(&mut self, partition: i32, next: i64, offset: i64, epochs: Epochs) {
        self.messages += 1;
        let step = self.steps.entry(partition).or_insert(Step { from: next, to: next, epochs });
        (step.to, step.epochs) = (offset + 1, epochs);
    }

    pub fn add(&mut self, decision: &Decision, receipt: Receipt) {
        self.decision_count += 1;
        self.times_us.push((receipt.received_us, decision.committed_us));
        self.by_status[Status::ALL.iter().position(|status| *status == decision.status).unwrap_or(0)] += 1;
        for fired in &decision.fired {
            *self.by_rule.entry(fired.id.clone()).or_default() += 1;
        }
        let rules =
            (!decision.fired.is_empty()).then(|| serde_json::to_string(&decision.fired).unwrap_or_default());
        self.add_row(decision, receipt, rules.as_deref());
        self.changes.add(decision);
        if let Some((before, after)) = decision.status_change() {
            self.notification_count += 1;
            let rows = &mut self.notifications;
            rows.row();
            rows.int8(decision.invoice.invoice_id);
            rows.int8(decision.lsn as i64);
            rows.text(before.name());
            rows.text(after.name());
            rows.int2(i16::from(decision.score));
            rows.optional(rules.as_deref(), CopyRows::jsonb);
        }
    }

    fn add_row(&mut self, decision: &Decision, receipt: Receipt, rules: Option<&str>) {
        let (invoice, previous) = (&decision.invoice, decision.previous.as_ref());
        let rows = &mut self.decisions;
        rows.row();
        rows.int4(receipt.partition);
        rows.int8(receipt.place);
        rows.int4(receipt.step);
        rows.int8(invoice.invoice_id);
        rows.int8(decision.lsn as i64);
        rows.text(decision.op.letter());
        rows.text(decision.status.name());
        rows.int2(i16::from(decision.score));
        rows.optional(rules, CopyRows::jsonb);
        rows.int8_array(&decision.features[..self.model.meanings().len()]);
        rows.text(self.model.id());
        rows.text(&self.rules.id);
        rows.timestamp(invoice.issue_date_us);
        rows.timestamp(decision.filed_us);
        rows.optional(invoice.issuer_id, CopyRows::int8);
        rows.optional(invoice.receiver_id, CopyRows::int8);
        rows.int8(invoice.amount);
        rows.optional(previous.map(|known| known.status.name()), CopyRows::text);
        rows.optional(previous.map(|known| known.issue_date_us), CopyRows::timestamp);
        rows.optional(previous.map(|known| known.filed.issue_date_us), CopyRows::timestamp);
        rows.optional(previous.and_then(|known| known.filed.issuer_id), CopyRows::int8);
        rows.optional(previous.and_then(|known| known.filed.receiver_id), CopyRows::int8);
        rows.optional(previous.map(|known| known.filed.amount), CopyRows::int8);
        rows.optional(previous.map(|known| known.lsn as i64), CopyRows::int8);
        rows.optional(decision.committed_us, CopyRows::timestamp);
        rows.timestamp(receipt.received_us);
        rows.timestamp(receipt.decided_us);
    }

    /// Encodes what is still in rows; called once, by the thread that decided.
    pub fn seal(self) -> Box<Sealed> {
        Box::new(Sealed {
            decisions: self.decisions.finish(),
            notifications: self.notifications.finish(),
            changes: self.changes.encode(),
            change_count: self.changes.len(),
            steps: self.steps,
            messages: self.messages,
            decision_count: self.decision_count,
            notification_count: self.notification_count,
            dead_letters: self.dead_letters,
            rules: self.rules,
            model: self.model,
            times_us: self.times_us,
            by_status: self.by_status,
            by_rule: self.by_rule,
        })
    }
}

/// A batch ready to be written, as often as it takes.
pub struct Sealed {
    pub decisions: Vec<u8>,
    pub notifications: Vec<u8>,
    pub changes: Vec<u8>,
    pub change_count: usize,
    pub steps: BTreeMap<i32, Step>,
    pub messages: u64,
    pub decision_count: u64,
    pub notification_count: u64,
    pub dead_letters: Vec<DeadLetter>,
    pub rules: Arc<RuleSet>,
    pub model: Arc<Version>,
    pub times_us: Vec<(i64, Option<i64>)>,
    pub by_status: [u64; 4],
    pub by_rule: BTreeMap<String, u64>,
}
