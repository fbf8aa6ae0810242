//! Definitions of the lake's tables for other engines, as the commit records say they are now.

mod athena;
mod bigquery;
mod duckdb;
mod hive;
mod spectrum;
mod trino;

use crate::args::{DdlArgs, Engine};
use crate::lake_tables::Committed;
use crate::layout::{Column, ColumnType, Layout, TABLES};
use invoices::lake::Lake;
use invoices::lake::names::Table;
use invoices::task::{Task, print};
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub use hive::hadoop;

/// A table to define.
pub struct Definition {
    pub table: Table,
    pub columns: Vec<Column>,
    pub partition_columns: Vec<Column>,
    pub buckets: Option<u32>,
    /// Folders of the partitions with objects, as `key=value/key=value`.
    pub partitions: BTreeSet<String>,
    /// URL of the table's folder, without a slash at its end.
    pub location: String,
}

/// Prints the statements and returns the facts for the result line.
///
/// # Errors
/// Configuration for a lake without tables, or one that the engine cannot reach; refused when the
/// partitions of a table are cut in different ways.
pub fn run(lake: &Lake, args: &DdlArgs, task: &Task) -> Result<Value> {
    if needs_bucket(args.engine) && lake.url().starts_with("file:") {
        let engine = format!("{:?}", args.engine);
        return Err(Error::config(format!(
            "{engine} reads object stores alone, and the lake is {}",
            lake.url()
        )));
    }
    let definitions = task.block_on(definitions(lake))?;
    let database = args.database.as_deref();
    let statements: Vec<String> = definitions
        .iter()
        .map(|definition| match args.engine {
            Engine::Hive => hive::hive(definition, database),
            Engine::Spark => hive::spark(definition, database),
            Engine::Spectrum => spectrum::statements(definition, database),
            Engine::Athena => athena::statements(definition, database),
            Engine::Trino => trino::statements(definition, database),
            Engine::Duckdb => duckdb::statements(definition, database),
            Engine::Bigquery => bigquery::statements(definition, database),
        })
        .collect();
    print(&statements.join("\n"))?;
    let partitions: usize = definitions.iter().map(|definition| definition.partitions.len()).sum();
    Ok(json!({ "tables": definitions.len(), "partitions": partitions }))
}

fn needs_bucket(engine: Engine) -> bool {
    matches!(engine, Engine::Spectrum | Engine::Athena | Engine::Bigquery)
}

pub async fn definitions(lake: &Lake) -> Result<Vec<Definition>> {
    let mut definitions = Vec::new();
    for table in TABLES {
        if let Some(committed) = Committed::find(lake, table).await? {
            definitions.push(definition(lake, &committed)?);
        }
    }
    if definitions.is_empty() {
        return Err(Error::config(format!(
            "the lake {} has no table yet; run query_source first",
            lake.url()
        )));
    }
    Ok(definitions)
}

/// # Errors
/// Refused when the partitions are cut in different ways.
pub fn definition(lake: &Lake, committed: &Committed) -> Result<Definition> {
    let table = committed.table;
    let layouts = committed.by_layout()?;
    // Partitions without objects fit every layout.
    let mut filled: Vec<&Layout> = Vec::new();
    let mut partitions = BTreeSet::new();
    for (layout, records) in &layouts {
        let objects = records.iter().flat_map(|record| &record.objects);
        let folders = objects.filter_map(|object| {
            let (folder, _) = object.path.rsplit_once('/')?;
            Some(folder.strip_prefix(table.folder())?.trim_start_matches('/').to_owned())
        });
        let before = partitions.len();
        partitions.extend(folders);
        if partitions.len() > before || filled.is_empty() {
            filled.push(layout);
        }
    }
    let first = filled.last().copied().ok_or_else(|| Error::bug(format!("{table} has no layout")))?;
    let is_same = |layout: &&Layout| layout.partition_columns == first.partition_columns;
    if filled.len() > 1 && !filled.iter().all(is_same) {
        return Err(Error::refused(format!(
            "the months of {table} are partitioned in {} different ways, and other engines expect one; publish all of them with the same --partition-by",
            filled.len()
        )));
    }
    // Objects with numbers are not read as texts by other engines.
    for column in filled.iter().flat_map(|layout| layout.all()) {
        let is_other = |other: &&Column| other.name == column.name && !is_alike(other, column);
        if let Some(other) = first.all().find(is_other) {
            return Err(Error::refused(format!(
                "column {} of {table} is {} in some months and {} in others, and other engines expect one type; run \
                 query_source --refresh window and the tasks behind it for all of them",
                column.name, column.column_type, other.column_type
            )));
        }
    }
    let is_partition =
        |column: &Column| first.partition_columns.iter().any(|partition| partition.name == column.name);
    let columns = committed.columns()?.into_iter().filter(|column| !is_partition(column));
    let has_column = |column: &Column| first.columns.iter().any(|known| known.name == column.name);
    Ok(Definition {
        table,
        columns: columns.filter(has_column).collect(),
        partition_columns: first.partition_columns.clone(),
        buckets: first.buckets,
        partitions,
        location: lake.locate(table.folder()),
    })
}

/// Whether one declaration serves both: decimals are declared as the wider one.
fn is_alike(a: &Column, b: &Column) -> bool {
    let is_decimal = |column: &Column| matches!(column.column_type, ColumnType::Decimal { .. });
    a.column_type == b.column_type || (is_decimal(a) && is_decimal(b))
}

impl Definition {
    /// `database.table`, or the table alone.
    pub fn name(&self, database: Option<&str>) -> String {
        database.map_or_else(|| self.table.name().to_owned(), |database| format!("{database}.{}", self.table))
    }
}

/// `  name TYPE` of every column, separated by commas.
pub fn list<'a>(
    columns: impl IntoIterator<Item = &'a Column>,
    type_name: fn(ColumnType) -> String,
) -> String {
    let lines =
        columns.into_iter().map(|column| format!("  {} {}", column.name, type_name(column.column_type)));
    lines.collect::<Vec<_>>().join(",\n")
}

/// A text literal of SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
pub mod testing {
    use super::*;

    pub fn definition(buckets: Option<u32>) -> Definition {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
        let by = if buckets.is_some() { "business_bucket" } else { "business_id" };
        let mut columns =
            vec![column("total_amount_issued", ColumnType::Decimal { precision: 38, scale: 2 })];
        if buckets.is_some() {
            columns.insert(0, column("business_id", ColumnType::BigInt));
        }
        columns.push(column("first_issue_date", ColumnType::Timestamp));
        Definition {
            table: Table::ByBusiness,
            columns,
            partition_columns: vec![
                column("issue_date_yearmonth", ColumnType::Date),
                column(by, if buckets.is_some() { ColumnType::Int } else { ColumnType::BigInt }),
            ],
            buckets,
            partitions: [
                format!("issue_date_yearmonth=2025-12-01/{by}=7"),
                format!("issue_date_yearmonth=2026-01-01/{by}=__HIVE_DEFAULT_PARTITION__"),
            ]
            .into(),
            location: "s3://lake/it's/invoice_by_business".to_owned(),
        }
    }
}
