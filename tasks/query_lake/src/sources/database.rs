//! A table of a database, read in one transaction. Values come as text and become columns of the
//! types that the database declares, so a numeric stays the number it is.

use super::Columns;
use super::values::Kind;
use super::{Loading, Source};
use invoices::source::SourceUrl;
use invoices::source::args::quote;
use invoices::source::postgres::{failed, query_one};
use invoices::source::url::PostgresUrl;
use invoices::{Error, Result};
use postgres::fallible_iterator::FallibleIterator;
use rusqlite::OpenFlags;
use rusqlite::types::ValueRef;
use std::path::Path;

pub fn is_database(location: &str) -> bool {
    ["postgres://", "postgresql://", "sqlite:"].iter().any(|scheme| location.starts_with(scheme))
}

/// # Errors
/// Usage when the URL names no table; what the database says otherwise.
pub fn load(source: &Source, loading: &Loading) -> Result<Columns> {
    let (url, table) =
        source.location.rsplit_once('#').filter(|(_, table)| !table.is_empty()).ok_or_else(|| {
            let advice = "put it after a #, as in postgres://user@host/database#customers";
            Error::usage(format!("--with {} names no table of the database; {advice}", source.name))
        })?;
    let mut reading = Reading { columns: Vec::new(), bytes: 0, bytes_max: loading.bytes_max / 2, source };
    match url.parse()? {
        SourceUrl::Postgres(url) => reading.postgres(&url, table)?,
        SourceUrl::Sqlite(path) => reading.sqlite(&path, table)?,
    }
    let name = &source.name;
    reading.columns.into_iter().map(|column| column.array(name)).collect()
}

struct Column {
    name: String,
    kind: Kind,
    values: Vec<Option<String>>,
}

impl Column {
    fn array(self, table: &str) -> Result<(String, arrow::array::ArrayRef)> {
        let texts: Vec<Option<&str>> = self.values.iter().map(Option::as_deref).collect();
        let array = self.kind.array(&texts).map_err(|row| {
            let (text, name, kind) = (texts[row].unwrap_or_default(), &self.name, self.kind.plural());
            Error::refused(format!("column {name} of {table} holds {text:?}, which does not fit {kind}"))
        })?;
        Ok((self.name, array))
    }
}

struct Reading<'a> {
    columns: Vec<Column>,
    bytes: u64,
    bytes_max: u64,
    source: &'a Source,
}

impl Reading<'_> {
    fn push(&mut self, index: usize, text: Option<&str>) -> Result<()> {
        self.bytes += 32 + text.map_or(0, |text| text.len() as u64);
        if self.bytes > self.bytes_max {
            return Err(Error::config(format!(
                "--with {} does not fit --memory-budget; raise it, or name a view with fewer rows",
                self.source.name
            )));
        }
        self.columns[index].values.push(text.map(str::to_owned));
        Ok(())
    }

    fn postgres(&mut self, url: &PostgresUrl, table: &str) -> Result<()> {
        let doing = format!("cannot read {table} of {}", url.name);
        let mut client = url.connect()?;
        let begin = "begin isolation level repeatable read read only; set local timezone = 'UTC'; set local datestyle = 'ISO'";
        client.batch_execute(begin).map_err(|error| failed(&doing, error))?;
        let relation = table.split('.').map(quote).collect::<Vec<_>>().join(".");
        let statement = client
            .prepare(&format!("select * from {relation} limit 0"))
            .map_err(|error| failed(&doing, error))?;
        for column in statement.columns() {
            let kind = match column.type_().name() {
                "bool" => Kind::Bool,
                "int2" | "int4" | "int8" => Kind::Int,
                "numeric" => {
                    let (relation, name) = (&relation, quote(column.name()));
                    // A column that declares no scale has the one of its longest value.
                    let sql = format!("select coalesce(max(scale({name})), 0)::int4 from {relation}");
                    let scale: i32 = query_one(&mut client, &sql, &doing)?.get(0);
                    Kind::Decimal { whole: 0, scale: scale.unsigned_abs() as usize }
                }
                "float4" | "float8" => Kind::Float,
                "date" => Kind::Date,
                "timestamp" | "timestamptz" => Kind::Timestamp,
                _ => Kind::Text,
            };
            self.columns.push(Column { name: column.name().to_owned(), kind, values: Vec::new() });
        }
        let as_text = |column: &Column| match column.kind {
            Kind::Bool => {
                format!("case when {0} then 'true' when not {0} then 'false' end", quote(&column.name))
            }
            _ => format!("{}::text", quote(&column.name)),
        };
        let list: Vec<String> = self.columns.iter().map(as_text).collect();
        let sql = format!("select {} from {relation}", list.join(", "));
        let parameters: [&str; 0] = [];
        let mut rows = client.query_raw(&sql, parameters).map_err(|error| failed(&doing, error))?;
        while let Some(row) = rows.next().map_err(|error| failed(&doing, error))? {
            for index in 0..self.columns.len() {
                self.push(index, row.get::<_, Option<&str>>(index))?;
            }
        }
        Ok(())
    }

    fn sqlite(&mut self, path: &Path, table: &str) -> Result<()> {
        let place = path.display();
        if !path.exists() {
            return Err(Error::config(format!("the SQLite file {place} does not exist; check the URL")));
        }
        let broken = |error: rusqlite::Error| {
            let text = error.to_string();
            if text.contains("no such table") {
                return Error::config(format!("table {table} does not exist in {place}"));
            }
            Error::retry(format!("cannot read {table} of {place}")).because(error)
        };
        let connection =
            rusqlite::Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(broken)?;
        let mut statement = connection.prepare(&format!("select * from {}", quote(table))).map_err(broken)?;
        let names: Vec<String> = statement.column_names().iter().map(|name| (*name).to_owned()).collect();
        // SQLite's types belong to values: a column has the one that all its values have.
        let mut kinds: Vec<Option<Kind>> = vec![None; names.len()];
        for name in names {
            self.columns.push(Column { name, kind: Kind::Text, values: Vec::new() });
        }
        let mut rows = statement.query([]).map_err(broken)?;
        let mut number = 0;
        while let Some(row) = rows.next().map_err(broken)? {
            number += 1;
            for (index, kind) in kinds.iter_mut().enumerate() {
                let value = row.get_ref(index).map_err(broken)?;
                let Some((text, found)) = typed(value) else {
                    let column = &self.columns[index].name;
                    return Err(Error::refused(format!(
                        "row {number} of {table} in {place} holds text in column {column} that is not UTF-8; correct it"
                    )));
                };
                if text.is_some() {
                    *kind = Some(kind.map_or(found, |known| known.unified(found).unwrap_or(Kind::Text)));
                }
                self.push(index, text.as_deref())?;
            }
        }
        for (column, kind) in self.columns.iter_mut().zip(kinds) {
            column.kind = kind.unwrap_or(Kind::Text);
        }
        Ok(())
    }
}

/// A value of SQLite as text, and what it is; none for text that is no text.
fn typed(value: ValueRef) -> Option<(Option<String>, Kind)> {
    let (text, kind) = match value {
        ValueRef::Null => return Some((None, Kind::Text)),
        ValueRef::Integer(value) => (value.to_string(), Kind::Int),
        // The shortest digits that are this float, with a point also when it is whole.
        ValueRef::Real(value) => {
            let text = format!("{value:?}");
            let kind = Kind::of(&text);
            (text, kind)
        }
        ValueRef::Text(value) => {
            let text = std::str::from_utf8(value).ok()?.to_owned();
            // Digits that no decimal holds are no float if nobody said so.
            let kind = Some(Kind::of(&text)).filter(|kind| *kind != Kind::Float);
            (text, kind.unwrap_or(Kind::Text))
        }
        // As Postgres writes bytes.
        ValueRef::Blob(value) => {
            let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            (format!("\\x{hex}"), Kind::Text)
        }
    };
    Some((Some(text), kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_sqlite_stay_what_they_are() {
        let found = |value| typed(value).map(|(text, kind)| (text.unwrap_or_default(), kind));
        let decimal = |whole, scale| Kind::Decimal { whole, scale };
        assert_eq!(found(ValueRef::Real(12.5)), Some(("12.5".to_owned(), decimal(2, 1))));
        assert_eq!(found(ValueRef::Real(2.0)), Some(("2.0".to_owned(), decimal(1, 1))));
        assert_eq!(found(ValueRef::Real(1e300)), Some(("1e300".to_owned(), Kind::Float)));
        let digits = "1".repeat(39);
        assert_eq!(found(ValueRef::Text(digits.as_bytes())), Some((digits.clone(), Kind::Text)));
        assert_eq!(found(ValueRef::Text(b"007")), Some(("007".to_owned(), Kind::Text)));
        assert_eq!(found(ValueRef::Blob(b"\xFFa")), Some(("\\xff61".to_owned(), Kind::Text)));
        assert_eq!(found(ValueRef::Text(b"\xFF")), None);
    }
}
