//! A business's statistics from the lake: one object per month, found by its name.

use crate::render::time_text;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use invoices::lake::Lake;
use invoices::lake::names::{self, PartitionBy, Table};
use invoices::statistics as columns;
use invoices::{Error, Month, Result, Window, money};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Serialize;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Objects read at once for one request.
const CONCURRENCY: usize = 6;
/// How long the newest month is remembered.
const NEWEST_FOR: Duration = Duration::from_secs(10);

/// One month of one business; amounts are decimal texts, null where there was no invoice.
#[derive(Debug, Default, Serialize)]
pub struct MonthOfBusiness {
    pub month: String,
    /// Whether the batch path has published this month; otherwise nothing is known of it.
    pub is_published: bool,
    pub issued_count: i64,
    pub received_count: i64,
    pub total_amount_issued: Option<String>,
    pub total_amount_received: Option<String>,
    pub min_amount_issued: Option<String>,
    pub max_amount_issued: Option<String>,
    pub min_amount_received: Option<String>,
    pub max_amount_received: Option<String>,
    pub first_issue_date: Option<String>,
    pub last_issue_date: Option<String>,
    pub counterparties: Option<i64>,
}

pub struct Months {
    lake: Lake,
    newest: Mutex<Option<(Instant, Option<Month>)>>,
}

impl Months {
    pub fn new(lake: Lake) -> Self {
        Self { lake, newest: Mutex::default() }
    }

    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    /// The last month that was published; none when there is none yet.
    pub async fn newest(&self) -> Result<Option<Month>> {
        let remembered = self.newest.lock().ok().and_then(|newest| *newest);
        if let Some((at, month)) = remembered
            && at.elapsed() < NEWEST_FOR
        {
            return Ok(month);
        }
        let records = self.lake.list(&format!("_commits/{}", Table::ByBusiness.name())).await?;
        // The record of a month is `…/issue_date_yearmonth=2026-01-01.json`.
        let paths = records.iter().filter_map(|object| object.path.strip_suffix(".json"));
        let month = paths.filter_map(names::month_of).max();
        if let Ok(mut newest) = self.newest.lock() {
            *newest = Some((Instant::now(), month));
        }
        Ok(month)
    }

    /// The months of the window, oldest first.
    ///
    /// # Errors
    /// Retry when the lake doesn't answer, refused for an object that is no statistics.
    pub async fn of_business(&self, business_id: i64, window: Window) -> Result<Vec<MonthOfBusiness>> {
        futures::stream::iter(window.months())
            .map(|month| self.month(business_id, month))
            .buffered(CONCURRENCY)
            .try_collect()
            .await
    }

    async fn month(&self, business_id: i64, month: Month) -> Result<MonthOfBusiness> {
        let partition = names::month_partition(month);
        let none = MonthOfBusiness { month: month.to_string(), ..MonthOfBusiness::default() };
        let Some(record) = self.lake.read_commit(Table::ByBusiness, &partition).await? else {
            return Ok(none);
        };
        let none = MonthOfBusiness {
            is_published: true,
            total_amount_issued: Some(money::format(0, record.money.scale)),
            total_amount_received: Some(money::format(0, record.money.scale)),
            counterparties: Some(0),
            ..none
        };
        let by = record.options.split("partition_by=").nth(1).and_then(|by| by.parse().ok());
        let by: PartitionBy = by.unwrap_or(PartitionBy::Business);
        let folder = format!("{partition}/{}", by.folder(Some(business_id)));
        let path = names::object(Table::ByBusiness, folder.trim_end_matches('/'));
        let Some((_, bytes)) = self.lake.get(&path).await? else { return Ok(none) };
        let wanted = (by != PartitionBy::Business).then_some(business_id);
        let found = tokio::task::spawn_blocking(move || read(bytes, wanted)).await;
        let found = found.map_err(|_| Error::bug("reading statistics panicked"))??;
        Ok(found.map_or(none, |found| MonthOfBusiness {
            month: month.to_string(),
            is_published: true,
            ..found
        }))
    }
}

/// The row of a business; the only row when the object is the business's own.
fn read(object: Bytes, business_id: Option<i64>) -> Result<Option<MonthOfBusiness>> {
    for batch in ParquetRecordBatchReaderBuilder::try_new(object)?.build()? {
        let batch = batch?;
        let row = match business_id {
            None => (batch.num_rows() > 0).then_some(0),
            Some(id) => {
                let ids = batch.column_by_name(columns::BUSINESS_ID);
                let ids = ids.and_then(|ids| ids.as_primitive_opt::<Int64Type>());
                ids.and_then(|ids| ids.iter().position(|found| found == Some(id)))
            }
        };
        if let Some(row) = row {
            return Ok(Some(statistics(&batch, row)));
        }
    }
    Ok(None)
}

fn statistics(batch: &RecordBatch, row: usize) -> MonthOfBusiness {
    let whole = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    let amount = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<Decimal128Type>()?;
        column.is_valid(row).then(|| money::format(column.value(row), column.scale() as u8))
    };
    let time = |name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        column.is_valid(row).then(|| time_text(column.value(row)))
    };
    MonthOfBusiness {
        month: String::new(),
        is_published: true,
        issued_count: whole(columns::ISSUED_COUNT).unwrap_or(0),
        received_count: whole(columns::RECEIVED_COUNT).unwrap_or(0),
        total_amount_issued: amount(columns::TOTAL_ISSUED),
        total_amount_received: amount(columns::TOTAL_RECEIVED),
        min_amount_issued: amount(columns::MIN_ISSUED),
        max_amount_issued: amount(columns::MAX_ISSUED),
        min_amount_received: amount(columns::MIN_RECEIVED),
        max_amount_received: amount(columns::MAX_RECEIVED),
        first_issue_date: time(columns::FIRST_DATE),
        last_issue_date: time(columns::LAST_DATE),
        counterparties: whole(columns::COUNTERPARTIES),
    }
}
