//! What both staged tables share: how a partition is recognised as unchanged, and its record.

use invoices::fingerprint::FingerprintRecord;
use invoices::lake::commit::{CommitRecord, SourceSnapshot, now_text};
use invoices::lake::names::Table;
use invoices::lake::{Lake, Object};
use invoices::money::MoneyType;
use invoices::{Error, KeyKind, KeyKinds, Result};
use std::collections::BTreeMap;

/// Layout of the staged objects; a program with another layout makes every month again.
pub const LAYOUT: &str = "layout=1";

/// ETags of the objects that a partition is computed from, by path.
pub type Inputs = BTreeMap<String, String>;

/// What the statistics of a partition stand for.
pub struct Basis {
    pub invoices: FingerprintRecord,
    pub money: MoneyType,
    /// What the ids of the businesses are.
    pub business: KeyKind,
    pub snapshot: SourceSnapshot,
    pub inputs: Inputs,
}

/// The commit record of a staged partition.
pub fn record(
    table: Table,
    partition: &str,
    basis: Basis,
    rows: u64,
    objects: &[Object],
    program: &str,
) -> CommitRecord {
    CommitRecord {
        table: table.name().to_owned(),
        partition: partition.to_owned(),
        rows,
        invoices: basis.invoices,
        money: basis.money,
        snapshot: basis.snapshot,
        inputs: basis.inputs,
        options: format!("{LAYOUT}{}", KeyKinds::of_business(basis.business).options()),
        objects: objects.iter().map(Into::into).collect(),
        rows_before: None,
        committed_at: now_text(),
        program: program.to_owned(),
    }
}

/// Whether the record says that the staged object, as it is, was computed from these inputs.
pub fn is_current(record: &CommitRecord, inputs: &Inputs, staged: Option<&Object>) -> bool {
    let staged = staged.map(std::slice::from_ref).unwrap_or_default();
    // What else the options say follows from the inputs.
    record.options.split(' ').next() == Some(LAYOUT) && record.inputs == *inputs && record.describes(staged)
}

/// Path and ETag of an object as inputs name it.
pub fn input(object: &Object) -> (String, String) {
    (object.path.clone(), object.etag.clone())
}

/// The object's ETag now, for comparing with what was read.
pub async fn inputs_now(lake: &Lake, path: &str) -> Result<Inputs> {
    Ok(lake.head(path).await?.iter().map(input).collect())
}

/// Work that would keep the I/O threads from theirs.
pub async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::bug("the grouping broke off").because(error))?
}
