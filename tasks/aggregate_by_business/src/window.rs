//! The statistics of the whole window: a merge of its months' statistics, never a second scan of
//! the invoices.

use crate::month::StagedMonth;
use crate::staging::{self, Basis, Inputs};
use crate::{engine, merge, totals};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use invoices::fingerprint::FingerprintRecord;
use invoices::lake::commit::{CommitRecord, ObjectRecord, SourceSnapshot};
use invoices::lake::names::{self, Table};
use invoices::lake::{CONCURRENCY, Lake};
use invoices::money::MoneyType;
use invoices::statistics::Scope;
use invoices::{Error, Fingerprint, Result, Window, failpoint};
use polars::prelude::IntoLazy;

/// Rows of months that are merged at once.
const ROWS_AT_ONCE: u64 = 500_000;

/// A month's staged object.
struct StagedObject {
    rows: u64,
    bytes: Bytes,
}

/// The window's commit record, and whether this run wrote it.
pub struct StagedWindow {
    pub record: CommitRecord,
    pub is_new: bool,
}

/// Merges the staged months; none when one of them was replaced meanwhile.
///
/// # Errors
/// Configuration when the months' amounts have different types, refused when totals differ.
pub async fn stage(
    lake: &Lake,
    window: Window,
    months: &[StagedMonth],
    program: &str,
) -> Result<Option<StagedWindow>> {
    let (table, partition) = (Table::StagedLastNMonths, names::window_partition(window.last, window.len()));
    let path = names::object(table, &partition);
    let basis = basis_of(months)?;
    let (staged, record) = futures::try_join!(lake.head(&path), lake.read_commit(table, &partition))?;
    let current = |record: &CommitRecord| {
        record.money == basis.money && staging::is_current(record, &basis.inputs, staged.as_ref())
    };
    if let Some(record) = record.filter(current) {
        return Ok(Some(StagedWindow { record, is_new: false }));
    }

    let Some(objects) = staged_objects(lake, months).await? else { return Ok(None) };
    let (money, expected) = (basis.money, fingerprint_of(months)?);
    let place = lake.locate(&path);
    let merging = tokio::task::spawn_blocking(move || merged(objects, money, &expected, &place)).await;
    let (rows, object) = merging.map_err(|error| Error::bug("the merging broke off").because(error))??;

    failpoint!("aggregate::before_put");
    let object = lake.put(&path, object).await?;
    let inputs = basis.inputs.clone();
    let record = staging::record(table, &partition, basis, rows, &[object], program);
    failpoint!("aggregate::before_record");
    lake.write_commit(table, &record).await?;
    failpoint!("aggregate::after_record");
    let is_current = months_now(lake, months).await? == inputs;
    Ok(is_current.then_some(StagedWindow { record, is_new: true }))
}

/// Merges month after month into one frame, a few at a time, so that memory holds little more
/// than a row per business.
fn merged(
    objects: Vec<StagedObject>,
    money: MoneyType,
    expected: &Fingerprint,
    place: &str,
) -> Result<(u64, Bytes)> {
    let mut frame = merge::nothing(money, Scope::Window);
    for batch in batches(objects) {
        frame = merge::merge([frame.lazy(), engine::scan(batch)?], money, Scope::Window)?;
    }
    totals::check(&frame, expected, money.scale, place)?;
    Ok((frame.height() as u64, engine::to_parquet(&mut frame)?))
}

/// Objects in groups of no more than [`ROWS_AT_ONCE`], or of one.
fn batches(objects: Vec<StagedObject>) -> Vec<Vec<Bytes>> {
    let mut batches: Vec<Vec<Bytes>> = Vec::new();
    let mut rows = 0;
    for object in objects {
        rows += object.rows;
        match batches.last_mut() {
            Some(batch) if rows <= ROWS_AT_ONCE => batch.push(object.bytes),
            _ => {
                rows = object.rows;
                batches.push(vec![object.bytes]);
            }
        }
    }
    batches
}

fn basis_of(months: &[StagedMonth]) -> Result<Basis> {
    let money = months.last().map(|month| month.record.money);
    let money = money.ok_or_else(|| Error::bug("a window has no month"))?;
    if let Some(other) = months.iter().find(|month| month.record.money != money) {
        let (partition, found) = (&other.record.partition, other.record.money);
        return Err(Error::config(format!(
            "amounts are {money} in the newest month and {found} in {partition}; run query_source --refresh window for all months"
        )));
    }
    Ok(Basis {
        invoices: FingerprintRecord::new(&fingerprint_of(months)?, money.scale),
        money,
        snapshot: oldest_snapshot(months),
        inputs: objects_of(months).map(|object| (object.path.clone(), object.etag.clone())).collect(),
    })
}

fn objects_of(months: &[StagedMonth]) -> impl Iterator<Item = &ObjectRecord> {
    months.iter().flat_map(|month| &month.record.objects)
}

fn fingerprint_of(months: &[StagedMonth]) -> Result<Fingerprint> {
    let mut sum = Fingerprint::default();
    for month in months {
        sum.merge(month.record.fingerprint()?);
    }
    Ok(sum)
}

/// The state of the source that every month shows at least.
fn oldest_snapshot(months: &[StagedMonth]) -> SourceSnapshot {
    let snapshots = months.iter().map(|month| &month.record.snapshot);
    let oldest = snapshots.reduce(|oldest, next| if oldest.is_newer_than(next) { next } else { oldest });
    oldest.cloned().unwrap_or_default()
}

/// Staged objects of the months that have one, read where this run has not just written them; none
/// when one is no longer the recorded one.
async fn staged_objects(lake: &Lake, months: &[StagedMonth]) -> Result<Option<Vec<StagedObject>>> {
    let objects: Vec<Option<StagedObject>> = stream::iter(months)
        .filter(|month| std::future::ready(!month.record.objects.is_empty()))
        .map(|month| staged_object(lake, month))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok(objects.into_iter().collect())
}

async fn staged_object(lake: &Lake, month: &StagedMonth) -> Result<Option<StagedObject>> {
    let rows = month.record.rows;
    if let Some(bytes) = month.object.clone() {
        return Ok(Some(StagedObject { rows, bytes }));
    }
    let recorded = &month.record.objects[0];
    let found = lake.get(&recorded.path).await?;
    let recorded = found.filter(|(object, _)| *recorded == object.into());
    Ok(recorded.map(|(_, bytes)| StagedObject { rows, bytes }))
}

async fn months_now(lake: &Lake, months: &[StagedMonth]) -> Result<Inputs> {
    let found: Vec<Inputs> = stream::iter(objects_of(months))
        .map(|object| staging::inputs_now(lake, &object.path))
        .buffered(CONCURRENCY)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_every_object_once_and_few_rows_together() {
        let object = |rows| StagedObject { rows, bytes: Bytes::from(rows.to_string()) };
        let (small, half, huge) = (10, ROWS_AT_ONCE / 2, 3 * ROWS_AT_ONCE);
        let found = batches([small, half, half, huge, small, small].map(object).into());
        let sizes: Vec<usize> = found.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
        assert!(batches(vec![]).is_empty());
    }
}
