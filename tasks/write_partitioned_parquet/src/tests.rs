//! The task on a lake in a local folder.

use crate::publish_all;
use crate::staged::{self, Staged};
use crate::testing::{Fixture, MONEY, fingerprint, statistics};
use crate::totals::Totals;
use arrow::record_batch::RecordBatch;
use invoices::lake::names::{self, Table};
use invoices::statistics::{self as columns, Scope};
use invoices::{Error, Kind, Result};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

const IDS: [Option<i64>; 4] = [Some(-7), Some(1), Some(42), None];

async fn publish(fixture: &Fixture, flags: &[&str]) -> Result<Value> {
    let args = fixture.args(flags);
    publish_all(&args, args.window.window()?, &fixture.lake, "test 1").await
}

async fn read(fixture: &Fixture, path: &str) -> RecordBatch {
    let (_, bytes) = fixture.lake.get(path).await.unwrap().unwrap();
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
    reader.next().unwrap().unwrap()
}

fn refused(outcome: Result<Value>, kind: Kind, said: &str) -> Error {
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(said), "{error}");
    error
}

#[tokio::test]
async fn every_partitioning_publishes_every_row_once_and_leaves_nothing_of_the_one_before() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    let month = Fixture::newest();
    let folder = format!("{}/{}", Table::ByBusiness.folder(), names::month_partition(month));
    for (by, expected) in [
        (
            "month,business_id",
            vec![
                "business_id=-7/part-0.parquet",
                "business_id=1/part-0.parquet",
                "business_id=42/part-0.parquet",
                "business_id=__HIVE_DEFAULT_PARTITION__/part-0.parquet",
            ],
        ),
        (
            "month,bucket(business_id,2)",
            vec!["business_bucket=0/part-0.parquet", "business_bucket=1/part-0.parquet"],
        ),
        ("month", vec!["part-0.parquet"]),
    ] {
        let line = publish(&fixture, &["--partition-by", by]).await.unwrap();
        assert_eq!(line["months_written"], 2, "{line}");
        assert_eq!(fixture.published(month).await, expected);
        let mut totals = Totals::default();
        for path in expected {
            let rows = read(&fixture, &format!("{folder}/{path}")).await;
            let has_business = rows.column_by_name(columns::BUSINESS_ID).is_some();
            assert_eq!(has_business, by != "month,business_id");
            totals.add(&rows).unwrap();
        }
        totals.check(&fingerprint(&statistics(&IDS)), MONEY.scale, "the month").unwrap();
    }
}

#[tokio::test]
async fn a_second_run_writes_nothing() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    publish(&fixture, &[]).await.unwrap();
    let before = fixture.lake.list("").await.unwrap();
    let line = publish(&fixture, &[]).await.unwrap();
    assert_eq!((&line["months_unchanged"], &line["bytes"]), (&2.into(), &0.into()));
    assert_eq!(fixture.lake.list("").await.unwrap(), before);
}

#[tokio::test]
async fn a_changed_month_is_replaced_and_vanished_businesses_disappear() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    publish(&fixture, &[]).await.unwrap();
    fixture.stage_month(Fixture::newest(), &[Some(1), Some(5)]).await;
    let line = publish(&fixture, &[]).await.unwrap();
    assert_eq!(line["months_written"], 1, "{line}");
    assert_eq!(line["partitions_deleted"], 3, "{line}");
    let expected = ["business_id=1/part-0.parquet", "business_id=5/part-0.parquet"];
    assert_eq!(fixture.published(Fixture::newest()).await, expected);
    assert_eq!(fixture.published(Fixture::window().first).await.len(), 4);
    assert_eq!(fixture.folders_of(Fixture::newest()), ["business_id=1", "business_id=5"]);
}

#[tokio::test]
async fn a_month_without_invoices_is_emptied() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    publish(&fixture, &[]).await.unwrap();
    fixture.stage_month(Fixture::newest(), &[]).await;
    publish(&fixture, &[]).await.unwrap();
    assert!(fixture.published(Fixture::newest()).await.is_empty());
    let partition = names::month_partition(Fixture::newest());
    let record = fixture.lake.read_commit(Table::ByBusiness, &partition).await.unwrap().unwrap();
    assert_eq!((record.rows, record.objects.len()), (0, 0));
    assert_eq!(publish(&fixture, &[]).await.unwrap()["months_unchanged"], 2);
}

#[tokio::test]
async fn an_object_that_somebody_changed_is_written_again_and_a_strange_one_stays() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    publish(&fixture, &[]).await.unwrap();
    let folder = format!("{}/{}", Table::ByBusiness.folder(), names::month_partition(Fixture::newest()));
    let path = format!("{folder}/business_id=42/part-0.parquet");
    fixture.lake.put(&path, bytes::Bytes::from_static(b"not Parquet")).await.unwrap();
    fixture.lake.put(&format!("{folder}/stray.txt"), bytes::Bytes::from_static(b"?")).await.unwrap();
    for months_written in [1, 0] {
        let line = publish(&fixture, &[]).await.unwrap();
        assert_eq!(line["months_written"], months_written);
        assert!(line["warnings"][0].as_str().unwrap().contains("stray.txt"), "{line}");
    }
    assert_eq!(fixture.published(Fixture::newest()).await.len(), 5);
    assert_eq!(read(&fixture, &path).await.num_rows(), 1);
}

#[tokio::test]
async fn too_many_partitions_are_refused_before_anything_is_written() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS[..1]).await;
    fixture.stage_month(Fixture::newest(), &IDS).await;
    let outcome = publish(&fixture, &["--max-partitions", "3"]).await;
    let error = refused(outcome, Kind::Refused, "month 2026-01-01 has 4 partitions").to_string();
    assert!(error.contains("--partition-by month, or 'month,bucket(business_id,N)'"), "{error}");
    assert!(fixture.lake.list(Table::ByBusiness.folder()).await.unwrap().is_empty());
    publish(&fixture, &["--max-partitions", "3", "--partition-by", "month,bucket(business_id,3)"])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_month_that_was_not_staged_is_a_matter_of_configuration() {
    let fixture = Fixture::new();
    fixture.stage_month(Fixture::newest(), &IDS).await;
    refused(publish(&fixture, &[]).await, Kind::Config, "month 2025-12-01 have not been staged");
}

#[tokio::test]
async fn statistics_that_do_not_add_up_are_refused() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    let partition = names::month_partition(Fixture::newest());
    let mut record = fixture.lake.read_commit(Table::StagedByBusiness, &partition).await.unwrap().unwrap();
    record.invoices.amount = "1.00".to_owned();
    fixture.lake.write_commit(Table::StagedByBusiness, &record).await.unwrap();
    refused(publish(&fixture, &[]).await, Kind::Refused, "month 2026-01-01");
    assert!(fixture.published(Fixture::newest()).await.is_empty());
}

#[tokio::test]
async fn a_staged_object_that_is_not_the_recorded_one_is_not_published() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    let path = names::object(Table::StagedByBusiness, &names::month_partition(Fixture::newest()));
    fixture.lake.put(&path, bytes::Bytes::from_static(b"half a run")).await.unwrap();
    refused(publish(&fixture, &[]).await, Kind::Retry, "month 2026-01-01");
    assert!(fixture.published(Fixture::newest()).await.is_empty());
}

#[tokio::test]
async fn a_staging_that_was_replaced_after_its_record_was_read_is_not_published() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    let partition = names::month_partition(Fixture::newest());
    let found = Staged::find(&fixture.lake, Table::StagedByBusiness, &partition, "the month").await.unwrap();
    assert!(found.is_current(&fixture.lake).await.unwrap());
    fixture.stage_month(Fixture::newest(), &[Some(1)]).await;
    assert!(!found.is_current(&fixture.lake).await.unwrap());
    assert!(found.read(&fixture.lake).await.unwrap().is_none());
}

#[tokio::test]
async fn the_window_is_published_as_it_was_staged() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    publish(&fixture, &[]).await.unwrap();
    let partition = names::window_partition(Fixture::newest(), 2);
    let of = |table| names::object(table, &partition);
    let (_, staged) = fixture.lake.get(&of(Table::StagedLastNMonths)).await.unwrap().unwrap();
    let (_, published) = fixture.lake.get(&of(Table::LastNMonths)).await.unwrap().unwrap();
    assert_eq!(staged, published);
    let record = fixture.lake.read_commit(Table::LastNMonths, &partition).await.unwrap().unwrap();
    assert_eq!(staged::rows(published, &record, Scope::Window).unwrap().num_rows(), 4);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let fixture = Fixture::new();
    fixture.stage_all(&IDS).await;
    let before = fixture.lake.list("").await.unwrap();
    let line = publish(&fixture, &["--dry-run"]).await.unwrap();
    assert_eq!(line["would_publish"].as_array().map(Vec::len), Some(3), "{line}");
    assert_eq!(fixture.lake.list("").await.unwrap(), before);
}
