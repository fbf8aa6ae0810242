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
use invoices::{Error, Fingerprint, KeyKind, KeyKinds, Result, Window, failpoint};
use polars::prelude::{DataFrame, IntoLazy};

/// Rows of months that are merged at once.
const ROWS_AT_ONCE: u64 = 500_000;

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
        record.money == basis.money
            && business_of(record) == basis.business
            && staging::is_current(record, &basis.inputs, staged.as_ref())
    };
    if let Some(record) = record.filter(current) {
        return Ok(Some(StagedWindow { record, is_new: false }));
    }

    let Some(mut frame) = merged(lake, months, basis.money, basis.business).await? else { return Ok(None) };
    totals::check(&frame, &fingerprint_of(months)?, basis.money.scale, &lake.locate(&path))?;
    let rows = frame.height() as u64;
    let object = staging::off_the_runtime(move || engine::to_parquet(&mut frame)).await?;

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
/// than a row per business; none when a staged object is no longer the recorded one.
async fn merged(
    lake: &Lake,
    months: &[StagedMonth],
    money: MoneyType,
    business: KeyKind,
) -> Result<Option<DataFrame>> {
    let mut frame = merge::nothing(money, Scope::Window, business);
    for batch in batches(months) {
        let reading = stream::iter(batch).map(|object| staged_object(lake, object)).buffered(CONCURRENCY);
        let objects: Vec<Option<Bytes>> = reading.try_collect().await?;
        let Some(objects) = objects.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        frame = staging::off_the_runtime(move || {
            let staged = engine::scan(engine::in_memory(objects))?;
            merge::merge([frame.lazy(), staged], money, Scope::Window, business)
        })
        .await?;
    }
    Ok(Some(frame))
}

/// Objects of the months in groups of no more than [`ROWS_AT_ONCE`], or of one.
fn batches(months: &[StagedMonth]) -> Vec<Vec<&ObjectRecord>> {
    let mut batches: Vec<Vec<&ObjectRecord>> = Vec::new();
    let mut rows = 0;
    for StagedMonth { record, .. } in months {
        let Some(object) = record.objects.first() else { continue };
        rows += record.rows;
        match batches.last_mut() {
            Some(batch) if rows <= ROWS_AT_ONCE => batch.push(object),
            _ => {
                rows = record.rows;
                batches.push(vec![object]);
            }
        }
    }
    batches
}

fn basis_of(months: &[StagedMonth]) -> Result<Basis> {
    // What an empty month would hold says nothing.
    let full = || months.iter().filter(|month| month.record.rows > 0);
    let newest = full().next_back().or(months.last()).ok_or_else(|| Error::bug("a window has no month"))?;
    let (money, business) = (newest.record.money, business_of(&newest.record));
    let advice = "run query_source --refresh window for all months";
    if let Some(other) = full().find(|month| month.record.money != money) {
        let (partition, found) = (&other.record.partition, other.record.money);
        return Err(Error::config(format!(
            "amounts are {money} in the newest month and {found} in {partition}; {advice}"
        )));
    }
    if let Some(other) = full().find(|month| business_of(&month.record) != business) {
        let (partition, found) = (&other.record.partition, business_of(&other.record));
        return Err(Error::config(format!(
            "businesses are {business} in the newest month and {found} in {partition}; {advice}"
        )));
    }
    Ok(Basis {
        invoices: FingerprintRecord::new(&fingerprint_of(months)?, money.scale),
        money,
        business,
        snapshot: oldest_snapshot(months),
        inputs: objects_of(months).map(|object| (object.path.clone(), object.etag.clone())).collect(),
    })
}

fn business_of(record: &CommitRecord) -> KeyKind {
    KeyKinds::of_options(&record.options).business
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

/// A staged object's bytes, if it still is the recorded one.
async fn staged_object(lake: &Lake, recorded: &ObjectRecord) -> Result<Option<Bytes>> {
    let found = lake.get(&recorded.path).await?;
    Ok(found.filter(|(object, _)| *recorded == object.into()).map(|(_, bytes)| bytes))
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
    use crate::month::Outcome;

    fn staged(rows: u64) -> StagedMonth {
        let basis = Basis {
            invoices: FingerprintRecord::new(&Fingerprint::default(), 2),
            money: MoneyType { precision: 18, scale: 2 },
            business: KeyKind::Integer,
            snapshot: SourceSnapshot::default(),
            inputs: Inputs::new(),
        };
        let mut record = staging::record(Table::StagedByBusiness, "a month", basis, rows, &[], "test");
        if rows > 0 {
            record.objects = vec![ObjectRecord { path: rows.to_string(), etag: "e".into(), size: 1 }];
        }
        StagedMonth { record, outcome: Outcome::Written }
    }

    #[test]
    fn batches_keep_every_object_once_and_few_rows_together() {
        let (small, half, huge) = (10, ROWS_AT_ONCE / 2, 3 * ROWS_AT_ONCE);
        let months = [small, half, half, 0, huge, small, small].map(staged);
        let sizes: Vec<usize> = batches(&months).iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 1, 1, 2]);
        assert!(batches(&[]).is_empty());
    }
}
