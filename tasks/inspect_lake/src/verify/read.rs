//! From an object's bytes to what it adds up to.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use bytes::Bytes;
use invoices::money::MoneyType;
use invoices::parquet::{Proof, Shape, invoice_schema, read_invoices, read_proof};
use invoices::statistics::{ISSUED_COUNT, RECEIVED_COUNT, TOTAL_ISSUED, TOTAL_RECEIVED};
use invoices::{ColumnsOf, Error, Fingerprint, Keys, MoreColumn, Result, Texts};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// What an `invoices` object holds, and what its footer says it holds.
#[derive(Debug, Clone, Default)]
pub struct Invoices {
    pub fingerprint: Fingerprint,
    pub proof: Option<Proof>,
    /// Columns beside the five.
    pub more: Vec<MoreColumn>,
}

/// One side of `invoice_by_business`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Side {
    pub rows: i128,
    /// Unscaled.
    pub amount: i128,
}

/// What all businesses of a month issued and received. Each side counts every invoice once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub issued: Side,
    pub received: Side,
}

impl Totals {
    pub fn merge(&mut self, other: Self) -> Result<()> {
        self.issued.add(other.issued.rows, other.issued.amount)?;
        self.received.add(other.received.rows, other.received.amount)
    }
}

impl Side {
    fn add(&mut self, rows: i128, amount: i128) -> Result<()> {
        let sums = self.rows.checked_add(rows).zip(self.amount.checked_add(amount));
        let (rows, amount) = sums.ok_or_else(|| Error::refused("the totals exceed 128 bits"))?;
        *self = Self { rows, amount };
        Ok(())
    }
}

/// Adds up every row of an `invoices` object.
///
/// # Errors
/// Refused when it is no Parquet file of the table's types.
pub fn invoices_of(object: Bytes, money: MoneyType) -> Result<Invoices> {
    let found = ParquetRecordBatchReaderBuilder::try_new(object.clone())?;
    // What the ids are the object says; the source's row hashes say whether that is right.
    let shape = Shape::of_schema(found.schema(), money);
    for field in invoice_schema(&shape).fields() {
        // Equal integers at another scale would be other amounts.
        let actual = found.schema().field_with_name(field.name()).ok();
        if actual.map(|actual| actual.data_type()) != Some(field.data_type()) {
            let actual = actual.map_or("missing".to_owned(), |actual| actual.data_type().to_string());
            let (name, expected) = (field.name(), field.data_type());
            return Err(Error::refused(format!("column {name} is {actual}, expected {expected}")));
        }
    }
    let proof = read_proof(&object)?;
    let fingerprint = match shape.keys.are_integers() {
        true => fingerprint_of::<Vec<i64>>(object, money)?,
        false => fingerprint_of::<Texts>(object, money)?,
    };
    Ok(Invoices { fingerprint, proof, more: shape.more })
}

fn fingerprint_of<Ids: Keys>(object: Bytes, money: MoneyType) -> Result<Fingerprint> {
    let mut fingerprint = Fingerprint::default();
    read_invoices(object, |columns: ColumnsOf<Ids>| fingerprint.merge(Fingerprint::of(&columns, money)))?;
    Ok(fingerprint)
}

/// Adds up every row of an `invoice_by_business` object.
///
/// # Errors
/// Refused when it is no Parquet file with the four columns, or amounts have another scale.
pub fn totals_of(object: Bytes, money: MoneyType) -> Result<Totals> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object)?;
    let names = [TOTAL_ISSUED, ISSUED_COUNT, TOTAL_RECEIVED, RECEIVED_COUNT];
    let columns = ProjectionMask::columns(builder.parquet_schema(), names);
    let mut totals = Totals::default();
    for batch in builder.with_projection(columns).build()? {
        let batch = batch?;
        totals.issued.add(counts(&batch, ISSUED_COUNT)?, amounts(&batch, TOTAL_ISSUED, money)?)?;
        totals.received.add(counts(&batch, RECEIVED_COUNT)?, amounts(&batch, TOTAL_RECEIVED, money)?)?;
    }
    Ok(totals)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a dyn Array> {
    let column = batch.column_by_name(name);
    column.map(AsRef::as_ref).ok_or_else(|| Error::refused(format!("column {name} is missing")))
}

/// The sum of a column of whole numbers, whatever their width.
fn counts(batch: &RecordBatch, name: &str) -> Result<i128> {
    let column = column(batch, name)?;
    if !column.data_type().is_integer() {
        return Err(Error::refused(format!(
            "column {name} is {}, expected a whole number",
            column.data_type()
        )));
    }
    let wide = cast(column, &DataType::Int64)?;
    Ok(wide.as_primitive::<Int64Type>().iter().flatten().map(i128::from).sum())
}

/// The sum of a column of amounts. One object's sum of at most 2^64 amounts could overflow only if
/// the amounts themselves were sums beyond any invoice table, and then it is an error.
fn amounts(batch: &RecordBatch, name: &str, money: MoneyType) -> Result<i128> {
    let column = column(batch, name)?;
    match column.data_type() {
        DataType::Decimal128(_, scale) if *scale == money.scale as i8 => {
            let amounts = column.as_primitive::<Decimal128Type>().iter().flatten();
            let sum = amounts.into_iter().try_fold(0_i128, i128::checked_add);
            sum.ok_or_else(|| Error::refused(format!("the sum of {name} exceeds 128 bits")))
        }
        other => Err(Error::refused(format!(
            "column {name} is {other}, expected a decimal with {} digits after the point",
            money.scale
        ))),
    }
}
