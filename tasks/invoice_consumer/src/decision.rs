//! What the engine decides of one change, and the form in which it is printed.

use crate::model::{Features, Version};
use change_events::Op;
use chrono::{DateTime, SecondsFormat};
use invoices::Invoice;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What becomes of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Approve,
    Review,
    Block,
    /// The invoice was deleted.
    Withdrawn,
}

impl Status {
    pub const ALL: [Self; 4] = [Self::Approve, Self::Review, Self::Block, Self::Withdrawn];

    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Review => "review",
            Self::Block => "block",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether somebody has to look at the invoice.
    pub fn is_flagged(self) -> bool {
        matches!(self, Self::Review | Self::Block)
    }
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    pub id: String,
    pub score: u8,
    pub reason: String,
}

/// What was decided before of the same invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// The invoice as it is filed in the state, dated as the windows take it.
    pub filed: Invoice,
    /// The date it came with.
    pub issue_date_us: i64,
    pub lsn: u64,
    pub status: Status,
    /// The position is not the change's own but a snapshot's, or right behind one: later changes may lie below.
    pub is_loose: bool,
}

/// One decision. Everything but the times of receipt and decision follows from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub invoice: Invoice,
    /// The invoice as it is filed in the state; see [`crate::model::filed_us`].
    pub filed_us: i64,
    /// Place of the change in the source's log, its epoch first (`invoices::position`); for rows without
    /// one, the place in Kafka.
    pub lsn: u64,
    pub op: Op,
    pub status: Status,
    pub score: u8,
    pub fired: Vec<Fired>,
    pub features: Features,
    /// What was filed and decided before of this invoice.
    pub previous: Option<Known>,
    pub committed_us: Option<i64>,
}

impl Decision {
    /// What is known of the invoice from now on.
    pub fn known(&self) -> Known {
        let filed = Invoice { issue_date_us: self.filed_us, ..self.invoice };
        // Positions of a log are eight bytes apart at least.
        let is_behind = self.previous.is_some_and(|previous| previous.lsn + 1 == self.lsn);
        Known {
            filed,
            issue_date_us: self.invoice.issue_date_us,
            lsn: self.lsn,
            status: self.status,
            is_loose: self.op == Op::Read || is_behind,
        }
    }

    /// The change of status to tell about. A new invoice counts as approved before, so that only
    /// flagged ones are told; what a snapshot read is told to nobody.
    pub fn status_change(&self) -> Option<(Status, Status)> {
        let known = self.previous.map(|known| known.status).filter(|status| *status != Status::Withdrawn);
        let before = known.unwrap_or(Status::Approve);
        let unknown_is_gone = known.is_none() && self.status == Status::Withdrawn;
        (self.op != Op::Read && before != self.status && !unknown_is_gone).then_some((before, self.status))
    }

    /// One line of JSON; the times are left out when they are not known.
    pub fn to_json(&self, rule_set: &str, model: &Version, received_us: Option<i64>) -> Value {
        let features: Map<String, Value> = model
            .meanings()
            .iter()
            .zip(self.features)
            .map(|(meaning, value)| (meaning.name.to_owned(), json!(value)))
            .collect();
        json!({
            "invoice_id": self.invoice.invoice_id,
            "lsn": self.lsn,
            "op": self.op.letter(),
            "status": self.status,
            "score": self.score,
            "rules": self.fired,
            "features": features,
            "rule_set": rule_set,
            "model": model.id(),
            "committed_at": self.committed_us.map(time_text),
            "received_at": received_us.map(time_text),
        })
    }
}

/// `2026-01-31T09:15:00.000000Z`.
pub fn time_text(us: i64) -> String {
    DateTime::from_timestamp_micros(us).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Micros, true)
}
