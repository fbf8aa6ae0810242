//! Planted frauds with their labels, among generated invoices that know nothing of them.
//!
//! Each typology is told the way auditors tell it, with sizes, gaps and times drawn at random; some
//! need a history of their own, so the last businesses of the list are kept out of the other traffic.

use super::random::{Purpose, Random};
use super::rows::{Invoices, Plan};
use invoices::Invoice;
use invoices::month::DAY_US;
use std::iter::Peekable;
use std::vec::IntoIter;

const HOUR_US: i64 = DAY_US / 24;
const MINUTE_US: i64 = HOUR_US / 60;
/// Cases of each typology: one for so many other invoices, and never fewer than [`CASES_MIN`].
const INVOICES_PER_CASE: u64 = 5_000;
const CASES_MIN: u64 = 3;
/// A case needs this much time before it, for histories and long silences.
const HISTORY_DAYS: i64 = 270;
/// Approval limits in cents.
const LIMITS: [i64; 3] = [500_000, 1_000_000, 5_000_000];

/// What kind of fraud a case is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Typology {
    SelfInvoice,
    Circle,
    DoubleFinancing,
    Split,
    BelowLimit,
    Velocity,
    DormantThenLarge,
    UnusualAmount,
    RoundAmounts,
    FirstDigits,
}

impl Typology {
    pub const ALL: [Self; 10] = [
        Self::SelfInvoice,
        Self::Circle,
        Self::DoubleFinancing,
        Self::Split,
        Self::BelowLimit,
        Self::Velocity,
        Self::DormantThenLarge,
        Self::UnusualAmount,
        Self::RoundAmounts,
        Self::FirstDigits,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::SelfInvoice => "self_invoice",
            Self::Circle => "circle",
            Self::DoubleFinancing => "double_financing",
            Self::Split => "split",
            Self::BelowLimit => "below_limit",
            Self::Velocity => "velocity",
            Self::DormantThenLarge => "dormant_then_large",
            Self::UnusualAmount => "unusual_amount",
            Self::RoundAmounts => "round_amounts",
            Self::FirstDigits => "first_digits",
        }
    }

    /// Whether its issuer issues nothing else.
    fn needs_own_issuer(self) -> bool {
        matches!(self, Self::DormantThenLarge | Self::UnusualAmount | Self::RoundAmounts | Self::FirstDigits)
    }
}

/// Which case an invoice belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    pub case: u64,
    pub typology: Typology,
}

/// Businesses that a plan with scenarios must have at least.
pub fn businesses_min(count: u64) -> usize {
    own_issuers(count) + 20
}

fn cases(count: u64) -> u64 {
    (count / INVOICES_PER_CASE).max(CASES_MIN)
}

fn own_issuers(count: u64) -> usize {
    let typologies = Typology::ALL.into_iter().filter(|typology| typology.needs_own_issuer()).count();
    typologies * cases(count) as usize
}

/// Days that a plan with scenarios must have at least.
pub const DAYS_MIN: i64 = HISTORY_DAYS + 60;

/// The generated invoices with planted cases among them, by date; ids are given in that order.
pub struct WithScenarios {
    first_id: i64,
    done: i64,
    others: Peekable<Invoices>,
    planted: Peekable<IntoIter<(Invoice, Option<Label>)>>,
}

impl WithScenarios {
    /// `plan.count` counts the other invoices; those planted come on top.
    pub fn new(mut plan: Plan) -> Self {
        let mut planted = Planter::new(&plan).plant();
        planted.sort_by_key(|(invoice, _)| invoice.issue_date_us);
        let kept = plan.businesses.len().saturating_sub(own_issuers(plan.count));
        plan.businesses.truncate(kept);
        let first_id = plan.first_id;
        let others = Invoices::new(plan).peekable();
        Self { first_id, done: 0, others, planted: planted.into_iter().peekable() }
    }
}

impl Iterator for WithScenarios {
    type Item = (Invoice, Option<Label>);

    fn next(&mut self) -> Option<Self::Item> {
        let other = self.others.peek().map(|invoice| invoice.issue_date_us);
        let planted = self.planted.peek().map(|(invoice, _)| invoice.issue_date_us);
        let planted_first = match (other, planted) {
            (None, None) => return None,
            (Some(other), Some(planted)) => planted < other,
            (other, _) => other.is_none(),
        };
        let (mut invoice, label) =
            if planted_first { self.planted.next()? } else { (self.others.next()?, None) };
        invoice.invoice_id = self.first_id + self.done;
        self.done += 1;
        Some((invoice, label))
    }
}

struct Planter {
    random: Random,
    first_us: i64,
    end_us: i64,
    cases_each: u64,
    businesses: Vec<i64>,
    own: Vec<i64>,
    rows: Vec<(Invoice, Option<Label>)>,
}

impl Planter {
    fn new(plan: &Plan) -> Self {
        let day_us = |day: chrono::NaiveDate| {
            day.signed_duration_since(chrono::NaiveDate::default()).num_days() * DAY_US
        };
        let kept = plan.businesses.len().saturating_sub(own_issuers(plan.count));
        Self {
            random: Random::new(plan.seed, Purpose::Scenarios, plan.first_id),
            first_us: day_us(plan.first_day),
            end_us: day_us(plan.last_day) + DAY_US,
            cases_each: cases(plan.count),
            businesses: plan.businesses[..kept].to_vec(),
            own: plan.businesses[kept..].to_vec(),
            rows: Vec::new(),
        }
    }

    fn plant(mut self) -> Vec<(Invoice, Option<Label>)> {
        let mut case = 0;
        for typology in Typology::ALL {
            for _ in 0..self.cases_each {
                case += 1;
                self.plant_case(Label { case, typology });
            }
        }
        self.rows
    }

    fn plant_case(&mut self, label: Label) {
        // The last 35 days are left for what follows the start of a case.
        let span = self.end_us - self.first_us - (HISTORY_DAYS + 35) * DAY_US;
        let start = self.first_us + HISTORY_DAYS * DAY_US + self.between(0, span.max(1));
        let own = label.typology.needs_own_issuer();
        let issuer = if own { self.own.pop().unwrap_or_default() } else { self.business() };
        let receiver = self.business_but(&[issuer]);
        match label.typology {
            Typology::SelfInvoice => {
                let amount = self.between(50_000, 2_000_000);
                self.add(label, start, issuer, issuer, amount);
            }
            Typology::Circle => self.circle(label, start, issuer, receiver),
            Typology::DoubleFinancing => {
                let amount = self.between(200_000, 5_000_000);
                let later = self.between(DAY_US, 20 * DAY_US);
                self.add(label, start, issuer, receiver, amount);
                self.add(label, start + later, issuer, receiver, amount);
            }
            Typology::Split => self.split(label, start, issuer, receiver),
            Typology::BelowLimit => {
                let limit = self.limit();
                for step in 0..self.between(3, 6) {
                    let amount = limit - limit * self.between(20, 400) / 10_000;
                    let date = start + step * 5 * DAY_US + self.between(0, 2 * DAY_US);
                    self.add(label, date, issuer, receiver, amount);
                }
            }
            Typology::Velocity => {
                for _ in 0..self.between(20, 41) {
                    let date = start + self.between(0, 50 * MINUTE_US);
                    let (receiver, amount) = (self.business_but(&[issuer]), self.between(5_000, 300_000));
                    self.add(label, date, issuer, receiver, amount);
                }
            }
            Typology::DormantThenLarge => {
                let silence = self.between(190, 240) * DAY_US;
                self.history(start - silence, 30, 8, issuer, 90_000);
                let amount = self.between(2_000_000, 9_000_000);
                self.add(label, start, issuer, receiver, amount);
            }
            Typology::UnusualAmount => {
                self.history(start - DAY_US, 120, 30, issuer, 40_000);
                let amount = self.between(2_000_000, 9_000_000);
                self.add(label, start, issuer, receiver, amount);
            }
            Typology::RoundAmounts => {
                for step in 0..self.between(3, 6) {
                    let amount = self.between(1, 10) * 1_000_000;
                    let date = start + step * 4 * DAY_US + self.between(0, DAY_US);
                    self.add(label, date, issuer, receiver, amount);
                }
            }
            Typology::FirstDigits => {
                for _ in 0..150 {
                    let scale = 10_i64.pow(self.between(3, 6) as u32);
                    let amount = self.between(1, 10) * scale + self.between(0, scale);
                    let (receiver, date) =
                        (self.business_but(&[issuer]), start + self.between(0, 30 * DAY_US));
                    self.add(label, date, issuer, receiver, amount);
                }
            }
        }
    }

    /// A to B to C to A within six days, amounts within four percent.
    fn circle(&mut self, label: Label, start: i64, a: i64, b: i64) {
        let c = self.business_but(&[a, b]);
        let amount = self.between(500_000, 8_000_000);
        for (step, (from, to)) in [(a, b), (b, c), (c, a)].into_iter().enumerate() {
            let date = start + step as i64 * 2 * DAY_US + self.between(0, DAY_US);
            let varied = amount + amount * self.between(-200, 201) / 10_000;
            self.add(label, date, from, to, varied);
        }
    }

    /// Three to six parts within twenty hours, each below a limit that all together exceed.
    fn split(&mut self, label: Label, start: i64, issuer: i64, receiver: i64) {
        let (limit, parts) = (self.limit(), self.between(3, 7));
        let total = limit + limit * self.between(5, 80) / 100;
        for _ in 0..parts {
            let amount = total / parts + limit * self.between(0, 5) / 100;
            let date = start + self.between(0, 20 * HOUR_US);
            self.add(label, date, issuer, receiver, amount);
        }
    }

    /// Ordinary invoices over `days` up to a time; they bear no label.
    fn history(&mut self, end: i64, days: i64, count: i64, issuer: i64, amount_max: i64) {
        for _ in 0..count {
            let date = end - self.between(0, days * DAY_US);
            let (receiver, amount) =
                (self.business_but(&[issuer]), self.between(amount_max / 10, amount_max));
            self.rows.push((row(date, issuer, receiver, amount), None));
        }
    }

    fn add(&mut self, label: Label, date: i64, issuer: i64, receiver: i64, amount: i64) {
        self.rows.push((row(date.min(self.end_us - 1), issuer, receiver, amount), Some(label)));
    }

    /// An integer from `low` to `high - 1`.
    fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.random.below((high - low) as u64) as i64
    }

    fn limit(&mut self) -> i64 {
        LIMITS[self.random.below(LIMITS.len() as u64) as usize]
    }

    fn business(&mut self) -> i64 {
        self.businesses[self.random.below(self.businesses.len() as u64) as usize]
    }

    fn business_but(&mut self, others: &[i64]) -> i64 {
        loop {
            let business = self.business();
            if !others.contains(&business) {
                return business;
            }
        }
    }
}

/// The id is given when the row's place is known.
fn row(issue_date_us: i64, issuer: i64, receiver: i64, amount: i64) -> Invoice {
    Invoice { invoice_id: 0, issue_date_us, issuer_id: Some(issuer), receiver_id: Some(receiver), amount }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::DateOrder;
    use chrono::NaiveDate;

    fn plan(seed: u64) -> Plan {
        Plan {
            seed,
            first_id: 11,
            count: 20_000,
            first_day: NaiveDate::from_ymd_opt(2024, 1, 1).unwrap(),
            last_day: NaiveDate::from_ymd_opt(2025, 12, 31).unwrap(),
            dates: DateOrder::FollowIds,
            businesses: (1..=400).collect(),
        }
    }

    #[test]
    fn every_typology_is_planted_and_ids_follow_dates() {
        let rows: Vec<_> = WithScenarios::new(plan(3)).collect();
        assert!(rows.is_sorted_by_key(|(invoice, _)| invoice.issue_date_us));
        assert!(rows.iter().map(|(invoice, _)| invoice.invoice_id).eq(11..11 + rows.len() as i64));
        for typology in Typology::ALL {
            let mut cases: Vec<u64> = rows
                .iter()
                .filter_map(|(_, label)| *label)
                .filter(|label| label.typology == typology)
                .map(|label| label.case)
                .collect();
            cases.sort_unstable();
            cases.dedup();
            assert_eq!(cases.len(), 4, "{typology:?}");
        }
        let planted = rows.iter().filter(|(_, label)| label.is_some()).count();
        assert!(planted * 10 < rows.len(), "{planted} of {}", rows.len());
    }

    #[test]
    fn a_seed_means_the_same_cases() {
        assert!(WithScenarios::new(plan(3)).eq(WithScenarios::new(plan(3))));
        assert!(!WithScenarios::new(plan(3)).eq(WithScenarios::new(plan(4))));
    }
}
