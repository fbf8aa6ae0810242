//! A session in Postgres that holds one exported snapshot, and its errors in one sentence each.

use super::args::quote;
use super::table::{END_DAY, FIRST_DAY, PostgresTable};
use super::url::PostgresUrl;
use super::{MonthFingerprints, SelectArgs, SourceArgs, UNDATED_NAMED, cluster, reserved, undated};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprint, NULL_BUSINESS};
use crate::lake::commit::SourceSnapshot;
use crate::money;
use crate::month::Window;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Row, SimpleQueryMessage};

/// Bucket of the window's first month, see [`Session::fingerprints`].
const FIRST_MONTH: i32 = 2;
/// Buckets after the window's months are this many more than the months.
const AFTER_WINDOW: i32 = 2;

/// What to do where row-level security would hide rows from the role.
pub const ADVICE_ON_POLICIES: &str = "rows that a policy hides would be missing without a word, so give this role \
    BYPASSRLS (alter role … bypassrls), or read a table or view without row-level security";

/// A connection inside `repeatable read, read only`, whose snapshot other connections can share.
pub struct Session {
    pub url: PostgresUrl,
    pub client: Client,
    pub table: PostgresTable,
    pub snapshot: SourceSnapshot,
}

impl Session {
    pub fn open(url: PostgresUrl, args: &SourceArgs, select: &SelectArgs) -> Result<Self> {
        let mut client = url.connect()?;
        let doing = "cannot take a snapshot of the source";
        let cluster = cluster::identify(&mut client)?;
        // The position is read first: whatever was committed up to it is in the snapshot.
        let position = "select pg_wal_lsn_diff(case when pg_is_in_recovery() \
            then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, '0/0')::int8";
        let lsn: i64 = query_one(&mut client, position, doing)?.get(0);
        client
            .batch_execute("begin isolation level repeatable read read only")
            .map_err(|error| failed(doing, error))?;
        let taken = "select pg_export_snapshot(), (extract(epoch from clock_timestamp()) * 1000000)::int8";
        let row = query_one(&mut client, taken, doing)?;
        let snapshot = SourceSnapshot {
            source: url.name.clone(),
            cluster,
            snapshot: row.get(0),
            lsn: lsn as u64,
            taken_at_us: row.get(1),
        };
        let table = PostgresTable::describe(&mut client, args, select)?;
        Ok(Self { url, client, table, snapshot })
    }

    /// One parallel hash aggregation. Rows that belong to no month at all are counted too, so that
    /// none is passed over in silence.
    pub fn fingerprints(&mut self, window: Window) -> Result<MonthFingerprints> {
        let settings = "set local enable_sort = off; set local work_mem = '64MB'";
        self.client.batch_execute(settings).map_err(|error| failed("cannot read the source", error))?;
        let sql = self.fingerprint_sql(window)?;
        let rows = self
            .client
            .query(sql.as_str(), &[])
            .map_err(|error| failed("cannot add up the months in the source", error))?;
        let mut fingerprints = MonthFingerprints::new();
        let mut without_month = 0;
        let last_bucket = window.len() as i32 + AFTER_WINDOW + 1;
        for row in &rows {
            match row.get::<_, i32>(0) {
                0 => without_month += row.get::<_, i64>(1),
                bucket if bucket == last_bucket => without_month += row.get::<_, i64>(1),
                bucket => {
                    let position = usize::try_from(bucket - FIRST_MONTH).ok();
                    if let Some(month) = position.and_then(|position| window.months().nth(position)) {
                        let fingerprint = self.fingerprint_of(row, window)?;
                        fingerprints.insert(month, fingerprint);
                    }
                }
            }
        }
        let date = self.table.names.issue_date_column.clone();
        if self.table.nullable.contains(&date) {
            let sql = format!("select count(*) from {} where {} is null", self.table.rows(), quote(&date));
            without_month += query_one(&mut self.client, &sql, "cannot read the source")?.get::<_, i64>(0);
        }
        if without_month > 0 {
            return Err(self.undated(without_month));
        }
        Ok(fingerprints)
    }

    /// Buckets of the aggregation: 0 before year 1, 1 before the window, then its months, one after
    /// it, and the last for dates from year 10000 on.
    ///
    /// Grouping by the bucket itself would make the planner expect as many groups as rows, and give
    /// up on parallel workers; joined with the list of buckets it expects a few dozen.
    fn fingerprint_sql(&mut self, window: Window) -> Result<String> {
        let within = self.table.within(window.first, window.last);
        let (rows_in_window, rows_all) = self.estimate(&within)?;
        // Most of the table: one scan without any condition. A part of it: an index on the date helps.
        let filter = if rows_in_window > rows_all / 2 {
            String::new()
        } else {
            format!(" where {within} or {}", self.table.outside_any_month())
        };
        let table = &self.table;
        let [id, date, _, _, amount] = table.expressions();
        let months: Vec<String> = window.months().map(|m| format!("'{m}'")).collect();
        let bucket = format!(
            "width_bucket({date}, array['{FIRST_DAY}', {}, '{}', '{END_DAY}']::timestamp[])",
            months.join(", "),
            window.last.plus(1)
        );
        let missing = |column: &str, expression: &str| {
            let nullable = table.nullable.iter().any(|name| name == column);
            if nullable { format!("count(*) - count({expression})") } else { "0::int8".to_owned() }
        };
        Ok(format!(
            "select buckets.bucket, count(*)::int8, coalesce(sum({amount})::text, '0'), \
             coalesce(sum({hash})::text, '0'), {no_id}, {no_amount} \
             from {relation} join generate_series(0, {last_bucket}) as buckets(bucket) \
             on {bucket} = buckets.bucket{filter} group by 1",
            hash = table.row_hash_sql(),
            no_id = missing(&table.names.invoice_id_column, &id),
            no_amount = missing(&table.names.amount_column, &amount),
            relation = table.rows(),
            last_bucket = window.len() as i32 + AFTER_WINDOW + 1,
        ))
    }

    /// The planner's estimate of the rows that meet a condition, and of all rows.
    pub fn estimate(&mut self, condition: &str) -> Result<(u64, u64)> {
        let relation = self.table.rows();
        let mut rows = |filter: &str| -> Result<u64> {
            let sql = format!("explain (format json) select 1 from {relation} {filter}");
            let text = simple_value(&mut self.client, &sql, "cannot read the source")?;
            let plan: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            Ok(plan[0]["Plan"]["Plan Rows"].as_f64().unwrap_or(0.0) as u64)
        };
        Ok((rows(&format!("where {condition}"))?, rows("")?))
    }

    fn fingerprint_of(&mut self, row: &Row, window: Window) -> Result<Fingerprint> {
        let names = self.table.names.clone();
        for (index, column) in [(4, &names.invoice_id_column), (5, &names.amount_column)] {
            let missing: i64 = row.get(index);
            if missing > 0 {
                return Err(self.without(column, missing, window));
            }
        }
        let (amount, hash): (String, String) = (row.get(2), row.get(3));
        match (money::parse(&amount, self.table.money.scale), hash.parse()) {
            (Ok(amount), Ok(hash)) => Ok(Fingerprint { rows: row.get::<_, i64>(1) as u64, amount, hash }),
            _ => Err(self.bad_amount()),
        }
    }

    /// Names the first invoices that lie in no month.
    fn undated(&mut self, count: i64) -> Error {
        let column = &self.table.names.issue_date_column;
        let (id, date) = (quote(&self.table.names.invoice_id_column), quote(column));
        let sql = format!(
            "select coalesce({id}::text, 'without an id'), coalesce({date}::text, 'no date') from {} \
             where {} or {date} is null limit {UNDATED_NAMED}",
            self.table.rows(),
            self.table.outside_any_month()
        );
        let found = self.client.query(sql.as_str(), &[]).unwrap_or_default();
        let name = |row: &Row| format!("invoice {} has {}", row.get::<_, String>(0), row.get::<_, String>(1));
        undated(count, column, &found.iter().map(name).collect::<Vec<_>>())
    }

    /// Names the first invoices of a window that have no value in a column.
    fn without(&mut self, column: &str, count: i64, window: Window) -> Error {
        let (id, quoted) = (quote(&self.table.names.invoice_id_column), quote(column));
        let date = quote(&self.table.names.issue_date_column);
        let sql = format!(
            "select coalesce('invoice ' || {id}::text, 'one of ' || {date}::text) from {} \
             where {quoted} is null and {} limit {UNDATED_NAMED}",
            self.table.rows(),
            self.table.within(window.first, window.last),
        );
        let found = self.client.query(sql.as_str(), &[]).unwrap_or_default();
        let list: Vec<String> = found.iter().map(|row| row.get(0)).collect();
        let examples = if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) };
        Error::refused(format!(
            "{count} invoices have NULL in {column}{examples}; correct them in the source, or leave them out with --where"
        ))
    }

    /// See [`super::Source::smallest_business`].
    pub fn smallest_business(&mut self) -> Result<Option<Error>> {
        if !self.table.keys.are_integers() {
            return Ok(None);
        }
        let [id, _, issuer, receiver, _] = self.table.expressions();
        let sql = format!(
            "select {id}::text, {issuer} = '{NULL_BUSINESS}'::int8 from {} \
             where {issuer} = '{NULL_BUSINESS}'::int8 or {receiver} = '{NULL_BUSINESS}'::int8 limit 1",
            self.table.rows()
        );
        let found = self.client.query_opt(sql.as_str(), &[]);
        let found = found.map_err(|error| failed("cannot look for the difference", error))?;
        let names = &self.table.names;
        Ok(found.map(|row| {
            let is_issuer = row.get::<_, Option<bool>>(1) == Some(true);
            let column = if is_issuer { &names.issuer_column } else { &names.receiver_column };
            reserved(row.get::<_, String>(0), column)
        }))
    }

    /// Names the first invoices whose amount can't be kept exactly.
    pub fn bad_amount(&mut self) -> Error {
        let table = &self.table;
        let [id, _, _, _, amount] = table.expressions();
        let money = table.money;
        let limit = money::format(i128::from(money.max_unscaled()), money.scale);
        let sql = format!(
            "select {id}::text, {amount}::text from {relation} where {amount}::text in ('NaN', 'Infinity', '-Infinity') \
             or {amount} <> round({amount}, {scale}) or abs({amount}) > {limit} limit 3",
            relation = table.rows(),
            scale = money.scale,
        );
        let found = self.client.query(sql.as_str(), &[]).unwrap_or_default();
        let list: Vec<String> = found
            .iter()
            .map(|row| format!("invoice {} has {}", row.get::<_, String>(0), row.get::<_, String>(1)))
            .collect();
        let column = &table.names.amount_column;
        let examples = if list.is_empty() { String::new() } else { format!(" ({})", list.join(", ")) };
        Error::refused(format!(
            "column {column} holds amounts that are not exact {money} values{examples}; correct them, or set --amount-scale when the column declares no scale"
        ))
    }
}

/// Runs a query that gives one row.
pub fn query_one(client: &mut Client, sql: &str, doing: &str) -> Result<Row> {
    client.query_one(sql, &[]).map_err(|error| failed(doing, error))
}

/// Runs a query and hands over its rows one by one, however many there are.
pub fn each_row(
    client: &mut Client,
    sql: &str,
    doing: &str,
    mut consume: impl FnMut(&Row) -> Result<()>,
) -> Result<()> {
    const NO_PARAMETERS: [i64; 0] = [];
    let mut rows = client.query_raw(sql, NO_PARAMETERS).map_err(|error| failed(doing, error))?;
    while let Some(row) = rows.next().map_err(|error| failed(doing, error))? {
        consume(&row)?;
    }
    Ok(())
}

/// The first column of a simple query's only row, such as a SHOW.
pub fn simple_value(client: &mut Client, sql: &str, doing: &str) -> Result<String> {
    let messages = client.simple_query(sql).map_err(|error| failed(doing, error))?;
    let value = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(value.unwrap_or_default())
}

/// The kind that an SQLSTATE stands for, and what to do about it.
fn kind_of(state: &SqlState) -> (Kind, &'static str) {
    match state.code() {
        "28P01" | "28000" => (Kind::Config, "; check the user and PGPASSWORD"),
        "3D000" => (Kind::Config, "; check the database name in the source URL"),
        "42P01" => (Kind::Config, "; check --table"),
        "42703" => (Kind::Config, "; check the column names"),
        "42501" => (Kind::Config, "; grant SELECT on the table to this user"),
        "57014" => (Kind::Retry, "; the statement timeout ended it, or somebody cancelled it"),
        "22P02" | "22003" | "22008" | "22023" => (Kind::Refused, ""),
        code => match &code[..2] {
            // Connection lost, out of resources, shut down, serialization or recovery conflict, I/O.
            "08" | "53" | "57" | "40" | "58" | "55" => (Kind::Retry, "; run again"),
            "42" | "28" | "3D" | "3F" | "0A" => (Kind::Config, ""),
            "22" | "23" => (Kind::Refused, ""),
            _ => (Kind::Retry, ""),
        },
    }
}

/// One sentence and a kind for an error of the Postgres client.
pub fn failed(doing: &str, error: postgres::Error) -> Error {
    if let Some(database) = error.as_db_error() {
        // The server's words come in its own language, the routine that said them does not.
        if database.routine() == Some("check_enable_rls") {
            return Error::config(format!("{doing}: {}; {ADVICE_ON_POLICIES}", database.message()));
        }
        let (kind, advice) = kind_of(database.code());
        return Error::new(kind, format!("{doing}: {}{advice}", database.message()));
    }
    let text = Error::retry("").because(error).to_string();
    let text = text.trim_start_matches(": ");
    if text.contains("TLS") || text.contains("certificate") || text.contains("SSL") {
        let advice = "check sslmode and sslrootcert in the source URL";
        return Error::config(format!(
            "{doing}: the server's TLS identity is not accepted ({text}); {advice}"
        ));
    }
    if text.contains("invalid configuration") || text.contains("password missing") {
        return Error::config(format!("{doing}: {text}; set PGPASSWORD"));
    }
    Error::retry(format!("{doing}: {text}"))
}
