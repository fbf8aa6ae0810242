//! Random numbers that stay the same: PCG-64, whose output its authors fix, seeded and scaled here.

use rand_pcg::Pcg64;
use rand_pcg::rand_core::Rng;

/// What numbers are drawn for; each purpose has numbers of its own.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    Names = 1,
    Invoices = 2,
    Issuers = 3,
    Receivers = 4,
    Scenarios = 5,
    Events = 6,
}

/// A sequence of random numbers.
pub struct Random(Pcg64);

impl Random {
    /// The sequence of a seed, a purpose and a number such as an id. Neighbours of any of the three
    /// have nothing in common.
    pub fn new(seed: u64, purpose: Purpose, number: i64) -> Self {
        let low = scramble(scramble(seed) ^ number as u64);
        let high = scramble(low ^ seed.rotate_left(32));
        Self(Pcg64::new(u128::from(high) << 64 | u128::from(low), purpose as u128))
    }

    /// The sequence of one event's circumstances, which are the same under every seed.
    pub fn of_event(number: i64) -> Self {
        Self::new(0, Purpose::Events, number)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// An integer from 0 to `limit - 1`; 0 when the limit is 0. Its bias is below `limit / 2^64`.
    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u64
    }

    /// One of the words that spaces separate.
    pub fn word<'a>(&mut self, words: &'a str) -> &'a str {
        let count = words.split(' ').count();
        words.split(' ').nth(self.below(count as u64) as usize).unwrap_or_default()
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit.
fn scramble(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept() {
        let mut random = Random::new(1, Purpose::Names, 1);
        let drawn: Vec<u64> = (0..1000).map(|_| random.below(3)).collect();
        for value in 0..3 {
            assert!(drawn.iter().filter(|&&d| d == value).count() > 280);
        }
        assert!(drawn.iter().all(|&d| d < 3));
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn every_seed_purpose_and_number_is_a_sequence_of_its_own() {
        let first = |seed, purpose, number| Random::new(seed, purpose, number).bits();
        let drawn = [
            first(1, Purpose::Names, 1),
            first(2, Purpose::Names, 1),
            first(1, Purpose::Names, 2),
            first(2, Purpose::Names, 2),
            first(1, Purpose::Invoices, 1),
        ];
        let distinct: std::collections::HashSet<u64> = drawn.into_iter().collect();
        assert_eq!(distinct.len(), drawn.len());
    }

    #[test]
    fn the_numbers_are_the_same_in_every_version() {
        let mut random = Random::new(42, Purpose::Invoices, 1);
        assert_eq!([random.bits(), random.bits()], [14_252_933_841_176_374_180, 8_294_663_434_188_218_957]);
    }
}
