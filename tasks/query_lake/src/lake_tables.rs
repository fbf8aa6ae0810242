//! The lake's tables as DataFusion reads them: exactly the objects that commit records name.

use crate::layout::{Column, ColumnType, Layout};
use crate::objects::{Group, Objects, Part};
use crate::pinned::Pinned;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::ScalarValue;
use invoices::lake::Lake;
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::{NULL_PARTITION, Table, unescaped};
use invoices::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A table's commit records, oldest partition first.
pub struct Committed {
    pub table: Table,
    pub records: Vec<CommitRecord>,
}

impl Committed {
    /// None when the table was never written.
    pub async fn find(lake: &Lake, table: Table) -> Result<Option<Self>> {
        let records: Vec<CommitRecord> = lake.read_commits(table).await?.into_values().collect();
        Ok((!records.is_empty()).then_some(Self { table, records }))
    }

    /// # Errors
    /// Configuration when the table was never written.
    pub async fn read(lake: &Lake, table: Table) -> Result<Self> {
        Self::find(lake, table).await?.ok_or_else(|| {
            let writer = match table {
                Table::Invoices => "query_source",
                _ => "write_partitioned_parquet",
            };
            Error::config(format!("the lake {} has no table {table} yet; run {writer} first", lake.url()))
        })
    }

    /// Records by what their objects look like: a table may have been cut in another way before, or
    /// its amounts may have been narrower.
    pub fn by_layout(&self) -> Result<BTreeMap<Layout, Vec<&CommitRecord>>> {
        let mut layouts: BTreeMap<Layout, Vec<&CommitRecord>> = BTreeMap::new();
        for record in &self.records {
            layouts.entry(Layout::of(self.table, record)?).or_default().push(record);
        }
        Ok(layouts)
    }

    /// All columns that any layout has, with types that hold the values of all.
    pub fn columns(&self) -> Result<Vec<Column>> {
        let mut columns: Vec<Column> = Vec::new();
        for layout in self.by_layout()?.keys() {
            for column in layout.all() {
                match columns.iter_mut().find(|known| known.name == column.name) {
                    Some(known) => known.column_type = wider(known.column_type, column.column_type),
                    None => columns.push(column.clone()),
                }
            }
        }
        // A business's id is what the statistics are about, wherever it is kept.
        columns.sort_by_key(|column| column.name != invoices::statistics::BUSINESS_ID);
        Ok(columns)
    }

    /// The table as its commit records have it.
    ///
    /// # Errors
    /// Refused when the folders of an object don't say what its layout needs.
    pub fn scan(&self, lake: &Lake, pinned: &Arc<Pinned>) -> Result<Objects> {
        let columns = self.columns()?;
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new(&column.name, data_type(column), true)).collect();
        let mut groups = Vec::new();
        for (layout, records) in self.by_layout()? {
            let rows = records.iter().map(|record| record.rows as usize).sum();
            let mut parts = Vec::new();
            for object in records.iter().flat_map(|record| &record.objects) {
                let values = layout.partition_columns.iter().map(|column| value(&object.path, column));
                let values = values.collect::<Result<_>>()?;
                parts.push(Part { meta: pinned.add(self.table.name(), lake, &object.into()), values });
            }
            let keys = layout.partition_columns.iter().map(|column| column.name.clone()).collect();
            groups.push(Group { keys, parts, rows: Some(rows) });
        }
        Ok(Objects { schema: Arc::new(Schema::new(fields)), groups, pinned: pinned.clone() })
    }
}

/// What the folders of an object say of a partition column.
fn value(path: &str, column: &Column) -> Result<ScalarValue> {
    let unknown =
        || Error::refused(format!("the folders of {path} don't say {}; publish it again", column.name));
    let text = path
        .split('/')
        .filter_map(|folder| folder.split_once('='))
        .find_map(|(key, value)| (key == column.name).then_some(value))
        .ok_or_else(unknown)?;
    let data_type = data_type(column);
    if text == NULL_PARTITION {
        return ScalarValue::try_from(&data_type).map_err(|error| unknown().because(error));
    }
    let text = unescaped(text).ok_or_else(unknown)?;
    ScalarValue::try_from_string(text, &data_type).map_err(|error| unknown().because(error))
}

/// A decimal that holds every BIGINT.
const BIGINT_DIGITS: ColumnType = ColumnType::Decimal { precision: 19, scale: 0 };

/// A type that holds the values of both: ids of months that were read before a key became text are numbers. Text holds
/// everything.
fn wider(a: ColumnType, b: ColumnType) -> ColumnType {
    match (a, b) {
        (
            ColumnType::Decimal { precision: p1, scale: s1 },
            ColumnType::Decimal { precision: p2, scale: s2 },
        ) => {
            let scale = s1.max(s2);
            let whole = (p1 - s1).max(p2 - s2);
            ColumnType::Decimal { precision: (whole + scale).min(38), scale }
        }
        (ColumnType::BigInt, ColumnType::Decimal { .. }) => wider(BIGINT_DIGITS, b),
        (ColumnType::Decimal { .. }, ColumnType::BigInt) => wider(a, BIGINT_DIGITS),
        (known, other) if known == other => known,
        _ => ColumnType::Text,
    }
}

fn data_type(column: &Column) -> DataType {
    match column.column_type {
        ColumnType::BigInt => DataType::Int64,
        ColumnType::Int => DataType::Int32,
        ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        ColumnType::Date => DataType::Date32,
        ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale.cast_signed()),
        ColumnType::Text => DataType::Utf8,
        ColumnType::Bool => DataType::Boolean,
        ColumnType::Double => DataType::Float64,
    }
}
