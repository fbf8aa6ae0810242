//! What is remembered of invoices from one business to another. There are as many pairs as
//! partners, most with an invoice or two, so those are kept without a list of their own.

use super::clock::KEPT_US;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

/// Invoices from one issuer to one receiver.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    /// Dates and amounts, by date.
    recent: SmallVec<[(i64, i64); 2]>,
    /// Invoices not withdrawn, whatever their date.
    pub count: i64,
    /// First and newest date ever added; none before the first.
    pub span_us: Option<(i64, i64)>,
}

impl Pair {
    pub fn add(&mut self, date_us: i64, amount: i64) {
        self.count += 1;
        let (first, newest) = self.span_us.unwrap_or((date_us, date_us));
        self.span_us = Some((first.min(date_us), newest.max(date_us)));
        let kept_after = self.kept_after();
        if date_us <= kept_after {
            return;
        }
        if self.recent.len() == self.recent.capacity() {
            self.recent.retain(|(date, _)| *date > kept_after);
        }
        let at = self.recent.partition_point(|(date, _)| *date <= date_us);
        self.recent.insert(at, (date_us, amount));
    }

    /// Takes one invoice out again.
    pub fn remove(&mut self, date_us: i64, amount: i64) {
        self.count -= 1;
        if let Some(at) = self.recent.iter().position(|entry| *entry == (date_us, amount)) {
            self.recent.remove(at);
        }
    }

    /// Amounts of the invoices dated in `(end_us - length_us, end_us]`.
    pub fn within(&self, end_us: i64, length_us: i64) -> &[(i64, i64)] {
        let after = end_us.saturating_sub(length_us).max(self.kept_after());
        let end = self.recent.partition_point(|(date, _)| *date <= end_us);
        let first = self.recent.partition_point(|(date, _)| *date <= after).min(end);
        &self.recent[first..end]
    }

    fn kept_after(&self) -> i64 {
        self.span_us.map_or(i64::MIN, |(_, newest)| newest.saturating_sub(KEPT_US))
    }
}

/// A pair without the invoices that no window can see any more; dates are told as distances from the newest.
#[derive(Serialize, Deserialize)]
struct Packed {
    count: i64,
    span_us: Option<(i64, i64)>,
    recent: Vec<(i64, i64)>,
}

impl Serialize for Pair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kept_after = self.kept_after();
        let newest = self.span_us.map_or(0, |(_, newest)| newest);
        let kept = self.recent.iter().filter(|(date, _)| *date > kept_after);
        let recent = kept.map(|(date, amount)| (newest.wrapping_sub(*date), *amount)).collect();
        Packed { count: self.count, span_us: self.span_us, recent }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Packed { count, span_us, recent } = Packed::deserialize(deserializer)?;
        let newest = span_us.map_or(0, |(_, newest)| newest);
        let recent =
            recent.into_iter().map(|(before, amount)| (newest.wrapping_sub(before), amount)).collect();
        Ok(Self { recent, count, span_us })
    }
}
