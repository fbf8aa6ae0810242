//! Staged statistics for tests.

use crate::Args;
use arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;
use clap::Parser;
use invoices::fingerprint::FingerprintRecord;
use invoices::lake::Lake;
use invoices::lake::commit::{CommitRecord, SourceSnapshot};
use invoices::lake::names::{self, Table};
use invoices::money::MoneyType;
use invoices::statistics::{Scope, schema};
use invoices::{Fingerprint, KeyKind, Month, Window};
use std::sync::Arc;

pub const MONEY: MoneyType = MoneyType { precision: 12, scale: 2 };

/// Statistics of businesses that each issued one invoice and received one.
pub fn statistics(ids: &[Option<i64>]) -> RecordBatch {
    rows(ids, Scope::Month)
}

/// The same of businesses with such ids.
pub fn of_texts(ids: &[Option<&str>]) -> RecordBatch {
    keyed_rows(Arc::new(StringArray::from(ids.to_vec())), KeyKind::Text, Scope::Month)
}

pub fn rows(ids: &[Option<i64>], scope: Scope) -> RecordBatch {
    keyed_rows(Arc::new(Int64Array::from(ids.to_vec())), KeyKind::Integer, scope)
}

fn keyed_rows(ids: ArrayRef, kind: KeyKind, scope: Scope) -> RecordBatch {
    let amounts = |precision: u8| -> ArrayRef {
        let values: Decimal128Array = (0..ids.len() as i128).map(|row| Some(row * 101 - 50)).collect();
        Arc::new(values.with_precision_and_scale(precision, MONEY.scale as i8).unwrap())
    };
    let ones = || -> ArrayRef { Arc::new(Int64Array::from(vec![1; ids.len()])) };
    let dates = || -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![7; ids.len()])) };
    let amount = || amounts(MONEY.precision);
    let mut columns = vec![ids.clone(), amounts(38), amounts(38), ones(), ones()];
    columns.extend([amount(), amount(), amount(), amount(), dates(), dates()]);
    if scope == Scope::Month {
        columns.push(ones());
    }
    RecordBatch::try_new(schema(MONEY, scope, kind), columns).unwrap()
}

/// What those statistics add up to.
pub fn fingerprint(rows: &RecordBatch) -> Fingerprint {
    let count = rows.num_rows() as u64;
    Fingerprint { rows: count, amount: (0..i128::from(count)).map(|row| row * 101 - 50).sum(), hash: 0 }
}

/// A lake in a folder of its own, with a window of two months.
pub struct Fixture {
    pub lake: Lake,
    url: String,
    folder: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", folder.path().display());
        Self { lake: Lake::open(&url).unwrap(), url, folder }
    }

    pub fn window() -> Window {
        Window::ending(NaiveDate::from_ymd_opt(2026, 1, 31).unwrap(), 2)
    }

    pub fn newest() -> Month {
        Self::window().last
    }

    pub fn args(&self, flags: &[&str]) -> Args {
        let fixed =
            ["write_partitioned_parquet", "--lake", &self.url, "--as-of", "2026-01-31", "--months", "2"];
        Args::parse_from(fixed.iter().chain(flags))
    }

    /// Stages both months with these businesses each, and the window with all of them.
    pub async fn stage_all(&self, ids: &[Option<i64>]) {
        for month in Self::window().months() {
            self.stage_month(month, ids).await;
        }
        let partition = names::window_partition(Self::newest(), 2);
        self.stage(Table::StagedLastNMonths, &partition, Some(rows(ids, Scope::Window))).await;
    }

    pub async fn stage_month(&self, month: Month, ids: &[Option<i64>]) {
        let rows = (!ids.is_empty()).then(|| statistics(ids));
        self.stage(Table::StagedByBusiness, &names::month_partition(month), rows).await;
    }

    async fn stage(&self, table: Table, partition: &str, rows: Option<RecordBatch>) {
        let mut objects = Vec::new();
        if let Some(rows) = &rows {
            let bytes = crate::encode::encode(rows).unwrap();
            let object = self.lake.put(&names::object(table, partition), bytes).await.unwrap();
            objects.push((&object).into());
        }
        let expected = rows.as_ref().map(fingerprint).unwrap_or_default();
        let record = CommitRecord {
            table: table.name().to_owned(),
            partition: partition.to_owned(),
            rows: expected.rows,
            invoices: FingerprintRecord::new(&expected, MONEY.scale),
            money: MONEY,
            snapshot: SourceSnapshot::default(),
            inputs: Default::default(),
            options: String::new(),
            objects,
            rows_before: None,
            committed_at: String::new(),
            program: String::new(),
        };
        self.lake.write_commit(table, &record).await.unwrap();
    }

    /// Published objects of a month, relative to its folder.
    pub async fn published(&self, month: Month) -> Vec<String> {
        let folder = format!("{}/{}/", Table::ByBusiness.folder(), names::month_partition(month));
        let listed = self.lake.list(folder.trim_end_matches('/')).await.unwrap();
        listed.iter().map(|object| object.path.strip_prefix(&folder).unwrap().to_owned()).collect()
    }

    /// Folders below a month's folder, as a local lake shows them to whoever looks.
    pub fn folders_of(&self, month: Month) -> Vec<String> {
        let table = self.folder.path().join(Table::ByBusiness.folder());
        let entries = std::fs::read_dir(table.join(names::month_partition(month))).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
