//! The grouping, in Polars: a month's invoices to statistics per business. Bytes in, frame out.
//!
//! Where ids lie close together, businesses are places in an array ([`crate::dense`]). Elsewhere both
//! sides of an invoice and the counterparties are grouped apart, and their partial results are merged
//! like those of months: one merge serves both, and NULL needs no join to meet NULL. Texts are numbers meanwhile
//! ([`crate::codes`]).

use crate::codes::{Codes, PARTIES};
use crate::dense::Dense;
use crate::engine::{self, collect};
use crate::merge;
use crate::pairs::{Pairs, Share};
use bytes::Bytes;
use invoices::money::MoneyType;
use invoices::parquet::business_ids;
use invoices::statistics::{self as names, Scope};
use invoices::{KeyKind, Result};
use polars::prelude::*;
use std::ops::RangeInclusive;

/// One side of an invoice, and the columns of the statistics that come from it.
struct Side {
    business: &'static str,
    total: &'static str,
    count: &'static str,
    min: &'static str,
    max: &'static str,
}

const ISSUED: Side = Side {
    business: "issuer_id",
    total: names::TOTAL_ISSUED,
    count: names::ISSUED_COUNT,
    min: names::MIN_ISSUED,
    max: names::MAX_ISSUED,
};

const RECEIVED: Side = Side {
    business: "receiver_id",
    total: names::TOTAL_RECEIVED,
    count: names::RECEIVED_COUNT,
    min: names::MIN_RECEIVED,
    max: names::MAX_RECEIVED,
};

/// How much of a month is in memory at once.
#[derive(Debug, Clone, Copy)]
pub struct AtOnce {
    /// Invoices unpacked and grouped together.
    pub rows: u64,
    /// Pairs of businesses whose distinct ones are looked for together.
    pub pairs: u64,
}

/// The invoices of an object, with integers for businesses.
struct Invoices {
    object: ScanSources,
    /// What the integers stand for, where businesses are texts.
    codes: Option<Codes>,
}

/// Statistics per business of the `rows` invoices in an object of the table `invoices`.
///
/// # Errors
/// Refused when the object cannot be read as invoices.
pub fn month(
    object: Bytes,
    rows: u64,
    at_once: AtOnce,
    money: MoneyType,
    business: KeyKind,
) -> Result<DataFrame> {
    let (invoices, ids) = Invoices::of(object, rows, at_once, business)?;
    let dense = ids.as_ref().and_then(|ids| Dense::of(ids, rows));
    let statistics = match dense {
        Some(dense) => by_place(&invoices, rows, at_once, money, ids, dense),
        None => by_key(&invoices, rows, at_once, money, ids),
    }?;
    match &invoices.codes {
        Some(codes) => codes.decode(&statistics),
        None => Ok(statistics),
    }
}

/// For ids that lie close together.
fn by_place(
    invoices: &Invoices,
    rows: u64,
    at_once: AtOnce,
    money: MoneyType,
    ids: Option<RangeInclusive<i64>>,
    mut dense: Dense,
) -> Result<DataFrame> {
    for share in Share::all(rows.div_ceil(at_once.pairs)) {
        let mut pairs = Pairs::new(ids.clone(), share);
        for first in (0..rows.max(1)).step_by(at_once.rows as usize) {
            let invoices = invoices.slice(first, at_once.rows, columns_for(share))?;
            pairs.add(&invoices)?;
            if share.is_first() {
                dense.add(&invoices)?;
            }
        }
        pairs.each_place(|low, high| dense.meet(low, high))?;
    }
    dense.into_frame(money)
}

/// For any ids: both sides and the pairs are partial results, merged by Polars.
fn by_key(
    invoices: &Invoices,
    rows: u64,
    at_once: AtOnce,
    money: MoneyType,
    ids: Option<RangeInclusive<i64>>,
) -> Result<DataFrame> {
    let merged = |partials| merge::merge(partials, money, Scope::Month, KeyKind::Integer);
    let mut partials: Vec<LazyFrame> = Vec::new();
    for share in Share::all(rows.div_ceil(at_once.pairs)) {
        let mut pairs = Pairs::new(ids.clone(), share);
        for first in (0..rows.max(1)).step_by(at_once.rows as usize) {
            let invoices = invoices.slice(first, at_once.rows, columns_for(share))?;
            pairs.add(&invoices)?;
            if share.is_first() {
                partials = if first > 0 { vec![merged(partials)?.lazy()] } else { partials };
                partials.extend([side(invoices.clone().lazy(), &ISSUED), side(invoices.lazy(), &RECEIVED)]);
            }
        }
        partials = if share.is_first() { partials } else { vec![merged(partials)?.lazy()] };
        partials.push(pairs.counterparties()?);
    }
    merged(partials)
}

/// What is read of an invoice, its ids first.
const COLUMNS: [&str; 4] = ["issuer_id", "receiver_id", "issue_date", "amount_usd"];

/// The ids are read again for every further share of the pairs, and nothing else is.
fn columns_for(share: Share) -> &'static [&'static str] {
    if share.is_first() { &COLUMNS } else { &COLUMNS[..2] }
}

impl Invoices {
    /// And the range of the integers; none when there is no business, or none is known.
    fn of(
        object: Bytes,
        rows: u64,
        at_once: AtOnce,
        business: KeyKind,
    ) -> Result<(Self, Option<RangeInclusive<i64>>)> {
        if business != KeyKind::Text {
            let ids = business_ids(&object)?;
            return Ok((Self { object: engine::in_memory(vec![object]), codes: None }, ids));
        }
        let invoices = Self { object: engine::in_memory(vec![object]), codes: None };
        let mut codes = Codes::default();
        for first in (0..rows.max(1)).step_by(at_once.rows as usize) {
            codes.add(&invoices.slice(first, at_once.rows, &PARTIES)?)?;
        }
        let codes = codes.number();
        let ids = codes.range();
        Ok((Self { codes: Some(codes), ..invoices }, ids))
    }

    fn slice(&self, first: u64, rows: u64, columns: &[&str]) -> Result<DataFrame> {
        let columns: Vec<Expr> = columns.iter().map(|name| col(*name)).collect();
        let scanned = engine::scan(self.object.clone())?.slice(first as i64, rows as IdxSize);
        let invoices = collect(scanned.select(columns))?;
        match &self.codes {
            Some(codes) => codes.encode(&invoices),
            None => Ok(invoices),
        }
    }
}

fn side(invoices: LazyFrame, side: &Side) -> LazyFrame {
    let (amount, date) = (|| col("amount_usd"), || col("issue_date"));
    invoices.group_by([col(side.business).alias(names::BUSINESS_ID)]).agg([
        amount().sum().alias(side.total),
        len().cast(DataType::Int64).alias(side.count),
        amount().min().alias(side.min),
        amount().max().alias(side.max),
        date().min().alias(names::FIRST_DATE),
        date().max().alias(names::LAST_DATE),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MONEY, fingerprint, lines, lines_of, naive, object, object_of_texts, text_of};
    use crate::{engine, totals};
    use invoices::{Fingerprint, Invoice, statistics};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;

    fn staged(invoices: &[Invoice]) -> Bytes {
        let expected = fingerprint(invoices);
        // A few at a time, so that every case is also one of several slices and shares.
        let all = staged_by(invoices, &expected, AtOnce { rows: 7, pairs: 1 << 20 });
        let in_shares = staged_by(invoices, &expected, AtOnce { rows: 50, pairs: 11 });
        assert_eq!(lines_of(&all), lines_of(&in_shares));
        all
    }

    fn staged_by(invoices: &[Invoice], expected: &Fingerprint, at_once: AtOnce) -> Bytes {
        let (object, rows) = (object(invoices, expected), expected.rows);
        let ids = business_ids(&object).unwrap();
        let mut frame = month(object.clone(), rows, at_once, MONEY, KeyKind::Integer).unwrap();
        // Whichever way was taken, the general one says the same.
        let (opened, _) = Invoices::of(object, rows, at_once, KeyKind::Integer).unwrap();
        let by_key = by_key(&opened, rows, at_once, MONEY, ids).unwrap();
        assert!(frame.equals_missing(&by_key), "{frame} where Polars has {by_key}");
        totals::check(&frame, expected, MONEY.scale, "the test").unwrap();
        let staged = engine::to_parquet(&mut frame).unwrap();
        assert_eq!(lines_of_texts(invoices, at_once), as_texts(&lines_of(&staged)));
        staged
    }

    /// What is staged where the ids of businesses are texts.
    fn lines_of_texts(invoices: &[Invoice], at_once: AtOnce) -> Vec<String> {
        let object = object_of_texts(invoices);
        let mut frame = month(object, invoices.len() as u64, at_once, MONEY, KeyKind::Text).unwrap();
        lines_of(&engine::to_parquet(&mut frame).unwrap())
    }

    fn as_texts(lines: &[String]) -> Vec<String> {
        let as_text = |line: &String| {
            let (id, rest) = line.split_once(' ').unwrap();
            let id = if id == "-" { id.to_owned() } else { text_of(id.parse().unwrap()) };
            format!("{id} {rest}")
        };
        lines.iter().map(as_text).collect()
    }

    fn invoice(issuer_id: Option<i64>, receiver_id: Option<i64>, amount: i64) -> Invoice {
        Invoice { invoice_id: 0, issue_date_us: amount, issuer_id, receiver_id, amount }
    }

    #[test]
    fn staged_columns_have_the_order_and_types_of_the_table() {
        let object = staged(&[invoice(Some(1), None, 5)]);
        let reader = ParquetRecordBatchReaderBuilder::try_new(object).unwrap();
        let columns = |schema: &arrow::datatypes::Schema| -> Vec<_> {
            schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        assert_eq!(
            columns(reader.schema()),
            columns(&statistics::schema(MONEY, Scope::Month, KeyKind::Integer))
        );
    }

    #[test]
    fn null_meets_null_and_a_business_meets_itself() {
        let invoices = [
            invoice(Some(1), Some(1), 5),
            invoice(None, Some(1), -7),
            invoice(Some(2), None, 0),
            invoice(None, None, 11),
            invoice(Some(1), Some(2), 13),
            invoice(Some(2), Some(1), 17),
        ];
        let expected = [
            "1 18 15 2 3 5 13 -7 17 -7 17 2",
            "2 17 13 2 1 0 17 13 13 0 17 1",
            "- 4 11 2 2 -7 11 0 11 -7 11 2",
        ];
        assert_eq!(lines_of(&staged(&invoices)), expected);
    }

    /// Near the limits of the type a float would be wrong in the last digits, and 64 bits too small.
    #[test]
    fn sums_of_the_largest_amounts_are_exact() {
        let largest = MONEY.max_unscaled();
        let mut invoices = vec![invoice(Some(1), Some(2), largest); 1_000];
        invoices.push(invoice(Some(1), Some(2), -1));
        invoices.extend(vec![invoice(Some(2), Some(1), -largest); 1_001]);
        let first = &lines_of(&staged(&invoices))[0];
        let issued = i128::from(largest) * 1_000 - 1;
        let received = -i128::from(largest) * 1_001;
        assert!(first.starts_with(&format!("1 {issued} {received} 1001 1001 ")), "{first}");
        assert!(issued > i128::from(i64::MAX) && received < i128::from(i64::MIN));
    }

    #[test]
    fn ids_from_end_to_end_of_their_type_are_kept_apart() {
        let invoices = [
            invoice(Some(i64::MIN), Some(i64::MAX), 1),
            invoice(Some(i64::MAX), Some(i64::MIN), 2),
            invoice(None, Some(i64::MIN), 3),
            invoice(Some(0), Some(i64::MAX), 4),
        ];
        assert_eq!(lines_of(&staged(&invoices)), lines(&naive(&invoices), true));
    }

    #[test]
    fn ids_that_just_fit_one_key_and_ids_that_just_do_not_are_kept_apart() {
        for greatest in [1 << 31, (1 << 32) - 1, 1 << 32, (1 << 32) + 1, 1 << 33] {
            let invoices = [
                invoice(Some(1), Some(greatest), 1),
                invoice(Some(greatest), Some(greatest - 1), 2),
                invoice(Some(greatest), None, 3),
                invoice(Some(greatest - 1), Some(1), 4),
                invoice(Some(2), Some(greatest), 5),
            ];
            assert_eq!(lines_of(&staged(&invoices)), lines(&naive(&invoices), true));
        }
    }

    #[test]
    fn without_any_business_there_is_one_row() {
        let invoices = [invoice(None, None, 3), invoice(None, None, -3)];
        assert_eq!(lines_of(&staged(&invoices)), ["- 0 0 2 2 -3 3 -3 3 -3 3 0"]);
    }

    fn business() -> impl Strategy<Value = Option<i64>> {
        prop_oneof![
            1 => Just(None),
            8 => (0_i64..6).prop_map(Some),
            1 => (-3_i64..3).prop_map(|id| Some(i64::from(i32::MAX) + id)),
            1 => any::<i64>().prop_map(Some),
        ]
    }

    fn invoices() -> impl Strategy<Value = Vec<Invoice>> {
        let limit = MONEY.max_unscaled();
        let amount = prop_oneof![-3_i64..3, -limit..=limit];
        let one = (business(), business(), amount)
            .prop_map(|(issuer, receiver, amount)| invoice(issuer, receiver, amount));
        proptest::collection::vec(one, 1..300)
    }

    /// Ids within some hundred of each other, at either end of their type and around zero.
    fn close_invoices() -> impl Strategy<Value = Vec<Invoice>> {
        let limit = MONEY.max_unscaled();
        let base = prop_oneof![Just(i64::MIN + 2), Just(-50), Just(1), Just(i64::MAX - 100)];
        base.prop_flat_map(move |base| {
            let business =
                || prop_oneof![1 => Just(None), 8 => (0_i64..100).prop_map(move |id| Some(base + id))];
            let one = (business(), business(), -limit..=limit)
                .prop_map(|(issuer, receiver, amount)| invoice(issuer, receiver, amount));
            proptest::collection::vec(one, 1..300)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn invoices_of_close_ids_are_grouped_as_one_at_a_time(invoices in close_invoices()) {
            prop_assert_eq!(lines_of(&staged(&invoices)), lines(&naive(&invoices), true));
        }

        #[test]
        fn any_invoices_are_grouped_as_one_at_a_time(invoices in invoices()) {
            prop_assert_eq!(lines_of(&staged(&invoices)), lines(&naive(&invoices), true));
        }
    }
}
