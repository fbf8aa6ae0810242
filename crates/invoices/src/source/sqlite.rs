//! A session on a SQLite file: the embedded default, for demos and small exports.
//!
//! Amounts must be TEXT or INTEGER (a REAL is a float, and no money is kept in floats); dates are
//! ISO 8601 text in UTC (see [`super::sqlite_types`]). Reading holds a shared lock on the file; if a writer in WAL mode slips in
//! between, the proof after the extraction notices.

use super::args::{AmountUnit, ColumnNames, SelectArgs, SourceArgs, quote};
use super::condition::{Condition, Language};
use super::repeated::is_unique_in_sqlite;
pub use super::sqlite_types::{SqliteKeys, timestamp_us};
use super::sqlite_types::{declared, key_kinds, odd_row, odd_sql, without_id};
use super::{MonthFingerprints, UNDATED_NAMED, undated};
use crate::error::{Error, Result};
use crate::invoice::InvoiceOf;
use crate::key::{Key, KeyKinds, Texts};
use crate::lake::commit::SourceSnapshot;
use crate::money::{self, MAX_PRECISION, MoneyType};
use crate::month::{Month, Window};
use crate::more::{self, MoreColumn, MoreName};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// An open file with a read transaction.
pub struct Session {
    pub path: PathBuf,
    connection: Connection,
    /// The rows that are invoices, for FROM.
    table: String,
    /// The table's name alone.
    name: String,
    names: ColumnNames,
    /// What the ids are.
    pub keys: KeyKinds,
    /// Columns beside the five, each with SQL of its values on their way.
    pub more: Vec<(MoreColumn, String)>,
    pub money: MoneyType,
    pub unit: AmountUnit,
    pub snapshot: SourceSnapshot,
}

impl Session {
    pub fn open(path: &Path, args: &SourceArgs, select: &SelectArgs) -> Result<Self> {
        if select.round_floats.is_some() {
            return Err(Error::usage(
                "--round-floats is for Postgres; in SQLite alter the amounts to TEXT or INTEGER",
            ));
        }
        if select.time_zone.is_some() {
            return Err(Error::usage("--time-zone is for Postgres; dates in SQLite are texts in UTC"));
        }
        if !path.exists() {
            return Err(Error::config(format!(
                "the SQLite file {} does not exist; check the source URL",
                path.display()
            )));
        }
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map_err(|error| failed("cannot open the SQLite file", error))?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(|error| failed("cannot open the SQLite file", error))?;
        // SQLite has one schema called main; Postgres' default schema means the same here.
        let table = match args.table_parts()? {
            (Some("public") | None, name) => quote(name),
            (Some(schema), name) => format!("{}.{}", quote(schema), quote(name)),
        };
        let name = args.table_parts()?.1.to_owned();
        let rows = |condition: &Condition| format!("(select * from {table} where {})", condition.sql());
        let table = select.condition(Language::Sqlite)?.as_ref().map(rows).unwrap_or(table);
        let is_cents = select.amount_unit == AmountUnit::Cents;
        let mut session = Self {
            keys: KeyKinds::default(),
            more: Vec::new(),
            path: path.to_owned(),
            names: args.columns.clone(),
            money: MoneyType {
                precision: MAX_PRECISION,
                scale: if is_cents { 2 } else { args.amount_scale },
            },
            unit: select.amount_unit,
            snapshot: SourceSnapshot {
                source: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                cluster: None,
                snapshot: String::new(),
                lsn: 0,
                taken_at_us: chrono::Utc::now().timestamp_micros(),
            },
            connection,
            table,
            name,
        };
        session.begin(args, select)?;
        session.keys = key_kinds(&session.connection, &session.name, &session.table, &session.names)?;
        session.more = session.describe(&select.more_columns()?);
        Ok(session)
    }

    /// Starts the read transaction and checks table and columns.
    fn begin(&self, args: &SourceArgs, select: &SelectArgs) -> Result<()> {
        let begun = self.connection.execute_batch("begin");
        begun.map_err(|error| failed("cannot read the SQLite file", error))?;
        let columns = self.names.in_order().map(quote).join(", ");
        let sql = format!("select {columns} from {} limit 1", self.table);
        let prepared = self.connection.prepare(&sql).and_then(|mut statement| {
            // Quoted names that match no column are text literals to SQLite: compare what came back.
            let names: Vec<String> = statement.column_names().iter().map(|n| n.to_string()).collect();
            statement.query([])?.next()?;
            Ok(names)
        });
        let text = |error: &rusqlite::Error| error.to_string();
        match prepared {
            Ok(_) => self.check_columns(args, select),
            Err(error) if text(&error).contains("no such table") => Err(Error::config(format!(
                "table {} does not exist in {}; check --table",
                args.table,
                self.path.display()
            ))),
            Err(error) if text(&error).contains("no such column") => self.check_columns(args, select),
            Err(error) => Err(failed("cannot read the SQLite file", error)),
        }
    }

    fn check_columns(&self, args: &SourceArgs, select: &SelectArgs) -> Result<()> {
        let sql = format!("select * from {} limit 0", self.table);
        let statement =
            self.connection.prepare(&sql).map_err(|error| failed("cannot read the table", error))?;
        let existing = statement.column_names();
        let more = select.more_columns()?;
        for name in self.names.in_order().into_iter().chain(more.iter().map(|more| more.source.as_str())) {
            if !existing.iter().any(|column| column.eq_ignore_ascii_case(name)) {
                return Err(Error::config(format!(
                    "table {} has no column {name:?}; name it with the --…-column options",
                    args.table
                )));
            }
        }
        Ok(())
    }

    /// The query that both this session and ConnectorX run: id, date as text, issuer, receiver
    /// (ids as [`SqliteKeys`] sends them), amount as text with the words `real` for a float and `null` for NULL.
    pub fn rows_sql(&self, window: Option<Window>) -> String {
        let filter = window.map_or(String::new(), |window| format!(" where {}", self.within_sql(window)));
        format!("select {} from {}{filter}", self.columns_sql(), self.table)
    }

    /// Condition for the rows of a window.
    pub fn within_sql(&self, window: Window) -> String {
        let date = quote(&self.names.issue_date_column);
        // Dates are compared as text, in which the month after 9999-12 would come before it.
        let last = window.last.first_day().format("%Y-%m");
        format!("({date} >= '{}' and {date} < '{last}-32')", window.first)
    }

    /// The rows that are invoices, for FROM.
    pub fn table(&self) -> &str {
        &self.table
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether an index keeps the ids unique.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn is_unique(&self) -> Result<bool> {
        is_unique_in_sqlite(&self.connection, &self.name, &self.names.invoice_id_column)
            .map_err(|error| failed("cannot read the SQLite file", error))
    }

    fn columns_sql(&self) -> String {
        let [id, date, issuer, receiver, amount] = self.names.in_order().map(quote);
        let sent = if self.keys.are_integers() { <Vec<i64>>::sql } else { Texts::sql };
        format!(
            "{}, coalesce(cast({date} as text), ''), {}, {}, \
             case typeof({amount}) when 'real' then 'real' when 'null' then 'null' else cast({amount} as text) end",
            sent(&id),
            sent(&issuer),
            sent(&receiver)
        ) + &self.more.iter().map(|(_, sql)| format!(", {sql}")).collect::<String>()
    }

    fn describe(&self, names: &[MoreName]) -> Vec<(MoreColumn, String)> {
        let describe = |MoreName { name, source }: &MoreName| {
            let declared = declared(&self.connection, &self.name, source);
            let (kind, sql) = more::of_sqlite(&declared, &quote(source));
            (MoreColumn { name: name.clone(), kind }, sql)
        };
        names.iter().map(describe).collect()
    }

    /// Values of the further columns, as Postgres would send them.
    ///
    /// # Errors
    /// Refused, with the invoice's id, for one that its column's type does not hold.
    pub fn more(&self, id: impl Key, sent: &[impl AsRef<str>]) -> Result<Vec<String>> {
        let value = |((column, _), sent): (&(MoreColumn, String), &_)| {
            let sent: &str = AsRef::<str>::as_ref(sent);
            more::from_sqlite(column.kind, sent).ok_or_else(|| {
                let (name, kind) = (&column.name, column.kind);
                let value = sent.trim_start_matches([more::SIGN, more::STRANGE]);
                Error::refused(format!(
                    "invoice {id}: column {name} holds {value}, which can't be kept as {kind}; correct it in the source, \
                     or name a view that makes it text"
                ))
            })
        };
        self.more.iter().zip(sent).map(value).collect()
    }

    /// Adds up the months, and looks at the type of every value of every row on the way.
    pub fn fingerprints(&mut self, window: Window) -> Result<MonthFingerprints> {
        if self.keys.are_integers() {
            self.keyed_fingerprints::<Vec<i64>>(window)
        } else {
            self.keyed_fingerprints::<Texts>(window)
        }
    }

    fn keyed_fingerprints<Ids: SqliteKeys>(&self, window: Window) -> Result<MonthFingerprints> {
        let odd = odd_sql(&self.names, self.keys, "");
        let sql = format!("select {odd}, {} from {}", self.columns_sql(), self.table);
        let doing = "cannot read the SQLite table";
        let mut statement = self.connection.prepare(&sql).map_err(|error| failed(doing, error))?;
        let mut rows = statement.query([]).map_err(|error| failed(doing, error))?;
        let mut fingerprints = MonthFingerprints::new();
        let (mut without_month, mut examples) = (0, Vec::new());
        while let Some(row) = rows.next().map_err(|error| failed(doing, error))? {
            if row.get(0).map_err(|error| failed(doing, error))? {
                return Err(odd_row(&self.connection, &self.table, &self.names, self.keys));
            }
            let fields = (|| Ok((row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)))();
            let (id, date, issuer, receiver, amount): (Ids::Sent, String, Ids::Sent, Ids::Sent, String) =
                fields.map_err(|error| failed(doing, error))?;
            let id = Ids::key(&id).ok_or_else(without_id)?;
            let instant = timestamp_us(&date);
            if instant.is_none() && !date.is_empty() {
                return Err(not_a_date(id, &date));
            }
            let month = instant.and_then(Month::of_timestamp_us);
            let Some(month) =
                month.filter(|month| (1..=9999).contains(&chrono::Datelike::year(&month.first_day())))
            else {
                without_month += 1;
                if examples.len() < UNDATED_NAMED {
                    let date = if date.is_empty() { "no date" } else { date.as_str() };
                    examples.push(format!("invoice {id} has {date}"));
                }
                continue;
            };
            if window.contains(month) {
                let parties = [&issuer, &receiver].map(Ids::key);
                let invoice = self.invoice(id, &date, parties, &amount)?;
                let sent = (6..6 + self.more.len()).map(|column| row.get(column));
                let sent: Vec<String> =
                    sent.collect::<rusqlite::Result<_>>().map_err(|error| failed(doing, error))?;
                let more = self.more(id, &sent)?;
                let more = more.iter().map(String::as_str);
                fingerprints.entry(month).or_default().add(invoice, more, self.money);
            }
        }
        if without_month > 0 {
            return Err(undated(without_month, &self.names.issue_date_column, &examples));
        }
        Ok(fingerprints)
    }

    /// One row of [`Session::rows_sql`] as an invoice.
    ///
    /// # Errors
    /// Refused, with the invoice's id, for a bad id, date or amount.
    pub fn invoice<Id: Key>(
        &self,
        id: Id,
        date: &str,
        parties: [Option<Id>; 2],
        amount: &str,
    ) -> Result<InvoiceOf<Id>> {
        row_to_invoice(self.money, self.unit, &self.names, id, date, parties, amount)
    }

    pub fn names(&self) -> &ColumnNames {
        &self.names
    }
}

/// See [`Session::invoice`]; free of the session so that another thread can call it.
pub fn row_to_invoice<Id: Key>(
    money: MoneyType,
    unit: AmountUnit,
    names: &ColumnNames,
    id: Id,
    date: &str,
    [issuer_id, receiver_id]: [Option<Id>; 2],
    amount: &str,
) -> Result<InvoiceOf<Id>> {
    let issue_date_us = timestamp_us(date).ok_or_else(|| not_a_date(id, date))?;
    let column = &names.amount_column;
    if amount == "real" {
        return Err(Error::refused(format!(
            "invoice {id}: {column} is a floating-point number; store amounts as TEXT or INTEGER"
        )));
    }
    if amount == "null" {
        return Err(Error::refused(format!(
            "invoice {id}: {column} is NULL; give it an amount, or leave the row out with --where"
        )));
    }
    let written = match unit {
        AmountUnit::Dollars => money,
        AmountUnit::Cents => MoneyType { scale: 0, ..money },
    };
    let amount = money::parse_amount(amount, written)
        .map_err(|error| Error::refused(format!("invoice {id}: {column} {error}")))?;
    Ok(InvoiceOf { invoice_id: id, issue_date_us, issuer_id, receiver_id, amount })
}

fn not_a_date(id: impl Key, text: &str) -> Error {
    Error::refused(format!("invoice {id}: {text:?} is not an ISO date and time (YYYY-MM-DD HH:MM:SS)"))
}

/// One sentence and a kind for an error of SQLite.
pub fn failed(doing: &str, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, NotADatabase, PermissionDenied, SystemIoFailure,
    };
    match error.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => {
            Error::retry(format!("{doing}: it is locked by a writer; run again"))
        }
        Some(CannotOpen | PermissionDenied | SystemIoFailure) => {
            Error::config(format!("{doing}: it can't be read as a file; check the path and its permissions"))
                .because(error)
        }
        Some(DiskFull) => Error::retry(format!("{doing}: the disk is full; make room and run again")),
        Some(NotADatabase) => Error::config(format!("{doing}: the file is not a SQLite database")),
        _ => Error::refused(doing).because(error),
    }
}
