//! Counterparties: with how many distinct other businesses each business dealt, whichever of the
//! two issued the invoice. A business that invoices itself counts itself once; NULL counts for
//! nobody, but has counterparties of its own.
//!
//! Nearly every pair occurs once or twice, which is where a hash table is slowest: grouping the
//! pairs in Polars takes more than twice as long as sorting them. The two directions of a pair are
//! one, and where the ids allow it a pair is one 64-bit key.
//!
//! The pairs of a large month are counted in shares, one after the other, so that memory does not
//! follow the month: every pair falls into one share, and the counts of the shares add up.

use crate::engine::failed;
use invoices::statistics::{BUSINESS_ID, COUNTERPARTIES};
use invoices::{Error, Result};
use polars::prelude::*;
use rustc_hash::FxBuildHasher;
use std::hash::{BuildHasher, Hash};
use std::ops::RangeInclusive;

/// Both ends of an invoice, NULL where one is missing.
type Ends = (Option<i64>, Option<i64>);

/// One of several equal parts that pairs are dealt into by a hash of both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    number: u64,
    of: u64,
}

impl Share {
    /// All shares, at least one.
    pub fn all(count: u64) -> impl Iterator<Item = Self> {
        let of = count.max(1);
        (0..of).map(move |number| Self { number, of })
    }

    pub fn is_first(self) -> bool {
        self.number == 0
    }

    fn holds(self, pair: &impl Hash) -> bool {
        self.of == 1 || FxBuildHasher.hash_one(pair) % self.of == self.number
    }
}

/// The distinct pairs of a month's invoices that fall into a share, slice by slice: 8 bytes each, or
/// 32 where ids lie too far apart.
pub struct Pairs {
    share: Share,
    found: Found,
}

enum Found {
    Packed(Packing, Distinct<u64>),
    Wide(Distinct<Ends>),
}

impl Pairs {
    /// For invoices whose ids all lie in the range, when it is known.
    pub fn new(ids: Option<RangeInclusive<i64>>, share: Share) -> Self {
        let found = match ids.and_then(|ids| Packing::of(&ids)) {
            Some(packing) => Found::Packed(packing, Distinct::default()),
            None => Found::Wide(Distinct::default()),
        };
        Self { share, found }
    }

    pub fn add(&mut self, invoices: &DataFrame) -> Result<()> {
        let ids = |side: &str| invoices.column(side).and_then(|column| column.i64()).map_err(failed);
        let ends = ids("issuer_id")?.iter().zip(ids("receiver_id")?.iter());
        let share = self.share;
        match &mut self.found {
            Found::Packed(packing, pairs) => {
                let keys = ends.filter_map(|(a, b)| packing.key(a, b));
                pairs.extend(keys.filter(|key| share.holds(key)));
            }
            Found::Wide(pairs) => {
                pairs.extend(ends.filter_map(in_order).filter(|pair| share.holds(pair)));
            }
        }
        Ok(())
    }

    /// Hands over every distinct pair as places counted from the smallest id, which is 1; NULL is 0.
    ///
    /// # Errors
    /// Bug when the ids do not allow it.
    pub fn each_place(self, mut meet: impl FnMut(u32, u32)) -> Result<()> {
        let Found::Packed(_, pairs) = self.found else {
            return Err(Error::bug("pairs of ids that lie far apart have no places"));
        };
        pairs.sorted().into_iter().for_each(|key| meet((key >> 32) as u32, key as u32));
        Ok(())
    }

    /// A row per business and part of its number of counterparties; parts of one business add up.
    pub fn counterparties(self) -> Result<LazyFrame> {
        let counts = match self.found {
            Found::Packed(packing, pairs) => {
                let counts = count(&pairs.sorted(), 0, |key| ((key >> 32) as u32, key as u32));
                counts.into_iter().map(|(half, count)| (packing.id(half), count)).collect()
            }
            Found::Wide(pairs) => count(&pairs.sorted(), None, |pair| pair),
        };
        let (businesses, counts): (Vec<Option<i64>>, Vec<i64>) = counts.into_iter().unzip();
        let columns =
            vec![Column::new(BUSINESS_ID.into(), businesses), Column::new(COUNTERPARTIES.into(), counts)];
        Ok(DataFrame::new_infer_height(columns).map_err(failed)?.lazy())
    }
}

/// Distinct values; repeated ones are thrown out whenever there are twice as many as before.
pub struct Distinct<T> {
    values: Vec<T>,
    /// Length at which to look for repeated values again.
    limit: usize,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self { values: Vec::new(), limit: 1 << 22 }
    }
}

impl<T: Ord + Copy> Distinct<T> {
    fn extend(&mut self, values: impl Iterator<Item = T>) {
        self.values.extend(values);
        if self.values.len() > self.limit {
            self.tidy();
            self.limit = self.limit.max(2 * self.values.len());
        }
    }

    fn tidy(&mut self) {
        self.values.sort_unstable();
        self.values.dedup();
    }

    fn sorted(mut self) -> Vec<T> {
        self.tidy();
        self.values
    }
}

/// The pair with its smaller part first, so that both directions are the same pair; none without
/// any business.
fn in_order<B: Ord + Default>((a, b): (B, B)) -> Option<(B, B)> {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    (high != B::default()).then_some((low, high))
}

/// Counts the partners of each business in distinct, ordered and sorted pairs; `parts` opens one.
fn count<P: Copy, B: Ord + Copy>(pairs: &[P], null: B, parts: impl Fn(P) -> (B, B)) -> Vec<(B, i64)> {
    let opened = || pairs.iter().map(|pair| parts(*pair));
    let is_counted = |(low, high): &(B, B)| low != high && *low != null;
    let mut highs: Vec<B> = opened().filter(is_counted).map(|(_, high)| high).collect();
    highs.sort_unstable();
    let mut counts = run_lengths(opened().map(|(low, _)| low));
    counts.append(&mut run_lengths(highs.into_iter()));
    counts
}

fn run_lengths<B: PartialEq>(sorted: impl Iterator<Item = B>) -> Vec<(B, i64)> {
    let mut runs: Vec<(B, i64)> = Vec::new();
    for value in sorted {
        match runs.last_mut() {
            Some((last, length)) if *last == value => *length += 1,
            _ => runs.push((value, 1)),
        }
    }
    runs
}

/// A pair as one key of two 32-bit halves, each an id counted from the smallest one, NULL as 0.
pub struct Packing {
    /// What stands for NULL: the smallest id less one.
    base: i64,
}

impl Packing {
    /// None when the ids span more than half a key.
    fn of(ids: &RangeInclusive<i64>) -> Option<Self> {
        let base = ids.start().checked_sub(1)?;
        let span = ids.end().checked_sub(base)?;
        (span <= i64::from(u32::MAX)).then_some(Self { base })
    }

    fn key(&self, a: Option<i64>, b: Option<i64>) -> Option<u64> {
        let half = |id: Option<i64>| id.map_or(0, |id| (id - self.base) as u32);
        in_order((half(a), half(b))).map(|(low, high)| u64::from(low) << 32 | u64::from(high))
    }

    fn id(&self, half: u32) -> Option<i64> {
        (half != 0).then(|| i64::from(half) + self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_falls_into_one_share_and_shares_are_about_equal() {
        let shares: Vec<Share> = Share::all(5).collect();
        let mut sizes = [0; 5];
        for pair in (0..100_000_u64).map(|n| n << 32 | (n + 7)) {
            let holding: Vec<usize> = (0..5).filter(|&share| shares[share].holds(&pair)).collect();
            assert_eq!(holding.len(), 1, "{pair}");
            sizes[holding[0]] += 1;
        }
        assert!(sizes.iter().all(|size| (19_000..21_000).contains(size)), "{sizes:?}");
        assert_eq!(Share::all(0).count(), 1);
    }

    #[test]
    fn distinct_values_are_kept_once_however_they_come() {
        let mut distinct = Distinct { values: Vec::new(), limit: 4 };
        for _ in 0..5 {
            distinct.extend([3_u64, 1, 2].into_iter());
        }
        assert!(distinct.values.len() <= 6, "{:?}", distinct.values);
        assert_eq!(distinct.sorted(), [1, 2, 3]);
    }
}
