//! What `aggregate_by_business` staged: its commit record and its object, which must belong together.

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use invoices::lake::Lake;
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::{self, Table};
use invoices::statistics::{self, Scope};
use invoices::{Error, KeyKinds, Result};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use std::collections::BTreeMap;

/// A staged partition and what its record says of it.
pub struct Staged {
    pub table: Table,
    pub record: CommitRecord,
}

impl Staged {
    /// The last staging of a partition. `what` names it in errors.
    ///
    /// # Errors
    /// Configuration when it was never staged.
    pub async fn find(lake: &Lake, table: Table, partition: &str, what: &str) -> Result<Self> {
        let record = lake.read_commit(table, partition).await?;
        let record = record.ok_or_else(|| {
            let advice = "run aggregate_by_business with the same --as-of and --months first";
            Error::config(format!("the statistics of {what} have not been staged; {advice}"))
        })?;
        Ok(Self { table, record })
    }

    /// The staged object with its ETag as commit records name inputs; empty for an empty month.
    pub fn inputs(&self) -> BTreeMap<String, String> {
        self.record.objects.iter().map(|object| (object.path.clone(), object.etag.clone())).collect()
    }

    /// The recorded object's bytes: empty when it has none, nothing when the lake holds another one.
    pub async fn read(&self, lake: &Lake) -> Result<Option<Option<Bytes>>> {
        let Some(recorded) = self.record.objects.first() else { return Ok(Some(None)) };
        let found = lake.get(&recorded.path).await?;
        Ok(found.filter(|(object, _)| *recorded == object.into()).map(|(_, bytes)| Some(bytes)))
    }

    /// Whether the lake still holds what the record says, as when it was read.
    pub async fn is_current(&self, lake: &Lake) -> Result<bool> {
        let path = names::object(self.table, &self.record.partition);
        let found = lake.head(&path).await?;
        Ok(self.record.describes(found.as_slice()))
    }
}

/// A staged object as one batch, checked against the columns that the table must have.
///
/// # Errors
/// Refused when they differ.
pub fn rows(object: Bytes, record: &CommitRecord, scope: Scope) -> Result<RecordBatch> {
    let expected = statistics::schema(record.money, scope, KeyKinds::of_options(&record.options).business);
    // Types as Parquet has them: Polars calls texts views of texts.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(object, options)?.build()?;
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    let rows = match batches.first() {
        Some(first) => concat_batches(&first.schema(), &batches)?,
        None => RecordBatch::new_empty(expected.clone()),
    };
    let names_and_types = |schema: &arrow::datatypes::Schema| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    if names_and_types(&rows.schema()) != names_and_types(&expected) {
        let (table, partition) = (&record.table, &record.partition);
        return Err(Error::refused(format!(
            "{table} {partition} has other columns than this version writes; run aggregate_by_business again"
        )));
    }
    // Without the metadata that the writer may have left in the schema.
    Ok(RecordBatch::try_new(expected, rows.columns().to_vec())?)
}
