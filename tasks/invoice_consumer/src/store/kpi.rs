//! Figures per business and day: what a decision adds, and what a later one takes back. Pure.

use super::copy::CopyRows;
use crate::decision::{Decision, Status};
use invoices::Invoice;
use rustc_hash::FxHashMap;

const FIELDS: i16 = 7;
const DAY_US: i64 = 86_400_000_000;

/// Changes of one business' figures of one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Change {
    issued_count: i64,
    issued_cents: i64,
    received_count: i64,
    received_cents: i64,
    flagged_count: i64,
}

/// Changes of a batch by business and day.
#[derive(Debug, Default)]
pub struct Changes {
    by_business_and_day: FxHashMap<(i64, i64), Change>,
}

impl Changes {
    /// Adds a decision and takes back the one before it. Days are those of the issue date.
    pub fn add(&mut self, decision: &Decision) {
        if let Some(known) = decision.previous.filter(|known| known.status != Status::Withdrawn) {
            let invoice = Invoice { issue_date_us: known.issue_date_us, ..known.filed };
            self.count(&invoice, known.status, -1);
        }
        if decision.status != Status::Withdrawn {
            self.count(&decision.invoice, decision.status, 1);
        }
    }

    fn count(&mut self, invoice: &Invoice, status: Status, sign: i64) {
        let day = invoice.issue_date_us.div_euclid(DAY_US);
        let flagged = if status.is_flagged() { sign } else { 0 };
        if let Some(issuer) = invoice.issuer_id {
            let change = self.by_business_and_day.entry((issuer, day)).or_default();
            change.issued_count += sign;
            change.issued_cents += sign * invoice.amount;
            change.flagged_count += flagged;
        }
        if let Some(receiver) = invoice.receiver_id {
            let change = self.by_business_and_day.entry((receiver, day)).or_default();
            change.received_count += sign;
            change.received_cents += sign * invoice.amount;
            // An invoice to oneself is one flagged invoice, not two.
            change.flagged_count += if invoice.issuer_id == Some(receiver) { 0 } else { flagged };
        }
    }

    pub fn len(&self) -> usize {
        self.by_business_and_day.len()
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut rows = CopyRows::new(FIELDS);
        for ((business, day), change) in &self.by_business_and_day {
            rows.row();
            rows.int8(*business);
            rows.date(day * DAY_US);
            rows.int8(change.issued_count);
            rows.int8(change.issued_cents);
            rows.int8(change.received_count);
            rows.int8(change.received_cents);
            rows.int8(change.flagged_count);
        }
        rows.finish()
    }
}
