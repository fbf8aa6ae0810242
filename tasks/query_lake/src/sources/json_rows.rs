//! JSON objects as rows: one type per field over all of them, nested ones as structs and lists.

use super::json::{self, Json};
use super::values::Kind;
use invoices::{Error, Result};
use polars::prelude::*;
use std::borrow::Cow;

/// Type of a field over all rows.
#[derive(Debug, Clone, PartialEq)]
enum Type {
    Unknown,
    Scalar { kind: Kind, is_text: bool },
    List(Box<Type>),
    Struct(Vec<(String, Type)>),
}

/// An object and where it stands, for messages.
struct Row<'a> {
    place: String,
    value: Json<'a>,
}

/// Reads files as one table: JSON lines, an array of objects, or one object each.
pub fn read(files: &[(String, bytes::Bytes)]) -> Result<Vec<Series>> {
    let mut rows = Vec::new();
    for (name, bytes) in files {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            Error::refused(format!("{name} line {line} is not UTF-8 text"))
        })?;
        rows.extend(rows_of(name, text.trim_start_matches('\u{FEFF}'))?);
    }
    let mut all = Type::Struct(Vec::new());
    for row in &rows {
        if !matches!(row.value, Json::Object(_)) {
            return Err(Error::refused(format!("{} is no object, and a row must be one", row.place)));
        }
        unify(&mut all, &row.value, &mut String::new()).map_err(|conflict| {
            let Conflict { field, found, others } = conflict;
            let place = &row.place;
            Error::refused(format!("{place}: field {field} is {found} where rows before it have {others}"))
        })?;
    }
    let Type::Struct(fields) = all else { return Ok(Vec::new()) };
    if fields.is_empty() {
        return Err(Error::refused("the JSON source has no fields; is it empty?"));
    }
    fields.iter().map(|(name, field)| series(name, field, &rows)).collect()
}

fn rows_of<'a>(name: &str, text: &'a str) -> Result<Vec<Row<'a>>> {
    let start = text.trim_start();
    // An array, or one object over several lines; everything else is read line by line.
    if start.starts_with('[') {
        return match json::parse(text).map_err(|broken| not_json(name, text, 0, &broken))? {
            Json::Array(items) => Ok(items
                .into_iter()
                .enumerate()
                .map(|(index, value)| Row { place: format!("{name} item {}", index + 1), value })
                .collect()),
            value => Ok(vec![Row { place: name.to_owned(), value }]),
        };
    }
    if start.starts_with('{')
        && let Ok(value) = json::parse(text)
    {
        return Ok(vec![Row { place: format!("{name} line 1"), value }]);
    }
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let value = json::parse(line).map_err(|broken| not_json(name, line, index, &broken))?;
        rows.push(Row { place: format!("{name} line {}", index + 1), value });
    }
    Ok(rows)
}

fn not_json(name: &str, text: &str, lines_before: usize, broken: &json::Broken) -> Error {
    let before = &text.as_bytes()[..broken.offset.min(text.len())];
    let line = lines_before + 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let problem = broken.problem;
    Error::refused(format!("{name} line {line} is not JSON: {problem}, at column {column}"))
}

/// Why two rows don't fit together.
struct Conflict {
    field: String,
    found: &'static str,
    others: &'static str,
}

fn unify(known: &mut Type, value: &Json, path: &mut String) -> Result<(), Conflict> {
    let found = match value {
        Json::Null => return Ok(()),
        Json::Bool(_) => Type::Scalar { kind: Kind::Bool, is_text: false },
        Json::Number(text) => Type::Scalar { kind: Kind::of(text), is_text: false },
        Json::Text(text) => Type::Scalar { kind: dated(Kind::of(text)), is_text: true },
        Json::Array(_) => Type::List(Box::new(Type::Unknown)),
        Json::Object(_) => Type::Struct(Vec::new()),
    };
    if *known == Type::Unknown {
        *known = found.clone();
    }
    let conflict = |known: &Type, path: &str| {
        Err(Conflict { field: path.to_owned(), found: named(&found), others: named(known) })
    };
    match (&mut *known, value) {
        (Type::List(items), Json::Array(values)) => {
            values.iter().try_for_each(|value| within(path, "[]", |path| unify(items, value, path)))
        }
        (Type::Struct(fields), Json::Object(values)) => values.iter().try_for_each(|(name, value)| {
            let position = fields.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
                fields.push((name.to_string(), Type::Unknown));
                fields.len() - 1
            });
            within(path, name, |path| unify(&mut fields[position].1, value, path))
        }),
        (Type::Scalar { kind, is_text }, _) => match &found {
            Type::Scalar { kind: other, is_text: other_text } if is_text == other_text => {
                match kind.unified(*other) {
                    Some(unified) => *kind = unified,
                    None if *is_text => *kind = Kind::Text,
                    None => return conflict(known, path),
                }
                Ok(())
            }
            _ => conflict(known, path),
        },
        _ => conflict(known, path),
    }
}

/// Texts may be dates; a number in quotes stays text, as whoever wrote it wanted.
fn dated(kind: Kind) -> Kind {
    if matches!(kind, Kind::Date | Kind::Timestamp) { kind } else { Kind::Text }
}

fn within<T>(path: &mut String, name: &str, body: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    if length > 0 && name != "[]" {
        path.push('.');
    }
    path.push_str(name);
    let result = body(path);
    path.truncate(length);
    result
}

fn named(known: &Type) -> &'static str {
    match known {
        Type::Unknown => "nothing",
        Type::Scalar { is_text: true, .. } => "text",
        Type::Scalar { kind: Kind::Bool, .. } => "true or false",
        Type::Scalar { .. } => "a number",
        Type::List(_) => "a list",
        Type::Struct(_) => "an object",
    }
}

impl Type {
    fn data_type(&self) -> DataType {
        match self {
            Type::Unknown => DataType::String,
            Type::Scalar { kind, .. } => kind.data_type(),
            Type::List(items) => DataType::List(Box::new(items.data_type())),
            Type::Struct(fields) => DataType::Struct(fields_of(fields)),
        }
    }
}

fn fields_of(fields: &[(String, Type)]) -> Vec<Field> {
    fields.iter().map(|(name, field)| Field::new(name.as_str().into(), field.data_type())).collect()
}

fn series(name: &str, field: &Type, rows: &[Row]) -> Result<Series> {
    let failed = |error: PolarsError| Error::bug(format!("field {name} cannot be built")).because(error);
    let values = rows.iter().map(|row| match &row.value {
        Json::Object(values) => any_value(get(values, name), field),
        _ => Ok(AnyValue::Null),
    });
    let values: Vec<AnyValue> = values.collect::<PolarsResult<_>>().map_err(failed)?;
    Series::from_any_values_and_dtype(name.into(), &values, &field.data_type(), true).map_err(failed)
}

/// The last one wins when a name comes twice, as in most readers.
fn get<'v, 'a>(values: &'v [(Cow<'a, str>, Json<'a>)], name: &str) -> &'v Json<'a> {
    values.iter().rev().find(|(known, _)| known == name).map_or(&Json::Null, |(_, value)| value)
}

fn any_value(value: &Json, field: &Type) -> PolarsResult<AnyValue<'static>> {
    Ok(match (value, field) {
        (Json::Bool(value), _) => AnyValue::Boolean(*value),
        (Json::Number(text), Type::Scalar { kind, .. }) => kind.value(text).unwrap_or(AnyValue::Null),
        (Json::Text(text), Type::Scalar { kind, .. }) => kind.value(text).unwrap_or(AnyValue::Null),
        (Json::Array(values), Type::List(items)) => {
            let values: Vec<AnyValue> =
                values.iter().map(|value| any_value(value, items)).collect::<PolarsResult<_>>()?;
            let data_type = items.data_type();
            AnyValue::List(Series::from_any_values_and_dtype("".into(), &values, &data_type, true)?)
        }
        (Json::Object(values), Type::Struct(fields)) => {
            let items: Vec<AnyValue> = fields
                .iter()
                .map(|(name, field)| any_value(get(values, name), field))
                .collect::<PolarsResult<_>>()?;
            AnyValue::StructOwned(Box::new((items, fields_of(fields))))
        }
        _ => AnyValue::Null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(text: &'static str) -> Result<Vec<Series>> {
        read(&[("x.jsonl".to_owned(), text.into())])
    }

    #[test]
    fn nested_fields_have_one_type_over_all_rows() {
        let columns = read_one(
            "{\"id\": 1, \"r\": {\"score\": 0.5, \"on\": \"2026-01-31\"}}\n\n{\"id\": 2, \"r\": {\"score\": 12}, \"t\": [\"a\"]}\n",
        )
        .unwrap();
        let types: Vec<DataType> = columns.iter().map(|column| column.dtype().clone()).collect();
        let rating = DataType::Struct(vec![
            Field::new("score".into(), DataType::Decimal(38, 1)),
            Field::new("on".into(), DataType::Date),
        ]);
        assert_eq!(types, [DataType::Int64, rating, DataType::List(Box::new(DataType::String))]);
        assert_eq!(columns[2].null_count(), 1);
    }

    #[test]
    fn an_array_and_an_object_over_lines_are_rows_too() {
        assert_eq!(read_one("[{\"a\": 1},\n {\"a\": 2}]").unwrap()[0].len(), 2);
        assert_eq!(read_one("{\n \"a\": 1\n}\n").unwrap()[0].len(), 1);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error = |text| read_one(text).unwrap_err().to_string();
        assert_eq!(
            error("{\"a\": 1}\n{\"a\": }\n"),
            "x.jsonl line 2 is not JSON: no value begins like this, at column 7"
        );
        assert_eq!(
            error("{\"a\": {\"b\": 1}}\n{\"a\": {\"b\": \"x\"}}"),
            "x.jsonl line 2: field a.b is text where rows before it have a number"
        );
        assert_eq!(error("[1]"), "x.jsonl item 1 is no object, and a row must be one");
        assert_eq!(error("[{},\n{]"), "x.jsonl line 2 is not JSON: a field's name is missing, at column 2");
    }
}
