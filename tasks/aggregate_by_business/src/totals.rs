//! Totals in = totals out: every invoice is counted once as issued and once as received.

use crate::engine::failed;
use invoices::statistics as names;
use invoices::{Error, Fingerprint, Result};
use polars::prelude::*;

/// Checks both sides of the statistics against what the invoices add up to. `what` names the
/// statistics in the error.
///
/// # Errors
/// Refused when they differ, or when a sum does not fit 128 bits.
pub fn check(frame: &DataFrame, expected: &Fingerprint, scale: u8, what: &str) -> Result<()> {
    for (side, total, count) in [
        ("issued", names::TOTAL_ISSUED, names::ISSUED_COUNT),
        ("received", names::TOTAL_RECEIVED, names::RECEIVED_COUNT),
    ] {
        let found = Fingerprint {
            rows: u64::try_from(count_sum(frame, count)?).unwrap_or_default(),
            amount: amount_sum(frame, total)?,
            hash: expected.hash,
        };
        if found != *expected {
            let difference = found.difference(expected, scale);
            return Err(Error::refused(format!(
                "{what}: the {side} totals are {difference}; nothing was written"
            )));
        }
    }
    Ok(())
}

/// Polars' own sums wrap around silently; this one does not.
fn amount_sum(frame: &DataFrame, name: &str) -> Result<i128> {
    let column = frame.column(name).map_err(failed)?.as_materialized_series();
    let amounts = column.decimal().map_err(failed)?.physical();
    let sum = amounts.iter().flatten().try_fold(0_i128, i128::checked_add);
    sum.ok_or_else(|| Error::refused(format!("the sum of {name} does not fit 128 bits")))
}

fn count_sum(frame: &DataFrame, name: &str) -> Result<i64> {
    let counts = frame.column(name).and_then(|column| column.i64()).map_err(failed)?;
    let sum = counts.iter().flatten().try_fold(0_i64, i64::checked_add);
    sum.ok_or_else(|| Error::refused(format!("the sum of {name} does not fit 64 bits")))
}
