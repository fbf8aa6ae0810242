//! Who deals with whom: few large businesses and a long tail, after Zipf's law.

use super::random::Random;

/// Added to every rank, so that the largest business has a few percent and not a fifth of it all
/// (Zipf-Mandelbrot).
const RANK_OFFSET: u64 = 5;
const SCALE: u64 = 1 << 40;

/// Weights of ranks: the share of rank r is proportional to 1 / (r + offset), rank 0 the largest.
pub struct Zipf {
    /// Sum of the weights up to and including each rank.
    cumulative: Vec<u64>,
}

impl Zipf {
    pub fn new(ranks: usize) -> Self {
        let weights = (0..ranks as u64).map(|rank| SCALE / (rank + RANK_OFFSET));
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { cumulative: sums.collect() }
    }

    pub fn draw(&self, random: &mut Random) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(0);
        let at = random.below(total);
        self.cumulative.partition_point(|&sum| sum <= at)
    }
}

/// Gives ranks to businesses in an order of its own: who issues most is not who receives most, and
/// neither is the one with the lowest id. The step has no divisor in common with the count, so every
/// business has one rank.
#[derive(Debug)]
pub struct Shuffle {
    step: u64,
    start: u64,
    count: u64,
}

impl Shuffle {
    pub fn new(random: &mut Random, count: usize) -> Self {
        let count = (count as u64).max(1);
        let start = random.below(count);
        let mut step = 1 + random.below(count);
        while common_divisor(step, count) != 1 {
            step += 1;
        }
        Self { step, start, count }
    }

    pub fn position(&self, rank: usize) -> usize {
        let place = u128::from(self.step) * rank as u128 + u128::from(self.start);
        (place % u128::from(self.count)) as usize
    }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;
    use proptest::prelude::*;

    fn shares(ranks: usize, draws: usize) -> Vec<f64> {
        let zipf = Zipf::new(ranks);
        let mut random = Random::new(1, Purpose::Invoices, 1);
        let mut counts = vec![0.0; ranks];
        for _ in 0..draws {
            counts[zipf.draw(&mut random)] += 1.0 / draws as f64;
        }
        counts
    }

    #[test]
    fn a_few_large_businesses_and_a_long_tail() {
        let shares = shares(1000, 200_000);
        let top_ten: f64 = shares[..10].iter().sum();
        let bottom_half: f64 = shares[500..].iter().sum();
        assert!((0.02..0.06).contains(&shares[0]), "{}", shares[0]);
        assert!((0.15..0.30).contains(&top_ten), "{top_ten}");
        assert!((0.05..0.20).contains(&bottom_half), "{bottom_half}");
        assert!(shares.iter().all(|&share| share > 0.0));
    }

    proptest! {
        #[test]
        fn every_business_has_one_rank(seed: u64, count in 1_usize..500) {
            let shuffle = Shuffle::new(&mut Random::new(seed, Purpose::Issuers, 0), count);
            let mut positions: Vec<usize> = (0..count).map(|rank| shuffle.position(rank)).collect();
            positions.sort_unstable();
            prop_assert_eq!(positions, (0..count).collect::<Vec<usize>>());
        }

        #[test]
        fn ranks_are_below_the_count(seed: u64, ranks in 1_usize..50) {
            let zipf = Zipf::new(ranks);
            let mut random = Random::new(seed, Purpose::Invoices, 0);
            prop_assert!((0..100).all(|_| zipf.draw(&mut random) < ranks));
        }
    }
}
