//! One batch, one transaction: decisions, figures, outbox, dead letters and offsets, or none of them.

use super::batch::DECISION_COLUMNS;
use super::{Epochs, Sealed, Step, Store};
use crate::model::Version;
use crate::rules::RuleSet;
use invoices::source::postgres::failed;
use invoices::{Error, Kind, Result, failpoint};
use postgres::{Client, Statement, Transaction};
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

/// A connection that writes batches, its statements prepared once.
pub struct Session {
    client: Client,
    step: Statement,
    decisions: Statement,
    changes: Statement,
    notifications: Statement,
    /// The rule set that was stored last over this connection.
    rule_set: String,
}

impl Store {
    /// # Errors
    /// Retry when the database doesn't answer.
    pub fn session(&self) -> Result<Session> {
        let mut client = self.connect()?;
        let mut prepare = |sql: &str| client.prepare(sql).map_err(|error| failed(WRITING, error));
        Ok(Session {
            step: prepare(
                "update risk.stream_offsets set next_offset = $4, source_epoch = $5, updated_at = now() \
                 where topic = $1 and partition = $2 and next_offset = $3 and topic_epoch = $6",
            )?,
            decisions: prepare(&format!(
                "copy risk.decisions ({DECISION_COLUMNS}) from stdin (format binary)"
            ))?,
            changes: prepare("copy risk.business_day_changes from stdin (format binary)")?,
            notifications: prepare(
                "copy risk.notifications (invoice_id, lsn, from_status, to_status, score, rules) \
                 from stdin (format binary)",
            )?,
            client,
            rule_set: String::new(),
        })
    }

    /// Writes a batch. The offsets come first: the row lock makes two writers of one partition wait
    /// for each other, and whoever finds another offset than the one it started from has lost.
    ///
    /// # Errors
    /// Retry when the database is down; then nothing, or everything, is written, and the same call
    /// finds out which.
    pub fn write(&self, session: &mut Session, batch: &Sealed) -> Result<Written> {
        let Session { client, step, decisions, changes, notifications, rule_set } = session;
        let mut transaction = client.transaction().map_err(|error| failed(WRITING, error))?;
        let mut moved_before = 0;
        for (partition, moved) in &batch.steps {
            match self.step(&mut transaction, step, *partition, *moved)? {
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
        if batch.decision_count > 0 {
            if batch.rules.id != *rule_set {
                store_rules(&mut transaction, &batch.rules, &batch.model)?;
            }
            copy(&mut transaction, decisions, &batch.decisions)?;
        }
        failpoint!("risk::after_decisions");
        if batch.change_count > 0 {
            copy(&mut transaction, changes, &batch.changes)?;
        }
        if batch.notification_count > 0 {
            copy(&mut transaction, notifications, &batch.notifications)?;
        }
        self.write_dead_letters(&mut transaction, batch)?;
        failpoint!("risk::before_commit");
        transaction.commit().map_err(|error| failed(WRITING, error))?;
        if batch.decision_count > 0 {
            rule_set.clone_from(&batch.rules.id);
        }
        failpoint!("risk::after_commit");
        Ok(Written::Done)
    }

    fn step(
        &self,
        transaction: &mut Transaction<'_>,
        statement: &Statement,
        partition: i32,
        moved: Step,
    ) -> Result<Stepped> {
        let doing = |error| failed(WRITING, error);
        let Step { from, to, epochs: Epochs { topic, source } } = moved;
        let (topic, source) = (topic as i32, source as i32);
        let values: [&(dyn postgres::types::ToSql + Sync); 6] =
            [&self.topic, &partition, &from, &to, &source, &topic];
        if transaction.execute(statement, &values).map_err(doing)? == 1 {
            return Ok(Stepped::Now);
        }
        let sql =
            "select next_offset, topic_epoch from risk.stream_offsets where topic = $1 and partition = $2";
        let row = transaction.query_opt(sql, &[&self.topic, &partition]).map_err(doing)?;
        Ok(if row.is_some_and(|row| row.get::<_, i64>(0) == to && row.get::<_, i32>(1) == topic) {
            Stepped::Before
        } else {
            Stepped::Elsewhere
        })
    }

    fn write_dead_letters(&self, transaction: &mut Transaction<'_>, batch: &Sealed) -> Result<()> {
        for letter in &batch.dead_letters {
            let sql = "insert into risk.dead_letters (topic, partition, log_offset, reason) values ($1, $2, $3, $4)";
            transaction
                .execute(sql, &[&self.topic, &letter.partition, &letter.place, &letter.reason])
                .map_err(|error| failed(WRITING, error))?;
        }
        Ok(())
    }
}

pub(super) fn store_rules(transaction: &mut Transaction<'_>, rules: &RuleSet, model: &Version) -> Result<()> {
    let sql =
        "insert into risk.rule_sets (rule_set, model, source) values ($1, $2, $3) on conflict do nothing";
    let stored = transaction.execute(sql, &[&rules.id, &model.id(), &rules.text]);
    stored.map(drop).map_err(|error| failed(WRITING, error))
}

enum Stepped {
    Now,
    Before,
    Elsewhere,
}

fn copy(transaction: &mut Transaction<'_>, statement: &Statement, rows: &[u8]) -> Result<()> {
    let mut writer = transaction.copy_in(statement).map_err(|error| failed(WRITING, error))?;
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
