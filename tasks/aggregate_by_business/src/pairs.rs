//! Counterparties: with how many distinct other businesses each business dealt, whichever of the
//! two issued the invoice. A business that invoices itself counts itself once; NULL counts for
//! nobody, but has counterparties of its own.
//!
//! Nearly every pair occurs once or twice, which is where a hash table is slowest: grouping the
//! pairs in Polars takes more than twice as long as sorting them. The two directions of a pair are
//! one, and where the ids allow it a pair is one 64-bit key.

use crate::engine::failed;
use invoices::Result;
use invoices::statistics::{BUSINESS_ID, COUNTERPARTIES};
use polars::prelude::*;

/// A row per business and part of its number of counterparties; parts of one business add up.
pub fn counterparties(invoices: &DataFrame) -> Result<LazyFrame> {
    let ids = |side: &str| invoices.column(side).and_then(|column| column.i64()).map_err(failed);
    let (issuers, receivers) = (ids("issuer_id")?, ids("receiver_id")?);
    let pairs = issuers.iter().zip(receivers.iter());
    let counts = match Packing::of(issuers, receivers) {
        Some(packing) => packing.count(pairs),
        None => count(ordered(pairs).collect(), None, |pair| pair),
    };
    let (businesses, counts): (Vec<Option<i64>>, Vec<i64>) = counts.into_iter().unzip();
    let columns =
        vec![Column::new(BUSINESS_ID.into(), businesses), Column::new(COUNTERPARTIES.into(), counts)];
    Ok(DataFrame::new_infer_height(columns).map_err(failed)?.lazy())
}

/// Pairs with the smaller part first, so that both directions are the same pair; those without any
/// business are nobody's.
fn ordered<B: Ord + Default>(pairs: impl Iterator<Item = (B, B)>) -> impl Iterator<Item = (B, B)> {
    let in_order = |(a, b): (B, B)| if a <= b { (a, b) } else { (b, a) };
    pairs.map(in_order).filter(|(_, high)| *high != B::default())
}

/// Counts the distinct partners of each business in ordered pairs; `parts` opens a pair.
fn count<P, B>(mut pairs: Vec<P>, null: B, parts: impl Fn(P) -> (B, B)) -> Vec<(B, i64)>
where
    P: Ord + Copy,
    B: Ord + Copy,
{
    pairs.sort_unstable();
    pairs.dedup();
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
struct Packing {
    /// What stands for NULL: the smallest id less one.
    base: i64,
}

impl Packing {
    /// None when the ids span more than half a key.
    fn of(issuers: &Int64Chunked, receivers: &Int64Chunked) -> Option<Self> {
        let smallest = [issuers.min(), receivers.min()].into_iter().flatten().min()?;
        let greatest = [issuers.max(), receivers.max()].into_iter().flatten().max()?;
        let base = smallest.checked_sub(1)?;
        let span = greatest.checked_sub(base)?;
        (span <= i64::from(u32::MAX)).then_some(Self { base })
    }

    fn count(&self, pairs: impl Iterator<Item = (Option<i64>, Option<i64>)>) -> Vec<(Option<i64>, i64)> {
        let half = |id: Option<i64>| id.map_or(0, |id| (id - self.base) as u32);
        let halves = pairs.map(|(a, b)| (half(a), half(b)));
        let keys = ordered(halves).map(|(low, high)| u64::from(low) << 32 | u64::from(high));
        let counts = count(keys.collect(), 0, |key| ((key >> 32) as u32, key as u32));
        let id = |half: u32| (half != 0).then(|| i64::from(half) + self.base);
        counts.into_iter().map(|(half, count)| (id(half), count)).collect()
    }
}
