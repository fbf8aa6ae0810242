//! Mock customers and invoices. Pure, and made of integers and of float operations that IEEE 754
//! defines to the last bit, so that a seed means the same rows on every machine and in every
//! version: a distribution of a library may change its algorithm, `exp` differs between systems.

mod amounts;
mod calendar;
mod names;
mod random;
mod rows;
mod scenarios;
mod skew;

pub use random::Random;
pub use rows::{Invoices, Plan};
pub use scenarios::{DAYS_MIN, Label, WithScenarios, businesses_min};

use crate::Customer;
use random::Purpose;

/// Customers with the ids from `first_id` on, named by seed and id alone.
pub fn customers(seed: u64, first_id: i64, count: u64) -> impl Iterator<Item = Customer> {
    (first_id..).take(count as usize).map(move |customer_id| {
        let mut random = Random::new(seed, Purpose::Names, customer_id);
        Customer { customer_id, customer_name: names::draw(&mut random) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_keeps_its_name_whatever_is_made_before_it() {
        let all: Vec<Customer> = customers(3, 1, 100).collect();
        let later: Vec<Customer> = customers(3, 51, 50).collect();
        assert_eq!(all[50..], later);
        assert_eq!(all[99].customer_id, 100);
        assert_ne!(all[0].customer_name, customers(4, 1, 1).next().unwrap().customer_name);
    }

    #[test]
    fn few_customers_share_a_name() {
        let names: std::collections::HashSet<String> =
            customers(1, 1, 1000).map(|c| c.customer_name).collect();
        assert!(names.len() > 950, "{}", names.len());
    }
}
