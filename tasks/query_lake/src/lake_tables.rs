//! The lake's tables as Polars scans them: exactly the objects that commit records name.

use crate::layout::{Column, ColumnType, Layout};
use crate::pinned::Pinned;
use invoices::lake::Lake;
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::Table;
use invoices::{Error, Result};
use polars::io::HiveOptions;
use polars::polars_utils::pl_path::PlRefPath;
use polars::prelude::*;
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

    /// The table for Polars.
    ///
    /// # Errors
    /// A bug when the layouts of different partitions cannot be put together.
    pub fn scan(&self, lake: &Lake, pinned: &Pinned) -> Result<LazyFrame> {
        let columns = self.columns()?;
        let mut frames = Vec::new();
        for (layout, records) in self.by_layout()? {
            let objects = records.iter().flat_map(|record| &record.objects);
            let paths: Vec<PlRefPath> =
                objects.map(|object| pinned.add(self.table.name(), lake, &object.into())).collect();
            if paths.is_empty() {
                continue;
            }
            let frame = scan(paths, &layout).map_err(unusable)?;
            frames
                .push(frame.select(columns.iter().map(|column| select(column, &layout)).collect::<Vec<_>>()));
        }
        if frames.is_empty() {
            let fields = columns.iter().map(|column| Field::new((&column.name).into(), data_type(column)));
            return Ok(DataFrame::empty_with_schema(&fields.collect()).lazy());
        }
        concat(frames, UnionArgs { rechunk: false, ..Default::default() }).map_err(unusable)
    }
}

fn scan(paths: Vec<PlRefPath>, layout: &Layout) -> PolarsResult<LazyFrame> {
    let schema = |columns: &[Column]| -> SchemaRef {
        let fields = columns.iter().map(|column| Field::new((&column.name).into(), data_type(column)));
        Arc::new(fields.collect())
    };
    let options = ScanArgsParquet {
        hive_options: HiveOptions {
            enabled: Some(true),
            hive_start_idx: 0,
            schema: Some(schema(&layout.partition_columns)),
            try_parse_dates: true,
        },
        schema: Some(schema(&layout.columns)),
        glob: false,
        ..Default::default()
    };
    LazyFrame::scan_parquet_files(paths.into(), options)
}

fn select(column: &Column, layout: &Layout) -> Expr {
    let name = column.name.as_str();
    match layout.all().find(|known| known.name == name) {
        Some(known) if known.column_type == column.column_type => col(name),
        Some(_) => col(name).strict_cast(data_type(column)),
        None => lit(NULL).cast(data_type(column)).alias(name),
    }
}

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
        (known, _) => known,
    }
}

fn data_type(column: &Column) -> DataType {
    match column.column_type {
        ColumnType::BigInt => DataType::Int64,
        ColumnType::Int => DataType::Int32,
        ColumnType::Timestamp => DataType::Datetime(TimeUnit::Microseconds, None),
        ColumnType::Date => DataType::Date,
        ColumnType::Decimal { precision, scale } => {
            DataType::Decimal(usize::from(precision), usize::from(scale))
        }
    }
}

fn unusable(error: PolarsError) -> Error {
    Error::bug("the lake's objects cannot be put together as one table").because(error)
}
