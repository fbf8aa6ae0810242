//! A source and a lake in a scratch folder: two months of invoices, written as the tasks write them.

use crate::args::{Args, Command, DoctorArgs, StatusArgs, VerifyArgs};
use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch};
use bytes::Bytes;
use clap::Parser;
use invoices::fingerprint::FingerprintRecord;
use invoices::lake::commit::{CommitRecord, SourceSnapshot, now_text};
use invoices::lake::names::{self, PartitionBy, Table};
use invoices::lake::{Lake, Object};
use invoices::money::{self, MoneyType};
use invoices::parquet::{
    Proof, Shape, invoice_batch, invoice_properties, invoice_schema, read_invoices, read_proof,
};
use invoices::source::SourceArgs;
use invoices::task::LakeArgs;
use invoices::{Fingerprint, Invoice, InvoiceColumns, KeyKinds, Month};
use parquet::arrow::ArrowWriter;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// What a SQLite source's amounts are.
const MONEY: MoneyType = MoneyType { precision: 18, scale: 2 };
const MONTHS: [&str; 2] = ["2025-12-01", "2026-01-01"];

pub struct Demo {
    folder: tempfile::TempDir,
    pub database: PathBuf,
    pub lake: Lake,
}

impl Demo {
    /// A source with invoices, and an empty lake.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("invoices.db");
        let lake = Lake::open(&format!("file://{}/lake", folder.path().display())).unwrap();
        let demo = Self { folder, database, lake };
        demo.execute("create table invoices (invoice_id integer primary key, issue_date text, issuer_id integer, receiver_id integer, amount_usd)");
        let business = |id: Option<i64>| id.map_or("null".to_owned(), |id| id.to_string());
        let mut inserts = String::from("begin;");
        for month in MONTHS {
            for invoice in invoices_of(month.parse().unwrap()).iter() {
                let date =
                    chrono::DateTime::from_timestamp_micros(invoice.issue_date_us).unwrap().naive_utc();
                inserts.push_str(&format!(
                    "insert into invoices values ({}, '{}', {}, {}, '{}');",
                    invoice.invoice_id,
                    date.format("%Y-%m-%d %H:%M:%S"),
                    business(invoice.issuer_id),
                    business(invoice.receiver_id),
                    money::format(i128::from(invoice.amount), MONEY.scale),
                ));
            }
        }
        demo.execute(&(inserts + "commit"));
        demo
    }

    /// The same, with a lake as a complete run leaves it.
    pub fn published() -> Self {
        let demo = Self::new();
        for month in MONTHS {
            let month: Month = month.parse().unwrap();
            let columns = invoices_of(month);
            demo.publish_invoices(month, &columns);
            demo.publish_businesses(month, &columns);
        }
        demo
    }

    pub fn runtime(&self) -> Runtime {
        Runtime::new().unwrap()
    }

    pub fn execute(&self, sql: &str) {
        rusqlite::Connection::open(&self.database).unwrap().execute_batch(sql).unwrap();
    }

    pub fn put(&self, path: &str, bytes: &[u8]) -> Object {
        self.runtime().block_on(self.lake.put(path, Bytes::copy_from_slice(bytes))).unwrap()
    }

    pub fn get(&self, path: &str) -> Bytes {
        self.runtime().block_on(self.lake.get(path)).unwrap().unwrap().1
    }

    pub fn delete(&self, path: &str) {
        self.runtime().block_on(self.lake.delete(path)).unwrap();
    }

    /// Changes rows and keeps the footer's proof and the commit record as they were.
    pub fn tamper_with_invoices(&self, month: &str, change: impl Fn(&mut InvoiceColumns)) {
        let path = names::object(Table::Invoices, &names::month_partition(month.parse().unwrap()));
        let bytes = self.get(&path);
        let proof = read_proof(&bytes).unwrap().unwrap();
        let mut columns = InvoiceColumns::default();
        read_invoices(bytes, |batch: InvoiceColumns| batch.iter().for_each(|invoice| columns.push(invoice)))
            .unwrap();
        change(&mut columns);
        self.put(&path, &invoice_object(columns, &proof));
    }

    fn publish_invoices(&self, month: Month, columns: &InvoiceColumns) {
        let fingerprint = Fingerprint::of(columns, MONEY);
        let proof = Proof {
            invoices: FingerprintRecord::new(&fingerprint, MONEY.scale),
            money: MONEY,
            keys: KeyKinds::default(),
            snapshot: SourceSnapshot::default(),
        };
        let path = names::object(Table::Invoices, &names::month_partition(month));
        let object = self.put(&path, &invoice_object(columns.clone(), &proof));
        self.commit(Table::Invoices, month, &fingerprint, &[object]);
    }

    fn publish_businesses(&self, month: Month, columns: &InvoiceColumns) {
        // Issued amount and count, received amount and count.
        let mut businesses: BTreeMap<Option<i64>, [i64; 4]> = BTreeMap::new();
        for invoice in columns.iter() {
            for (business, at) in [(invoice.issuer_id, 0), (invoice.receiver_id, 2)] {
                let totals = businesses.entry(business).or_default();
                totals[at] += invoice.amount;
                totals[at + 1] += 1;
            }
        }
        let partition = names::month_partition(month);
        let mut objects: Vec<Object> = businesses
            .iter()
            .map(|(business, totals)| {
                let below = format!("{partition}/{}", PartitionBy::Business.folder(*business));
                self.put(
                    &names::object(Table::ByBusiness, below.trim_end_matches('/')),
                    &business_object(*totals),
                )
            })
            .collect();
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        self.commit(Table::ByBusiness, month, &Fingerprint::of(columns, MONEY), &objects);
    }

    fn commit(&self, table: Table, month: Month, fingerprint: &Fingerprint, objects: &[Object]) {
        let record = CommitRecord {
            table: table.name().to_owned(),
            partition: names::month_partition(month),
            rows: if table == Table::Invoices { fingerprint.rows } else { objects.len() as u64 },
            invoices: FingerprintRecord::new(fingerprint, MONEY.scale),
            money: MONEY,
            snapshot: SourceSnapshot::default(),
            inputs: BTreeMap::new(),
            options: String::new(),
            objects: objects.iter().map(Into::into).collect(),
            rows_before: None,
            committed_at: now_text(),
            program: "test".to_owned(),
        };
        self.runtime().block_on(self.lake.write_commit(table, &record)).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let lake = format!("file://{}/lake", self.folder.path().display());
        let line = [&["inspect_lake"], words, &["--lake", &lake]].concat();
        Args::try_parse_from(line).unwrap().command
    }

    fn doctor_args(&self) -> DoctorArgs {
        let source = format!("sqlite:{}", self.database.display());
        match self.command(&["doctor", "--source", &source, "--table", "invoices"]) {
            Command::Doctor(args) => args,
            other => panic!("{other:?}"),
        }
    }

    pub fn source_args(&self) -> SourceArgs {
        self.doctor_args().source
    }

    pub fn lake_args(&self) -> LakeArgs {
        self.doctor_args().lake
    }

    /// November has nothing anywhere.
    pub fn verify_args(&self) -> VerifyArgs {
        let source = format!("sqlite:{}", self.database.display());
        match self.command(&["verify", "--source", &source, "--as-of", "2026-01-31", "--months", "3"]) {
            Command::Verify(args) => args,
            other => panic!("{other:?}"),
        }
    }

    pub fn status_args(&self) -> StatusArgs {
        match self.command(&["status"]) {
            Command::Status(args) => args,
            other => panic!("{other:?}"),
        }
    }
}

/// Twenty invoices, some of unknown businesses, some negative.
fn invoices_of(month: Month) -> InvoiceColumns {
    const MINUTE_US: i64 = 60_000_000;
    let mut columns = InvoiceColumns::default();
    let base = if month == MONTHS[0].parse().unwrap() { 0 } else { 100 };
    for number in 0..20 {
        columns.push(Invoice {
            invoice_id: base + number,
            issue_date_us: month.start_us() + number * MINUTE_US,
            issuer_id: (number % 7 != 0).then_some(number % 5),
            receiver_id: (number % 11 != 0).then_some(number % 3),
            amount: number * 7 - 97,
        });
    }
    columns
}

fn invoice_object(columns: InvoiceColumns, proof: &Proof) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(
        &mut bytes,
        invoice_schema(&Shape::plain(MONEY)),
        Some(invoice_properties(1000)),
    )
    .unwrap();
    writer.write(&invoice_batch(columns, &Shape::plain(MONEY)).unwrap()).unwrap();
    writer.append_key_value_metadata(proof.to_key_value().unwrap());
    writer.close().unwrap();
    bytes
}

fn business_object([issued, issued_count, received, received_count]: [i64; 4]) -> Vec<u8> {
    let amount = |value: i64| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![i128::from(value)]).with_precision_and_scale(38, 2).unwrap())
    };
    let count = |value: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![value])) };
    let batch = RecordBatch::try_from_iter([
        ("total_amount_issued", amount(issued)),
        ("total_amount_received", amount(received)),
        ("issued_count", count(issued_count)),
        ("received_count", count(received_count)),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}
