//! Spark's answer, batches of an older Arrow, as a Polars frame in the table's order. No type is converted: one
//! that is not the table's is an error.

use crate::engine::failed;
use crate::merge;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Int64Type as ArrowInt64, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use invoices::money::MoneyType;
use invoices::statistics::{self as names, Scope};
use invoices::{Error, KeyKind, Result};
use polars::prelude::*;

/// Statistics of a month, sorted by business, NULL last.
///
/// # Errors
/// Refused when a column is missing or has another type.
pub fn frame(batches: &[RecordBatch], money: MoneyType, business: KeyKind) -> Result<DataFrame> {
    let columns = merge::columns(money, Scope::Month, business).into_iter();
    let columns = columns.map(|(name, dtype)| column(batches, name, dtype)).collect::<Result<Vec<_>>>()?;
    let frame = DataFrame::new_infer_height(columns).map_err(failed)?;
    let nulls_last = SortMultipleOptions::default().with_nulls_last(true);
    frame.sort([names::BUSINESS_ID], nulls_last).map_err(failed)
}

fn column(batches: &[RecordBatch], name: PlSmallStr, dtype: DataType) -> Result<Column> {
    let arrays: Vec<&dyn Array> = batches
        .iter()
        .map(|batch| batch.column_by_name(&name).map(AsRef::as_ref))
        .collect::<Option<_>>()
        .ok_or_else(|| Error::refused(format!("Spark's answer has no column {name}")))?;
    let wrong = || {
        let found: Vec<_> = arrays.iter().map(|array| array.data_type().to_string()).collect();
        let found = found.first().cloned().unwrap_or_default();
        Error::refused(format!("column {name} of Spark's answer is {found}, where {dtype} was asked for"))
    };
    let series = match dtype {
        DataType::Decimal(precision, scale) => {
            let wanted = arrow::datatypes::DataType::Decimal128(precision as u8, scale as i8);
            if arrays.iter().any(|array| *array.data_type() != wanted) {
                return Err(wrong());
            }
            let arrays = arrays.iter().map(|array| array.as_primitive_opt::<Decimal128Type>());
            let arrays = arrays.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
            let values = arrays.into_iter().flatten();
            let values = Int128Chunked::from_iter_options(name.clone(), values);
            values.into_decimal(precision, scale).map_err(failed)?.into_series()
        }
        DataType::Datetime(unit, _) => {
            let arrays = arrays.iter().map(|array| array.as_primitive_opt::<TimestampMicrosecondType>());
            let arrays = arrays.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
            // A time zone is a matter of display: the number is what the file holds.
            let values = Int64Chunked::from_iter_options(name.clone(), arrays.into_iter().flatten());
            values.into_datetime(unit, None).into_series()
        }
        DataType::String => {
            let texts = arrays.iter().map(|array| texts(*array)).collect::<Option<Vec<_>>>();
            let texts = texts.ok_or_else(wrong)?.into_iter().flatten();
            StringChunked::from_iter_options(name.clone(), texts).into_series()
        }
        _ => {
            let arrays = arrays.iter().map(|array| array.as_primitive_opt::<ArrowInt64>());
            let arrays = arrays.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
            Int64Chunked::from_iter_options(name.clone(), arrays.into_iter().flatten()).into_series()
        }
    };
    Ok(series.into_column())
}

/// Texts in whichever of Arrow's forms the cluster prefers.
fn texts(array: &dyn Array) -> Option<Vec<Option<&str>>> {
    let short = array.as_string_opt::<i32>().map(|texts| texts.iter().collect());
    let long = || array.as_string_opt::<i64>().map(|texts| texts.iter().collect());
    short.or_else(long).or_else(|| array.as_string_view_opt().map(|texts| texts.iter().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, TimestampMicrosecondArray};
    use std::sync::Arc;

    const MONEY: MoneyType = MoneyType { precision: 18, scale: 2 };
    const LARGEST: i128 = 10_i128.pow(38) - 1;

    fn batch(ids: Vec<Option<i64>>) -> Vec<(&'static str, ArrayRef)> {
        let count = ids.len();
        let numbers = || Arc::new(Int64Array::from(vec![7; count])) as ArrayRef;
        let decimals = |values: Vec<Option<i128>>, precision| {
            let array = Decimal128Array::from(values).with_precision_and_scale(precision, 2);
            Arc::new(array.unwrap()) as ArrayRef
        };
        let amounts = |value| decimals(vec![value; count], 18);
        let dates = || TimestampMicrosecondArray::from(vec![1_767_225_599_999_999; count]);
        vec![
            (names::BUSINESS_ID, Arc::new(Int64Array::from(ids)) as ArrayRef),
            (names::TOTAL_ISSUED, decimals(vec![Some(LARGEST); count], 38)),
            (names::TOTAL_RECEIVED, decimals(vec![Some(-LARGEST); count], 38)),
            (names::ISSUED_COUNT, numbers()),
            (names::RECEIVED_COUNT, numbers()),
            (names::MIN_ISSUED, amounts(Some(-999_999_999_999_999_999))),
            (names::MAX_ISSUED, amounts(Some(0))),
            (names::MIN_RECEIVED, amounts(None)),
            (names::MAX_RECEIVED, amounts(None)),
            (names::FIRST_DATE, Arc::new(dates())),
            (names::LAST_DATE, Arc::new(dates().with_timezone("America/New_York"))),
            (names::COUNTERPARTIES, numbers()),
        ]
    }

    fn batches(all: Vec<Vec<(&'static str, ArrayRef)>>) -> Vec<RecordBatch> {
        all.into_iter().map(|columns| RecordBatch::try_from_iter(columns).unwrap()).collect()
    }

    #[test]
    fn values_are_kept_to_the_last_digit_and_rows_are_sorted() {
        let found =
            frame(&batches(vec![batch(vec![Some(3), None]), batch(vec![Some(-1)])]), MONEY, KeyKind::Integer)
                .unwrap();
        let ids: Vec<_> = found.column(names::BUSINESS_ID).unwrap().i64().unwrap().iter().collect();
        assert_eq!(ids, [Some(-1), Some(3), None]);
        let wanted = merge::columns(MONEY, Scope::Month, KeyKind::Integer);
        let types: Vec<_> = found.columns().iter().map(|c| (c.name().clone(), c.dtype().clone())).collect();
        assert_eq!(types, wanted);
        let total = |name| found.column(name).unwrap().decimal().unwrap().physical().get(0);
        assert_eq!(total(names::TOTAL_ISSUED), Some(LARGEST));
        assert_eq!(total(names::TOTAL_RECEIVED), Some(-LARGEST));
        assert_eq!((total(names::MAX_ISSUED), total(names::MIN_RECEIVED)), (Some(0), None));
        for name in [names::FIRST_DATE, names::LAST_DATE] {
            let date = found.column(name).unwrap().datetime().unwrap().physical().get(2);
            assert_eq!(date, Some(1_767_225_599_999_999));
        }
    }

    #[test]
    fn no_batch_is_no_row() {
        assert_eq!(frame(&[], MONEY, KeyKind::Integer).unwrap().height(), 0);
    }

    #[test]
    fn another_type_and_a_missing_column_are_refused() {
        let mut float = batch(vec![Some(1)]);
        float[1].1 = Arc::new(Float64Array::from(vec![1.0]));
        let error = frame(&batches(vec![float]), MONEY, KeyKind::Integer).unwrap_err().to_string();
        assert!(error.contains("column total_amount_issued of Spark's answer is Float64"), "{error}");

        let narrow = MoneyType { precision: 12, scale: 2 };
        let error =
            frame(&batches(vec![batch(vec![Some(1)])]), narrow, KeyKind::Integer).unwrap_err().to_string();
        assert!(error.contains("min_amount_issued of Spark's answer is Decimal128(18, 2)"), "{error}");

        let mut missing = batch(vec![Some(1)]);
        missing.pop();
        let error = frame(&batches(vec![missing]), MONEY, KeyKind::Integer).unwrap_err().to_string();
        assert!(error.contains("no column counterparties"), "{error}");
    }
}
