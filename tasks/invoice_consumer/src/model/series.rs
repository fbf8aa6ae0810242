//! A business' invoices of the last weeks in the order of their dates, with running sums: counts and
//! sums of any window are two binary searches, wherever in time the window lies.

use super::clock::KEPT_US;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One invoice in a series. The running sum is an `i128` in two halves, which keeps this at 32 bytes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    date_us: i64,
    /// The business on the other side; 0 and a flag would cost more than this reserved number.
    other: i64,
    sum_low: u64,
    sum_high: i64,
}

/// Stands for an unknown counterparty.
const UNKNOWN: i64 = i64::MIN;

impl Entry {
    fn new(date_us: i64, other: Option<i64>, sum: i128) -> Self {
        let (sum_low, sum_high) = (sum as u64, (sum >> 64) as i64);
        Self { date_us, other: other.unwrap_or(UNKNOWN), sum_low, sum_high }
    }

    fn sum(&self) -> i128 {
        i128::from(self.sum_high) << 64 | i128::from(self.sum_low)
    }

    fn add(&mut self, amount: i128) {
        *self = Self { date_us: self.date_us, other: self.other, ..Self::new(0, None, self.sum() + amount) };
    }
}

/// Count and sum of the invoices in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowTotal {
    pub count: i64,
    pub sum: i128,
}

/// Invoices of one business on one side.
#[derive(Debug, Clone, Default)]
pub struct Series {
    entries: Vec<Entry>,
    /// Running sum before the first entry.
    base: i128,
    /// Newest date ever added; what lies more than [`KEPT_US`] before it is not looked at.
    newest_us: Option<i64>,
}

impl Series {
    pub fn newest_us(&self) -> Option<i64> {
        self.newest_us
    }

    pub fn add(&mut self, date_us: i64, other: Option<i64>, amount: i64) {
        let newest_us = self.newest_us.map_or(date_us, |newest| newest.max(date_us));
        self.newest_us = Some(newest_us);
        if date_us <= newest_us.saturating_sub(KEPT_US) {
            return;
        }
        if self.entries.len() == self.entries.capacity() {
            self.forget();
        }
        let amount = i128::from(amount);
        let at = self.entries.partition_point(|entry| entry.date_us <= date_us);
        let before = self.sum_before(at);
        self.entries.insert(at, Entry::new(date_us, other, before + amount));
        self.entries[at + 1..].iter_mut().for_each(|entry| entry.add(amount));
    }

    /// Takes one invoice out again; nothing happens when it is too old to be kept.
    pub fn remove(&mut self, date_us: i64, other: Option<i64>, amount: i64) {
        let other = other.unwrap_or(UNKNOWN);
        let first = self.entries.partition_point(|entry| entry.date_us < date_us);
        let same_date = self.entries[first..].iter().take_while(|entry| entry.date_us == date_us).count();
        let found = (first..first + same_date)
            .find(|&at| self.entries[at].other == other && self.amount(at) == i128::from(amount));
        if let Some(at) = found {
            self.entries.remove(at);
            self.entries[at..].iter_mut().for_each(|entry| entry.add(-i128::from(amount)));
        }
    }

    /// Invoices dated in `(end_us - length_us, end_us]`.
    pub fn window(&self, end_us: i64, length_us: i64) -> WindowTotal {
        let (first, end) = self.bounds(end_us, length_us);
        WindowTotal { count: (end - first) as i64, sum: self.sum_before(end) - self.sum_before(first) }
    }

    /// Counterparty and amount of each invoice dated in `(end_us - length_us, end_us]`.
    pub fn within(&self, end_us: i64, length_us: i64) -> impl Iterator<Item = (Option<i64>, i128)> + '_ {
        let (first, end) = self.bounds(end_us, length_us);
        let mut before = self.sum_before(first);
        self.entries[first..end].iter().map(move |entry| {
            let amount = entry.sum() - before;
            before = entry.sum();
            ((entry.other != UNKNOWN).then_some(entry.other), amount)
        })
    }

    /// Number of invoices that [`Series::within`] gives.
    pub fn count_within(&self, end_us: i64, length_us: i64) -> usize {
        let (first, end) = self.bounds(end_us, length_us);
        end - first
    }

    fn bounds(&self, end_us: i64, length_us: i64) -> (usize, usize) {
        let kept_after = self.newest_us.unwrap_or(i64::MIN).saturating_sub(KEPT_US);
        let after = end_us.saturating_sub(length_us).max(kept_after);
        let end = self.entries.partition_point(|entry| entry.date_us <= end_us);
        (self.entries.partition_point(|entry| entry.date_us <= after).min(end), end)
    }

    fn sum_before(&self, at: usize) -> i128 {
        if at == 0 { self.base } else { self.entries[at - 1].sum() }
    }

    fn amount(&self, at: usize) -> i128 {
        self.entries[at].sum() - self.sum_before(at)
    }

    /// Drops what no window can see any more; when it happens changes no result.
    fn forget(&mut self) {
        let kept_after = self.newest_us.unwrap_or(i64::MIN).saturating_sub(KEPT_US);
        let gone = self.entries.partition_point(|entry| entry.date_us <= kept_after);
        self.base = self.sum_before(gone);
        self.entries.drain(..gone);
        if gone > self.entries.len() {
            self.entries.shrink_to(self.entries.len() + self.entries.len() / 4 + 1);
        }
    }
}

/// A series without what no window can see any more, with amounts instead of running sums, whose beginning depends on
/// what was forgotten when.
#[derive(Serialize, Deserialize)]
struct Packed {
    newest_us: Option<i64>,
    /// Distance of the date from the newest, the business on the other side, amount.
    entries: Vec<(i64, Option<i64>, i64)>,
}

impl Serialize for Series {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let newest = self.newest_us.unwrap_or_default();
        let first = self.entries.partition_point(|entry| entry.date_us <= newest.saturating_sub(KEPT_US));
        let kept = (first..self.entries.len()).map(|at| {
            let entry = &self.entries[at];
            let other = (entry.other != UNKNOWN).then_some(entry.other);
            (newest.wrapping_sub(entry.date_us), other, self.amount(at) as i64)
        });
        Packed { newest_us: self.newest_us, entries: kept.collect() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Series {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Packed { newest_us, entries } = Packed::deserialize(deserializer)?;
        let newest = newest_us.unwrap_or_default();
        let mut sum = 0;
        let unpacked = entries.into_iter().map(|(before, other, amount)| {
            sum += i128::from(amount);
            Entry::new(newest.wrapping_sub(before), other, sum)
        });
        Ok(Self { entries: unpacked.collect(), base: 0, newest_us })
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::{DAY_US, HOUR_US};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The plain definition, over a list, is the oracle; dates come in any order.
        #[test]
        fn windows_are_those_of_the_definition(
            steps in prop::collection::vec((0_i64..60, 0_i64..24, 0_i64..3, -1000_i64..1000, prop::bool::weighted(0.2)), 1..120),
            ends in prop::collection::vec(0_i64..60 * 24, 5),
        ) {
            let mut series = Series::default();
            let mut list: Vec<(i64, i64, i64)> = Vec::new();
            let mut newest = i64::MIN;
            for (day, hour, other, amount, removes) in steps {
                let date = day * DAY_US + hour * HOUR_US;
                if removes && !list.is_empty() {
                    let (date, other, amount) = list.remove((day as usize * 7) % list.len());
                    series.remove(date, Some(other), amount);
                } else {
                    series.add(date, Some(other), amount);
                    list.push((date, other, amount));
                    newest = newest.max(date);
                }
                for end in &ends {
                    let end = end * HOUR_US;
                    for length in [HOUR_US, DAY_US, 30 * DAY_US] {
                        let seen = list.iter().filter(|(date, _, _)| {
                            *date <= end && *date > end - length && *date > newest - KEPT_US
                        });
                        let expected = WindowTotal {
                            count: seen.clone().count() as i64,
                            sum: seen.map(|(_, _, amount)| i128::from(*amount)).sum(),
                        };
                        prop_assert_eq!(series.window(end, length), expected);
                        let listed: i128 = series.within(end, length).map(|(_, amount)| amount).sum();
                        prop_assert_eq!(listed, expected.sum);
                    }
                }
            }
        }
    }
}
