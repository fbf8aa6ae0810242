//! `lint`: the lake's files against the rules of Redshift Spectrum, the strictest of the engines that
//! read Hive folders. Only listings and footers are read.

use crate::lake_tables::Committed;
use crate::layout::{Column, ColumnType, Layout, TABLES};
use bytes::Bytes;
use chrono::NaiveDate;
use futures::{StreamExt, TryStreamExt, stream};
use invoices::lake::names::{NULL_PARTITION, Table, unescaped};
use invoices::lake::{CONCURRENCY, Lake, Object};
use invoices::{Error, Result};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Sizes that Spectrum's documentation asks for.
const FILE_BYTES_MIN: u64 = 64 << 20;
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Partitions of a table that Glue grants by default; more need a request to AWS.
const PARTITIONS_MAX: usize = 10_000_000;
/// Length of the footer and the magic number.
const TAIL_BYTES: u64 = 8;
/// Read at once from the end of an object; most footers fit.
const FOOTER_BYTES: u64 = 32 << 10;
/// Findings of one rule that are listed; the rest is counted.
const EXAMPLES_MAX: usize = 5;

/// How bad a finding is: an error hides or garbles data, advice is about speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Error,
    Advice,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    level: Level,
    rule: &'static str,
    object: String,
    text: String,
}

/// # Errors
/// Refused when a rule is broken, with the findings as facts; advice alone is no failure.
pub async fn run(lake: &Lake) -> Result<Value> {
    let mut findings = Vec::new();
    let (mut files, mut bytes) = (0, 0);
    for table in TABLES {
        let Some(committed) = Committed::find(lake, table).await? else { continue };
        let objects = lake.list(table.folder()).await?;
        files += objects.len();
        bytes += objects.iter().map(|object| object.size).sum::<u64>();
        findings.extend(check_table(lake, &committed, &objects).await?);
    }
    report(&findings, files, bytes)
}

async fn check_table(lake: &Lake, committed: &Committed, objects: &[Object]) -> Result<Vec<Finding>> {
    let mut recorded: HashMap<&str, (Layout, &str)> = HashMap::new();
    for record in &committed.records {
        let layout = Layout::of(committed.table, record)?;
        for object in &record.objects {
            recorded.insert(&object.path, (layout.clone(), &object.etag));
        }
    }
    let check = |object: &Object| {
        let known =
            recorded.get(object.path.as_str()).map(|(layout, etag)| (layout.clone(), *etag == object.etag));
        let object = object.clone();
        async move {
            let mut findings = check_name(&object);
            match known {
                None => findings.push(finding(
                    Level::Error,
                    "recorded",
                    &object,
                    "no commit record names it, and engines that list the folder read it",
                )),
                Some((_, false)) => findings.push(finding(
                    Level::Error,
                    "recorded",
                    &object,
                    "it is not the object that its commit record names; is a run under way?",
                )),
                Some((layout, true)) => {
                    findings.extend(check_folders(&object, &layout));
                    findings.extend(check_footer(&object, &layout, &footer(lake, &object).await?));
                }
            }
            Ok::<_, Error>(findings)
        }
    };
    let found: Vec<Vec<Finding>> =
        stream::iter(objects).map(check).buffered(CONCURRENCY).try_collect().await?;
    let mut findings: Vec<Finding> = found.into_iter().flatten().collect();
    findings.extend(check_sizes(committed.table, objects));
    Ok(findings)
}

fn finding(level: Level, rule: &'static str, object: &Object, text: impl Into<String>) -> Finding {
    Finding { level, rule, object: object.path.clone(), text: text.into() }
}

/// Names that Spectrum passes over in silence.
fn check_name(object: &Object) -> Vec<Finding> {
    let is_ignored = |part: &str| part.starts_with(['.', '_', '#']) || part.ends_with('~');
    let ignored = object.path.split('/').find(|part| is_ignored(part));
    let text = |part: &str| format!("{part:?} begins with . _ # or ends with ~, and is ignored");
    ignored.map(|part| finding(Level::Error, "name", object, text(part))).into_iter().collect()
}

/// Folders are key=value, in the order of the partition columns, with values of their types.
fn check_folders(object: &Object, layout: &Layout) -> Vec<Finding> {
    let folders: Vec<&str> = object.path.split('/').collect();
    let partitions = &folders[1..folders.len().max(2) - 1];
    if partitions.len() != layout.partition_columns.len() {
        return vec![finding(
            Level::Error,
            "partition",
            object,
            "its folders are not those of its partition columns",
        )];
    }
    let check = |(folder, column): (&&str, &Column)| {
        let is_right = folder.split_once('=').is_some_and(|(key, value)| {
            key == column.name && (value == NULL_PARTITION || is_value(value, column.column_type))
        });
        let text = || format!("folder {folder} is no {}={}", column.name, column.column_type);
        (!is_right).then(|| finding(Level::Error, "partition", object, text()))
    };
    partitions.iter().zip(&layout.partition_columns).filter_map(check).collect()
}

fn is_value(text: &str, column_type: ColumnType) -> bool {
    match column_type {
        ColumnType::Date => NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
        ColumnType::Int => text.parse::<i32>().is_ok(),
        ColumnType::BigInt => text.parse::<i64>().is_ok(),
        ColumnType::Text => unescaped(text).is_some_and(|value| !value.is_empty()),
        ColumnType::Timestamp | ColumnType::Decimal { .. } | ColumnType::Bool | ColumnType::Double => false,
    }
}

/// Partition columns are not in the file, and the columns are those of the table, by name and type.
fn check_footer(object: &Object, layout: &Layout, footer: &ParquetMetaData) -> Vec<Finding> {
    let mut found: BTreeMap<&str, PhysicalType> = BTreeMap::new();
    for column in footer.file_metadata().schema_descr().columns() {
        found.insert(column.name(), column.physical_type());
    }
    let mut findings = Vec::new();
    for column in &layout.partition_columns {
        if found.contains_key(column.name.as_str()) {
            let text = format!("partition column {} is in the file too", column.name);
            findings.push(finding(Level::Error, "partition column", object, text));
        }
    }
    for column in &layout.columns {
        let text = match found.get(column.name.as_str()) {
            Some(physical) if is_stored_as(column.column_type, *physical) => continue,
            Some(physical) => format!("column {} is {physical}, not {}", column.name, column.column_type),
            None => format!("column {} is missing", column.name),
        };
        findings.push(finding(Level::Error, "type", object, text));
    }
    findings
}

fn is_stored_as(column_type: ColumnType, physical: PhysicalType) -> bool {
    match column_type {
        ColumnType::BigInt | ColumnType::Timestamp => physical == PhysicalType::INT64,
        ColumnType::Int | ColumnType::Date => physical == PhysicalType::INT32,
        ColumnType::Text => physical == PhysicalType::BYTE_ARRAY,
        ColumnType::Bool => physical == PhysicalType::BOOLEAN,
        ColumnType::Double => physical == PhysicalType::DOUBLE,
        ColumnType::Decimal { .. } => {
            matches!(physical, PhysicalType::INT32 | PhysicalType::INT64 | PhysicalType::FIXED_LEN_BYTE_ARRAY)
        }
    }
}

/// One advice per table, as it is the layout that makes sizes.
fn check_sizes(table: Table, objects: &[Object]) -> Vec<Finding> {
    let count =
        |is_wrong: &dyn Fn(u64) -> bool| objects.iter().filter(|object| is_wrong(object.size)).count();
    let (small, large) = (count(&|size| size < FILE_BYTES_MIN), count(&|size| size > FILE_BYTES_MAX));
    let mut findings = Vec::new();
    let mut advise = |rule, text| {
        findings.push(Finding { level: Level::Advice, rule, object: table.folder().to_owned(), text });
    };
    if small > 0 {
        advise(
            "size",
            format!(
                "{small} of {} files have less than 64 MiB; fewer partitions make larger files",
                objects.len()
            ),
        );
    }
    if large > 0 {
        advise("size", format!("{large} files have more than 1 GiB, and are read by few slices at once"));
    }
    if objects.len() > PARTITIONS_MAX {
        advise(
            "partitions",
            format!("{} partitions are more than Glue takes without a request", objects.len()),
        );
    }
    findings
}

async fn footer(lake: &Lake, object: &Object) -> Result<ParquetMetaData> {
    let place = lake.locate(&object.path);
    let changed = || Error::retry(format!("{place} was replaced while it was checked; run again"));
    let broken = || Error::refused(format!("{place} is not a Parquet file"));
    let from = object.size.saturating_sub(FOOTER_BYTES);
    let end = lake.read_range(object, from..object.size).await?.ok_or_else(changed)?;
    let tail = end.len().checked_sub(TAIL_BYTES as usize).map(|at| &end[at..]).ok_or_else(broken)?;
    let (length, magic) = tail.split_at(4);
    let length: [u8; 4] = length.try_into().map_err(|_| broken())?;
    let length = u64::from(u32::from_le_bytes(length));
    if magic != b"PAR1" || length + TAIL_BYTES > object.size {
        return Err(broken());
    }
    let first = object.size - TAIL_BYTES - length;
    let body: Bytes = if first >= from {
        end.slice((first - from) as usize..end.len() - TAIL_BYTES as usize)
    } else {
        lake.read_range(object, first..object.size - TAIL_BYTES).await?.ok_or_else(changed)?
    };
    ParquetMetaDataReader::decode_metadata(&body).map_err(|error| broken().because(error))
}

fn report(findings: &[Finding], files: usize, bytes: u64) -> Result<Value> {
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, advice) = (count(Level::Error), count(Level::Advice));
    let mut listed: Vec<Value> = Vec::new();
    let mut by_rule: BTreeMap<(Level, &str), usize> = BTreeMap::new();
    for finding in findings {
        let shown = by_rule.entry((finding.level, finding.rule)).or_default();
        *shown += 1;
        if *shown > EXAMPLES_MAX && finding.level == Level::Error {
            continue;
        }
        let level = if finding.level == Level::Error { "error" } else { "advice" };
        if finding.level == Level::Error {
            tracing::warn!(rule = finding.rule, "{}: {}", finding.object, finding.text);
        } else {
            tracing::info!(rule = finding.rule, "{}: {}", finding.object, finding.text);
        }
        listed.push(
            json!({ "level": level, "rule": finding.rule, "object": finding.object, "text": finding.text }),
        );
    }
    let facts = json!({ "command": "lint", "files": files, "bytes": bytes, "errors": errors, "advice": advice, "findings": listed });
    if errors > 0 {
        let first = findings.iter().find(|finding| finding.level == Level::Error);
        let example =
            first.map(|finding| format!("{}: {}", finding.object, finding.text)).unwrap_or_default();
        return Err(Error::refused(format!(
            "{errors} files break rules of Redshift Spectrum, such as {example}"
        ))
        .with_facts(facts));
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(path: &str) -> Object {
        Object { path: path.to_owned(), size: 1, etag: String::new() }
    }

    #[test]
    fn names_that_spectrum_ignores_are_found() {
        for name in ["invoices/_x=1/part-0.parquet", "invoices/.x", "invoices/a~", "invoices/#b/c"] {
            assert_eq!(check_name(&object(name)).len(), 1, "{name}");
        }
        assert_eq!(check_name(&object("invoices/issue_date_yearmonth=2026-01-01/part-0.parquet")), []);
    }

    #[test]
    fn folders_must_be_values_of_their_columns() {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
        let layout = Layout {
            columns: Vec::new(),
            partition_columns: vec![column("m", ColumnType::Date), column("b", ColumnType::BigInt)],
            buckets: None,
        };
        let errors = |path: &str| check_folders(&object(path), &layout).len();
        assert_eq!(errors("t/m=2026-01-01/b=1/part-0.parquet"), 0);
        assert_eq!(errors("t/m=2026-01-01/b=__HIVE_DEFAULT_PARTITION__/part-0.parquet"), 0);
        assert_eq!(errors("t/m=January/b=x/part-0.parquet"), 2);
        assert_eq!(errors("t/b=1/part-0.parquet"), 1);
    }
}
