//! A SQLite file, made when it isn't there, filled by prepared inserts in one transaction.

use super::refusals::{taken, unknown_business};
use super::{Extent, Source, Target};
use crate::summary::{Summary, timestamp_text};
use crate::{CENTS, Customer};
use invoices::source::sqlite::failed;
use invoices::{Error, Invoice, Result, failpoint, money};
use rusqlite::{Connection, Transaction, TransactionBehavior, ffi, params};
use std::path::Path;
use std::time::Duration;

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// As in Postgres; dates are ISO texts, which sort as their times do, and amounts are texts because
/// any number that is no integer would become a float.
const TABLES: &str = "
create table if not exists customers (
    customer_id   integer primary key,
    customer_name text not null
);
create table if not exists invoices (
    invoice_id  integer primary key,
    issue_date  text not null,
    issuer_id   integer references customers (customer_id),
    receiver_id integer references customers (customer_id),
    amount_usd  text not null
);";
/// Built after the rows, which is faster than keeping it up to date with each.
const INDEX: &str = "create index if not exists invoices_issue_date on invoices (issue_date)";

/// Runs `fill` in one transaction and commits what it inserted.
///
/// # Errors
/// See [`crate::run`].
pub fn load(path: &Path, fill: impl FnOnce(&mut dyn Target) -> Result<Summary>) -> Result<Summary> {
    let mut connection = open(path)?;
    let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let mut filling =
        Filling { transaction: begun.map_err(|error| failed("cannot write the SQLite file", error))? };
    filling.execute(TABLES, "cannot create the tables")?;
    filling.check_amounts_stay_text()?;
    let summary = fill(&mut filling)?;
    filling.execute(INDEX, "cannot index the invoices")?;
    filling.transaction.commit().map_err(|error| failed("cannot commit", error))?;
    failpoint!("populate::after_commit");
    Ok(summary)
}

fn open(path: &Path) -> Result<Connection> {
    let cannot = format!("cannot open the SQLite file {}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Error::config(format!("{cannot}: there is no folder {}", folder.display())));
    }
    if path.as_os_str().is_empty() || path.is_dir() {
        return Err(Error::config(format!(
            "{cannot}: the source URL must name a file, as in sqlite:demo/invoices.db"
        )));
    }
    let connection = Connection::open(path).map_err(|error| failed(&cannot, error))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
        .map_err(|error| failed(&cannot, error))?;
    Ok(connection)
}

struct Filling<'a> {
    transaction: Transaction<'a>,
}

impl Filling<'_> {
    fn execute(&self, sql: &str, doing: &str) -> Result<()> {
        self.transaction.execute_batch(sql).map_err(|error| failed(doing, error))
    }

    /// In a column declared numeric or integer, the text 12.30 would become a float.
    fn check_amounts_stay_text(&self) -> Result<()> {
        let sql = "select upper(type) from pragma_table_info('invoices') where name = 'amount_usd'";
        let declared: rusqlite::Result<String> = self.transaction.query_row(sql, [], |row| row.get(0));
        match declared {
            Ok(kind)
                if !kind.contains("INT")
                    && ["CHAR", "CLOB", "TEXT"].iter().any(|text| kind.contains(text)) =>
            {
                Ok(())
            }
            Ok(kind) => Err(Error::config(format!(
                "column amount_usd of invoices is {kind}, which makes floats of amounts; declare it TEXT"
            ))),
            Err(rusqlite::Error::QueryReturnedNoRows) => {
                Err(Error::config("the table invoices of this file has no column amount_usd"))
            }
            Err(error) => Err(failed("cannot look up the tables", error)),
        }
    }

    /// Why an invoice was not accepted: SQLite doesn't say which reference is the broken one.
    fn refusal(&self, invoice: &Invoice, error: rusqlite::Error) -> Error {
        let code = error.sqlite_error().map(|error| error.extended_code);
        if code != Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) {
            return refusal("invoices", "invoice_id", invoice.invoice_id, error);
        }
        let sql = "select 1 from customers where customer_id = ?";
        let known = |id| self.transaction.query_row(sql, [id], |_| Ok(())).is_ok();
        let parties = [("issuer_id", invoice.issuer_id), ("receiver_id", invoice.receiver_id)];
        let unknown = parties.iter().find_map(|(column, id)| Some((column, id.filter(|id| !known(*id))?)));
        let key = unknown.map_or("a business".to_owned(), |(column, id)| format!("{column} {id}"));
        unknown_business(&key)
    }
}

/// Why a row was not accepted.
fn refusal(table: &str, column: &str, id: i64, error: rusqlite::Error) -> Error {
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_ROWID,
        ) => taken(table, &format!("{column} {id}")),
        _ => failed(&format!("cannot fill {table}"), error),
    }
}

impl Target for Filling<'_> {
    fn customers(&mut self) -> Result<Extent> {
        let sql = "select count(*), max(customer_id) from customers";
        let row = self.transaction.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
        let (rows, last_id) = row.map_err(|error| failed("cannot count the customers", error))?;
        Ok(Extent { rows: rows as u64, last_id })
    }

    fn customer_ids(&mut self, limit: Option<u64>) -> Result<Vec<i64>> {
        // A negative limit is none.
        let limit = limit.map_or(-1, |limit| limit as i64);
        let list = || -> rusqlite::Result<Vec<i64>> {
            let mut statement =
                self.transaction.prepare("select customer_id from customers order by 1 limit ?")?;
            statement.query_map([limit], |row| row.get(0))?.collect()
        };
        list().map_err(|error| failed("cannot list the customers", error))
    }

    fn last_invoice_id(&mut self) -> Result<Option<i64>> {
        let last = self.transaction.query_row("select max(invoice_id) from invoices", [], |row| row.get(0));
        last.map_err(|error| failed("cannot find the highest invoice id", error))
    }

    fn insert_customers(&mut self, rows: Source<'_, Customer>) -> Result<()> {
        let sql = "insert into customers (customer_id, customer_name) values (?, ?)";
        let mut insert =
            self.transaction.prepare(sql).map_err(|error| failed("cannot fill customers", error))?;
        for row in rows {
            let row = row?;
            let done = insert.execute(params![row.customer_id, row.customer_name]);
            done.map_err(|error| refusal("customers", "customer_id", row.customer_id, error))?;
        }
        Ok(())
    }

    fn insert_invoices(&mut self, rows: Source<'_, Invoice>) -> Result<()> {
        let sql = "insert into invoices (invoice_id, issue_date, issuer_id, receiver_id, amount_usd) \
             values (?, ?, ?, ?, ?)";
        let mut insert =
            self.transaction.prepare(sql).map_err(|error| failed("cannot fill invoices", error))?;
        for row in rows {
            let row = row?;
            let date = timestamp_text(row.issue_date_us);
            let amount = money::format(i128::from(row.amount), CENTS.scale);
            let done = insert.execute(params![row.invoice_id, date, row.issuer_id, row.receiver_id, amount]);
            done.map_err(|error| self.refusal(&row, error))?;
        }
        Ok(())
    }
}
