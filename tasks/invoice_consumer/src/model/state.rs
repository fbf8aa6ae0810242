//! What the model remembers of one partition's invoices. Pure: the same invoices in the same order
//! make the same state, which is how it is rebuilt after a crash or a rebalance.

use super::benford::{self, first_digit};
use super::clock::{CIRCLE_US, DAY_US, FUTURE_US, SECOND_US, WINDOWS_US};
use super::features::{FEATURE_COUNT, Feature, Features};
use super::limits;
use super::pair::Pair;
use super::series::{Series, WindowTotal};
use invoices::Invoice;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// The standard score says nothing about an issuer with fewer invoices than this.
const SCORE_HISTORY_MIN: i64 = 10;
/// How far amounts of one circle may lie apart, in percent of the invoice that closes it.
const CIRCLE_PERCENT: i128 = 10;

/// One side of a business.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Side {
    recent: Series,
    count: i64,
    first_us: Option<i64>,
}

impl Side {
    fn add(&mut self, date_us: i64, other: Option<i64>, amount: i64) {
        self.count += 1;
        self.first_us = Some(self.first_us.map_or(date_us, |first| first.min(date_us)));
        self.recent.add(date_us, other, amount);
    }

    fn remove(&mut self, date_us: i64, other: Option<i64>, amount: i64) {
        self.count -= 1;
        self.recent.remove(date_us, other, amount);
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Business {
    issued: Side,
    received: Side,
    /// Sum and sum of squares of the amounts issued.
    sum: i128,
    squares: i128,
    first_digits: [u32; 9],
}

impl Business {
    /// Adds (`sign` 1) or takes back (`sign` -1) an amount issued.
    fn count_amount(&mut self, amount: i64, sign: i128) {
        let wide = i128::from(amount);
        self.sum += sign * wide;
        self.squares += sign * wide * wide;
        if let Some(digit) = first_digit(amount) {
            let count = &mut self.first_digits[digit - 1];
            *count = if sign > 0 { *count + 1 } else { count.saturating_sub(1) };
        }
    }
}

/// The state of one partition.
#[derive(Debug, Default)]
pub struct State {
    pub(super) businesses: FxHashMap<i64, Business>,
    pub(super) pairs: FxHashMap<(i64, i64), Pair>,
}

/// The date at which windows take an invoice: its own, or a day after its commit if that is earlier,
/// so that one dated in the year 2099 doesn't push everything else out of the windows.
pub fn filed_us(issue_date_us: i64, committed_us: Option<i64>) -> i64 {
    committed_us.map_or(issue_date_us, |commit| issue_date_us.min(commit.saturating_add(FUTURE_US)))
}

impl State {
    /// Number of businesses known.
    pub fn businesses(&self) -> usize {
        self.businesses.len()
    }

    /// Adds an invoice; its `issue_date_us` is the one of [`filed_us`].
    pub fn add(&mut self, invoice: &Invoice) {
        let (date, amount) = (invoice.issue_date_us, invoice.amount);
        if let Some(issuer) = invoice.issuer_id {
            let business = self.businesses.entry(issuer).or_default();
            business.issued.add(date, invoice.receiver_id, amount);
            business.count_amount(amount, 1);
        }
        if let Some(receiver) = invoice.receiver_id {
            self.businesses.entry(receiver).or_default().received.add(date, invoice.issuer_id, amount);
        }
        if let Some(parties) = invoice.issuer_id.zip(invoice.receiver_id) {
            let pair = self.pairs.entry(parties);
            pair.and_modify(|pair| pair.add(date, amount)).or_insert_with(|| Pair::new(date, amount));
        }
    }

    /// Takes back an invoice that was added, as it was added. First and newest dates stay.
    pub fn remove(&mut self, invoice: &Invoice) {
        let (date, amount) = (invoice.issue_date_us, invoice.amount);
        if let Some(business) = invoice.issuer_id.and_then(|id| self.businesses.get_mut(&id)) {
            business.issued.remove(date, invoice.receiver_id, amount);
            business.count_amount(amount, -1);
        }
        if let Some(business) = invoice.receiver_id.and_then(|id| self.businesses.get_mut(&id)) {
            business.received.remove(date, invoice.issuer_id, amount);
        }
        let parties = invoice.issuer_id.zip(invoice.receiver_id);
        if let Some(pair) = parties.and_then(|parties| self.pairs.get_mut(&parties)) {
            pair.remove(date, amount);
        }
    }

    /// The features of an invoice that is not in the state yet.
    pub fn features(&self, invoice: &Invoice, committed_us: Option<i64>) -> Features {
        let mut row = Row([0; FEATURE_COUNT]);
        let date = filed_us(invoice.issue_date_us, committed_us);
        let issuer = invoice.issuer_id.and_then(|id| self.businesses.get(&id));
        let receiver = invoice.receiver_id.and_then(|id| self.businesses.get(&id));
        let parties = invoice.issuer_id.zip(invoice.receiver_id);
        row.set(Feature::Amount, invoice.amount);
        row.set(Feature::IssuerKnown, i64::from(invoice.issuer_id.is_some()));
        row.set(Feature::ReceiverKnown, i64::from(invoice.receiver_id.is_some()));
        row.set(Feature::TrailingZeros, trailing_zeros(invoice.amount));
        row.set(Feature::LimitGap, limits::gap(invoice.amount));
        row.set(Feature::SelfInvoice, i64::from(parties.is_some_and(|(from, to)| from == to)));
        row.set(
            Feature::Future,
            committed_us.map_or(0, |commit| seconds(commit, invoice.issue_date_us).max(0)),
        );
        row.side(Feature::IssuerCount1h, Feature::IssuerAge, issuer.map(|business| &business.issued), date);
        row.side(
            Feature::ReceiverCount1h,
            Feature::ReceiverAge,
            receiver.map(|business| &business.received),
            date,
        );
        row.set(Feature::IssuerHistory, issuer.map_or(0, |business| business.issued.count));
        row.set(Feature::ReceiverHistory, receiver.map_or(0, |business| business.received.count));
        row.history(issuer, invoice.amount);
        let newest = issuer.and_then(|business| business.issued.recent.newest_us());
        row.set(Feature::Late, newest.map_or(0, |newest| seconds(date, newest).max(0)));
        row.pair(parties.and_then(|parties| self.pairs.get(&parties)), date, invoice.amount);
        row.set(Feature::Circle7d, self.circles(parties, date, invoice.amount));
        row.0
    }

    /// Businesses C with invoices B to C and C to A of about the same amount, for one from A to B.
    /// The shorter of the two lists is read; the other edge is looked up.
    fn circles(&self, parties: Option<(i64, i64)>, date: i64, amount: i64) -> i64 {
        let Some((a, b)) = parties.filter(|(a, b)| a != b && amount > 0) else { return 0 };
        let (Some(issued), Some(received)) = (self.businesses.get(&b), self.businesses.get(&a)) else {
            return 0;
        };
        let (issued, received) = (&issued.issued.recent, &received.received.recent);
        let from_b = issued.count_within(date, CIRCLE_US) <= received.count_within(date, CIRCLE_US);
        let list = if from_b { issued } else { received };
        let mut found: Vec<i64> = list
            .within(date, CIRCLE_US)
            .filter(|(_, other_amount)| is_close(*other_amount, amount))
            .filter_map(|(other, _)| other)
            .filter(|&c| c != a && c != b)
            .filter(|&c| {
                let edge = if from_b { (c, a) } else { (b, c) };
                self.pairs.get(&edge).is_some_and(|pair| {
                    pair.within(date, CIRCLE_US).iter().any(|(_, other)| is_close(i128::from(*other), amount))
                })
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found.len() as i64
    }
}

/// A row of features being filled.
struct Row(Features);

impl Row {
    fn set(&mut self, feature: Feature, value: i64) {
        self.0[feature as usize] = value;
    }

    /// Three counts and three sums from `first` on, age and idle time from `age` on.
    fn side(&mut self, first: Feature, age: Feature, side: Option<&Side>, date: i64) {
        let totals = WINDOWS_US.map(|length| side.map(|side| side.recent.window(date, length)));
        self.windows(first, totals);
        let since = |from: Option<i64>| from.map_or(-1, |from| seconds(from, date).max(0));
        self.0[age as usize] = since(side.and_then(|side| side.first_us));
        self.0[age as usize + 1] = since(side.and_then(|side| side.recent.newest_us()));
    }

    fn windows(&mut self, first: Feature, totals: [Option<WindowTotal>; 3]) {
        for (index, total) in totals.iter().enumerate() {
            let total = total.unwrap_or_default();
            self.0[first as usize + index] = total.count;
            self.0[first as usize + totals.len() + index] = saturated(total.sum);
        }
    }

    /// What the issuer's amounts usually are.
    fn history(&mut self, issuer: Option<&Business>, amount: i64) {
        let Some(issuer) = issuer.filter(|issuer| issuer.issued.count > 0) else { return };
        let count = i128::from(issuer.issued.count);
        let mean = issuer.sum.div_euclid(count);
        self.set(Feature::IssuerMean, saturated(mean));
        let spread = issuer
            .squares
            .checked_mul(count)
            .and_then(|squares| Some(squares - issuer.sum.checked_mul(issuer.sum)?))
            .map_or(i128::MAX, |spread| spread / (count * count));
        let deviation = spread.max(0).isqrt();
        self.set(Feature::IssuerDeviation, saturated(deviation));
        if issuer.issued.count >= SCORE_HISTORY_MIN && deviation > 0 {
            self.set(Feature::IssuerZ, saturated((i128::from(amount) - mean) * 100 / deviation));
        }
        self.set(Feature::FirstDigits, benford::chi_squared(&issuer.first_digits));
    }

    fn pair(&mut self, pair: Option<&Pair>, date: i64, amount: i64) {
        let listed = |length: i64| pair.map_or(&[][..], |pair| pair.within(date, length));
        self.windows(
            Feature::PairCount1h,
            WINDOWS_US.map(|length| {
                let sum = listed(length).iter().map(|(_, amount)| i128::from(*amount)).sum();
                Some(WindowTotal { count: listed(length).len() as i64, sum })
            }),
        );
        let span = pair.map(Pair::span_us);
        self.set(Feature::PairHistory, pair.map_or(0, Pair::count));
        self.set(Feature::PairAge, span.map_or(-1, |(first, _)| seconds(first, date).max(0)));
        self.set(Feature::PairIdle, span.map_or(-1, |(_, newest)| seconds(newest, date).max(0)));
        let month = listed(30 * DAY_US);
        let near = month.iter().filter(|(_, other)| limits::is_near(*other)).count();
        self.set(Feature::PairNearLimit30d, near as i64);
        let same = month.iter().filter(|(_, other)| *other == amount).count();
        self.set(Feature::SameAmount30d, same as i64);
        if amount > 0 {
            let day = listed(DAY_US).iter().map(|(_, other)| *other);
            self.set(Feature::SplitLimit, limits::split(day.chain([amount])));
        }
    }
}

/// Whole seconds from one time to another, rounded down.
fn seconds(from_us: i64, to_us: i64) -> i64 {
    to_us.saturating_sub(from_us).div_euclid(SECOND_US)
}

fn saturated(value: i128) -> i64 {
    value.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn is_close(other: i128, amount: i64) -> bool {
    (other - i128::from(amount)).abs() * 100 <= i128::from(amount) * CIRCLE_PERCENT
}

fn trailing_zeros(amount: i64) -> i64 {
    let mut rest = amount.unsigned_abs();
    let mut zeros = 0;
    while rest > 0 && rest.is_multiple_of(10) {
        rest /= 10;
        zeros += 1;
    }
    zeros
}

#[cfg(test)]
mod tests {
    use super::super::clock::HOUR_US;
    use super::*;

    fn invoice(id: i64, date_us: i64, issuer: i64, receiver: i64, amount: i64) -> Invoice {
        let (issuer_id, receiver_id) = (Some(issuer), Some(receiver));
        Invoice { invoice_id: id, issue_date_us: date_us, issuer_id, receiver_id, amount }
    }

    fn value(features: &Features, feature: Feature) -> i64 {
        features[feature as usize]
    }

    #[test]
    fn windows_leave_the_invoice_itself_and_their_far_end_out() {
        let mut state = State::default();
        for (id, date) in [(1, 0), (2, HOUR_US), (3, HOUR_US + 1)] {
            state.add(&invoice(id, date, 1, 2, 500));
        }
        let features = state.features(&invoice(4, 2 * HOUR_US, 1, 2, 500), None);
        assert_eq!(value(&features, Feature::IssuerCount1h), 1);
        assert_eq!(value(&features, Feature::PairSum24h), 1500);
        assert_eq!(value(&features, Feature::SameAmount30d), 3);
        assert_eq!(value(&features, Feature::ReceiverIdle), 3599);
    }

    #[test]
    fn mean_deviation_and_score_are_exact() {
        let mut state = State::default();
        for id in 0..10 {
            state.add(&invoice(id, id, 1, 2, if id % 2 == 0 { 900 } else { 1100 }));
        }
        let features = state.features(&invoice(11, 11, 1, 2, 1550), None);
        assert_eq!(value(&features, Feature::IssuerMean), 1000);
        assert_eq!(value(&features, Feature::IssuerDeviation), 100);
        assert_eq!(value(&features, Feature::IssuerZ), 550);
    }

    #[test]
    fn a_circle_is_closed_by_its_third_side_in_any_order_of_arrival() {
        let sides = [(1, 2), (2, 3), (3, 1)];
        for last in 0..3 {
            let mut state = State::default();
            for step in 1..3 {
                let (from, to) = sides[(last + step) % 3];
                state.add(&invoice(step as i64, step as i64 * DAY_US, from, to, 10_000));
            }
            let (from, to) = sides[last];
            let closing = |date, amount| {
                value(&state.features(&invoice(9, date, from, to, amount), None), Feature::Circle7d)
            };
            assert_eq!(closing(3 * DAY_US, 10_500), 1);
            assert_eq!(closing(3 * DAY_US, 12_000), 0);
            assert_eq!(closing(8 * DAY_US, 10_000), 0);
        }
    }

    #[test]
    fn what_is_taken_back_leaves_no_trace_but_in_first_and_newest_dates() {
        let (mut state, mut other) = (State::default(), State::default());
        for id in 0..150 {
            let added = invoice(id, id * HOUR_US, id % 3, 5, 100 + id * 7);
            state.add(&added);
            if id % 4 == 0 {
                state.remove(&added);
            } else {
                other.add(&added);
            }
        }
        let probe = invoice(999, 150 * HOUR_US, 1, 5, 400);
        let (mut left, mut right) = (state.features(&probe, None), other.features(&probe, None));
        for age in [Feature::IssuerAge, Feature::ReceiverAge, Feature::PairAge] {
            for index in [age as usize, age as usize + 1] {
                (left[index], right[index]) = (0, 0);
            }
        }
        assert_eq!(left, right);
    }

    #[test]
    fn an_invoice_from_the_future_does_not_empty_the_windows() {
        let mut state = State::default();
        let commit = Some(10 * DAY_US);
        let mut strange = invoice(1, 30_000 * DAY_US, 1, 2, 100);
        assert_eq!(value(&state.features(&strange, commit), Feature::Future), 29_990 * 86_400);
        strange.issue_date_us = filed_us(strange.issue_date_us, commit);
        state.add(&strange);
        let features = state.features(&invoice(2, 11 * DAY_US + HOUR_US, 1, 2, 100), commit);
        assert_eq!(value(&features, Feature::IssuerCount24h), 1);
    }
}
