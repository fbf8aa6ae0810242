//! Columns and partition columns of the lake's tables, as their commit records say. Pure.

use arrow::datatypes::{DataType, Schema};
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::{MONTH_COLUMN, PartitionBy, Table};
use invoices::parquet::{Shape, invoice_schema};
use invoices::statistics::{self, BUSINESS_ID, Scope};
use invoices::{Error, KeyKind, KeyKinds, Result};
use std::fmt;

/// The tables that readers see.
pub const TABLES: [Table; 3] = [Table::Invoices, Table::ByBusiness, Table::LastNMonths];

pub const BUCKET_COLUMN: &str = "business_bucket";
pub const AS_OF_COLUMN: &str = "as_of";
pub const MONTHS_COLUMN: &str = "months";

/// Type of a column, by the name that most engines share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ColumnType {
    BigInt,
    Int,
    Timestamp,
    Date,
    Decimal { precision: u8, scale: u8 },
    Text,
    Bool,
    Double,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ColumnType::BigInt => f.write_str("BIGINT"),
            ColumnType::Int => f.write_str("INT"),
            ColumnType::Timestamp => f.write_str("TIMESTAMP"),
            ColumnType::Date => f.write_str("DATE"),
            ColumnType::Decimal { precision, scale } => write!(f, "DECIMAL({precision},{scale})"),
            ColumnType::Text => f.write_str("STRING"),
            ColumnType::Bool => f.write_str("BOOLEAN"),
            ColumnType::Double => f.write_str("DOUBLE"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Column {
    pub name: String,
    pub column_type: ColumnType,
}

impl Column {
    fn new(name: &str, column_type: ColumnType) -> Self {
        Self { name: name.to_owned(), column_type }
    }
}

/// What the objects of a partition hold, and what their folders say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout {
    pub columns: Vec<Column>,
    pub partition_columns: Vec<Column>,
    /// How `invoice_by_business` is cut: none for the other tables.
    pub buckets: Option<u32>,
}

impl Layout {
    /// The layout of a recorded partition.
    ///
    /// # Errors
    /// Refused when the record was made by a program with another layout.
    pub fn of(table: Table, record: &CommitRecord) -> Result<Self> {
        let by = partition_by(table, record)?;
        let (money, keys) = (record.money, KeyKinds::of_options(&record.options));
        let schema = match table {
            Table::Invoices => invoice_schema(&Shape::of_record(record)),
            Table::ByBusiness | Table::StagedByBusiness => {
                statistics::schema(money, Scope::Month, keys.business)
            }
            Table::LastNMonths | Table::StagedLastNMonths => {
                statistics::schema(money, Scope::Window, keys.business)
            }
        };
        let mut columns = columns_of(&schema)?;
        let month = Column::new(MONTH_COLUMN, ColumnType::Date);
        let mut buckets = None;
        let partition_columns = match (table, by) {
            (Table::LastNMonths | Table::StagedLastNMonths, _) => {
                vec![Column::new(AS_OF_COLUMN, ColumnType::Date), Column::new(MONTHS_COLUMN, ColumnType::Int)]
            }
            (_, PartitionBy::Month) => vec![month],
            (_, PartitionBy::Business) => {
                columns.retain(|column| column.name != BUSINESS_ID);
                let is_text = keys.business == KeyKind::Text;
                let column_type = if is_text { ColumnType::Text } else { ColumnType::BigInt };
                vec![month, Column::new(BUSINESS_ID, column_type)]
            }
            (_, PartitionBy::Bucket(count)) => {
                buckets = Some(count);
                vec![month, Column::new(BUCKET_COLUMN, ColumnType::Int)]
            }
        };
        Ok(Self { columns, partition_columns, buckets })
    }

    /// All columns, those of the objects first.
    pub fn all(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().chain(&self.partition_columns)
    }
}

fn partition_by(table: Table, record: &CommitRecord) -> Result<PartitionBy> {
    if table != Table::ByBusiness {
        return Ok(PartitionBy::Month);
    }
    let text = record.options.split_once("partition_by=").map(|(_, text)| text);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let (table, partition) = (&record.table, &record.partition);
        Error::refused(format!(
            "the commit record of {table} {partition} has an unknown layout {:?}; publish it again with write_partitioned_parquet",
            record.options
        ))
    })
}

fn columns_of(schema: &Schema) -> Result<Vec<Column>> {
    let columns = schema.fields().iter().map(|field| {
        let column_type = match field.data_type() {
            DataType::Int64 => ColumnType::BigInt,
            DataType::Timestamp(_, _) => ColumnType::Timestamp,
            DataType::Decimal128(precision, scale) => {
                ColumnType::Decimal { precision: *precision, scale: scale.unsigned_abs() }
            }
            DataType::Utf8 => ColumnType::Text,
            DataType::Boolean => ColumnType::Bool,
            DataType::Float64 => ColumnType::Double,
            DataType::Date32 => ColumnType::Date,
            other => return Err(Error::bug(format!("column {} has type {other}", field.name()))),
        };
        Ok(Column::new(field.name(), column_type))
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::Fingerprint;
    use invoices::fingerprint::FingerprintRecord;
    use invoices::lake::commit::SourceSnapshot;
    use invoices::money::MoneyType;

    fn record(options: &str) -> CommitRecord {
        CommitRecord {
            table: String::new(),
            partition: String::new(),
            rows: 0,
            invoices: FingerprintRecord::new(&Fingerprint::default(), 2),
            money: MoneyType { precision: 12, scale: 2 },
            snapshot: SourceSnapshot::default(),
            inputs: Default::default(),
            options: options.to_owned(),
            objects: Vec::new(),
            rows_before: None,
            committed_at: String::new(),
            program: String::new(),
        }
    }

    fn names(columns: &[Column]) -> Vec<&str> {
        columns.iter().map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn a_column_is_in_the_objects_or_in_their_folders_never_in_both() {
        for options in
            ["layout=1 partition_by=month,business_id", "layout=1 partition_by=month,bucket(business_id,8)"]
        {
            let layout = Layout::of(Table::ByBusiness, &record(options)).unwrap();
            for column in names(&layout.partition_columns) {
                assert!(!names(&layout.columns).contains(&column), "{options} {column}");
            }
            assert!(layout.all().any(|column| column.name == BUSINESS_ID), "{options}");
        }
    }

    #[test]
    fn an_unknown_layout_is_refused() {
        let error = Layout::of(Table::ByBusiness, &record("layout=9")).unwrap_err();
        assert!(error.to_string().contains("publish it again"), "{error}");
    }
}
