//! The Parquet form of the lake's tables: schemas, writer settings, and the proof in the footer.

use crate::error::{Error, Result};
use crate::fingerprint::FingerprintRecord;
use crate::invoice::ColumnsOf;
use crate::key::{KeyKinds, Keys, Optional};
use crate::lake::commit::{CommitRecord, SourceSnapshot};
use crate::money::MoneyType;
use crate::more::{self, MoreColumn};
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{KeyValue, ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use ::parquet::file::statistics::Statistics;
use ::parquet::schema::types::ColumnPath;
use arrow::array::{ArrayRef, AsArray, Decimal128Array, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Most bytes of a row group of invoices while it is written: several times what rows without further columns need.
const GROUP_BYTES_MAX: usize = 16 << 20;

/// Footer key of the [`Proof`].
const PROOF_KEY: &str = "invoices.proof";

/// What an object of the `invoices` table says of itself in its footer: data and proof are one
/// atomic put, whatever happens to the commit record after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub invoices: FingerprintRecord,
    pub money: MoneyType,
    /// Not written where all ids are integers.
    #[serde(default, skip_serializing_if = "are_integers")]
    pub keys: KeyKinds,
    pub snapshot: SourceSnapshot,
}

fn are_integers(keys: &KeyKinds) -> bool {
    keys.are_integers()
}

impl Proof {
    pub fn to_key_value(&self) -> Result<KeyValue> {
        let text = serde_json::to_string(self)
            .map_err(|error| Error::bug("a proof cannot be written as JSON").because(error))?;
        Ok(KeyValue::new(PROOF_KEY.to_owned(), text))
    }
}

/// What the rows of the table `invoices` look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub money: MoneyType,
    pub keys: KeyKinds,
    /// Columns beside the five.
    pub more: Vec<MoreColumn>,
}

impl Shape {
    /// Integers for ids, and no further columns.
    pub fn plain(money: MoneyType) -> Self {
        Self { money, keys: KeyKinds::default(), more: Vec::new() }
    }

    /// What a commit record says.
    pub fn of_record(record: &CommitRecord) -> Self {
        let (keys, more) = (KeyKinds::of_options(&record.options), MoreColumn::of_options(&record.options));
        Self { money: record.money, keys, more }
    }

    /// What the columns of an object say, whose amounts should be of this type.
    pub fn of_schema(schema: &Schema, money: MoneyType) -> Self {
        let (keys, more) = (KeyKinds::of_schema(schema).unwrap_or_default(), MoreColumn::of_schema(schema));
        Self { money, keys, more }
    }
}

/// Arrow schema of the `invoices` table, without its partition column.
pub fn invoice_schema(shape: &Shape) -> SchemaRef {
    let Shape { money, keys, more } = shape;
    let mut fields = vec![
        Field::new("invoice_id", keys.invoice.data_type(), false),
        Field::new("issue_date", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        Field::new("issuer_id", keys.business.data_type(), true),
        Field::new("receiver_id", keys.business.data_type(), true),
        Field::new("amount_usd", amount_type(*money), false),
    ];
    fields.extend(more.iter().map(|column| Field::new(&column.name, column.kind.data_type(), true)));
    Arc::new(Schema::new(fields))
}

/// Arrow type of one amount.
pub fn amount_type(money: MoneyType) -> DataType {
    DataType::Decimal128(money.precision, money.scale as i8)
}

/// The columns as a record batch of [`invoice_schema`].
///
/// # Errors
/// Refused for an id or a value of a further column that is not of its kind.
pub fn invoice_batch(columns: ColumnsOf<impl Keys>, shape: &Shape) -> Result<RecordBatch> {
    let (money, keys) = (shape.money, shape.keys);
    let amounts: Decimal128Array = columns.amount.iter().map(|&amount| Some(i128::from(amount))).collect();
    let more = shape
        .more
        .iter()
        .zip(&columns.more)
        .map(|(column, sent)| column.array(sent, |row| columns.invoice_id.get(row).to_string()));
    let more = more.collect::<Result<Vec<_>>>()?;
    let mut arrays: Vec<ArrayRef> = vec![
        columns.invoice_id.into_array(keys.invoice, None)?,
        Arc::new(TimestampMicrosecondArray::from(columns.issue_date_us)),
        columns.issuer_id.into_array(keys.business)?,
        columns.receiver_id.into_array(keys.business)?,
        Arc::new(amounts.with_precision_and_scale(money.precision, money.scale as i8)?),
    ];
    arrays.extend(more);
    Ok(RecordBatch::try_new(invoice_schema(shape), arrays)?)
}

/// zstd, page statistics and one row-group size: what every table of the lake shares.
pub fn table_properties(rows_per_group: usize) -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(rows_per_group))
        .set_created_by(concat!("invoice platform ", env!("CARGO_PKG_VERSION")).to_owned())
}

/// Settings of the `invoices` table. No dictionaries: ids, dates and amounts hardly repeat, and
/// 100,000 businesses as plain zstd take a sixth less than as a dictionary, in half the time. An id
/// is looked up by its Bloom filter where ids don't follow dates.
pub fn invoice_properties(rows_per_group: usize) -> WriterProperties {
    let id = || ColumnPath::from("invoice_id");
    table_properties(rows_per_group)
        .set_max_row_group_bytes(Some(GROUP_BYTES_MAX))
        .set_dictionary_enabled(false)
        .set_column_bloom_filter_enabled(id(), true)
        .set_column_bloom_filter_max_ndv(id(), rows_per_group as u64)
        .build()
}

/// The proof in an object's footer; none when the object was not written by `query_source`.
///
/// # Errors
/// Refused when the bytes are not a Parquet file.
pub fn read_proof(object: &Bytes) -> Result<Option<Proof>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(object.clone())?;
    Ok(proof_in(reader.metadata()))
}

/// What an object's last bytes say of its proof.
#[derive(Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// As [`read_proof`].
    Proof(Option<Proof>),
    /// The footer is longer: so many last bytes hold it.
    Needs(u64),
}

/// The proof in an object's footer from the object's last bytes alone.
///
/// # Errors
/// Refused when they are not the end of a Parquet file of `size` bytes.
pub fn read_proof_at_end(last_bytes: &Bytes, size: u64) -> Result<AtEnd> {
    let mut reader = ParquetMetaDataReader::new();
    match reader.try_parse_sized(last_bytes, size) {
        Ok(()) => Ok(AtEnd::Proof(proof_in(&reader.finish()?))),
        Err(ParquetError::NeedMoreData(needed)) => Ok(AtEnd::Needs(needed as u64)),
        Err(error) => Err(error.into()),
    }
}

fn proof_in(metadata: &ParquetMetaData) -> Option<Proof> {
    let pairs = metadata.file_metadata().key_value_metadata()?;
    let text = pairs.iter().find(|pair| pair.key == PROOF_KEY)?.value.as_deref()?;
    serde_json::from_str(text).ok()
}

/// Smallest and greatest business id of an object of the `invoices` table, from its footer; none
/// when the footer does not tell or there is no business at all.
///
/// # Errors
/// Refused when the bytes are not a Parquet file.
pub fn business_ids(object: &Bytes) -> Result<Option<RangeInclusive<i64>>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(object.clone())?;
    let mut range: Option<RangeInclusive<i64>> = None;
    for group in reader.metadata().row_groups() {
        for column in group.columns() {
            if !["issuer_id", "receiver_id"].contains(&column.column_path().string().as_str()) {
                continue;
            }
            let Some(Statistics::Int64(ids)) = column.statistics() else { return Ok(None) };
            match (ids.min_opt(), ids.max_opt()) {
                (Some(&min), Some(&max)) => {
                    let (low, high) = range.map_or((min, max), |range| range.into_inner());
                    range = Some(low.min(min)..=high.max(max));
                }
                _ if ids.null_count_opt() == Some(column.num_values() as u64) => {}
                _ => return Ok(None),
            }
        }
    }
    Ok(range)
}

/// Feeds an object of the `invoices` table to `consume`, batch by batch.
///
/// # Errors
/// Refused when a column is missing or of another type.
pub fn read_invoices<Ids: Keys>(object: Bytes, mut consume: impl FnMut(ColumnsOf<Ids>)) -> Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(object)?;
    let mask = ProjectionMask::all();
    for batch in builder.with_projection(mask).with_batch_size(65_536).build()? {
        consume(columns_of(&batch?)?);
    }
    Ok(())
}

fn columns_of<Ids: Keys>(batch: &RecordBatch) -> Result<ColumnsOf<Ids>> {
    let column = |name: &str| -> Result<&ArrayRef> {
        batch.column_by_name(name).ok_or_else(|| Error::refused(format!("column {name} is missing")))
    };
    let wrong = |name: &str| Error::refused(format!("column {name} has another type than the table's"));
    let more = MoreColumn::of_schema(batch.schema_ref())
        .into_iter()
        .map(|further| more::sent(column(&further.name)?).ok_or_else(|| wrong(&further.name)));
    let more = more.collect::<Result<_>>()?;
    let businesses = |name: &str| Optional::from_array(column(name)?).ok_or_else(|| wrong(name));
    let dates = column("issue_date")?
        .as_primitive_opt::<TimestampMicrosecondType>()
        .ok_or_else(|| wrong("issue_date"))?;
    let amounts =
        column("amount_usd")?.as_primitive_opt::<Decimal128Type>().ok_or_else(|| wrong("amount_usd"))?;
    Ok(ColumnsOf {
        invoice_id: Ids::from_array(column("invoice_id")?).ok_or_else(|| wrong("invoice_id"))?,
        issue_date_us: dates.values().to_vec(),
        issuer_id: businesses("issuer_id")?,
        receiver_id: businesses("receiver_id")?,
        amount: amounts
            .values()
            .iter()
            .map(|&value| i64::try_from(value).map_err(|_| wrong("amount_usd")))
            .collect::<Result<_>>()?,
        more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Fingerprint;
    use crate::invoice::{Invoice, InvoiceColumns};
    use ::parquet::arrow::ArrowWriter;

    #[test]
    fn an_object_gives_back_its_rows_and_its_proof() {
        let money = MoneyType { precision: 12, scale: 2 };
        let mut columns = InvoiceColumns::default();
        for id in 0..1000 {
            columns.push(Invoice {
                invoice_id: id,
                issue_date_us: id * 1_000_003,
                issuer_id: (id % 7 != 0).then_some(id % 5),
                receiver_id: (id % 11 != 0).then_some(-id),
                amount: 500 - id,
            });
        }
        let fingerprint = Fingerprint::of(&columns, money);
        let proof = Proof {
            invoices: FingerprintRecord::new(&fingerprint, 2),
            money,
            keys: KeyKinds::default(),
            snapshot: SourceSnapshot::default(),
        };
        let mut bytes = Vec::new();
        let schema = invoice_schema(&Shape::plain(money));
        let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(invoice_properties(300))).unwrap();
        writer.write(&invoice_batch(columns.clone(), &Shape::plain(money)).unwrap()).unwrap();
        writer.append_key_value_metadata(proof.to_key_value().unwrap());
        writer.close().unwrap();

        let object = Bytes::from(bytes);
        let size = object.len() as u64;
        assert_eq!(read_proof(&object).unwrap(), Some(proof.clone()));
        let last = |count: u64| object.slice((size - count) as usize..);
        let AtEnd::Needs(count) = read_proof_at_end(&last(100), size).unwrap() else { panic!("too few") };
        assert!(count < size / 2, "{count} of {size}");
        assert_eq!(read_proof_at_end(&last(count), size).unwrap(), AtEnd::Proof(Some(proof)));
        assert!(read_proof_at_end(&object.slice(..100), size).is_err());
        let mut found = Fingerprint::default();
        read_invoices(object, |batch: InvoiceColumns| found.merge(Fingerprint::of(&batch, money))).unwrap();
        assert_eq!(found, fingerprint);
    }
}
