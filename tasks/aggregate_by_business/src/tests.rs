//! The task on a lake in a local folder.

use crate::grouping::Engine;
use crate::testing::{Fixture, fingerprint, lines, naive, object};
use crate::{aggregate, months_at_once, stage_months, window};
use invoices::lake::names::{self, Table};
use invoices::{Invoice, Kind, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

async fn run(fixture: &Fixture) -> Result<Value> {
    aggregate(&fixture.lake, &Engine::Polars, Fixture::window(), "test 1").await
}

/// Invoices between few businesses, NULL among them, of all signs.
fn some_invoices(seed: u64, count: i64) -> Vec<Invoice> {
    let mut random = StdRng::seed_from_u64(seed);
    let invoice = |invoice_id| Invoice {
        invoice_id,
        issue_date_us: 1_767_225_600_000_000 + random.random_range(0..1_000_000_000),
        issuer_id: random.random_bool(0.95).then_some(random.random_range(-5..40)),
        receiver_id: random.random_bool(0.95).then_some(random.random_range(-5..40)),
        amount: random.random_range(-500..100_000),
    };
    (0..count).map(invoice).collect()
}

async fn extracted() -> (Fixture, Vec<Invoice>, Vec<Invoice>) {
    let fixture = Fixture::new();
    let (older, newer) = (some_invoices(1, 700), some_invoices(2, 900));
    fixture.extract(Fixture::window().first, &older).await;
    fixture.extract(Fixture::newest(), &newer).await;
    (fixture, older, newer)
}

#[tokio::test]
async fn months_and_window_are_what_one_invoice_at_a_time_adds_up_to() {
    let (fixture, older, newer) = extracted().await;
    let line = run(&fixture).await.unwrap();
    assert_eq!((&line["months_written"], &line["rows"]), (&2.into(), &1600.into()), "{line}");
    let all = [older.clone(), newer.clone()].concat();
    let first = Fixture::window().first;
    assert_eq!(fixture.staged_month(first).await, Some(lines(&naive(&older), true)));
    assert_eq!(fixture.staged_month(Fixture::newest()).await, Some(lines(&naive(&newer), true)));
    assert_eq!(fixture.staged_window().await, Some(lines(&naive(&all), false)));
    assert_eq!(line["businesses"], naive(&all).len());
}

#[tokio::test]
async fn a_second_run_writes_nothing() {
    let (fixture, ..) = extracted().await;
    run(&fixture).await.unwrap();
    let before = fixture.lake.list("").await.unwrap();
    let line = run(&fixture).await.unwrap();
    assert_eq!((&line["months_unchanged"], &line["bytes"]), (&2.into(), &0.into()), "{line}");
    assert_eq!(fixture.lake.list("").await.unwrap(), before);
}

#[tokio::test]
async fn only_a_changed_month_is_grouped_again() {
    let (fixture, older, _) = extracted().await;
    run(&fixture).await.unwrap();
    let changed = some_invoices(3, 50);
    fixture.extract(Fixture::newest(), &changed).await;
    let line = run(&fixture).await.unwrap();
    assert_eq!((&line["months_written"], &line["months_unchanged"]), (&1.into(), &1.into()), "{line}");
    let all = [older, changed].concat();
    assert_eq!(fixture.staged_window().await, Some(lines(&naive(&all), false)));
}

#[tokio::test]
async fn a_month_that_lost_its_invoices_loses_its_statistics() {
    let (fixture, older, _) = extracted().await;
    run(&fixture).await.unwrap();
    fixture.extract_nothing(Fixture::newest()).await;
    let line = run(&fixture).await.unwrap();
    assert_eq!(line["months_emptied"], 1, "{line}");
    assert_eq!(fixture.staged_month(Fixture::newest()).await, None);
    assert_eq!(fixture.staged_window().await, Some(lines(&naive(&older), false)));
    assert_eq!(run(&fixture).await.unwrap()["months_unchanged"], 2);
}

#[tokio::test]
async fn a_window_without_invoices_has_no_rows() {
    let fixture = Fixture::new();
    for month in Fixture::window().months() {
        fixture.extract_nothing(month).await;
    }
    let line = run(&fixture).await.unwrap();
    assert_eq!((&line["rows"], &line["businesses"]), (&0.into(), &0.into()), "{line}");
    assert_eq!(fixture.staged_window().await, Some(vec![]));
    assert_eq!(run(&fixture).await.unwrap()["bytes"], 0);
}

#[tokio::test]
async fn a_month_that_was_never_extracted_is_a_matter_of_configuration() {
    let fixture = Fixture::new();
    fixture.extract(Fixture::newest(), &some_invoices(1, 10)).await;
    let error = run(&fixture).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("month 2025-12-01 has not been extracted"), "{error}");
}

#[tokio::test]
async fn invoices_that_are_not_what_their_proof_says_are_refused() {
    let (fixture, _, newer) = extracted().await;
    let path = names::object(Table::Invoices, &names::month_partition(Fixture::newest()));
    let claimed = fingerprint(&newer[1..]);
    fixture.lake.put(&path, object(&newer, &claimed)).await.unwrap();
    let error = run(&fixture).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("nothing was written"), "{error}");
    assert_eq!(fixture.staged_month(Fixture::newest()).await, None);
}

#[tokio::test]
async fn an_object_without_proof_is_refused() {
    let (fixture, ..) = extracted().await;
    let newest = names::month_partition(Fixture::newest());
    run(&fixture).await.unwrap();
    // Staged statistics are Parquet as well, but prove nothing.
    let (_, bytes) =
        fixture.lake.get(&names::object(Table::StagedByBusiness, &newest)).await.unwrap().unwrap();
    fixture.lake.put(&names::object(Table::Invoices, &newest), bytes).await.unwrap();
    let error = run(&fixture).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    assert!(error.to_string().contains("no proof"), "{error}");
}

#[tokio::test]
async fn a_staged_object_that_somebody_changed_is_made_again() {
    let (fixture, _, newer) = extracted().await;
    run(&fixture).await.unwrap();
    let path = names::object(Table::StagedByBusiness, &names::month_partition(Fixture::newest()));
    fixture.lake.put(&path, bytes::Bytes::from_static(b"half a run")).await.unwrap();
    run(&fixture).await.unwrap();
    assert_eq!(fixture.staged_month(Fixture::newest()).await, Some(lines(&naive(&newer), true)));
}

#[tokio::test]
async fn months_that_were_staged_anew_are_not_merged_from_old_ones() {
    let (fixture, older, _) = extracted().await;
    let (lake, window) = (&fixture.lake, Fixture::window());
    let months = stage_months(lake, &Engine::Polars, window, "test 1").await.unwrap();
    let changed = some_invoices(4, 20);
    fixture.extract(Fixture::newest(), &changed).await;
    stage_months(lake, &Engine::Polars, window, "test 2").await.unwrap();
    assert!(window::stage(lake, window, &months, "test 1").await.unwrap().is_none());
    run(&fixture).await.unwrap();
    let all = [older, changed].concat();
    assert_eq!(fixture.staged_window().await, Some(lines(&naive(&all), false)));
}

#[test]
fn months_that_are_large_are_grouped_one_by_one() {
    assert_eq!(months_at_once(0), 3);
    assert_eq!(months_at_once(10 << 20), 3);
    assert_eq!(months_at_once(30 << 20), 2);
    assert_eq!(months_at_once(55 << 20), 1);
}
