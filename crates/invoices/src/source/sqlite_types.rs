//! SQLite keeps any type in any column. What the tasks read must be what the column stands for, in every
//! row: a cast would make 12 of `12abc`, and both sides of a proof would agree on it.

use super::args::quote;
use super::sqlite::failed;
use super::{ColumnNames, reserved};
use crate::error::{Error, Result};
use crate::fingerprint::NULL_BUSINESS;
use crate::key::{KeyKind, KeyKinds, Keys, Texts};
use chrono::{NaiveDate, NaiveTime};
use rusqlite::Connection;

/// Characters of a value that a sentence shows.
const SHOWN_MAX: usize = 40;

/// How ids come out of SQLite.
pub trait SqliteKeys: Keys {
    /// As both readers of the file give them.
    type Sent: rusqlite::types::FromSql + Send;

    /// SQL of an id, given the quoted column; never NULL.
    fn sql(column: &str) -> String;

    /// The id; none for NULL.
    fn key(sent: &Self::Sent) -> Option<Self::Key<'_>>;
}

impl SqliteKeys for Vec<i64> {
    type Sent = i64;

    fn sql(column: &str) -> String {
        format!("coalesce(cast({column} as integer), {NULL_BUSINESS})")
    }

    fn key(sent: &i64) -> Option<i64> {
        (*sent != NULL_BUSINESS).then_some(*sent)
    }
}

impl SqliteKeys for Texts {
    type Sent = Box<str>;

    /// With a sign in front, so that the empty text is another one than NULL.
    fn sql(column: &str) -> String {
        format!("coalesce('=' || {column}, '')")
    }

    fn key(sent: &Box<str>) -> Option<&str> {
        sent.strip_prefix('=')
    }
}

/// What the ids of a table or view are: what their columns declare, or what the first value is where a column declares
/// neither text nor a whole number. A value of another type is refused when it is read.
///
/// # Errors
/// When the file can't be read.
pub fn key_kinds(connection: &Connection, name: &str, rows: &str, names: &ColumnNames) -> Result<KeyKinds> {
    let kind = |column: &str| key_kind(connection, name, rows, column);
    let parties = [kind(&names.issuer_column)?, kind(&names.receiver_column)?];
    let business = if parties.contains(&KeyKind::Text) { KeyKind::Text } else { KeyKind::Integer };
    Ok(KeyKinds { invoice: kind(&names.invoice_id_column)?, business })
}

/// What a column of a table declares, in upper case; nothing for a column that declares nothing.
pub fn declared(connection: &Connection, table: &str, column: &str) -> String {
    let sql = "select upper(type) from pragma_table_info(?1) where name = ?2 collate nocase";
    connection.query_row(sql, [table, column], |row| row.get::<_, String>(0)).unwrap_or_default()
}

fn key_kind(connection: &Connection, name: &str, rows: &str, column: &str) -> Result<KeyKind> {
    let doing = "cannot read the SQLite file";
    let declared = declared(connection, name, column);
    // SQLite's own rules of affinity, in their order.
    if declared.contains("INT") {
        return Ok(KeyKind::Integer);
    }
    if ["CHAR", "CLOB", "TEXT"].iter().any(|word| declared.contains(word)) {
        return Ok(KeyKind::Text);
    }
    let id = quote(column);
    let sql = format!("select typeof({id}) from {rows} where {id} is not null limit 1");
    match connection.query_row(&sql, [], |row| row.get::<_, String>(0)) {
        Ok(kind) if kind == "text" => Ok(KeyKind::Text),
        Ok(_) | Err(rusqlite::Error::QueryReturnedNoRows) => Ok(KeyKind::Integer),
        Err(error) => Err(failed(doing, error)),
    }
}

/// The sentence's name of an invoice without an id.
pub fn without_id() -> Error {
    Error::refused("an invoice has no id; correct it in the source")
}

/// The type of an id's values, and how a person calls it.
fn id_type(kind: KeyKind) -> (&'static str, &'static str) {
    match kind {
        KeyKind::Integer => ("integer", "a whole number"),
        KeyKind::Decimal(_) | KeyKind::Text => ("text", "text"),
    }
}

/// SQL that is 1 for a row of which a column holds another type than it stands for; `alias` is empty or
/// ends with a point.
pub fn odd_sql(names: &ColumnNames, keys: KeyKinds, alias: &str) -> String {
    let [id, date, issuer, receiver, amount] = names.in_order().map(|name| format!("{alias}{}", quote(name)));
    let is_odd =
        |column: &str, kind: KeyKind| format!("typeof({column}) not in ('{}', 'null')", id_type(kind).0);
    let business = |column: &str| {
        let is_odd = is_odd(column, keys.business);
        // Among texts no number stands for NULL.
        if keys.are_integers() { format!("{is_odd} or {column} is {NULL_BUSINESS}") } else { is_odd }
    };
    format!(
        "({} or typeof({date}) not in ('text', 'null') or {} or {} \
         or typeof({amount}) not in ('text', 'integer', 'null'))",
        is_odd(&id, keys.invoice),
        business(&issuer),
        business(&receiver)
    )
}

/// The sentence for the first such row of a table.
pub fn odd_row(connection: &Connection, table: &str, names: &ColumnNames, keys: KeyKinds) -> Error {
    // Views and some tables have no rowid.
    let found = described(connection, table, names, keys, "rowid");
    found.or_else(|_| described(connection, table, names, keys, "null")).unwrap_or_else(|error| error)
}

fn described(
    connection: &Connection,
    table: &str,
    names: &ColumnNames,
    keys: KeyKinds,
    rowid: &str,
) -> Result<Error> {
    let columns = names.in_order();
    let looked_at = columns
        .map(|name| format!("typeof({0}), substr(quote({0}), 1, {SHOWN_MAX})", quote(name)))
        .join(", ");
    let sql = format!("select {rowid}, {looked_at} from {table} where {} limit 1", odd_sql(names, keys, ""));
    let found = connection.query_row(&sql, [], |row| {
        let rowid: Option<i64> = row.get(0)?;
        let cell = |column: usize| -> rusqlite::Result<(String, String)> {
            Ok((row.get(1 + 2 * column)?, row.get(2 + 2 * column)?))
        };
        let cells = [cell(0)?, cell(1)?, cell(2)?, cell(3)?, cell(4)?];
        let place = rowid.map_or(String::new(), |rowid| format!(" (rowid {rowid})"));
        Ok(sentence(&format!("{}{place}", cells[0].1), columns, keys, &cells))
    });
    found.map_err(|error| failed("cannot read the SQLite table", error))
}

fn sentence(invoice: &str, columns: [&str; 5], keys: KeyKinds, cells: &[(String, String); 5]) -> Error {
    let (invoice_type, id_wanted) = id_type(keys.invoice);
    let (business_type, business_wanted) = id_type(keys.business);
    let wanted: [(&[&str], &str); 5] = [
        (&[invoice_type, "null"], id_wanted),
        (&["text", "null"], "text with an ISO date and time"),
        (&[business_type, "null"], business_wanted),
        (&[business_type, "null"], business_wanted),
        (&["text", "integer", "null"], "TEXT or INTEGER"),
    ];
    for ((column, (kind, value)), (kinds, wanted)) in columns.into_iter().zip(cells).zip(wanted) {
        if !kinds.contains(&kind.as_str()) {
            let kind = if kind == "real" { "a floating-point number" } else { kind };
            return Error::refused(format!(
                "invoice {invoice}: {column} is {kind}, {value}, where {wanted} belongs; correct it in the source"
            ));
        }
    }
    let smallest = NULL_BUSINESS.to_string();
    let column = if cells[2].1 == smallest { columns[2] } else { columns[3] };
    reserved(invoice, column)
}

/// Microseconds of `YYYY-MM-DD`, or `YYYY-MM-DD HH:MM:SS` with `T` for the space, up to six digits of a
/// second and a final `Z`, in UTC. No other form: those sort as text in the order of their times, and a
/// month's rows are found by that order. An offset would move a row into another month than its text.
pub fn timestamp_us(text: &str) -> Option<i64> {
    let (day, rest) = text.split_at_checked(10)?;
    if !has_shape(day, "0000-00-00") {
        return None;
    }
    let date = NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?;
    if rest.is_empty() {
        return Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    let time = rest.strip_prefix([' ', 'T'])?;
    let time = time.strip_suffix('Z').unwrap_or(time);
    let (clock, fraction) = time.split_at_checked(8)?;
    let micros = match fraction.strip_prefix('.').map(|digits| (digits, digits.trim_end_matches('0'))) {
        None if fraction.is_empty() => 0,
        Some((digits, kept)) if !digits.is_empty() && kept.len() <= 6 && all_digits(digits) => {
            format!("{kept:0<6}").parse().ok()?
        }
        _ => return None,
    };
    if !has_shape(clock, "00:00:00") {
        return None;
    }
    let part = |from: usize| clock[from..from + 2].parse::<u32>().ok();
    // No leap second: a day has 86,400 seconds everywhere else.
    let time = NaiveTime::from_hms_micro_opt(part(0)?, part(3)?, part(6)?, micros)?;
    Some(date.and_time(time).and_utc().timestamp_micros())
}

fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_right_or_none() {
        let new_year = 1_767_225_600_000_000;
        for text in [
            "2026-01-01",
            "2026-01-01 00:00:00",
            "2026-01-01T00:00:00Z",
            "2026-01-01 00:00:00.000",
            "2026-01-01 00:00:00.000000000Z",
        ] {
            assert_eq!(timestamp_us(text), Some(new_year), "{text}");
        }
        assert_eq!(timestamp_us("2026-01-01 00:00:00.25"), Some(new_year + 250_000));
        for text in [
            "",
            "2026-1-01",
            "2026-01-1",
            " 2026-01-01",
            "2026-01-01 ",
            "2026-01-01Z",
            "2026-01-01 00:00",
            "2026-01-01 0:00:00",
            "2026-01-01 00:00:00+02:00",
            "2026-01-01 00:00:00ZZ",
            "2026-01-01  00:00:00",
            "2026-01-01t00:00:00",
            "2026-01-01 00:00:00.",
            "2026-01-01 00:00:00.0000001",
            "2026-01-01 23:59:60",
            "2026-01-01 24:00:00",
            "2026-02-30",
            "+026-01-01",
            "20260101",
            "1767225600",
            "2461041.5",
            "２026-01-01",
        ] {
            assert_eq!(timestamp_us(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_sort_as_their_times_do(one in "20[0-9]{2}-[0-1][0-9]-[0-3][0-9]([ T][0-2][0-9]:00:00)?", other in "20[0-9]{2}-[0-1][0-9]-[0-3][0-9]") {
            if let (Some(first), Some(second)) = (timestamp_us(&one), timestamp_us(&other)) {
                prop_assert!(first >= second || one < other);
                prop_assert!(first < second || one >= other);
            }
        }

        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = timestamp_us(&text);
        }
    }
}
