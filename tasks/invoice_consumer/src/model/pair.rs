//! What is remembered of invoices from one business to another. There are as many pairs as partners, most with one
//! invoice ever, so such a pair is that invoice and nothing else.

use super::clock::KEPT_US;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Invoices from one issuer to one receiver.
#[derive(Debug, Clone)]
pub enum Pair {
    /// One invoice was ever added and none taken back: its date and amount.
    One((i64, i64)),
    Many(Box<Many>),
}

/// A pair with a history.
#[derive(Debug, Clone)]
pub struct Many {
    /// Dates and amounts, by date.
    recent: Vec<(i64, i64)>,
    /// Invoices not withdrawn, whatever their date.
    count: i64,
    /// First and newest date ever added.
    span_us: (i64, i64),
}

impl Pair {
    /// A pair with its first invoice.
    pub fn new(date_us: i64, amount: i64) -> Self {
        Self::One((date_us, amount))
    }

    /// Invoices not withdrawn, whatever their date.
    pub fn count(&self) -> i64 {
        match self {
            Self::One(_) => 1,
            Self::Many(many) => many.count,
        }
    }

    /// First and newest date ever added.
    pub fn span_us(&self) -> (i64, i64) {
        match self {
            Self::One((date, _)) => (*date, *date),
            Self::Many(many) => many.span_us,
        }
    }

    pub fn add(&mut self, date_us: i64, amount: i64) {
        self.change(|many| many.add(date_us, amount));
    }

    /// Takes one invoice out again; first and newest date stay.
    pub fn remove(&mut self, date_us: i64, amount: i64) {
        self.change(|many| many.remove(date_us, amount));
    }

    /// Amounts of the invoices dated in `(end_us - length_us, end_us]`.
    pub fn within(&self, end_us: i64, length_us: i64) -> &[(i64, i64)] {
        let recent = self.recent();
        let after = end_us.saturating_sub(length_us).max(kept_after(self.span_us()));
        let end = recent.partition_point(|(date, _)| *date <= end_us);
        let first = recent.partition_point(|(date, _)| *date <= after).min(end);
        &recent[first..end]
    }

    fn recent(&self) -> &[(i64, i64)] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => &many.recent,
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Many)) {
        match self {
            Self::Many(many) => change(many),
            Self::One((date, amount)) => {
                let (recent, span_us) = (vec![(*date, *amount)], (*date, *date));
                let mut many = Box::new(Many { recent, count: 1, span_us });
                change(&mut many);
                *self = Self::Many(many);
            }
        }
    }
}

impl Many {
    fn add(&mut self, date_us: i64, amount: i64) {
        self.count += 1;
        let (first, newest) = self.span_us;
        self.span_us = (first.min(date_us), newest.max(date_us));
        let kept_after = kept_after(self.span_us);
        if date_us <= kept_after {
            return;
        }
        if self.recent.len() == self.recent.capacity() {
            self.recent.retain(|(date, _)| *date > kept_after);
        }
        let at = self.recent.partition_point(|(date, _)| *date <= date_us);
        self.recent.insert(at, (date_us, amount));
    }

    fn remove(&mut self, date_us: i64, amount: i64) {
        self.count -= 1;
        if let Some(at) = self.recent.iter().position(|entry| *entry == (date_us, amount)) {
            self.recent.remove(at);
        }
    }
}

/// What is dated here or before is not looked at any more.
fn kept_after((_, newest_us): (i64, i64)) -> i64 {
    newest_us.saturating_sub(KEPT_US)
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
        let span_us = self.span_us();
        let kept = self.recent().iter().filter(|(date, _)| *date > kept_after(span_us));
        let recent = kept.map(|(date, amount)| (span_us.1.wrapping_sub(*date), *amount)).collect();
        Packed { count: self.count(), span_us: Some(span_us), recent }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Packed { count, span_us, recent } = Packed::deserialize(deserializer)?;
        let span_us = span_us.ok_or_else(|| serde::de::Error::custom("a pair without a date"))?;
        let (first, newest) = span_us;
        if let (1, true, [(0, amount)]) = (count, first == newest, recent.as_slice()) {
            return Ok(Self::One((newest, *amount)));
        }
        let recent =
            recent.into_iter().map(|(before, amount)| (newest.wrapping_sub(before), amount)).collect();
        Ok(Self::Many(Box::new(Many { recent, count, span_us })))
    }
}

#[cfg(test)]
mod tests {
    use super::super::clock::{DAY_US, HOUR_US};
    use super::*;
    use proptest::prelude::*;

    /// Ten million businesses have fifty million pairs, most of one invoice.
    #[test]
    fn a_pair_with_its_key_takes_at_most_48_bytes_while_it_has_one_invoice() {
        assert!(size_of::<((i64, i64), Pair)>() <= 48);
    }

    proptest! {
        /// The plain definition, over lists, is the oracle; dates come in any order.
        #[test]
        fn windows_counts_and_spans_are_those_of_the_definition(
            first in (0_i64..60, -1000_i64..1000),
            steps in prop::collection::vec((0_i64..60, -1000_i64..1000, prop::bool::weighted(0.4)), 0..40),
            ends in prop::collection::vec(0_i64..60 * 24, 4),
        ) {
            let mut pair = Pair::new(first.0 * DAY_US, first.1);
            let mut live = vec![(first.0 * DAY_US, first.1)];
            let mut span = (live[0].0, live[0].0);
            for (day, amount, removes) in steps {
                let date = day * DAY_US;
                if removes && !live.is_empty() {
                    let (date, amount) = live.remove(day as usize % live.len());
                    pair.remove(date, amount);
                } else {
                    pair.add(date, amount);
                    live.push((date, amount));
                    span = (span.0.min(date), span.1.max(date));
                }
                prop_assert_eq!((pair.count(), pair.span_us()), (live.len() as i64, span));
                for end in ends.iter().map(|hours| hours * HOUR_US) {
                    for length in [HOUR_US, DAY_US, 30 * DAY_US] {
                        let mut expected: Vec<(i64, i64)> = live
                            .iter()
                            .filter(|(date, _)| *date <= end && *date > end - length && *date > span.1 - KEPT_US)
                            .copied()
                            .collect();
                        expected.sort_unstable();
                        let mut seen = pair.within(end, length).to_vec();
                        seen.sort_unstable();
                        prop_assert_eq!(seen, expected);
                    }
                }
            }
        }
    }
}
