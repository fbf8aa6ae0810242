//! A SQLite file, for demos and small exports: the same answers with no server.

use super::{PageOf, Read, Side};
use crate::entry::{InvoiceView, Party};
use crate::version::Snapshot;
use invoices::money::{MAX_PRECISION, MoneyType};
use invoices::source::args::quote;
use invoices::source::sqlite::{SqliteKeys, failed, row_to_invoice};
use invoices::source::sqlite_types::{odd_row, odd_sql};
use invoices::source::{AmountUnit, ColumnNames, SourceArgs};
use invoices::{Error, KeyKinds, Result};
use rusqlite::{Connection, OpenFlags, Row, params_from_iter};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// An open file; clones share the connection.
#[derive(Clone)]
pub struct File {
    connection: Arc<Mutex<Connection>>,
    columns: String,
    table: String,
    names: ColumnNames,
    has_customers: bool,
    money: MoneyType,
}

impl File {
    /// # Errors
    /// Configuration when the file can't be read.
    pub fn open(path: &PathBuf, args: &SourceArgs) -> Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| failed("cannot open the SQLite file", error))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(|error| failed("cannot open the SQLite file", error))?;
        let [id, date, issuer, receiver, amount] = args.columns.in_order().map(quote);
        let null = invoices::fingerprint::NULL_BUSINESS;
        let columns = format!(
            "i.{id}, coalesce(cast(i.{date} as text), ''), coalesce(i.{issuer}, {null}), \
             coalesce(i.{receiver}, {null}), case typeof(i.{amount}) when 'real' then 'real' \
             when 'null' then 'null' else cast(i.{amount} as text) end, {}",
            odd_sql(&args.columns, KeyKinds::default(), "i.")
        );
        let (_, name) = args.table_parts()?;
        let has_customers = connection.prepare("select customer_id, customer_name from customers").is_ok();
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
            columns,
            table: quote(name),
            names: args.columns.clone(),
            has_customers,
            money: MoneyType { precision: MAX_PRECISION, scale: args.amount_scale },
        })
    }

    pub fn money(&self) -> MoneyType {
        self.money
    }

    pub async fn read(&self, ids: &[i64]) -> Result<Read> {
        let id_column = quote(&self.names.invoice_id_column);
        let marks = vec!["?"; ids.len()].join(", ");
        let condition = format!("where i.{id_column} in ({marks})");
        let rows = self.select(condition, ids.to_vec()).await?;
        let view_of = |id: &i64| rows.iter().find(|(found, _)| found == id).map(|(_, view)| view.clone());
        Ok(Read::in_snapshot(Snapshot::unknown(), ids.iter().map(view_of).collect()))
    }

    pub async fn page(&self, page: PageOf) -> Result<Vec<(i64, InvoiceView)>> {
        let [id, _, issuer, receiver, _] = self.names.in_order().map(quote);
        let side = match page.side {
            Side::Issued => format!("i.{issuer} = ?1"),
            Side::Received => format!("i.{receiver} = ?1"),
            Side::Both => format!("(i.{issuer} = ?1 or i.{receiver} = ?1)"),
        };
        let condition = format!("where {side} and i.{id} < ?2 order by i.{id} desc limit ?3");
        let before = page.before.unwrap_or(i64::MAX);
        self.select(condition, vec![page.business_id, before, i64::from(page.limit)]).await
    }

    pub async fn business_name(&self, business_id: i64) -> Result<Option<String>> {
        if !self.has_customers {
            return Ok(None);
        }
        let file = self.clone();
        blocking(move || {
            let connection = file.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let sql = "select customer_name from customers where customer_id = ?1";
            match connection.query_row(sql, [business_id], |row| row.get(0)) {
                Ok(name) => Ok(Some(name)),
                Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
                Err(error) => Err(failed("cannot read the SQLite file", error)),
            }
        })
        .await
    }

    async fn select(&self, condition: String, values: Vec<i64>) -> Result<Vec<(i64, InvoiceView)>> {
        let file = self.clone();
        let [_, _, issuer, receiver, _] = self.names.in_order().map(quote);
        let (names, joined) = if self.has_customers {
            (
                "a.customer_name, b.customer_name",
                format!(
                    "left join customers a on a.customer_id = i.{issuer} \
                     left join customers b on b.customer_id = i.{receiver}"
                ),
            )
        } else {
            ("null, null", String::new())
        };
        let sql = format!("select {}, {names} from {} i {joined} {condition}", self.columns, self.table);
        blocking(move || {
            let doing = "cannot read the SQLite file";
            let connection = file.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let mut statement = connection.prepare_cached(&sql).map_err(|error| failed(doing, error))?;
            let mut rows = statement.query(params_from_iter(values)).map_err(|error| failed(doing, error))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next().map_err(|error| failed(doing, error))? {
                // The id comes as it is, and a value of another type would be read as something else.
                if row.get(5).map_err(|error| failed(doing, error))? {
                    return Err(odd_row(&connection, &file.table, &file.names, KeyKinds::default()));
                }
                found.push(file.view(row)?);
            }
            Ok(found)
        })
        .await
    }

    fn view(&self, row: &Row<'_>) -> Result<(i64, InvoiceView)> {
        let fields = (|| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))();
        let (id, date, issuer, receiver, amount): (i64, String, i64, i64, String) =
            fields.map_err(|error| failed("cannot read the SQLite file", error))?;
        let parties = [&issuer, &receiver].map(<Vec<i64>>::key);
        let invoice =
            row_to_invoice(self.money, AmountUnit::Dollars, &self.names, id, &date, parties, &amount)?;
        let name = |column: usize| row.get::<_, Option<String>>(column).unwrap_or_default();
        let view = InvoiceView {
            issue_date_us: Some(invoice.issue_date_us),
            amount: invoice.amount,
            issuer: Party::new(invoice.issuer_id, name(6).as_deref()),
            receiver: Party::new(invoice.receiver_id, name(7).as_deref()),
            decision: None,
        };
        Ok((id, view))
    }
}

/// Runs a blocking read on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::bug("a read of the SQLite file panicked")))
}
