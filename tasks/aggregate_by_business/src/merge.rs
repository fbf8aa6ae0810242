//! Merging partial statistics: of both sides of a month's invoices, or of a window's months.

use crate::engine::{collect, failed};
use invoices::money::MoneyType;
use invoices::statistics::{self as names, Scope};
use invoices::{KeyKind, Result};
use polars::prelude::*;

/// Names and types of the statistics in their order.
pub fn columns(money: MoneyType, scope: Scope, business: KeyKind) -> Vec<(PlSmallStr, DataType)> {
    let schema = names::schema(money, scope, business);
    let columns = schema.fields().iter();
    columns.map(|field| (field.name().as_str().into(), polars_type(field.data_type()))).collect()
}

/// One row per business out of partial rows, sorted by business, NULL last. A partial frame lacks
/// what it has nothing to say about; sums and counts that no frame has are 0, the others NULL.
pub fn merge(
    partials: impl IntoIterator<Item = LazyFrame>,
    money: MoneyType,
    scope: Scope,
    business: KeyKind,
) -> Result<DataFrame> {
    let columns = columns(money, scope, business);
    let partials = partials.into_iter().map(|frame| completed(frame, &columns));
    let partials: Vec<LazyFrame> = partials.collect::<Result<_>>()?;
    let rows = concat(partials, UnionArgs::default()).map_err(failed)?;
    let merged = columns[1..].iter().map(|(name, _)| merged(name));
    let nulls_last = SortMultipleOptions::default().with_nulls_last(true);
    collect(
        rows.group_by([col(names::BUSINESS_ID)])
            .agg(merged.collect::<Vec<_>>())
            .sort([names::BUSINESS_ID], nulls_last),
    )
}

/// The frame with all columns in their order, NULL where it lacks one.
fn completed(mut frame: LazyFrame, columns: &[(PlSmallStr, DataType)]) -> Result<LazyFrame> {
    let present = frame.collect_schema().map_err(failed)?;
    let select = columns.iter().map(|(name, dtype)| {
        if present.contains(name) {
            col(name.clone())
        } else {
            lit(NULL).cast(dtype.clone()).alias(name.clone())
        }
    });
    Ok(frame.select(select.collect::<Vec<_>>()))
}

fn merged(name: &PlSmallStr) -> Expr {
    let column = col(name.clone());
    match name.as_str() {
        names::MIN_ISSUED | names::MIN_RECEIVED | names::FIRST_DATE => column.min(),
        names::MAX_ISSUED | names::MAX_RECEIVED | names::LAST_DATE => column.max(),
        _ => column.sum(),
    }
}

fn polars_type(arrow: &arrow::datatypes::DataType) -> DataType {
    use arrow::datatypes::DataType as Arrow;
    match arrow {
        Arrow::Decimal128(precision, scale) => DataType::Decimal(*precision as usize, *scale as usize),
        Arrow::Timestamp(_, _) => DataType::Datetime(TimeUnit::Microseconds, None),
        Arrow::Utf8 => DataType::String,
        _ => DataType::Int64,
    }
}

/// Statistics of no invoices.
pub fn nothing(money: MoneyType, scope: Scope, business: KeyKind) -> DataFrame {
    DataFrame::empty_with_schema(&columns(money, scope, business).into_iter().collect())
}
