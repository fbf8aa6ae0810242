//! One batch, one transaction: decisions, figures, outbox, dead letters and offsets, or none of them.

use super::batch::DECISION_COLUMNS;
use super::{Sealed, Store};
use crate::model::features::MODEL;
use invoices::source::postgres::failed;
use invoices::{Error, Kind, Result, failpoint};
use postgres::{Client, Transaction};
use std::io::Write;

const WRITING: &str = "cannot write the decisions";

/// What came of writing a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is committed, now or by an earlier try whose answer was lost.
    Done,
    /// Somebody else moved a partition: this consumer doesn't own it any more.
    Fenced,
}

impl Store {
    /// Writes a batch. The offsets come first: the row lock makes two writers of one partition wait
    /// for each other, and whoever finds another offset than the one it started from has lost.
    ///
    /// # Errors
    /// Retry when the database is down; then nothing, or everything, is written, and the same call
    /// finds out which.
    pub fn write(&self, client: &mut Client, batch: &Sealed) -> Result<Written> {
        let mut transaction = client.transaction().map_err(|error| failed(WRITING, error))?;
        let mut moved_before = 0;
        for (partition, step) in &batch.steps {
            match self.step(&mut transaction, *partition, step.from, step.to)? {
                Stepped::Now => {}
                Stepped::Before => moved_before += 1,
                Stepped::Elsewhere => return Ok(Written::Fenced),
            }
        }
        if moved_before > 0 {
            // All of a batch's partitions move together, so one that moved alone was moved by another.
            let whole = moved_before == batch.steps.len();
            return Ok(if whole { Written::Done } else { Written::Fenced });
        }
        failpoint!("risk::after_offsets");
        self.write_rows(&mut transaction, batch)?;
        failpoint!("risk::before_commit");
        transaction.commit().map_err(|error| failed(WRITING, error))?;
        failpoint!("risk::after_commit");
        Ok(Written::Done)
    }

    fn step(&self, transaction: &mut Transaction<'_>, partition: i32, from: i64, to: i64) -> Result<Stepped> {
        let doing = |error| failed(WRITING, error);
        let sql = "update risk.stream_offsets set next_offset = $4, updated_at = now() \
            where topic = $1 and partition = $2 and next_offset = $3";
        let statement = transaction.prepare(sql).map_err(doing)?;
        if transaction.execute(&statement, &[&self.topic, &partition, &from, &to]).map_err(doing)? == 1 {
            return Ok(Stepped::Now);
        }
        let sql = "select next_offset from risk.stream_offsets where topic = $1 and partition = $2";
        let row = transaction.query_opt(sql, &[&self.topic, &partition]).map_err(doing)?;
        Ok(if row.is_some_and(|row| row.get::<_, i64>(0) == to) {
            Stepped::Before
        } else {
            Stepped::Elsewhere
        })
    }

    fn write_rows(&self, transaction: &mut Transaction<'_>, batch: &Sealed) -> Result<()> {
        let doing = |error| failed(WRITING, error);
        if batch.decision_count > 0 {
            let rules = &batch.rules;
            let sql = "insert into risk.rule_sets (rule_set, model, source) values ($1, $2, $3) on conflict do nothing";
            transaction.execute(sql, &[&rules.id, &MODEL, &rules.text]).map_err(doing)?;
            copy(transaction, &format!("risk.decisions ({DECISION_COLUMNS})"), &batch.decisions)?;
        }
        failpoint!("risk::after_decisions");
        if batch.change_count > 0 {
            copy(transaction, "risk.business_day_changes", &batch.changes)?;
        }
        if batch.notification_count > 0 {
            let columns = "risk.notifications (invoice_id, lsn, from_status, to_status, score, rules)";
            copy(transaction, columns, &batch.notifications)?;
        }
        for letter in &batch.dead_letters {
            let sql = "insert into risk.dead_letters (topic, partition, log_offset, reason) values ($1, $2, $3, $4)";
            transaction
                .execute(sql, &[&self.topic, &letter.partition, &letter.offset, &letter.reason])
                .map_err(doing)?;
        }
        Ok(())
    }
}

enum Stepped {
    Now,
    Before,
    Elsewhere,
}

fn copy(transaction: &mut Transaction<'_>, target: &str, rows: &[u8]) -> Result<()> {
    let sql = format!("copy {target} from stdin (format binary)");
    let mut writer = transaction.copy_in(&sql).map_err(|error| failed(WRITING, error))?;
    let written = writer.write_all(rows);
    match writer.finish() {
        Err(error) => Err(unexpected(failed(WRITING, error))),
        Ok(_) => written.map_err(|error| Error::retry(WRITING).because(error)),
    }
}

/// The encoder is ours, so rows that the database refuses are a bug, not bad data.
fn unexpected(error: Error) -> Error {
    if error.kind() == Kind::Refused {
        Error::bug("the database refuses the decisions").because(error)
    } else {
        error
    }
}
