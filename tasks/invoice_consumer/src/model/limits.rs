//! Approval limits that frauds stay just below, as cents. They belong to the model's version, because
//! features that were stored must be computed again bit for bit.

/// 1,000, 5,000, 10,000, 50,000 and 100,000 dollars.
pub const LIMITS: [i64; 5] = [100_000, 500_000, 1_000_000, 5_000_000, 10_000_000];
/// An amount at most this many basis points below its limit is near it.
pub const NEAR_BASIS_POINTS: i64 = 500;
/// Invoices that make a split, this one included.
const SPLIT_COUNT_MIN: usize = 3;

/// Distance to the smallest limit above the amount in basis points of it; -1 above all limits.
pub fn gap(amount: i64) -> i64 {
    match LIMITS.iter().find(|&&limit| amount < limit) {
        Some(&limit) if amount > 0 => (limit - amount) * 10_000 / limit,
        Some(_) => 10_000,
        None => -1,
    }
}

/// Whether an amount lies just below a limit.
pub fn is_near(amount: i64) -> bool {
    (0..=NEAR_BASIS_POINTS).contains(&gap(amount))
}

/// The largest limit that every one of the amounts stays below and all together reach; 0 if none.
/// Credit notes and zeros split nothing and are left out.
pub fn split(amounts: impl Iterator<Item = i64>) -> i64 {
    let (mut count, mut largest, mut total) = (0, 0, 0_i128);
    for amount in amounts.filter(|&amount| amount > 0) {
        count += 1;
        largest = amount.max(largest);
        total += i128::from(amount);
    }
    let reached = |limit: &&i64| largest < **limit && total >= i128::from(**limit);
    if count < SPLIT_COUNT_MIN { 0 } else { LIMITS.iter().rev().find(reached).copied().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_measured_to_the_next_limit() {
        assert_eq!(gap(990_000), 100);
        assert_eq!(gap(1_000_000), 8_000);
        assert_eq!(gap(10_000_000), -1);
        assert_eq!(gap(-5), 10_000);
        assert!(is_near(999_999) && is_near(950_000) && !is_near(949_000) && !is_near(1_000_000));
    }

    #[test]
    fn three_invoices_below_a_limit_that_reach_it_are_a_split() {
        assert_eq!(split([400_000, 400_000, 300_000].into_iter()), 1_000_000);
        assert_eq!(split([400_000, 400_000].into_iter()), 0);
        assert_eq!(split([400_000, 400_000, -300_000].into_iter()), 0);
        assert_eq!(split([10, 20, 30].into_iter()), 0);
        assert_eq!(split([10, 20, 30, 5_000_000].into_iter()), 0);
    }
}
