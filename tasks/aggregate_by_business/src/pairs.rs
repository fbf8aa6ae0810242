//! Counterparties: with how many distinct other businesses each business dealt, whichever of the
//! two issued the invoice. A business that invoices itself counts itself once; NULL counts for
//! nobody, but has counterparties of its own.
//!
//! Finding the distinct pairs is the most expensive part of the grouping. The two directions of a
//! pair are one, and where the ids allow it a pair is one 64-bit key: Polars hashes such a key
//! several times faster than a pair of columns.

use crate::engine::{collect, failed};
use invoices::Result;
use invoices::statistics::{BUSINESS_ID, COUNTERPARTIES};
use polars::prelude::*;

const LOW: &str = "low";
const HIGH: &str = "high";
const KEY: &str = "key";

/// Half of a key: ids that span no more than this are packed.
const SPAN_MAX: i64 = 1 << 31;

/// A row per business and part of its number of counterparties; parts of one business add up.
pub fn counterparties(invoices: &DataFrame) -> Result<LazyFrame> {
    let pairs = match Packing::of(invoices)? {
        Some(packing) => packing.pairs(invoices.clone().lazy()),
        None => wide_pairs(invoices.clone().lazy()),
    };
    // Both sides of the count read the same pairs: find them once.
    let pairs = collect(pairs)?.lazy();
    let of_low = count(pairs.clone(), LOW);
    let of_high = count(pairs.filter(col(LOW).neq(col(HIGH))), HIGH);
    concat([of_low, of_high], UnionArgs::default()).map_err(failed)
}

fn count(pairs: LazyFrame, business: &str) -> LazyFrame {
    let counted = len().cast(DataType::Int64).alias(COUNTERPARTIES);
    pairs.group_by([col(business).alias(BUSINESS_ID)]).agg([counted])
}

/// Distinct pairs of ids that differ by more than a key holds.
fn wide_pairs(invoices: LazyFrame) -> LazyFrame {
    invoices
        .select(ordered(col("issuer_id"), col("receiver_id")))
        .filter(col(HIGH).is_not_null())
        .group_by([col(LOW), col(HIGH)])
        .agg(Vec::<Expr>::new())
}

/// The smaller of two ids as LOW, the greater as HIGH; of NULL and an id, NULL as LOW.
fn ordered(a: Expr, b: Expr) -> [Expr; 2] {
    let swapped = a.clone().gt(b.clone()).or(b.clone().is_null());
    [
        when(swapped.clone()).then(b.clone()).otherwise(a.clone()).alias(LOW),
        when(swapped).then(a).otherwise(b).alias(HIGH),
    ]
}

/// A pair as one key: `low * SPAN_MAX + high`, each id counted from the smallest one, NULL as 0.
struct Packing {
    /// What stands for NULL: the smallest id less one.
    base: i64,
}

impl Packing {
    /// None when the ids span too much.
    fn of(invoices: &DataFrame) -> Result<Option<Self>> {
        let mut smallest = i64::MAX;
        let mut greatest = i64::MIN;
        for side in ["issuer_id", "receiver_id"] {
            let ids = invoices.column(side).and_then(|column| column.i64()).map_err(failed)?;
            smallest = smallest.min(ids.min().unwrap_or(i64::MAX));
            greatest = greatest.max(ids.max().unwrap_or(i64::MIN));
        }
        let base = smallest.checked_sub(1);
        let fits = |base: &i64| greatest.checked_sub(*base).is_some_and(|span| span < SPAN_MAX);
        Ok(base.filter(fits).map(|base| Self { base }))
    }

    fn pairs(&self, invoices: LazyFrame) -> LazyFrame {
        let position = |id: &str| (col(id) - lit(self.base)).fill_null(lit(0_i64));
        let [low, high] = ordered(position("issuer_id"), position("receiver_id"));
        let id = |position: Expr| position + lit(self.base);
        invoices
            .select([low, high])
            .filter(col(HIGH).neq(lit(0_i64)))
            .select([(col(LOW) * lit(SPAN_MAX) + col(HIGH)).alias(KEY)])
            .group_by([col(KEY)])
            .agg(Vec::<Expr>::new())
            .select([(col(KEY) / lit(SPAN_MAX)).alias(LOW), (col(KEY) % lit(SPAN_MAX)).alias(HIGH)])
            .select([
                when(col(LOW).eq(lit(0_i64))).then(lit(NULL)).otherwise(id(col(LOW))).alias(LOW),
                id(col(HIGH)).alias(HIGH),
            ])
    }
}
