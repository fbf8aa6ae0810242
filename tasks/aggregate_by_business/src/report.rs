//! What the run did, for the result line.

use crate::grouping::Engine;
use crate::month::{Outcome, StagedMonth};
use crate::window::StagedWindow;
use invoices::lake::commit::CommitRecord;
use invoices::{Result, Window, money};
use serde_json::{Value, json};

/// The result line of a finished run. Rows, amount and businesses are those of the whole window.
pub fn line(engine: &Engine, window: Window, months: &[StagedMonth], staged: &StagedWindow) -> Result<Value> {
    let count = |outcome: Outcome| months.iter().filter(|month| month.outcome == outcome).count();
    let written = months.iter().filter(|month| month.outcome == Outcome::Written);
    let new_window = staged.is_new.then_some(&staged.record);
    let bytes: u64 = written.map(|month| &month.record).chain(new_window).map(bytes_of).sum();
    let total = staged.record.fingerprint()?;
    let snapshot = &staged.record.snapshot;
    Ok(json!({
        "engine": engine.name(),
        "first_month": window.first,
        "last_month": window.last,
        "months_written": count(Outcome::Written),
        "months_unchanged": count(Outcome::Unchanged),
        "months_emptied": count(Outcome::Emptied),
        "window_written": staged.is_new,
        "rows": total.rows,
        "amount_usd": money::format(total.amount, staged.record.money.scale),
        "businesses": staged.record.rows,
        "bytes": bytes,
        "snapshot": snapshot.snapshot,
        "lsn": snapshot.lsn,
    }))
}

fn bytes_of(record: &CommitRecord) -> u64 {
    record.objects.iter().map(|object| object.size).sum()
}
