//! From written months to published ones: proof first, then one atomic put, the commit record last.

use crate::extract::differing;
use crate::fingerprint_of;
use crate::guard::rows_before;
use crate::month_writer::MonthWriter;
use crate::plan::{Form, Known};
use futures::future::join_all;
use invoices::fingerprint::FingerprintRecord;
use invoices::lake::commit::{CommitRecord, now_text};
use invoices::lake::names::{self, Table};
use invoices::lake::{Lake, Object};
use invoices::parquet::read_proof;
use invoices::source::{MonthFingerprints, Source};
use invoices::task::Task;
use invoices::{Error, Fingerprint, Month, Result, failpoint};
use std::collections::BTreeMap;

/// What became of one month.
pub enum Published {
    Written {
        fingerprint: Fingerprint,
        bytes: u64,
    },
    /// The month has no invoices (any more); its object is gone.
    Emptied,
    /// A run with a newer snapshot has committed the same invoices.
    Same,
    /// A run with a newer snapshot has committed other invoices.
    Overtaken,
}

/// Months that can't be published, with the reason.
pub struct Failure {
    writers: Vec<MonthWriter>,
    error: Error,
}

impl Failure {
    pub fn new(writers: Vec<MonthWriter>, error: Error) -> Self {
        Self { writers, error }
    }

    /// Removes the unfinished uploads and returns the reason.
    pub async fn abort(self) -> Error {
        join_all(self.writers.into_iter().map(MonthWriter::abort)).await;
        self.error
    }
}

/// Compares every month that was written with what the source says it holds.
pub fn prove(
    writers: Vec<MonthWriter>,
    expected: &MonthFingerprints,
    source: &mut Source,
) -> Result<Vec<MonthWriter>, Failure> {
    let scale = source.money().scale;
    let differs = writers.iter().find_map(|writer| {
        let expected = fingerprint_of(expected, writer.month);
        let difference = writer.fingerprint.difference(&expected, scale);
        let text = || format!("month {}: read {difference}", writer.month);
        (writer.fingerprint != expected).then(|| (writer.month, text()))
    });
    match differs {
        None => Ok(writers),
        Some((month, text)) => {
            let error = match source.smallest_business() {
                Ok(Some(known_cause)) => known_cause,
                // Whether the cause can be found or not: what differs is refused, and no other try mends it.
                Ok(None) | Err(_) => {
                    Error::refused(format!("{text}{}; nothing was published", which(source, month)))
                }
            };
            Err(Failure { writers, error })
        }
    }
}

/// Names the invoices that differ between two readings of the month, if there are any.
fn which(source: &mut Source, month: Month) -> String {
    let Source::Postgres(session) = source else { return String::new() };
    match differing(session, month) {
        Ok(ids) if !ids.is_empty() => {
            format!("; two readings differ in invoices {}", ids.join(", "))
        }
        _ => String::new(),
    }
}

/// Publishes one proven month.
pub async fn publish(
    lake: &Lake,
    task: &Task,
    source: &Source,
    form: &Form,
    known: &BTreeMap<Month, Known>,
    writer: MonthWriter,
) -> Result<Published> {
    let partition = names::month_partition(writer.month);
    let (month, fingerprint, path) = (writer.month, writer.fingerprint, writer.path());
    if let Some(newer) = newer_record(lake, &partition, source).await? {
        writer.abort().await;
        let same = newer.fingerprint()? == fingerprint;
        return Ok(if same { Published::Same } else { Published::Overtaken });
    }
    failpoint!("query::before_put");
    let object = writer.finish(source.snapshot()).await?;
    failpoint!("query::after_put");
    if object.is_none() {
        lake.delete(&path).await?;
    }
    let mut record = record(task, source, form, &partition, &fingerprint, object.as_ref());
    record.rows_before = rows_before(known, month);
    // Stopped between the first look and the put, this run may have put its older rows over newer
    // ones; the newer run's record tells, and a fresh snapshot mends it.
    if let Some(newer) = newer_record(lake, &partition, source).await? {
        if newer.fingerprint()? != fingerprint {
            return Ok(Published::Overtaken);
        }
        record.snapshot = newer.snapshot;
    }
    failpoint!("query::before_record");
    lake.write_commit(Table::Invoices, &record).await?;
    failpoint!("query::after_record");
    if lake.head(&path).await? != object && !holds(lake, &path, &fingerprint).await? {
        return Ok(Published::Overtaken);
    }
    tracing::debug!(rows = fingerprint.rows, "published {month}");
    Ok(match object {
        Some(object) => Published::Written { fingerprint, bytes: object.size },
        None => Published::Emptied,
    })
}

/// The month's commit record, if a run with a newer snapshot wrote it.
async fn newer_record(lake: &Lake, partition: &str, source: &Source) -> Result<Option<CommitRecord>> {
    let record = lake.read_commit(Table::Invoices, partition).await?;
    let mine = source.snapshot();
    Ok(record.filter(|record| record.snapshot.is_newer_than(mine)))
}

/// Whether the month's object, put by another run meanwhile, holds the same invoices.
async fn holds(lake: &Lake, path: &str, fingerprint: &Fingerprint) -> Result<bool> {
    let Some((_, bytes)) = lake.get(path).await? else { return Ok(fingerprint.rows == 0) };
    let proof = read_proof(&bytes)?;
    Ok(proof.and_then(|proof| proof.invoices.parse(proof.money.scale)) == Some(*fingerprint))
}

fn record(
    task: &Task,
    source: &Source,
    form: &Form,
    partition: &str,
    fingerprint: &Fingerprint,
    object: Option<&Object>,
) -> CommitRecord {
    CommitRecord {
        table: Table::Invoices.name().to_owned(),
        partition: partition.to_owned(),
        rows: fingerprint.rows,
        invoices: FingerprintRecord::new(fingerprint, source.money().scale),
        money: form.money,
        snapshot: source.snapshot().clone(),
        inputs: BTreeMap::new(),
        options: form.options.clone(),
        objects: object.into_iter().map(Into::into).collect(),
        rows_before: None,
        committed_at: now_text(),
        program: task.program(),
    }
}
