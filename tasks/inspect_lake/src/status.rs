//! `status`: the last commit of every partition, and whether the lake still holds what it recorded.
//! Reads records and listings, no data.

use crate::args::StatusArgs;
use crate::table::{Form, Sheet, Tone, judged, number, plain};
use crate::text;
use chrono::{DateTime, Utc};
use comfy_table::Cell;
use invoices::Result;
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::Table;
use invoices::lake::{Lake, Object};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::runtime::Runtime;

pub fn run(args: &StatusArgs, form: Form, runtime: &Runtime) -> Result<Value> {
    let lake = crate::open_existing(&args.lake)?;
    let now = Utc::now();
    let mut partitions = Vec::new();
    for table in Table::ALL {
        let found = runtime.block_on(partitions_of(&lake, table))?;
        show(table, &found, form, now);
        partitions.extend(found.iter().map(|partition| partition.as_json(table, now)));
    }
    if partitions.is_empty() {
        tracing::warn!("{} holds no partition yet; run query_source", lake.url());
    }
    let lost = partitions.iter().filter(|partition| partition["lost_most_rows"] == true).count();
    let as_recorded = partitions.iter().filter(|partition| partition["state"] == State::AsRecorded.word().0);
    Ok(json!({
        "command": "status",
        "partitions_as_recorded": as_recorded.count(),
        "partitions_lost_most_rows": lost,
        "partitions_in_all": partitions.len(),
        "partitions": partitions,
    }))
}

/// What the lake has of a partition: its last record and its objects.
#[derive(Default)]
struct Partition {
    name: String,
    record: Option<CommitRecord>,
    objects: Vec<Object>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AsRecorded,
    /// Recorded without objects: the month has no invoices.
    Empty,
    Changed,
    /// Recorded, and gone.
    Missing,
    /// Between an object's put and its record a run was killed, or something else wrote here.
    Unrecorded,
}

impl State {
    fn word(self) -> (&'static str, Tone) {
        match self {
            State::AsRecorded => ("as recorded", Tone::Good),
            State::Empty => ("empty", Tone::Good),
            State::Changed => ("objects differ from the record", Tone::Bad),
            State::Missing => ("objects are gone", Tone::Bad),
            State::Unrecorded => ("no commit record", Tone::Caution),
        }
    }
}

impl Partition {
    fn state(&self) -> State {
        match &self.record {
            None => State::Unrecorded,
            Some(record) if record.describes(&self.objects) && self.objects.is_empty() => State::Empty,
            Some(record) if record.describes(&self.objects) => State::AsRecorded,
            Some(_) if self.objects.is_empty() => State::Missing,
            Some(_) => State::Changed,
        }
    }

    fn lost_most_rows(&self) -> bool {
        self.record.as_ref().is_some_and(CommitRecord::lost_most_rows)
    }

    fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size).sum()
    }

    fn as_json(&self, table: Table, now: DateTime<Utc>) -> Value {
        let record = self.record.as_ref();
        json!({
            "table": table.name(),
            "partition": self.name,
            "state": self.state().word().0,
            "describes": matches!(self.state(), State::AsRecorded | State::Empty),
            "objects": self.objects.len(),
            "bytes": self.bytes(),
            "rows": record.map(|record| record.rows),
            "invoices": record.map(|record| record.invoices.rows),
            "amount_usd": record.map(|record| &record.invoices.amount),
            "money": record.map(|record| record.money.to_string()),
            "options": record.map(|record| &record.options),
            "source": record.map(|record| &record.snapshot.source),
            "snapshot": record.map(|record| &record.snapshot.snapshot),
            "lsn": record.map(|record| record.snapshot.lsn),
            "taken_at": record.map(|record| text::time(record.snapshot.taken_at_us)),
            "committed_at": record.map(|record| &record.committed_at),
            "age_seconds": record.and_then(|record| age_seconds(record, now)),
            "program": record.map(|record| &record.program),
            "cluster": record.and_then(|record| record.snapshot.cluster.as_ref()),
            "rows_before": record.and_then(|record| record.rows_before),
            "lost_most_rows": self.lost_most_rows(),
        })
    }
}

/// All partitions that have a record or an object, in name order.
async fn partitions_of(lake: &Lake, table: Table) -> Result<Vec<Partition>> {
    let mut found: BTreeMap<String, Partition> = BTreeMap::new();
    for (name, record) in lake.read_commits(table).await? {
        found.entry(name).or_default().record = Some(record);
    }
    for object in lake.list(table.folder()).await? {
        let name = partition_of(table, &object.path).to_owned();
        found.entry(name).or_default().objects.push(object);
    }
    Ok(found.into_iter().map(|(name, partition)| Partition { name, ..partition }).collect())
}

/// The partition that an object's path lies in: a month, or a date and a number of months.
fn partition_of(table: Table, path: &str) -> &str {
    let below = path.strip_prefix(table.folder()).unwrap_or(path).trim_start_matches('/');
    let levels = match table {
        Table::Invoices | Table::StagedByBusiness | Table::ByBusiness => 1,
        Table::StagedLastNMonths | Table::LastNMonths => 2,
    };
    below.match_indices('/').nth(levels - 1).map_or(below, |(end, _)| &below[..end])
}

fn age_seconds(record: &CommitRecord, now: DateTime<Utc>) -> Option<i64> {
    let committed = DateTime::parse_from_rfc3339(&record.committed_at).ok()?;
    Some((now - committed.with_timezone(&Utc)).num_seconds())
}

fn show(table: Table, partitions: &[Partition], form: Form, now: DateTime<Utc>) {
    if form == Form::Json {
        partitions.iter().for_each(|partition| log(table, partition));
        return;
    }
    if partitions.is_empty() {
        return;
    }
    let header =
        ["partition", "rows", "amount", "objects", "size", "LSN", "taken", "committed", "age", "by", "state"];
    let mut sheet = Sheet::new(table.name(), &header);
    for partition in partitions {
        sheet.add(row(partition, now));
    }
    sheet.print();
}

fn row(partition: &Partition, now: DateTime<Utc>) -> Vec<Cell> {
    // The column's name is the same in every row; the values tell partitions apart.
    let values: Vec<&str> = partition.name.split(['/', '=']).skip(1).step_by(2).collect();
    let name = if values.is_empty() { partition.name.clone() } else { values.join(" / ") };
    let (word, tone) = partition.state().word();
    let (objects, size) = (text::grouped(partition.objects.len()), text::size(partition.bytes()));
    let Some(record) = &partition.record else {
        let mut cells = vec![plain(name), number("?"), number("?"), number(objects), number(size)];
        cells.extend(["?", "?", "?", "?", "?"].map(plain));
        cells.push(judged(word, tone));
        return cells;
    };
    // A SQLite file has no write-ahead log position.
    let position = if record.snapshot.lsn == 0 { String::new() } else { text::lsn(record.snapshot.lsn) };
    let committed = DateTime::parse_from_rfc3339(&record.committed_at);
    vec![
        plain(name),
        rows_of(record),
        number(text::grouped(&record.invoices.amount)),
        number(objects),
        number(size),
        plain(position),
        plain(text::minute(record.snapshot.taken_at_us)),
        plain(committed.map_or_else(|_| "?".to_owned(), |time| text::minute(time.timestamp_micros()))),
        number(age_seconds(record, now).map_or_else(|| "?".to_owned(), text::age)),
        plain(&record.program),
        judged(word, tone),
    ]
}

fn rows_of(record: &CommitRecord) -> Cell {
    let rows = text::grouped(record.rows);
    match record.rows_before.filter(|_| record.lost_most_rows()) {
        Some(before) => judged(format!("{rows} of {} before", text::grouped(before)), Tone::Caution),
        None => number(rows),
    }
}

fn log(table: Table, partition: &Partition) {
    let (state, _) = partition.state().word();
    let (objects, bytes) = (partition.objects.len(), partition.bytes());
    let rows = partition.record.as_ref().map(|record| record.rows);
    let committed_at = partition.record.as_ref().map(|record| record.committed_at.as_str());
    tracing::info!(rows, objects, bytes, committed_at, "{table} {}: {state}", partition.name);
    if partition.lost_most_rows() {
        let before = partition.record.as_ref().and_then(|record| record.rows_before);
        tracing::warn!(
            rows,
            before,
            "{table} {} lost more than 90 % of its rows with its last commit",
            partition.name
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Demo;

    fn status(demo: &Demo) -> Value {
        run(&demo.status_args(), Form::Json, &demo.runtime()).unwrap()
    }

    #[test]
    fn a_new_lake_has_nothing_and_that_is_no_error() {
        assert_eq!(status(&Demo::new())["partitions_in_all"], 0);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_not_made() {
        let mut args = Demo::new().status_args();
        args.lake.lake.push_str("/nowhere");
        let error = run(&args, Form::Json, &Runtime::new().unwrap()).unwrap_err();
        assert_eq!(error.kind(), invoices::Kind::Config);
        assert!(!std::path::Path::new(args.lake.lake.trim_start_matches("file://")).exists());
    }

    #[test]
    fn every_partition_is_as_recorded_after_a_run_and_businesses_are_added_up() {
        let facts = status(&Demo::published());
        assert_eq!(
            (facts["partitions_in_all"].as_u64(), facts["partitions_as_recorded"].as_u64()),
            (Some(4), Some(4))
        );
        let by_business = &facts["partitions"][2];
        assert_eq!(by_business["table"], "invoice_by_business");
        assert_eq!(by_business["partition"], "issue_date_yearmonth=2025-12-01");
        assert!(by_business["objects"].as_u64() > Some(1), "{by_business}");
    }

    #[test]
    fn lost_and_replaced_objects_and_lost_records_are_seen() {
        let demo = Demo::published();
        demo.delete("invoices/issue_date_yearmonth=2025-12-01/part-0.parquet");
        demo.put("invoices/issue_date_yearmonth=2026-01-01/part-0.parquet", b"other");
        demo.delete("_commits/invoice_by_business/issue_date_yearmonth=2026-01-01.json");
        let states: Vec<Value> = status(&demo)["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|partition| partition["state"].clone())
            .collect();
        assert_eq!(
            states,
            ["objects are gone", "objects differ from the record", "as recorded", "no commit record"]
        );
    }

    #[test]
    fn a_window_is_one_partition() {
        let path = "business_last_n_months/as_of=2026-01-01/months=12/part-0.parquet";
        assert_eq!(partition_of(Table::LastNMonths, path), "as_of=2026-01-01/months=12");
        let path = "invoice_by_business/issue_date_yearmonth=2026-01-01/business_id=4/part-0.parquet";
        assert_eq!(partition_of(Table::ByBusiness, path), "issue_date_yearmonth=2026-01-01");
    }
}
