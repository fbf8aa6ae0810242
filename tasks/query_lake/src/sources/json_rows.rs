//! JSON objects as rows: one type per field over all of them, nested ones as structs and lists.

use super::Columns;
use super::json::{self, Json};
use super::values::Kind;
use arrow::array::{ArrayRef, BooleanArray, ListArray, StructArray, new_null_array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields};
use invoices::{Error, Result};
use std::sync::Arc;

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
pub fn read(files: &[(String, bytes::Bytes)]) -> Result<Columns> {
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
            return Err(Error::refused(format!("{} is not an object, as every row must be", row.place)));
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
    let values: Vec<Option<&Json>> = rows.iter().map(|row| Some(&row.value)).collect();
    let column = |(name, field): &(String, Type)| {
        let array = array(&fields_named(&values, name), field).map_err(|Unfit { at, text }| {
            let place = &rows[at].place;
            Error::refused(format!(
                "{place}: field {name} holds {text}, and a decimal of 38 digits does not hold it beside the others; shorten it or put it in quotes"
            ))
        })?;
        Ok((name.clone(), array))
    };
    fields.iter().map(column).collect()
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
                    // Whoever builds the column names the value.
                    None if kind.is_number() && other.is_number() => *kind = Kind::Float,
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
    if matches!(kind, Kind::Date | Kind::Timestamp | Kind::Instant) { kind } else { Kind::Text }
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
            Type::Unknown => DataType::Utf8,
            Type::Scalar { kind, .. } => kind.data_type(),
            Type::List(items) => DataType::List(item_field(items)),
            Type::Struct(fields) => DataType::Struct(fields_of(fields)),
        }
    }
}

fn fields_of(fields: &[(String, Type)]) -> Fields {
    fields.iter().map(|(name, field)| Field::new(name, field.data_type(), true)).collect()
}

/// A number that the column's type does not hold.
struct Unfit {
    at: usize,
    text: String,
}

fn item_field(items: &Type) -> Arc<Field> {
    Arc::new(Field::new_list_field(items.data_type(), true))
}

/// The field's value in each of the values that are objects and have it.
fn fields_named<'v, 'a>(values: &[Option<&'v Json<'a>>], name: &str) -> Vec<Option<&'v Json<'a>>> {
    let field = |value: &Option<&'v Json<'a>>| match value {
        Some(Json::Object(values)) => values.iter().find(|(known, _)| known == name).map(|(_, value)| value),
        _ => None,
    };
    values.iter().map(field).collect()
}

/// One column; `at` of an error is the position among these values.
fn array(values: &[Option<&Json>], field: &Type) -> std::result::Result<ArrayRef, Unfit> {
    Ok(match field {
        Type::Unknown => new_null_array(&DataType::Utf8, values.len()),
        Type::Scalar { kind: Kind::Bool, is_text: false } => {
            let value =
                |value: &Option<&Json>| if let Some(Json::Bool(value)) = value { Some(*value) } else { None };
            Arc::new(values.iter().map(value).collect::<BooleanArray>())
        }
        Type::Scalar { kind, is_text } => {
            let text = |value: &Option<&Json>| match value {
                Some(Json::Number(text)) => Some((*text).to_owned()),
                Some(Json::Text(text)) => Some(text.to_string()),
                _ => None,
            };
            let texts: Vec<Option<String>> = values.iter().map(text).collect();
            let texts: Vec<Option<&str>> = texts.iter().map(Option::as_deref).collect();
            let unfit = |at: usize| Unfit { at, text: texts[at].unwrap_or_default().to_owned() };
            if *kind == Kind::Float && !is_text {
                let is_float = |text: &Option<&str>| text.is_some_and(|text| Kind::of(text) == Kind::Float);
                let longest = || (0..texts.len()).max_by_key(|&at| texts[at].map_or(0, str::len));
                let at = texts.iter().position(is_float).or_else(longest);
                return Err(unfit(at.unwrap_or(0)));
            }
            kind.array(&texts).map_err(unfit)?
        }
        Type::List(items) => {
            let (mut all, mut lengths, mut owners) = (Vec::new(), Vec::new(), Vec::new());
            for (at, value) in values.iter().enumerate() {
                let before = all.len();
                if let Some(Json::Array(values)) = value {
                    all.extend(values.iter().map(Some));
                }
                lengths.push(all.len() - before);
                owners.extend(std::iter::repeat_n(at, all.len() - before));
            }
            let nulls: NullBuffer =
                values.iter().map(|value| matches!(value, Some(Json::Array(_)))).collect();
            let items_array =
                array(&all, items).map_err(|unfit| Unfit { at: owners[unfit.at], text: unfit.text })?;
            Arc::new(ListArray::new(
                item_field(items),
                OffsetBuffer::from_lengths(lengths),
                items_array,
                Some(nulls),
            ))
        }
        Type::Struct(fields) => {
            let arrays: Vec<ArrayRef> = fields
                .iter()
                .map(|(name, field)| array(&fields_named(values, name), field))
                .collect::<std::result::Result<_, _>>()?;
            let nulls: NullBuffer =
                values.iter().map(|value| matches!(value, Some(Json::Object(_)))).collect();
            if arrays.is_empty() {
                return Ok(Arc::new(StructArray::new_empty_fields(values.len(), Some(nulls))));
            }
            Arc::new(StructArray::new(fields_of(fields), arrays, Some(nulls)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;

    fn read_one(text: &'static str) -> Result<Columns> {
        read(&[("x.jsonl".to_owned(), text.into())])
    }

    #[test]
    fn nested_fields_have_one_type_over_all_rows() {
        let columns = read_one(
            "{\"id\": 1, \"r\": {\"score\": 0.5, \"on\": \"2026-01-31\"}}\n\n{\"id\": 2, \"r\": {\"score\": 12}, \"t\": [\"a\"]}\n",
        )
        .unwrap();
        let types: Vec<DataType> = columns.iter().map(|(_, column)| column.data_type().clone()).collect();
        let rating = DataType::Struct(Fields::from(vec![
            Field::new("score", DataType::Decimal128(38, 1), true),
            Field::new("on", DataType::Date32, true),
        ]));
        assert_eq!(
            types,
            [DataType::Int64, rating, DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))]
        );
        assert_eq!(columns[2].1.null_count(), 1);
    }

    #[test]
    fn a_number_is_exact_or_refused() {
        let columns = read_one("{\"v\": 1}\n{\"v\": 1e-2}\n{\"v\": 0.12345678901234567890}\n").unwrap();
        assert_eq!(columns[0].1.data_type(), &DataType::Decimal128(38, 20));
        for text in ["{\"v\": 1}\n{\"v\": 1e300}\n", "{\"v\": 1e30}\n{\"v\": 1.5e-30}\n"] {
            let error = read_one(text).unwrap_err().to_string();
            assert!(error.contains("x.jsonl line") && error.contains("decimal of 38 digits"), "{error}");
        }
        let error = read_one("{\"v\": 1}\n{\"v\": 123456789012345678901234567890123456789}\n");
        assert!(error.unwrap_err().to_string().starts_with("x.jsonl line 2: field v holds 1234567890"));
    }

    #[test]
    fn an_array_and_an_object_over_lines_are_rows_too() {
        assert_eq!(read_one("[{\"a\": 1},\n {\"a\": 2}]").unwrap()[0].1.len(), 2);
        assert_eq!(read_one("{\n \"a\": 1\n}\n").unwrap()[0].1.len(), 1);
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
        assert_eq!(
            error("{\"a\": 1}\n{\"a\": 1, \"a\": 2}"),
            "x.jsonl line 2 is not JSON: a field stands there twice, at column 10"
        );
        assert_eq!(error("[1]"), "x.jsonl item 1 is not an object, as every row must be");
        assert_eq!(error("[{},\n{]"), "x.jsonl line 2 is not JSON: a field's name is missing, at column 2");
    }
}
