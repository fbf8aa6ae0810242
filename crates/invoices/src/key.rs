//! What an invoice's id is: a whole number, a longer one, or text.
//!
//! Integers and texts have code of their own, made from the same generic source, so that integers cost what they
//! always did. Longer numbers and UUIDs travel as text; a number becomes a decimal in the lake.

use crate::error::{Error, Result};
use crate::fingerprint::{hash_int8, hash_text};
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use std::fmt;
use std::sync::Arc;

/// Most digits of a number in the lake.
pub const MAX_DIGITS: u8 = 38;
const OPTION: &str = "invoice_id=";

/// The kind of a table's invoice ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// `smallint`, `integer` or `bigint`: BIGINT in the lake.
    #[default]
    Integer,
    /// A whole number of up to so many digits: `DECIMAL(n, 0)`.
    Decimal(u8),
    /// Text, and UUIDs in their text form: STRING.
    Text,
}

impl KeyKind {
    /// Type of the lake's column.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Integer => DataType::Int64,
            Self::Decimal(digits) => DataType::Decimal128(digits, 0),
            Self::Text => DataType::Utf8,
        }
    }

    /// The kind that a column of the lake has; none for a type that no id has.
    pub fn of_data_type(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Int64 => Some(Self::Integer),
            DataType::Decimal128(digits, 0) => Some(Self::Decimal(*digits)),
            DataType::Utf8 => Some(Self::Text),
            _ => None,
        }
    }

    /// What the options of a commit record say of the kind: nothing of integers.
    pub fn option(self) -> String {
        match self {
            Self::Integer => String::new(),
            Self::Decimal(digits) => format!(" {OPTION}decimal({digits})"),
            Self::Text => format!(" {OPTION}text"),
        }
    }

    /// The kind that the options of a commit record say.
    pub fn of_options(options: &str) -> Self {
        let own = options.split_once(" where=").map_or(options, |(own, _)| own);
        let said = own.split(' ').find_map(|option| option.strip_prefix(OPTION));
        let digits = |text: &str| text.strip_prefix("decimal(")?.strip_suffix(')')?.parse().ok();
        match said {
            Some("text") => Self::Text,
            Some(text) => digits(text).map_or(Self::Integer, Self::Decimal),
            None => Self::Integer,
        }
    }

    /// # Errors
    /// Configuration for a task that takes whole numbers alone.
    pub fn require_integer(self, task: &str, column: &str) -> Result<()> {
        if self == Self::Integer {
            return Ok(());
        }
        Err(Error::config(format!(
            "column {column} holds ids that are {self}, and {task} takes smallint, integer or bigint alone; name a \
             column of whole numbers with --invoice-id-column (query_source and the tasks behind it take any)"
        )))
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer => f.write_str("integers"),
            Self::Decimal(digits) => write!(f, "numbers of up to {digits} digits"),
            Self::Text => f.write_str("text"),
        }
    }
}

/// One id.
pub trait Key: Copy + fmt::Display {
    /// The id's part of [`crate::fingerprint::row_hash`].
    fn hash(self) -> u64;
}

impl Key for i64 {
    fn hash(self) -> u64 {
        hash_int8(self, 0)
    }
}

impl Key for &str {
    fn hash(self) -> u64 {
        hash_text(self, 0)
    }
}

/// The ids of many invoices.
pub trait Keys: Default + Send {
    type Key<'a>: Key;

    fn push(&mut self, key: Self::Key<'_>);

    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn get(&self, row: usize) -> Self::Key<'_>;

    /// As a column of the lake.
    ///
    /// # Errors
    /// Refused for an id that is not of the kind.
    fn into_array(self, kind: KeyKind) -> Result<ArrayRef>;

    /// From a column of the lake; none when it is of another type.
    fn from_array(array: &dyn Array) -> Option<Self>;
}

impl Keys for Vec<i64> {
    type Key<'a> = i64;

    fn push(&mut self, key: i64) {
        Vec::push(self, key);
    }

    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn get(&self, row: usize) -> i64 {
        self[row]
    }

    fn into_array(self, _: KeyKind) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::from(self)))
    }

    fn from_array(array: &dyn Array) -> Option<Self> {
        Some(array.as_primitive_opt::<Int64Type>()?.values().to_vec())
    }
}

/// Texts one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    text: String,
    /// Where each text ends, in bytes.
    ends: Vec<usize>,
}

impl Keys for Texts {
    type Key<'a> = &'a str;

    fn push(&mut self, key: &str) {
        self.text.push_str(key);
        self.ends.push(self.text.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn get(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start..self.ends[row]]
    }

    fn into_array(self, kind: KeyKind) -> Result<ArrayRef> {
        let texts = (0..self.len()).map(|row| self.get(row));
        let KeyKind::Decimal(digits) = kind else {
            return Ok(Arc::new(StringArray::from_iter_values(texts)));
        };
        let number = |text: &str| {
            let number = text.parse::<i128>().ok().filter(|number| number.to_string() == text);
            number.ok_or_else(|| Error::refused(format!("invoice {text}: the id is not a whole number")))
        };
        let numbers: Decimal128Array = texts.map(number).collect::<Result<Vec<i128>>>()?.into();
        Ok(Arc::new(numbers.with_precision_and_scale(digits, 0)?))
    }

    fn from_array(array: &dyn Array) -> Option<Self> {
        let mut texts = Self::default();
        if let Some(strings) = array.as_string_opt::<i32>() {
            strings.iter().for_each(|text| texts.push(text.unwrap_or_default()));
        } else {
            let numbers = array.as_primitive_opt::<Decimal128Type>()?;
            numbers.values().iter().for_each(|number| texts.push(&number.to_string()));
        }
        Some(texts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_a_record_say_the_kind() {
        for kind in [KeyKind::Integer, KeyKind::Decimal(20), KeyKind::Text] {
            let options = format!("layout=1{} where=\"a = ' invoice_id=text'\"", kind.option());
            assert_eq!(KeyKind::of_options(&options), kind, "{options}");
            assert_eq!(KeyKind::of_data_type(&kind.data_type()), Some(kind));
        }
        assert_eq!(KeyKind::of_options("layout=1"), KeyKind::Integer);
    }

    #[test]
    fn texts_come_back_as_they_were_pushed() {
        let mut texts = Texts::default();
        let all = ["A-0001", "", " padded ", "007", "ñ'%/\"\\"];
        all.into_iter().for_each(|text| texts.push(text));
        assert_eq!((0..texts.len()).map(|row| texts.get(row)).collect::<Vec<_>>(), all);
        let array = texts.clone().into_array(KeyKind::Text).unwrap();
        assert_eq!(Texts::from_array(&array), Some(texts.clone()));
        let error = texts.into_array(KeyKind::Decimal(20)).unwrap_err().to_string();
        assert!(error.contains("A-0001"), "{error}");
    }

    #[test]
    fn long_numbers_become_decimals_and_come_back() {
        let mut texts = Texts::default();
        ["99999999999999999999", "-1", "0"].into_iter().for_each(|text| texts.push(text));
        let array = texts.clone().into_array(KeyKind::Decimal(20)).unwrap();
        assert_eq!(array.data_type(), &DataType::Decimal128(20, 0));
        assert_eq!(Texts::from_array(&array), Some(texts));
    }
}
