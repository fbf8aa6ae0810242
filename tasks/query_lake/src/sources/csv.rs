//! CSV with a header line. A column has the type that all its values have; one value that is unlike
//! most others is a mistake to be told, not a reason to make text of all of them.

use super::Columns;
use super::values::Kind;
use ::csv::{ErrorKind, ReaderBuilder, StringRecord};
use arrow::array::ArrayRef;
use invoices::{Error, Result};

/// A column being read.
struct Column {
    name: String,
    values: Vec<Option<String>>,
    places: Vec<Place>,
}

/// Where a value is, for messages.
#[derive(Clone, Copy)]
struct Place {
    file: usize,
    line: u64,
}

/// Reads files of the same kind as one table; a column that a file lacks is NULL there.
pub fn read(files: &[(String, bytes::Bytes)], delimiter: u8, null_texts: &[String]) -> Result<Columns> {
    let mut columns: Vec<Column> = Vec::new();
    let mut rows = 0;
    for (index, (name, bytes)) in files.iter().enumerate() {
        rows = read_file(index, name, bytes, delimiter, rows, &mut columns)?;
    }
    let is_null = |text: &str| text.is_empty() || null_texts.iter().any(|null| null == text);
    for column in &mut columns {
        for value in &mut column.values {
            if value.as_deref().is_some_and(is_null) {
                *value = None;
            }
        }
    }
    columns.into_iter().map(|column| Ok((column.name.clone(), array(&column, files)?))).collect()
}

fn read_file(
    file: usize,
    name: &str,
    bytes: &[u8],
    delimiter: u8,
    mut rows: usize,
    columns: &mut Vec<Column>,
) -> Result<usize> {
    let without_mark = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(without_mark);
    let header = reader.headers().map_err(|error| broken(name, &error))?.clone();
    if header.iter().all(str::is_empty) {
        return Err(Error::refused(format!("{name} has no header line")));
    }
    let mut positions = Vec::new();
    for field in &header {
        let position = columns.iter().position(|column| column.name == field).unwrap_or_else(|| {
            columns.push(Column {
                name: field.to_owned(),
                values: vec![None; rows],
                places: vec![Place { file, line: 0 }; rows],
            });
            columns.len() - 1
        });
        if positions.contains(&position) {
            return Err(Error::refused(format!("{name} has two columns called {field:?}")));
        }
        positions.push(position);
    }
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| broken(name, &error))? {
        let line = record.position().map_or(0, ::csv::Position::line);
        for (field, &position) in record.iter().zip(&positions) {
            columns[position].values.push(Some(field.to_owned()));
            columns[position].places.push(Place { file, line });
        }
        rows += 1;
        for column in columns.iter_mut().filter(|column| column.values.len() < rows) {
            column.values.push(None);
            column.places.push(Place { file, line });
        }
    }
    Ok(rows)
}

fn array(column: &Column, files: &[(String, bytes::Bytes)]) -> Result<ArrayRef> {
    let kind = kind_of(column, files)?;
    let texts: Vec<Option<&str>> = column.values.iter().map(Option::as_deref).collect();
    kind.array(&texts).map_err(|row| {
        let (Place { file, line }, text) = (column.places[row], texts[row].unwrap_or_default());
        Error::refused(format!("{} line {line}: column {} holds {text:?}, which no decimal of 38 digits holds beside the others; shorten it or quote it as text", files[file].0, column.name))
    })
}

/// The kind of all values; text when most are text.
fn kind_of(column: &Column, files: &[(String, bytes::Bytes)]) -> Result<Kind> {
    let mut common: Option<Kind> = None;
    let mut odd = Vec::new();
    let mut count = 0;
    for (row, value) in column.values.iter().enumerate() {
        let Some(text) = value else { continue };
        count += 1;
        let kind = Kind::of(text);
        if kind == Kind::Float {
            return Err(too_long(column, row, files));
        }
        if kind == Kind::Text {
            odd.push(row);
            continue;
        }
        common = match common {
            None => Some(kind),
            // Numbers and dates in one column: text, as nobody could say what else.
            Some(known) => match known.unified(kind) {
                Some(unified) => Some(unified),
                None if known.is_number() && kind.is_number() => return Err(too_long(column, row, files)),
                None => return Ok(Kind::Text),
            },
        };
    }
    let Some(kind) = common.filter(|_| odd.len() * 2 < count) else { return Ok(Kind::Text) };
    match odd.first() {
        None => Ok(kind),
        Some(&row) => {
            let (name, Place { file, line }) = (&column.name, column.places[row]);
            let (text, file) = (column.values[row].as_deref().unwrap_or_default(), &files[file].0);
            let others = kind.plural();
            Err(Error::refused(format!(
                "{file} line {line}: column {name} holds {text:?} where the others are {others}; correct it, or use --null-text {text:?} if it means no value"
            )))
        }
    }
}

/// A float would be another number.
fn too_long(column: &Column, row: usize, files: &[(String, bytes::Bytes)]) -> Error {
    let Place { file, line } = column.places[row];
    let (file, name) = (&files[file].0, &column.name);
    let text = column.values[row].as_deref().unwrap_or_default();
    Error::refused(format!(
        "{file} line {line}: column {name} holds {text:?}, and a decimal of 38 digits does not hold it beside the others; shorten it"
    ))
}

fn broken(name: &str, error: &::csv::Error) -> Error {
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, ::csv::Position::line);
            Error::refused(format!("{name} line {line} has {len} fields where the header has {expected_len}"))
        }
        ErrorKind::Utf8 { pos, .. } => {
            let line = pos.as_ref().map_or(0, ::csv::Position::line);
            Error::refused(format!("{name} line {line} is not UTF-8 text"))
        }
        _ => Error::refused(format!("{name} is not CSV: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use arrow::datatypes::DataType;

    fn read_one(text: &'static str) -> Result<Columns> {
        read(&[("x.csv".to_owned(), text.into())], b',', &["n/a".to_owned()])
    }

    #[test]
    fn columns_have_the_type_of_their_values() {
        let columns = read_one("a,b,c,d\n1,0.5,2026-01-01,x\n2,1.25,,n/a\n").unwrap();
        let types: Vec<&DataType> = columns.iter().map(|(_, column)| column.data_type()).collect();
        assert_eq!(
            types,
            [&DataType::Int64, &DataType::Decimal128(38, 2), &DataType::Date32, &DataType::Utf8]
        );
        assert_eq!(columns[3].1.null_count(), 1);
    }

    #[test]
    fn no_number_becomes_another_one() {
        let columns = read_one("v\n1e3\n0.12345678901234567890\n").unwrap();
        assert_eq!(columns[0].1.data_type(), &DataType::Decimal128(38, 20));
        for text in ["v\n1e300\n1\n", "v\n123456789012345678901234567890123456789\n", "v\n1e30\n1e-30\n"] {
            let error = read_one(text).unwrap_err().to_string();
            assert!(error.contains("decimal of 38 digits"), "{error}");
        }
    }

    #[test]
    fn one_odd_value_is_named_with_its_line() {
        let error = read_one("a\n1\n2\nmany\n").unwrap_err().to_string();
        assert!(error.starts_with("x.csv line 4: column a holds \"many\" where the others"), "{error}");
        let error = read_one("a,b\n1\n").unwrap_err().to_string();
        assert_eq!(error, "x.csv line 2 has 1 fields where the header has 2");
    }

    #[test]
    fn files_with_other_columns_are_one_table() {
        let files = [("x".to_owned(), "a\n1\n".into()), ("y".to_owned(), "b,a\nx,2\n".into())];
        let columns = read(&files, b',', &[]).unwrap();
        assert_eq!(columns.iter().map(|(_, column)| column.len()).collect::<Vec<_>>(), [2, 2]);
        assert!(columns[1].1.is_null(0));
    }
}
