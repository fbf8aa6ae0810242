//! Copies what is in Postgres already, while it keeps changing and while the sink runs.
//!
//! What is copied needs a position that is surely below every change that the copy lacks. The log's end
//! is none: a transaction may have written below it and commit later. So the end is noted first, then
//! all transactions that had begun by then are waited for, and only then is the snapshot taken.

use super::args::LoadArgs;
use super::names;
use super::writer::Write;
use super::{Both, origin, sink};
use crate::store::postgres::Connection;
use invoices::task::{Progress, Task, check_stop};
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PAGE: i64 = 1000;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// # Errors
/// Retry when a database doesn't answer or a transaction does not end, refused for an inexact amount.
pub fn run(args: &LoadArgs, both: &Both, task: &Task) -> Result<Value> {
    task.block_on(load(args, both))
}

async fn load(args: &LoadArgs, both: &Both) -> Result<Value> {
    let created = both.writer.tables.create(&both.writer.client).await?;
    let mut connection = both.connection();
    let source = origin::of_source(both, false).await?;
    let lsn = floor(&mut connection, Duration::from_secs(args.transaction_wait_seconds)).await?;
    connection.execute("set statement_timeout = 0; begin isolation level repeatable read read only").await?;
    let ends = sink::ends(&mut connection, both.plan.has_decisions).await?;
    let names = names::synchronise(&mut connection, both).await?;
    let progress = Progress::new("invoices", estimate(&mut connection, &args.both.source.table).await?);
    let (mut rows, mut newer) = (0, 0);
    let mut page = connection.after(args.after, PAGE).await?;
    while let Some((last, _)) = page.last() {
        check_stop()?;
        let last = *last;
        let count = page.len() as u64;
        let writes = page.into_iter().map(|(id, view)| Write {
            id,
            lsn: Some(source.stored(lsn)),
            view: Some(view),
            decided: 0,
        });
        let (next, late) = tokio::join!(connection.after(last, PAGE), both.writer.write(writes.collect()));
        let stopped = |error: Error| {
            Error::new(error.kind(), format!("{error}; all up to invoice {last} may be done, see --after"))
        };
        newer += late.map_err(stopped)?;
        page = next?;
        rows += count;
        progress.add(count);
    }
    sink::keep_positions(both, &ends, true).await?;
    Ok(json!({
        "command": "dynamodb load", "rows": rows, "newer_there": newer, "names": names, "lsn": lsn,
        "created": created,
    }))
}

/// A position below every change that a snapshot taken afterwards would lack.
///
/// # Errors
/// Retry when a transaction does not end in time, or when the source doesn't answer.
pub async fn floor(connection: &mut Connection, patience: Duration) -> Result<u64> {
    let started = Instant::now();
    // In this order: whoever has written below the position got its transaction id before ours.
    let noted = connection.transaction_after_position().await?;
    loop {
        let rows = connection
            .query("select pg_snapshot_xmin(pg_current_snapshot())::text::int8 >= $1", &[&noted.xid])
            .await?;
        if rows.first().is_some_and(|row| row.get(0)) {
            // A change may begin at the position itself.
            return Ok(noted.lsn.saturating_sub(1));
        }
        check_stop()?;
        if started.elapsed() > patience {
            return Err(Error::retry(format!(
                "a transaction older than {} is still running in the source; end it or wait longer",
                noted.xid
            )));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn estimate(connection: &mut Connection, table: &str) -> Result<u64> {
    let sql =
        "select coalesce(max(greatest(reltuples, 0)), 0)::int8 from pg_class where oid = to_regclass($1)";
    let rows = connection.query(sql, &[&table]).await?;
    Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)).unsigned_abs())
}
