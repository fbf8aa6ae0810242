//! What the invoice table looks like in Postgres, and the SQL that reads its columns.

use super::args::{AmountUnit, ColumnNames, SelectArgs, SourceArgs, quote};
use super::condition::{Condition, Language};
use super::postgres::failed;
use super::repeated::is_unique_in_postgres;
use crate::error::{Error, Result};
use crate::fingerprint::{key_hash_sql, row_hash_sql};
use crate::key::{BIGINT_DIGITS, KeyKind, KeyKinds, MAX_DIGITS};
use crate::money::{MAX_PRECISION, MoneyType};
use crate::month::Month;
use crate::more::{self, MoreColumn, MoreKind, MoreName};
use postgres::Client;

/// The zone whose days count if no other is named.
const UTC: &str = "UTC";
/// First day that a month can hold.
pub const FIRST_DAY: &str = "0001-01-01";
/// First day that no month can hold any more.
pub const END_DAY: &str = "10000-01-01";

/// How an issue date is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateType {
    Timestamp,
    TimestampTz,
    Date,
}

/// A described table or view.
#[derive(Debug, Clone)]
pub struct PostgresTable {
    /// Quoted name.
    pub relation: String,
    /// What a row must meet to be an invoice.
    condition: Option<Condition>,
    /// Quoted names of the tables that physically hold the rows (one, or the leaf partitions); none
    /// where they can't be divided: a view, a foreign table, partitions without a privilege of their own.
    pub heaps: Vec<String>,
    pub names: ColumnNames,
    /// What the ids are.
    pub keys: KeyKinds,
    /// Which of the ids of invoice, issuer and receiver are `char(n)`, whose cast to text would lose the spaces at
    /// their end.
    are_padded: [bool; 3],
    /// Whether an id is `numeric`, which change events send as text or bytes.
    has_numeric_ids: bool,
    /// Columns beside the five, each with SQL of its values on their way.
    pub more: Vec<(MoreColumn, String)>,
    pub money: MoneyType,
    pub date_type: DateType,
    /// Zone of the days and months, one that the server knows.
    zone: String,
    amount: Amount,
    /// Columns without NOT NULL, by name.
    pub nullable: Vec<String>,
    /// Whether an index keeps the ids unique.
    pub is_unique: bool,
}

/// How an amount becomes an exact numeric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Amount {
    Numeric,
    /// An integer, or money.
    Cast,
    Cents,
    /// A float, by its shortest text, rounded to some digits.
    Rounded(u8),
}

struct Column {
    type_name: String,
    type_modifier: i32,
    not_null: bool,
}

impl Column {
    /// What a numeric declares, if it declares anything.
    fn precision_and_scale(&self) -> Option<(i32, i32)> {
        const HEADER: i32 = 4;
        (self.type_modifier >= HEADER).then(|| precision_and_scale(self.type_modifier - HEADER))
    }

    fn is_text(&self) -> bool {
        matches!(self.type_name.as_str(), "text" | "varchar" | "bpchar" | "citext")
    }
}

impl PostgresTable {
    /// Looks the table up in the catalog.
    ///
    /// # Errors
    /// Configuration error for a missing table or column and for a type that can't hold what the
    /// column stands for exactly.
    pub fn describe(client: &mut Client, args: &SourceArgs, select: &SelectArgs) -> Result<Self> {
        let relation = match args.table_parts()? {
            (Some(schema), name) => format!("{}.{}", quote(schema), quote(name)),
            (None, name) => quote(name),
        };
        let doing = "cannot look up the table";
        // Looked up once: another session's search path must not find another table of this name.
        let sql = "select c.oid, c.relkind::text, format('%I.%I', n.nspname, c.relname) from pg_class c \
             join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1)";
        let found = client.query_opt(sql, &[&relation]).map_err(|error| failed(doing, error))?;
        let found = found.ok_or_else(|| {
            let table = &args.table;
            let advice = "check --table and the database name";
            Error::config(format!("table {table} does not exist in the source; {advice}"))
        })?;
        let (oid, kind, relation): (u32, String, String) = (found.get(0), found.get(1), found.get(2));
        let names = args.columns.clone();
        let [id, date, issuer, receiver, amount] = names.in_order();
        let (mut are_padded, mut has_numeric_ids) = ([false; 3], false);
        let mut kinds = [KeyKind::Integer; 3];
        for (at, name) in [id, issuer, receiver].into_iter().enumerate() {
            let column = Self::column(client, oid, name, &args.table)?;
            kinds[at] = if at == 0 { key_kind(&column, name)? } else { business_kind(&column, name)? };
            are_padded[at] = column.type_name == "bpchar";
            has_numeric_ids |= column.type_name == "numeric";
            if column.is_text() {
                require_utf8(client, name)?;
            }
        }
        let [invoice, issuers, receivers] = kinds;
        // A business is the same one on both sides of an invoice, whatever types its columns have.
        let business = if issuers == receivers { issuers } else { KeyKind::Text };
        let date_column = Self::column(client, oid, date, &args.table)?;
        let amount_column = Self::column(client, oid, amount, &args.table)?;
        let mut nullable = Vec::new();
        for name in [id, date, amount] {
            if !Self::column(client, oid, name, &args.table)?.not_null {
                nullable.push(name.to_owned());
            }
        }
        let heaps = Self::heaps(client, oid, &kind, &relation)?;
        let date_type = date_type(&date_column, date)?;
        let zone = zone(client, select, date_type, date)?;
        Ok(Self {
            more: Self::more(client, oid, args, select)?,
            zone,
            date_type,
            money: money_type(&amount_column, amount, args.amount_scale, select)?,
            amount: amount_of(&amount_column, select),
            condition: select.condition(Language::Postgres)?,
            relation,
            heaps,
            nullable,
            is_unique: is_unique_in_postgres(client, oid, id)?,
            names: names.clone(),
            keys: KeyKinds { invoice, business },
            are_padded,
            has_numeric_ids,
        })
    }

    fn more(
        client: &mut Client,
        oid: u32,
        args: &SourceArgs,
        select: &SelectArgs,
    ) -> Result<Vec<(MoreColumn, String)>> {
        let zone = select.time_zone.as_deref().unwrap_or(UTC).replace('\'', "''");
        let describe = |name: &MoreName| {
            let column = Self::column(client, oid, &name.source, &args.table)?;
            let (kind, sql) = more::of_postgres(
                &column.type_name,
                column.precision_and_scale(),
                &quote(&name.source),
                &zone,
            );
            if kind == MoreKind::Text {
                require_utf8(client, &name.source)?;
            }
            Ok((MoreColumn { name: name.name.clone(), kind }, sql))
        };
        select.more_columns()?.iter().map(describe).collect()
    }

    fn column(client: &mut Client, oid: u32, name: &str, table: &str) -> Result<Column> {
        let sql = "select t.typname::text, a.atttypmod, a.attnotnull from pg_attribute a \
             join pg_type t on t.oid = a.atttypid \
             where a.attrelid = $1 and a.attname = $2 and a.attnum > 0 and not a.attisdropped";
        let row = client
            .query_opt(sql, &[&oid, &name])
            .map_err(|error| failed("cannot look up the columns", error))?;
        let row = row.ok_or_else(|| {
            Error::config(format!(
                "table {table} has no column {name:?}; name it with the --…-column options"
            ))
        })?;
        Ok(Column { type_name: row.get(0), type_modifier: row.get(1), not_null: row.get(2) })
    }

    fn heaps(client: &mut Client, oid: u32, kind: &str, relation: &str) -> Result<Vec<String>> {
        match kind {
            "r" | "m" => {
                // A parent of inherited tables gives their rows too; they are divided like partitions, and
                // one that inherits on two ways is there once.
                let sql = "with recursive heap(oid) as (select $1::oid union \
                     select i.inhrelid from pg_inherits i join heap h on i.inhparent = h.oid) \
                     select format('%I.%I', n.nspname, c.relname), \
                     c.relkind in ('r', 'm') and has_table_privilege(c.oid, 'select') \
                     and (c.oid = $1 or not row_security_active(c.oid)) from heap \
                     join pg_class c using (oid) join pg_namespace n on n.oid = c.relnamespace order by 1";
                Self::readable_heaps(client, oid, sql)
            }
            "p" => {
                let sql = "select format('%I.%I', n.nspname, c.relname), \
                     c.relkind = 'r' and has_table_privilege(c.oid, 'select') and not row_security_active(c.oid) \
                     from pg_partition_tree($1::oid::regclass) t \
                     join pg_class c on c.oid = t.relid join pg_namespace n on n.oid = c.relnamespace \
                     where t.isleaf order by 1";
                Self::readable_heaps(client, oid, sql)
            }
            "v" | "f" => Ok(Vec::new()),
            _ => Err(Error::config(format!("{relation} is not a table or a view; check --table"))),
        }
    }

    /// All heaps, or none when one of them is remote or may only be read through its parent: for want of a
    /// privilege, or because it has policies of its own, which do not count for who reads the parent.
    fn readable_heaps(client: &mut Client, oid: u32, sql: &str) -> Result<Vec<String>> {
        let rows = client.query(sql, &[&oid]).map_err(|error| failed("cannot look up the table", error))?;
        let all_readable = rows.iter().all(|row| row.get(1));
        Ok(if all_readable { rows.iter().map(|row| row.get(0)).collect() } else { Vec::new() })
    }

    /// SQL for id, date, issuer, receiver and amount: bigint where all ids are integers and else text, timestamp, numeric.
    pub fn expressions(&self) -> [String; 5] {
        let [id, date, issuer, receiver, amount] = self.names.in_order().map(quote);
        let [id_padded, issuer_padded, receiver_padded] = self.are_padded;
        let date = match self.date_type {
            DateType::Timestamp => date,
            DateType::TimestampTz => format!("({date} at time zone '{}')", self.zone),
            DateType::Date => format!("{date}::timestamp"),
        };
        let amount = match self.amount {
            Amount::Numeric => amount,
            Amount::Cast => format!("{amount}::numeric"),
            Amount::Cents => format!("({amount} * 0.01::numeric)"),
            Amount::Rounded(digits) => format!("round({amount}::text::numeric, {digits})"),
        };
        [
            self.key_sql(&id, id_padded),
            date,
            self.key_sql(&issuer, issuer_padded),
            self.key_sql(&receiver, receiver_padded),
            amount,
        ]
    }

    /// # Errors
    /// Configuration for a program that takes whole numbers of Postgres' own types alone.
    pub fn require_integers(&self, program: &str) -> Result<()> {
        if self.has_numeric_ids {
            return Err(Error::config(format!(
                "ids are numeric, and {program} takes smallint, integer or bigint alone; name a column of these with the \
                 --…-column options (query_source and the tasks behind it take any)"
            )));
        }
        self.keys.require_integers(program)
    }

    fn key_sql(&self, key: &str, is_padded: bool) -> String {
        match (self.keys.are_integers(), is_padded) {
            (true, _) => format!("{key}::int8"),
            (false, false) => format!("{key}::text"),
            // Writes it as the database shows it, with the spaces that fill it up.
            (false, true) => format!("(case when {key} is not null then concat({key}) end)"),
        }
    }

    /// SQL of the hash of an id alone, [`crate::Key::hash`] of seed 0 in Rust.
    pub fn key_hash_sql(&self) -> String {
        let [id, ..] = self.expressions();
        key_hash_sql(self.keys.are_integers(), &id, "0")
    }

    /// SQL of a row's hash, [`crate::fingerprint::row_hash`] in Rust.
    pub fn row_hash_sql(&self) -> String {
        let more: Vec<String> = self.more.iter().map(|(_, sql)| sql.clone()).collect();
        row_hash_sql(self.keys.are_integers(), &self.expressions(), &more)
    }

    /// The rows that are invoices, for FROM.
    pub fn rows(&self) -> String {
        match &self.condition {
            None => self.relation.clone(),
            Some(condition) => {
                format!("(select * from {} where {}) as invoices", self.relation, condition.sql())
            }
        }
    }

    /// The condition that makes a row an invoice, behind others.
    pub fn and_condition(&self) -> String {
        self.condition.as_ref().map_or(String::new(), |condition| format!(" and {}", condition.sql()))
    }

    /// Condition for rows of the months `first` to `last`; an index on the date can serve it.
    pub fn within(&self, first: Month, last: Month) -> String {
        let date = quote(&self.names.issue_date_column);
        format!(
            "({date} >= {} and {date} < {})",
            self.date_literal(&first.to_string()),
            self.date_literal(&last.plus(1).to_string())
        )
    }

    /// Condition for rows that no month can hold.
    pub fn outside_any_month(&self) -> String {
        let date = quote(&self.names.issue_date_column);
        format!("{date} >= {} or {date} < {}", self.date_literal(END_DAY), self.date_literal(FIRST_DAY))
    }

    /// A day, `2026-01-05`, as a literal of the date's type; its midnight in the zone that counts.
    pub fn date_literal(&self, day: &str) -> String {
        match self.date_type {
            DateType::Timestamp => format!("'{day} 00:00:00'::timestamp"),
            DateType::TimestampTz if self.zone == UTC => format!("'{day} 00:00:00+00'::timestamptz"),
            DateType::TimestampTz => format!("('{day} 00:00:00'::timestamp at time zone '{}')", self.zone),
            DateType::Date => format!("'{day}'::date"),
        }
    }
}

/// What a column's ids of businesses are.
fn business_kind(column: &Column, name: &str) -> Result<KeyKind> {
    match key_kind(column, name)? {
        KeyKind::Decimal(digits) => Err(Error::config(format!(
            "column {name} is numeric({digits},0), and the ids of businesses may have up to {BIGINT_DIGITS} digits; name \
             a view with {}::text",
            quote(name)
        ))),
        kind => Ok(kind),
    }
}

/// What a column's ids are.
fn key_kind(column: &Column, name: &str) -> Result<KeyKind> {
    match column.type_name.as_str() {
        "int2" | "int4" | "int8" => Ok(KeyKind::Integer),
        "uuid" => Ok(KeyKind::Text),
        "numeric" => match column.precision_and_scale() {
            Some((digits, 0)) if digits <= i32::from(BIGINT_DIGITS) => Ok(KeyKind::Integer),
            Some((digits, 0)) if digits <= i32::from(MAX_DIGITS) => Ok(KeyKind::Decimal(digits as u8)),
            Some((digits, scale)) => Err(Error::config(format!(
                "column {name} is numeric({digits},{scale}); an id may be numeric with up to {MAX_DIGITS} digits and none \
                 after the decimal point"
            ))),
            None => Err(Error::config(format!(
                "column {name} is numeric without a number of digits; alter it to numeric({MAX_DIGITS},0), or name a view \
                 with {}::numeric({MAX_DIGITS},0)",
                quote(name)
            ))),
        },
        _ if column.is_text() => Ok(KeyKind::Text),
        other => Err(Error::config(format!(
            "column {name} has type {other}; ids must be smallint, integer, bigint, numeric without decimals, uuid, text, \
             varchar or char (a view can cast them)"
        ))),
    }
}

/// Texts are hashed as the server stores them, and arrive in UTF-8.
fn require_utf8(client: &mut Client, name: &str) -> Result<()> {
    let asked = client.query_one("select current_setting('server_encoding')", &[]);
    let encoding: String = asked.map_err(|error| failed("cannot ask for the encoding", error))?.get(0);
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(Error::config(format!(
        "column {name} is text in a database whose encoding is {encoding}; texts come from a UTF8 database alone"
    )))
}

fn date_type(column: &Column, name: &str) -> Result<DateType> {
    match column.type_name.as_str() {
        "timestamp" => Ok(DateType::Timestamp),
        "timestamptz" => Ok(DateType::TimestampTz),
        "date" => Ok(DateType::Date),
        other => Err(Error::config(format!(
            "column {name} has type {other}; the issue date must be timestamp, timestamptz or date"
        ))),
    }
}

/// The zone whose days count.
///
/// # Errors
/// Configuration for a zone that the server doesn't know, and for dates that have none.
fn zone(client: &mut Client, select: &SelectArgs, kind: DateType, column: &str) -> Result<String> {
    let Some(zone) = &select.time_zone else { return Ok(UTC.to_owned()) };
    if kind != DateType::TimestampTz {
        return Err(Error::config(format!(
            "column {column} has no time zone, so its days are what it says; leave out --time-zone, or name a view with \
             ({} at time zone 'UTC')",
            quote(column)
        )));
    }
    // Asked by name: as a specification of its own, UTC+2 would be two hours behind.
    let known = client.query_opt("select name from pg_timezone_names where name = $1", &[zone]);
    match known.map_err(|error| failed("cannot look up the time zone", error))? {
        Some(_) => Ok(zone.clone()),
        None => Err(Error::config(format!(
            "the server knows no time zone {zone:?}; use a name such as Europe/Madrid (select name from pg_timezone_names)"
        ))),
    }
}

/// Precision and scale of a numeric's type modifier without its header. A scale is a signed number of 11
/// bits since Postgres 15, where it may be negative.
fn precision_and_scale(modifier: i32) -> (i32, i32) {
    const SIGN: i32 = 1 << 10;
    (modifier >> 16, ((modifier & 0x7ff) ^ SIGN) - SIGN)
}

fn amount_of(column: &Column, select: &SelectArgs) -> Amount {
    match (column.type_name.as_str(), select) {
        (_, SelectArgs { amount_unit: AmountUnit::Cents, .. }) => Amount::Cents,
        ("float4" | "float8", SelectArgs { round_floats: Some(digits), .. }) => Amount::Rounded(*digits),
        ("numeric", _) => Amount::Numeric,
        _ => Amount::Cast,
    }
}

/// What the amounts are, once they are dollars.
fn money_type(column: &Column, name: &str, default_scale: u8, select: &SelectArgs) -> Result<MoneyType> {
    if select.amount_unit == AmountUnit::Cents {
        let declared = money_type(column, name, 0, &SelectArgs::default())?;
        if declared.scale > 0 || column.type_name == "money" {
            return Err(Error::config(format!(
                "column {name} has digits after the decimal point, so it does not count cents; leave out --amount-unit"
            )));
        }
        return Ok(MoneyType { precision: declared.precision.max(2), scale: 2 });
    }
    match (column.type_name.as_str(), select.round_floats) {
        ("float4" | "float8", Some(scale)) => return Ok(MoneyType { precision: MAX_PRECISION, scale }),
        ("float4" | "float8", None) => {
            return Err(Error::config(format!(
                "column {name} has type {}, which can't hold money exactly; alter it to numeric, or accept with --round-floats 2 that every amount is rounded to cents",
                if column.type_name == "float4" { "real" } else { "double precision" }
            )));
        }
        // The locale of the database says how many digits; more than the scale are refused by each amount.
        ("money", _) => return Ok(MoneyType { precision: MAX_PRECISION, scale: default_scale }),
        _ => {}
    }
    declared_type(column, name, default_scale)
}

/// `numeric(p,s)` as declared; `numeric` without a scale takes the given one; integers have none.
fn declared_type(column: &Column, name: &str, default_scale: u8) -> Result<MoneyType> {
    match (column.type_name.as_str(), column.precision_and_scale()) {
        ("numeric", Some((precision, scale))) => {
            if scale < 0 {
                let wide = (precision - scale).min(i32::from(MAX_PRECISION));
                return Err(Error::config(format!(
                    "column {name} is numeric({precision},{scale}), so Postgres rounds its amounts to multiples of 1{} when they are stored; alter its type, or name a view with {}::numeric({wide},0) if that is meant",
                    "0".repeat(scale.unsigned_abs() as usize),
                    quote(name),
                )));
            }
            if scale > 10 {
                return Err(Error::config(format!(
                    "column {name} has {scale} digits after the decimal point; at most 10 are supported"
                )));
            }
            // numeric(2,4) holds 0.0012 at most; a decimal has no fewer digits than its scale.
            let precision = precision.max(scale).clamp(1, i32::from(MAX_PRECISION)) as u8;
            Ok(MoneyType { precision, scale: scale as u8 })
        }
        ("numeric", _) => Ok(MoneyType { precision: MAX_PRECISION, scale: default_scale }),
        ("int2" | "int4" | "int8", _) => Ok(MoneyType { precision: MAX_PRECISION, scale: 0 }),
        (other, _) => Err(Error::config(format!(
            "column {name} has type {other}, which is no type of amounts; use numeric, or a view that casts it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(precision: i32, scale: i32) -> Result<MoneyType> {
        let type_modifier = (precision << 16 | scale & 0x7ff) + 4;
        let column = Column { type_name: "numeric".to_owned(), type_modifier, not_null: true };
        declared_type(&column, "amount_usd", 2)
    }

    #[test]
    fn an_id_is_a_number_or_a_text_and_any_other_type_is_named() {
        let kind = |type_name: &str, type_modifier| {
            let column = Column { type_name: type_name.to_owned(), type_modifier, not_null: true };
            key_kind(&column, "doc_no")
        };
        assert_eq!(kind("int2", -1).unwrap(), KeyKind::Integer);
        assert_eq!(kind("numeric", (20 << 16) + 4).unwrap(), KeyKind::Decimal(20));
        assert_eq!(kind("numeric", (18 << 16) + 4).unwrap(), KeyKind::Integer);
        for text in ["uuid", "text", "varchar", "bpchar"] {
            assert_eq!(kind(text, -1).unwrap(), KeyKind::Text);
        }
        for (type_name, modifier, words) in [
            ("numeric", -1, "without a number of digits"),
            ("numeric", (12 << 16 | 2) + 4, "numeric(12,2)"),
            ("numeric", (39 << 16) + 4, "up to 38 digits"),
            ("jsonb", -1, "has type jsonb"),
        ] {
            let error = kind(type_name, modifier).unwrap_err().to_string();
            assert!(error.contains("doc_no") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_numeric_is_what_it_declares() {
        assert_eq!(numeric(12, 2).unwrap(), MoneyType { precision: 12, scale: 2 });
        assert_eq!(numeric(2, 4).unwrap(), MoneyType { precision: 4, scale: 4 });
        assert!(numeric(30, 11).unwrap_err().to_string().contains("11 digits after the decimal point"));
    }

    #[test]
    fn a_negative_scale_is_named_with_what_it_does_to_amounts() {
        let error = numeric(12, -2).unwrap_err().to_string();
        assert!(error.starts_with("column amount_usd is numeric(12,-2), so Postgres rounds"), "{error}");
        assert!(error.contains("multiples of 100 ") && error.contains("::numeric(14,0)"), "{error}");
    }
}
