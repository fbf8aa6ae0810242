//! Invoices in a lake, and their statistics computed the slow way, for tests.

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::NaiveDate;
use invoices::fingerprint::FingerprintRecord;
use invoices::lake::Lake;
use invoices::lake::commit::{CommitRecord, SourceSnapshot};
use invoices::lake::names::{self, Table};
use invoices::money::MoneyType;
use invoices::parquet::{Proof, Shape, invoice_batch, invoice_properties, invoice_schema};
use invoices::{
    ColumnsOf, Fingerprint, Invoice, InvoiceColumns, InvoiceOf, KeyKind, KeyKinds, Keys, Month, Texts, Window,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use std::collections::{BTreeMap, BTreeSet};

pub const MONEY: MoneyType = MoneyType { precision: 18, scale: 2 };

/// Statistics of one business, computed one invoice at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Naive {
    pub issued: Side,
    pub received: Side,
    pub dates: Option<(i64, i64)>,
    pub others: BTreeSet<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Side {
    pub total: i128,
    pub count: i64,
    pub least_and_most: Option<(i64, i64)>,
}

impl Side {
    fn add(&mut self, amount: i64) {
        self.total += i128::from(amount);
        self.count += 1;
        let (least, most) = self.least_and_most.unwrap_or((amount, amount));
        self.least_and_most = Some((least.min(amount), most.max(amount)));
    }
}

/// By business, NULL last.
pub type Statistics = BTreeMap<(bool, Option<i64>), Naive>;

pub fn naive(invoices: &[Invoice]) -> Statistics {
    let mut statistics = Statistics::new();
    for invoice in invoices {
        let (issuer, receiver) = (invoice.issuer_id, invoice.receiver_id);
        let date = invoice.issue_date_us;
        for (business, other) in [(issuer, receiver), (receiver, issuer)] {
            let of = statistics.entry((business.is_none(), business)).or_default();
            let (first, last) = of.dates.unwrap_or((date, date));
            of.dates = Some((first.min(date), last.max(date)));
            of.others.extend(other);
        }
        statistics.entry((issuer.is_none(), issuer)).or_default().issued.add(invoice.amount);
        statistics.entry((receiver.is_none(), receiver)).or_default().received.add(invoice.amount);
    }
    statistics
}

/// The rows of a staged object as text, one line per business.
pub fn lines_of(object: &Bytes) -> Vec<String> {
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(object.clone(), options).unwrap();
    let reader = reader.build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let Some(first) = batches.first() else { return Vec::new() };
    let rows = concat_batches(&first.schema(), &batches).unwrap();
    let cell = |column: usize, row: usize| {
        let array = rows.column(column);
        if array.is_null(row) {
            return "-".to_owned();
        }
        match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
            DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
            DataType::Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value(row).to_string(),
            _ => array.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        }
    };
    let line = |row| (0..rows.num_columns()).map(|column| cell(column, row)).collect::<Vec<_>>().join(" ");
    (0..rows.num_rows()).map(line).collect()
}

/// The same lines of statistics computed the slow way.
pub fn lines(statistics: &Statistics, with_counterparties: bool) -> Vec<String> {
    let text = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    let line = |((_, business), of): (&(bool, Option<i64>), &Naive)| {
        let (issued, received) = (&of.issued, &of.received);
        let mut cells = vec![text(*business), issued.total.to_string(), received.total.to_string()];
        cells.extend([issued.count.to_string(), received.count.to_string()]);
        for side in [issued, received] {
            cells.push(text(side.least_and_most.map(|(least, _)| least)));
            cells.push(text(side.least_and_most.map(|(_, most)| most)));
        }
        cells.push(text(of.dates.map(|(first, _)| first)));
        cells.push(text(of.dates.map(|(_, last)| last)));
        if with_counterparties {
            cells.push(of.others.len().to_string());
        }
        cells.join(" ")
    };
    statistics.iter().map(line).collect()
}

pub fn fingerprint(invoices: &[Invoice]) -> Fingerprint {
    Fingerprint::of(&columns(invoices), MONEY)
}

fn columns(invoices: &[Invoice]) -> InvoiceColumns {
    let mut columns = InvoiceColumns::default();
    invoices.iter().for_each(|invoice| columns.push(*invoice));
    columns
}

/// An object of the table `invoices` that proves `claimed`.
pub fn object(invoices: &[Invoice], claimed: &Fingerprint) -> Bytes {
    object_of(columns(invoices), claimed, KeyKinds::default())
}

/// A business's id as text, in the order of the numbers.
pub fn text_of(business: i64) -> String {
    format!("{:020}", business.cast_unsigned() ^ 1 << 63)
}

/// The same where the ids of businesses are [`text_of`] the numbers.
pub fn object_of_texts(invoices: &[Invoice]) -> Bytes {
    let mut columns = ColumnsOf::<Texts>::default();
    for invoice in invoices {
        let [issuer, receiver] = [invoice.issuer_id, invoice.receiver_id].map(|id| id.map(text_of));
        columns.push(InvoiceOf {
            invoice_id: &invoice.invoice_id.to_string(),
            issue_date_us: invoice.issue_date_us,
            issuer_id: issuer.as_deref(),
            receiver_id: receiver.as_deref(),
            amount: invoice.amount,
        });
    }
    let fingerprint = Fingerprint::of(&columns, MONEY);
    object_of(columns, &fingerprint, KeyKinds::of_business(KeyKind::Text))
}

fn object_of(columns: ColumnsOf<impl Keys>, claimed: &Fingerprint, keys: KeyKinds) -> Bytes {
    let proof = Proof {
        invoices: FingerprintRecord::new(claimed, MONEY.scale),
        money: MONEY,
        keys,
        snapshot: SourceSnapshot::default(),
    };
    let shape = Shape { keys, ..Shape::plain(MONEY) };
    let mut bytes = Vec::new();
    // Small row groups, so that there are several.
    let properties = Some(invoice_properties(100));
    let mut writer = ArrowWriter::try_new(&mut bytes, invoice_schema(&shape), properties).unwrap();
    writer.write(&invoice_batch(columns, &shape).unwrap()).unwrap();
    writer.append_key_value_metadata(proof.to_key_value().unwrap());
    writer.close().unwrap();
    bytes.into()
}

/// A lake in a folder of its own, with a window of two months.
pub struct Fixture {
    pub lake: Lake,
    _folder: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&format!("file://{}", folder.path().display())).unwrap();
        Self { lake, _folder: folder }
    }

    pub fn window() -> Window {
        Window::ending(NaiveDate::from_ymd_opt(2026, 1, 31).unwrap(), 2)
    }

    pub fn newest() -> Month {
        Self::window().last
    }

    pub async fn extract(&self, month: Month, invoices: &[Invoice]) {
        let path = names::object(Table::Invoices, &names::month_partition(month));
        self.lake.put(&path, object(invoices, &fingerprint(invoices))).await.unwrap();
    }

    /// A month without invoices, as query_source leaves it.
    pub async fn extract_nothing(&self, month: Month) {
        let partition = names::month_partition(month);
        self.lake.delete(&names::object(Table::Invoices, &partition)).await.unwrap();
        let record = CommitRecord {
            table: Table::Invoices.name().to_owned(),
            partition,
            rows: 0,
            invoices: FingerprintRecord::new(&Fingerprint::default(), MONEY.scale),
            money: MONEY,
            snapshot: SourceSnapshot::default(),
            inputs: Default::default(),
            options: String::new(),
            objects: Vec::new(),
            rows_before: None,
            committed_at: String::new(),
            program: String::new(),
        };
        self.lake.write_commit(Table::Invoices, &record).await.unwrap();
    }

    pub async fn staged_month(&self, month: Month) -> Option<Vec<String>> {
        self.staged(&names::object(Table::StagedByBusiness, &names::month_partition(month))).await
    }

    pub async fn staged_window(&self) -> Option<Vec<String>> {
        let partition = names::window_partition(Self::newest(), Self::window().len());
        self.staged(&names::object(Table::StagedLastNMonths, &partition)).await
    }

    async fn staged(&self, path: &str) -> Option<Vec<String>> {
        let found = self.lake.get(path).await.unwrap();
        found.map(|(_, bytes)| lines_of(&bytes))
    }
}
