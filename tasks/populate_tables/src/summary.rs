//! What a run added, counted row by row, for the result line.

use crate::CENTS;
use chrono::DateTime;
use invoices::{Invoice, money};
use serde_json::{Value, json};

/// Counts, exact total and bounds of the rows that were loaded.
#[derive(Debug, Default)]
pub struct Summary {
    pub customers: u64,
    pub invoices: u64,
    /// Columns of the files that have no place in the tables.
    pub ignored_columns: Vec<String>,
    amount: i128,
    ids: Option<(i64, i64)>,
    dates_us: Option<(i64, i64)>,
}

impl Summary {
    pub fn add(&mut self, invoice: &Invoice) {
        self.invoices += 1;
        self.amount += i128::from(invoice.amount);
        widen(&mut self.ids, invoice.invoice_id);
        widen(&mut self.dates_us, invoice.issue_date_us);
    }

    pub fn into_json(self) -> Value {
        let date = |us: i64| timestamp_text(us);
        let mut line = json!({
            "customers": self.customers,
            "invoices": self.invoices,
            "amount_usd": money::format(self.amount, CENTS.scale),
            "first_invoice_id": self.ids.map(|(first, _)| first),
            "last_invoice_id": self.ids.map(|(_, last)| last),
            "first_issue_date": self.dates_us.map(|(first, _)| date(first)),
            "last_issue_date": self.dates_us.map(|(_, last)| date(last)),
        });
        if !self.ignored_columns.is_empty() {
            line["ignored_columns"] = self.ignored_columns.into();
        }
        line
    }
}

fn widen(bounds: &mut Option<(i64, i64)>, value: i64) {
    *bounds = Some(match *bounds {
        None => (value, value),
        Some((low, high)) => (low.min(value), high.max(value)),
    });
}

/// `2026-01-31 09:15:00`, with six digits of microseconds only when there are any. Such texts sort
/// as their times do.
pub fn timestamp_text(timestamp_us: i64) -> String {
    let time = DateTime::from_timestamp_micros(timestamp_us).unwrap_or_default();
    let format = if timestamp_us % 1_000_000 == 0 { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S%.6f" };
    time.format(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_written_only_when_there_are_any() {
        assert_eq!(timestamp_text(0), "1970-01-01 00:00:00");
        assert_eq!(timestamp_text(1_500), "1970-01-01 00:00:00.001500");
        assert_eq!(timestamp_text(-1), "1969-12-31 23:59:59.999999");
    }

    #[test]
    fn the_result_line_adds_up_exactly() {
        let mut summary = Summary::default();
        for (invoice_id, amount) in [(7, -5), (3, 1_000_000_000_000)] {
            summary.add(&Invoice {
                invoice_id,
                issue_date_us: invoice_id * 1_000_000,
                issuer_id: None,
                receiver_id: None,
                amount,
            });
        }
        let line = summary.into_json();
        assert_eq!(line["amount_usd"], "9999999999.95");
        assert_eq!(line["first_invoice_id"], 3);
        assert_eq!(line["last_issue_date"], "1970-01-01 00:00:07");
        assert_eq!(Summary::default().into_json()["first_issue_date"], Value::Null);
    }
}
