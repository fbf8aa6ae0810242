//! Amounts in cents: log-normal, most of them hundreds of dollars, few of them very large.

use super::random::Random;

/// Half of the amounts are below 180.00.
const MEDIAN_CENTS: f64 = 18_000.0;
/// Quotient of neighbouring steps. The step number is the sum of eight bytes, nearly normal with a
/// deviation of 209, so the logarithm of an amount deviates by 209 * ln(1.007) = 1.46.
const STEP: f64 = 1.007;
/// Step of the median: half of the largest sum of eight bytes.
const MEDIAN_STEP: usize = 8 * 255 / 2;

/// The amounts of all steps, smallest first.
pub struct Amounts {
    cents: Vec<u64>,
}

impl Amounts {
    /// Floats end here: multiplied one by one, which is the same on every machine, and rounded.
    pub fn new() -> Self {
        let (mut above, mut below) = (MEDIAN_CENTS, MEDIAN_CENTS);
        let mut cents = vec![MEDIAN_CENTS as u64; 2 * MEDIAN_STEP + 2];
        for distance in 1..=MEDIAN_STEP + 1 {
            above *= STEP;
            cents[MEDIAN_STEP + distance] = above.round() as u64;
            if distance <= MEDIAN_STEP {
                below /= STEP;
                cents[MEDIAN_STEP - distance] = below.round() as u64;
            }
        }
        Self { cents }
    }

    /// A positive amount in cents.
    pub fn draw(&self, random: &mut Random) -> i64 {
        let step: usize = random.bits().to_be_bytes().iter().map(|&byte| usize::from(byte)).sum();
        let (low, high) = (self.cents[step], self.cents[step + 1]);
        (low + random.below(high - low + 1)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    #[test]
    fn amounts_are_log_normal_and_positive() {
        let amounts = Amounts::new();
        let mut random = Random::new(1, Purpose::Invoices, 1);
        let mut drawn: Vec<i64> = (0..100_000).map(|_| amounts.draw(&mut random)).collect();
        drawn.sort_unstable();
        let median = drawn[50_000];
        // One deviation of a normal distribution lies at 15.87 %: exp(1.46) = 4.3 times the median.
        let above = drawn[84_130] as f64 / median as f64;
        let below = median as f64 / drawn[15_870] as f64;
        assert!((17_500..18_500).contains(&median), "{median}");
        assert!((4.1..4.5).contains(&above) && (4.1..4.5).contains(&below), "{above} {below}");
        assert!(drawn[0] > 0);
        assert!(drawn[99_999] > 5_000_000, "{}", drawn[99_999]);
    }

    #[test]
    fn the_steps_are_the_same_on_every_machine() {
        let cents = Amounts::new().cents;
        assert!(cents.is_sorted());
        let of = [cents[0], cents[MEDIAN_STEP], cents[2 * MEDIAN_STEP], cents.iter().sum()];
        assert_eq!(of, [15, 18_000, 22_147_896, 3_208_433_853]);
    }
}
