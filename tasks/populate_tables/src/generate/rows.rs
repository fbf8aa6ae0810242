//! The generated invoices, one after the other.

use super::amounts::Amounts;
use super::calendar::Calendar;
use super::random::{Purpose, Random};
use super::skew::{Shuffle, Zipf};
use crate::args::DateOrder;
use chrono::NaiveDate;
use invoices::Invoice;

/// Of a thousand invoices, how many a business issues to itself, and how many have no receiver.
const SELF_PER_MILLE: u64 = 2;
const NO_RECEIVER_PER_MILLE: u64 = 5;
/// Of a thousand amounts, how many are credit notes, and how many are zero.
const CREDIT_PER_MILLE: u64 = 10;
const ZERO_PER_MILLE: u64 = 2;

/// What is generated.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub first_id: i64,
    pub count: u64,
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
    pub dates: DateOrder,
    /// Ids of the businesses; never empty when invoices are wanted.
    pub businesses: Vec<i64>,
}

/// Iterator over the invoices of a plan.
pub struct Invoices {
    plan: Plan,
    done: u64,
    random: Random,
    calendar: Calendar,
    amounts: Amounts,
    ranks: Zipf,
    issuers: Shuffle,
    receivers: Shuffle,
}

impl Invoices {
    pub fn new(plan: Plan) -> Self {
        let count = plan.businesses.len();
        let shuffle = |purpose| Shuffle::new(&mut Random::new(plan.seed, purpose, 0), count);
        Self {
            done: 0,
            // With the first id in it, invoices that are added later are not the same ones again.
            random: Random::new(plan.seed, Purpose::Invoices, plan.first_id),
            calendar: Calendar::new(plan.first_day, plan.last_day),
            amounts: Amounts::new(),
            ranks: Zipf::new(count),
            issuers: shuffle(Purpose::Issuers),
            receivers: shuffle(Purpose::Receivers),
            plan,
        }
    }

    fn issue_date_us(&mut self) -> i64 {
        let length = self.calendar.length();
        let point = match self.plan.dates {
            DateOrder::Random => self.random.below(length),
            // The line is cut into as many pieces as there are invoices; each has a point of its own.
            DateOrder::FollowIds => {
                let cut = |piece: u64| {
                    (u128::from(length) * u128::from(piece) / u128::from(self.plan.count)) as u64
                };
                let (start, end) = (cut(self.done), cut(self.done + 1));
                start + self.random.below(end - start)
            }
        };
        self.calendar.timestamp_us(point)
    }

    /// Positions of issuer and receiver among the businesses.
    fn parties(&mut self) -> (usize, Option<usize>) {
        let issuer = self.issuers.position(self.ranks.draw(&mut self.random));
        let receiver = self.receivers.position(self.ranks.draw(&mut self.random));
        let kind = self.random.below(1000);
        if kind < SELF_PER_MILLE {
            return (issuer, Some(issuer));
        }
        let others = self.plan.businesses.len() > 1;
        if kind < SELF_PER_MILLE + NO_RECEIVER_PER_MILLE || !others {
            return (issuer, None);
        }
        let next = (receiver + 1) % self.plan.businesses.len();
        (issuer, Some(if receiver == issuer { next } else { receiver }))
    }

    fn cents(&mut self) -> i64 {
        let cents = self.amounts.draw(&mut self.random);
        match self.random.below(1000) {
            kind if kind < CREDIT_PER_MILLE => -cents,
            kind if kind < CREDIT_PER_MILLE + ZERO_PER_MILLE => 0,
            _ => cents,
        }
    }
}

impl Iterator for Invoices {
    type Item = Invoice;

    fn next(&mut self) -> Option<Invoice> {
        if self.done == self.plan.count {
            return None;
        }
        let issue_date_us = self.issue_date_us();
        let (issuer, receiver) = self.parties();
        let invoice = Invoice {
            invoice_id: self.plan.first_id + self.done as i64,
            issue_date_us,
            issuer_id: Some(self.plan.businesses[issuer]),
            receiver_id: receiver.map(|position| self.plan.businesses[position]),
            amount: self.cents(),
        };
        self.done += 1;
        Some(invoice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::Month;

    const COUNT: u64 = 100_000;

    fn plan(dates: DateOrder) -> Plan {
        let first_day = NaiveDate::from_ymd_opt(2024, 1, 1).unwrap();
        let last_day = NaiveDate::from_ymd_opt(2024, 3, 15).unwrap();
        Plan {
            seed: 7,
            first_id: 11,
            count: COUNT,
            first_day,
            last_day,
            dates,
            businesses: (101..=600).collect(),
        }
    }

    fn made(plan: &Plan) -> Vec<Invoice> {
        Invoices::new(plan.clone()).collect()
    }

    #[test]
    fn ids_go_on_and_dates_follow_them_through_the_whole_window() {
        let plan = plan(DateOrder::FollowIds);
        let invoices = made(&plan);
        assert!(invoices.iter().map(|i| i.invoice_id).eq(11..11 + COUNT as i64));
        assert!(invoices.is_sorted_by_key(|i| i.issue_date_us));
        let end = Month::of_date(plan.last_day).start_us() + 15 * invoices::month::DAY_US;
        let last = invoices.last().unwrap().issue_date_us;
        assert!(invoices[0].issue_date_us >= Month::of_date(plan.first_day).start_us());
        assert!(last < end && last > end - invoices::month::DAY_US, "{last} {end}");
    }

    #[test]
    fn random_dates_do_not_follow_ids_and_keep_to_the_window() {
        let plan = plan(DateOrder::Random);
        let dates: Vec<i64> = made(&plan).iter().map(|i| i.issue_date_us).collect();
        let end = Month::of_date(plan.last_day).start_us() + 15 * invoices::month::DAY_US;
        assert!(dates.iter().all(|&us| us >= Month::of_date(plan.first_day).start_us() && us < end));
        let falling = dates.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((45_000..55_000).contains(&falling), "{falling}");
    }

    #[test]
    fn odd_invoices_are_as_rare_as_promised() {
        let invoices = made(&plan(DateOrder::FollowIds));
        let count = |odd: fn(&Invoice) -> bool| invoices.iter().filter(|invoice| odd(invoice)).count();
        assert!((140..260).contains(&count(|i| i.issuer_id == i.receiver_id)));
        assert!((400..600).contains(&count(|i| i.receiver_id.is_none())));
        assert!((900..1100).contains(&count(|i| i.amount < 0)));
        assert!((140..260).contains(&count(|i| i.amount == 0)));
        assert_eq!(count(|i| i.issuer_id.is_none()), 0);
    }

    #[test]
    fn the_largest_issuer_is_not_the_largest_receiver() {
        let invoices = made(&plan(DateOrder::FollowIds));
        let largest = |side: fn(&Invoice) -> Option<i64>| {
            let mut counts = std::collections::BTreeMap::new();
            invoices.iter().filter_map(side).for_each(|id| *counts.entry(id).or_insert(0) += 1);
            counts.into_iter().max_by_key(|(_, count)| *count).unwrap()
        };
        let (issuer, receiver) = (largest(|i| i.issuer_id), largest(|i| i.receiver_id));
        assert_ne!(issuer.0, receiver.0);
        assert!(issuer.1 > 3_000 && receiver.1 > 3_000, "{issuer:?} {receiver:?}");
    }

    #[test]
    fn one_business_alone_rarely_bills_itself() {
        let day = NaiveDate::from_ymd_opt(2024, 1, 7).unwrap();
        let alone = Plan { businesses: vec![5], first_day: day, last_day: day, ..plan(DateOrder::FollowIds) };
        let itself = made(&alone).iter().filter(|i| i.receiver_id == Some(5)).count();
        assert!((140..260).contains(&itself), "{itself}");
    }

    #[test]
    fn a_seed_means_the_same_invoices_for_ever() {
        let invoices = made(&plan(DateOrder::FollowIds));
        assert_eq!(invoices, made(&plan(DateOrder::FollowIds)));
        let first = Invoice {
            invoice_id: 11,
            issue_date_us: 1_704_067_470_254_407,
            issuer_id: Some(143),
            receiver_id: Some(527),
            amount: 42_543,
        };
        assert_eq!(invoices[0], first);
        assert_eq!(invoices.iter().map(|i| i.amount).sum::<i64>(), 4_985_704_701);
        let later = Plan { first_id: 12, ..plan(DateOrder::FollowIds) };
        assert_ne!(made(&later)[0].amount, invoices[1].amount);
    }
}
