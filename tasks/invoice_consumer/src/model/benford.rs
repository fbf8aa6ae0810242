//! Benford's law: among naturally grown amounts the first digit d has the frequency log10(1 + 1/d)
//! (F. Benford, 1938; M. Nigrini, 2012, for its use in auditing). Integers only.

/// log10(1 + 1/d) in millionths, d from 1 to 9; they add up to one.
const FREQUENCIES: [i128; 9] = [301_030, 176_091, 124_939, 96_910, 79_181, 66_947, 57_992, 51_153, 45_757];
const MILLION: i128 = 1_000_000;
/// Fewer invoices say nothing.
const HISTORY_MIN: i128 = 100;

/// First digit of an amount, sign aside; none for zero.
pub fn first_digit(amount: i64) -> Option<usize> {
    let mut rest = amount.unsigned_abs();
    while rest >= 10 {
        rest /= 10;
    }
    (rest > 0).then_some(rest as usize)
}

/// 100 times the sum over d of (observed - n p)^2 / (n p), each term rounded down; 0 below 100.
pub fn chi_squared(counts: &[u32; 9]) -> i64 {
    let total: i128 = counts.iter().map(|&count| i128::from(count)).sum();
    if total < HISTORY_MIN {
        return 0;
    }
    let terms = counts.iter().zip(FREQUENCIES).map(|(&count, frequency)| {
        let expected = total * frequency;
        let difference = i128::from(count) * MILLION - expected;
        difference * difference * 100 / (expected * MILLION)
    });
    i64::try_from(terms.sum::<i128>()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_add_up_to_one() {
        assert_eq!(FREQUENCIES.iter().sum::<i128>(), MILLION);
    }

    #[test]
    fn benford_counts_fit_and_even_ones_do_not() {
        let benford = FREQUENCIES.map(|frequency| (frequency / 1000) as u32);
        assert!(chi_squared(&benford) < 10, "{}", chi_squared(&benford));
        let even = chi_squared(&[100; 9]);
        // By hand: 900 (sum of (1/9 - p)^2 / p) = 361.2
        assert!((35_000..37_000).contains(&even), "{even}");
        assert_eq!(chi_squared(&[11, 11, 11, 11, 11, 11, 11, 11, 11]), 0);
    }

    #[test]
    fn digits_ignore_sign_and_size() {
        assert_eq!((first_digit(-905), first_digit(7), first_digit(0)), (Some(9), Some(7), None));
        assert_eq!(first_digit(i64::MIN), Some(9));
    }
}
