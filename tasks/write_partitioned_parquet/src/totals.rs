//! Totals in = totals out: what is published adds up to the invoices that were grouped. Pure.

use arrow::array::AsArray;
use arrow::datatypes::{Decimal128Type, Int64Type};
use arrow::record_batch::RecordBatch;
use invoices::statistics as names;
use invoices::{Error, Fingerprint, Result};

/// Counts and exact sums of both sides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    issued: Side,
    received: Side,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Side {
    rows: i64,
    amount: i128,
}

impl Totals {
    /// Adds the rows of one partition.
    pub fn add(&mut self, rows: &RecordBatch) -> Result<()> {
        self.issued.add(rows, names::TOTAL_ISSUED, names::ISSUED_COUNT)?;
        self.received.add(rows, names::TOTAL_RECEIVED, names::RECEIVED_COUNT)
    }

    /// Refused when one side is not what the invoices add up to. `what` names the partition.
    pub fn check(&self, expected: &Fingerprint, scale: u8, what: &str) -> Result<()> {
        for (name, side) in [("issued", self.issued), ("received", self.received)] {
            let found = Fingerprint {
                rows: u64::try_from(side.rows).unwrap_or_default(),
                amount: side.amount,
                hash: expected.hash,
            };
            if found != *expected {
                let difference = found.difference(expected, scale);
                return Err(Error::refused(format!(
                    "the statistics of {what} have {name} totals of {difference}; nothing was written"
                )));
            }
        }
        Ok(())
    }
}

impl Side {
    fn add(&mut self, rows: &RecordBatch, amount: &str, count: &str) -> Result<()> {
        let missing = || Error::bug("statistics lack a column of totals");
        let column = |name: &str| rows.column_by_name(name).ok_or_else(missing);
        let amounts = column(amount)?.as_primitive_opt::<Decimal128Type>().ok_or_else(missing)?;
        let counts = column(count)?.as_primitive_opt::<Int64Type>().ok_or_else(missing)?;
        let too_large = || Error::refused(format!("the sum of {amount} does not fit 128 bits"));
        for value in amounts.iter().flatten() {
            self.amount = self.amount.checked_add(value).ok_or_else(too_large)?;
        }
        for value in counts.iter().flatten() {
            self.rows = self.rows.checked_add(value).ok_or_else(too_large)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use invoices::Kind;

    #[test]
    fn a_missing_row_is_refused() {
        let rows = testing::statistics(&[Some(1), Some(2), None]);
        let expected = testing::fingerprint(&rows);
        let mut totals = Totals::default();
        totals.add(&rows.slice(0, 2)).unwrap();
        let error = totals.check(&expected, 2, "month 2026-01-01").unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        totals.add(&rows.slice(2, 1)).unwrap();
        totals.check(&expected, 2, "month 2026-01-01").unwrap();
    }
}
