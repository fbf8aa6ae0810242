//! Postgres, filled by binary COPY in one transaction.

mod copy_binary;
mod errors;
mod tables;

use super::{Extent, Source, Target};
use crate::Customer;
use crate::summary::Summary;
use errors::{all_arrived, failed, sending_failed};
use invoices::source::url::PostgresUrl;
use invoices::{Error, Invoice, Result, failpoint};
use postgres::Transaction;
use std::io::Write;

/// Rows of one COPY. The server keeps a few bytes per row until its end to check foreign keys, and
/// doesn't answer meanwhile; more rows would cost memory and patience and gain nothing.
const COPY_ROWS: usize = 100_000;
const BUFFER_BYTES: usize = 256 << 10;
/// Any number that no other program takes; loads of one database wait for nobody but each other.
const ADVISORY_LOCK: i64 = 0x706F_7075_6C61_7465;

/// Runs `fill` in one transaction and commits what it inserted.
///
/// # Errors
/// See [`crate::run`].
pub fn load(url: &PostgresUrl, fill: impl FnOnce(&mut dyn Target) -> Result<Summary>) -> Result<Summary> {
    let mut client = url.connect()?;
    let transaction = client.transaction().map_err(|error| failed("cannot begin", error))?;
    let mut filling = Filling { transaction, foreign_keys: None };
    filling.prepare()?;
    let summary = fill(&mut filling)?;
    filling.commit()?;
    failpoint!("populate::after_commit");
    // Statistics for the planner and date ranges for the BRIN index. The rows are there to stay: lacking
    // these is no reason to fail and be run again.
    if let Err(error) = client.batch_execute("vacuum (analyze) public.customers, public.invoices") {
        tracing::warn!("all is loaded, but: {}", failed("cannot vacuum the tables", error));
    }
    Ok(summary)
}

struct Filling<'a> {
    transaction: Transaction<'a>,
    /// Statements that bring back the foreign keys, once they were set aside.
    foreign_keys: Option<Vec<String>>,
}

impl Filling<'_> {
    /// Two loads at once would both go on after the same highest id.
    fn prepare(&mut self) -> Result<()> {
        let sql = "select pg_try_advisory_xact_lock($1)";
        let row = self.transaction.query_one(sql, &[&ADVISORY_LOCK]);
        if !row.map_err(|error| failed("cannot lock out other loads", error))?.get::<_, bool>(0) {
            return Err(Error::retry(
                "another populate_tables is loading this database; run again when it is done",
            ));
        }
        tables::ensure(&mut self.transaction)
    }

    fn commit(mut self) -> Result<()> {
        for statement in self.foreign_keys.take().unwrap_or_default() {
            let added = self.transaction.batch_execute(&statement);
            added.map_err(|error| failed("cannot check the foreign keys", error))?;
        }
        self.transaction.commit().map_err(|error| failed("cannot commit", error))
    }

    /// Sends all rows, in one COPY after the other.
    fn copy<T>(
        &mut self,
        table: &str,
        columns: &str,
        rows: Source<'_, T>,
        encode: fn(&T, &mut Vec<u8>),
    ) -> Result<()> {
        let sql = format!("copy public.{table} ({columns}) from stdin (format binary)");
        let doing = format!("cannot fill {table}");
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let mut writer = self.transaction.copy_in(&sql).map_err(|error| failed(&doing, error))?;
            let mut buffer = Vec::with_capacity(BUFFER_BYTES + 1024);
            buffer.extend_from_slice(copy_binary::HEADER);
            let mut sent = 0;
            for row in rows.by_ref().take(COPY_ROWS) {
                encode(&row?, &mut buffer);
                sent += 1;
                if buffer.len() >= BUFFER_BYTES {
                    writer.write_all(&buffer).map_err(|error| sending_failed(&doing, error))?;
                    buffer.clear();
                }
            }
            buffer.extend_from_slice(&copy_binary::TRAILER);
            writer.write_all(&buffer).map_err(|error| sending_failed(&doing, error))?;
            let arrived = writer.finish().map_err(|error| failed(&doing, error))?;
            all_arrived(table, sent, arrived)?;
        }
        Ok(())
    }
}

impl Target for Filling<'_> {
    fn customers(&mut self) -> Result<Extent> {
        let sql = "select count(*), max(customer_id) from public.customers";
        let row = self.transaction.query_one(sql, &[]);
        let row = row.map_err(|error| failed("cannot count the customers", error))?;
        Ok(Extent { rows: row.get::<_, i64>(0) as u64, last_id: row.get(1) })
    }

    fn customer_ids(&mut self, limit: Option<u64>) -> Result<Vec<i64>> {
        let sql = "select customer_id from public.customers order by 1 limit $1";
        let rows = self.transaction.query(sql, &[&limit.map(|limit| limit as i64)]);
        let rows = rows.map_err(|error| failed("cannot list the customers", error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn last_invoice_id(&mut self) -> Result<Option<i64>> {
        let sql = "select max(invoice_id) from public.invoices";
        let row = self.transaction.query_one(sql, &[]);
        Ok(row.map_err(|error| failed("cannot find the highest invoice id", error))?.get(0))
    }

    fn insert_customers(&mut self, rows: Source<'_, Customer>) -> Result<()> {
        self.copy("customers", "customer_id, customer_name", rows, copy_binary::customer)
    }

    fn insert_invoices(&mut self, rows: Source<'_, Invoice>) -> Result<()> {
        if self.foreign_keys.is_none() {
            self.foreign_keys = Some(tables::set_foreign_keys_aside(&mut self.transaction)?);
        }
        let columns = "invoice_id, issue_date, issuer_id, receiver_id, amount_usd";
        self.copy("invoices", columns, rows, copy_binary::invoice)
    }
}
