//! CSV with a header line. A column has the type that all its values have; one value that is unlike
//! most others is a mistake to be told, not a reason to make text of all of them.
//!
//! Files are read twice: to know the types, and to build the columns without keeping a text of every value.

use super::Columns;
use super::values::{Builder, Kind, is_code};
use invoices::csv::{Delimiter, Options, Place, Reader, Row};
use invoices::{Error, Result};

/// A file by its name, for messages.
type File = (String, bytes::Bytes);

/// What the values of a column are.
struct Column {
    name: String,
    /// The kind of all values that are no text.
    common: Option<Kind>,
    /// Values, and those of them that are text.
    values: usize,
    texts: usize,
    /// Text for a reason that no count outweighs: numbers beside dates, digits that a number would lose.
    is_text: bool,
    first_text: Option<Value>,
    /// A number that no decimal holds, alone or beside the others.
    unfit: Option<Value>,
}

/// A value and where it stands.
struct Value {
    text: String,
    file: usize,
    place: Place,
}

/// Reads files of the same kind as one table; a column that a file lacks is NULL there.
///
/// # Errors
/// Refused for a file that is no strict CSV, and for values that are mistakes, with line and column.
pub fn read(files: &[File], delimiter: Delimiter, null_texts: &[String]) -> Result<Columns> {
    let mut columns: Vec<Column> = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let mut reader = open(file, delimiter)?;
        let positions = positions(reader.names(), &mut columns);
        while let Some(row) = reader.read().map_err(|error| error.in_file(&file.0))? {
            for (field, &position) in positions.iter().enumerate() {
                if let Some(text) = value(&row, field, null_texts) {
                    let at = || Value { text: text.to_string(), file: index, place: row.place(field) };
                    columns[position].look(&text, at);
                }
            }
        }
    }
    let kinds: Vec<Kind> = columns.iter().map(|column| column.kind(files)).collect::<Result<_>>()?;
    let mut builders: Vec<Builder> = kinds.into_iter().map(Builder::new).collect();
    for (index, file) in files.iter().enumerate() {
        let mut reader = open(file, delimiter)?;
        let positions = positions(reader.names(), &mut columns);
        let absent: Vec<usize> =
            (0..columns.len()).filter(|position| !positions.contains(position)).collect();
        while let Some(row) = reader.read().map_err(|error| error.in_file(&file.0))? {
            for (field, &position) in positions.iter().enumerate() {
                let text = value(&row, field, null_texts);
                if !builders[position].push(text.as_deref()) {
                    let text = text.unwrap_or_default().into_owned();
                    let found = Value { text, file: index, place: row.place(field) };
                    return Err(columns[position].unfit(&found, files));
                }
            }
            for &position in &absent {
                builders[position].push(None);
            }
        }
    }
    Ok(columns.into_iter().zip(builders).map(|(column, builder)| (column.name, builder.finish())).collect())
}

fn open((name, bytes): &File, delimiter: Delimiter) -> Result<Reader<&[u8]>> {
    Reader::new(bytes.as_ref(), Options { delimiter, delimiter_flag: None })
        .map_err(|error| error.in_file(name))
}

/// Which column each field of a file belongs to; new names are new columns.
fn positions(names: &[String], columns: &mut Vec<Column>) -> Vec<usize> {
    let position = |name: &String| {
        columns.iter().position(|column| column.name == *name).unwrap_or_else(|| {
            columns.push(Column::new(name));
            columns.len() - 1
        })
    };
    names.iter().map(position).collect()
}

/// A field's text; none when it means no value.
fn value<'a>(row: &Row<'a>, field: usize, null_texts: &[String]) -> Option<std::borrow::Cow<'a, str>> {
    row.get(field).filter(|text| !text.is_empty() && !null_texts.iter().any(|null| *null == **text))
}

impl Column {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            common: None,
            values: 0,
            texts: 0,
            is_text: false,
            first_text: None,
            unfit: None,
        }
    }

    fn look(&mut self, text: &str, at: impl Fn() -> Value) {
        self.values += 1;
        let kind = Kind::of(text);
        match (kind, self.common) {
            (Kind::Text, _) => {
                self.texts += 1;
                self.is_text |= is_code(text);
                self.first_text.get_or_insert_with(at);
            }
            (Kind::Float, _) => {
                self.unfit.get_or_insert_with(at);
            }
            (_, None) => self.common = Some(kind),
            (_, Some(known)) => match known.unified(kind) {
                Some(unified) => self.common = Some(unified),
                None if known.is_number() && kind.is_number() => {
                    self.unfit.get_or_insert_with(at);
                }
                // Numbers and dates in one column: text, as nobody could say what else.
                None => self.is_text = true,
            },
        }
    }

    /// The kind of all values; text when most are text.
    fn kind(&self, files: &[File]) -> Result<Kind> {
        if self.is_text || self.texts * 2 >= self.values {
            return Ok(Kind::Text);
        }
        if let Some(unfit) = &self.unfit {
            return Err(self.unfit(unfit, files));
        }
        let kind = self.common.unwrap_or(Kind::Text);
        let Some(odd) = &self.first_text else { return Ok(kind) };
        let (text, others) = (&odd.text, kind.plural());
        Err(self.refused(
            odd,
            files,
            &format!(
                "where the others are {others}; correct it, or use --null-text {text:?} if it means no value"
            ),
        ))
    }

    /// A float would be another number.
    fn unfit(&self, value: &Value, files: &[File]) -> Error {
        let advice = "and a decimal of 38 digits does not hold it beside the others; shorten it";
        self.refused(value, files, advice)
    }

    fn refused(&self, value: &Value, files: &[File], advice: &str) -> Error {
        let (file, place, name) = (&files[value.file].0, value.place, &self.name);
        Error::refused(format!("{file} {place}: column {name} holds {:?} {advice}", value.text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use arrow::datatypes::DataType;

    fn read_one(text: &'static str) -> Result<Columns> {
        read(&[("x.csv".to_owned(), text.into())], Delimiter::COMMA, &["n/a".to_owned()])
    }

    fn types(text: &'static str) -> Vec<DataType> {
        read_one(text).unwrap().iter().map(|(_, column)| column.data_type().clone()).collect()
    }

    #[test]
    fn columns_have_the_type_of_their_values() {
        let found = types("a,b,c,d\n1,0.5,2026-01-01,x\n2,1.25,,n/a\n");
        assert_eq!(found, [DataType::Int64, DataType::Decimal128(38, 2), DataType::Date32, DataType::Utf8]);
        assert_eq!(read_one("d\nx\nn/a\n").unwrap()[0].1.null_count(), 1);
    }

    #[test]
    fn digits_that_a_number_would_lose_make_text() {
        assert_eq!(types("code,day\n1234,1\n007,2026-01-31\n5678,2\n"), [DataType::Utf8, DataType::Utf8]);
        assert_eq!(types("code\nA1\n1E500\nB2\n"), [DataType::Utf8]);
    }

    #[test]
    fn no_number_becomes_another_one() {
        assert_eq!(types("v\n1e3\n0.12345678901234567890\n1\n"), [DataType::Decimal128(38, 20)]);
        let cases = [
            ("v\n1e300\n1\n", "x.csv line 2, column 1"),
            ("v\n123456789012345678901234567890123456789\n", "x.csv line 2"),
            ("v\n1e30\n1e-30\n", "x.csv line 3"),
            ("v\n0.12345678901234567890\n9223372036854775807\n", "x.csv line 3, column 1: column v holds"),
        ];
        for (text, place) in cases {
            let error = read_one(text).unwrap_err().to_string();
            assert!(error.starts_with(place) && error.contains("decimal of 38 digits"), "{error}");
        }
    }

    #[test]
    fn one_odd_value_is_named_with_its_place() {
        let error = read_one("b,a\n0,1\n0,2\n0,many\n").unwrap_err().to_string();
        let expected = "x.csv line 4, column 3: column a holds \"many\" where the others are whole numbers";
        assert!(error.starts_with(expected), "{error}");
    }

    #[test]
    fn files_that_contradict_themselves_are_refused() {
        for (text, part) in [
            ("a,b\n1\n", "x.csv line 2, column 1: the row has 1 field where the header has 2"),
            ("a,b\n1,\"x\n2,y\n", "x.csv line 2, column 3: a quote is opened here and never closed"),
            ("a;b\n1;2\n", "x.csv line 1, column 1: fields seem to be separated by semicolons"),
            ("a,a\n1,2\n", "x.csv line 1, column 3: the header has the name \"a\" twice"),
        ] {
            let error = read_one(text).unwrap_err().to_string();
            assert!(error.starts_with(part), "{error}");
        }
        assert_eq!(types("\u{feff}a\n1\n"), [DataType::Int64]);
    }

    #[test]
    fn files_with_other_columns_are_one_table() {
        let files = [("x".to_owned(), "a\n1\n".into()), ("y".to_owned(), "b,a\nx,2\n".into())];
        let columns = read(&files, Delimiter::COMMA, &[]).unwrap();
        assert_eq!(columns.iter().map(|(_, column)| column.len()).collect::<Vec<_>>(), [2, 2]);
        assert!(columns[1].1.is_null(0));
    }
}
