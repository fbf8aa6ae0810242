//! What identifies invoices and businesses: whole numbers, longer ones, or text.
//!
//! Rows whose ids are all integers, and rows that hold another id, have code of their own, made from the same generic
//! source, so that integers cost what they always did. In the latter all ids travel and are hashed as text, and the
//! lake's columns have their own types again.

use crate::error::{Error, Result};
use crate::fingerprint::{hash_int8, hash_text};
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, Schema};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Most digits of a number in the lake.
pub const MAX_DIGITS: u8 = 38;
/// Digits of a number that always fits a BIGINT.
pub const BIGINT_DIGITS: u8 = 18;

/// The kind of a column of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// `smallint`, `integer`, `bigint`, or `numeric` of up to 18 digits: BIGINT in the lake.
    #[default]
    Integer,
    /// A whole number of up to so many digits: `DECIMAL(n, 0)`. Invoices alone have such ids.
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

    fn option(self, column: &str) -> String {
        match self {
            Self::Integer => String::new(),
            Self::Decimal(digits) => format!(" {column}=decimal({digits})"),
            Self::Text => format!(" {column}=text"),
        }
    }

    fn of_option(options: &str, column: &str) -> Self {
        let own = options.split_once(" where=").map_or(options, |(own, _)| own);
        let said = own.split(' ').find_map(|option| option.strip_prefix(column)?.strip_prefix('='));
        let digits = |text: &str| text.strip_prefix("decimal(")?.strip_suffix(')')?.parse().ok();
        match said {
            Some("text") => Self::Text,
            Some(text) => digits(text).map_or(Self::Integer, Self::Decimal),
            None => Self::Integer,
        }
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

/// The kinds of a table's ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyKinds {
    pub invoice: KeyKind,
    /// Of issuers and receivers alike.
    pub business: KeyKind,
}

impl KeyKinds {
    /// Of a table that has businesses alone.
    pub fn of_business(business: KeyKind) -> Self {
        Self { business, ..Self::default() }
    }

    /// Whether rows travel and are hashed as numbers; else all of their ids are texts.
    pub fn are_integers(self) -> bool {
        self == Self::default()
    }

    /// What the options of a commit record say of the kinds: nothing of integers.
    pub fn options(self) -> String {
        self.invoice.option("invoice_id") + &self.business.option("business_id")
    }

    /// The kinds that the options of a commit record say.
    pub fn of_options(options: &str) -> Self {
        Self {
            invoice: KeyKind::of_option(options, "invoice_id"),
            business: KeyKind::of_option(options, "business_id"),
        }
    }

    /// The kinds that an object of the table `invoices` has; none where a column is missing or of no such type.
    pub fn of_schema(schema: &Schema) -> Option<Self> {
        let kind = |name: &str| KeyKind::of_data_type(schema.field_with_name(name).ok()?.data_type());
        let (issuer, receiver) = (kind("issuer_id")?, kind("receiver_id")?);
        (issuer == receiver).then_some(Self { invoice: kind("invoice_id")?, business: issuer })
    }

    /// # Errors
    /// Configuration for a program that takes whole numbers alone.
    pub fn require_integers(self, program: &str) -> Result<()> {
        let (what, kind) = match self {
            Self { invoice: KeyKind::Integer, business: KeyKind::Integer } => return Ok(()),
            Self { invoice: KeyKind::Integer, business } => ("businesses", business),
            Self { invoice, .. } => ("invoices", invoice),
        };
        Err(Error::config(format!(
            "the ids of {what} are {kind}, and {program} takes smallint, integer or bigint alone; name a column of \
             whole numbers with the --…-column options (query_source and the tasks behind it take any)"
        )))
    }
}

/// One id.
pub trait Key: Copy + Default + Ord + fmt::Display {
    /// The id's part of [`crate::fingerprint::row_hash`].
    fn hash(self, seed: u64) -> u64;

    /// A number that follows from the id alone, for dealing ids into buckets: of an integer itself, of a text
    /// Iceberg's hash of it.
    fn bucket_hash(self) -> i64;
}

impl Key for i64 {
    fn hash(self, seed: u64) -> u64 {
        hash_int8(self, seed)
    }

    fn bucket_hash(self) -> i64 {
        self
    }
}

impl Key for &str {
    fn hash(self, seed: u64) -> u64 {
        hash_text(self, seed)
    }

    fn bucket_hash(self) -> i64 {
        i64::from(murmur3::murmur3_32(&mut self.as_bytes(), 0) & 0x7fff_ffff)
    }
}

/// Many ids.
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
    fn into_array(self, kind: KeyKind, nulls: Option<NullBuffer>) -> Result<ArrayRef>;

    /// From a column of the lake, whatever lies beneath NULL; none when it is of another type.
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

    fn into_array(self, _: KeyKind, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        Ok(Arc::new(Int64Array::try_new(self.into(), nulls)?))
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

impl Texts {
    /// Bytes of all texts together.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    fn numbers<N: std::str::FromStr + ToString>(&self, nulls: &Option<NullBuffer>) -> Result<Vec<Option<N>>> {
        let number = |row: usize| {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                return Ok(None);
            }
            let text = self.get(row);
            let number = text.parse::<N>().ok().filter(|number| number.to_string() == text);
            number.map(Some).ok_or_else(|| Error::refused(format!("the id {text} is not a whole number")))
        };
        (0..self.len()).map(number).collect()
    }
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

    fn into_array(self, kind: KeyKind, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        Ok(match kind {
            KeyKind::Integer => Arc::new(Int64Array::from(self.numbers(&nulls)?)),
            KeyKind::Decimal(digits) => {
                let numbers = Decimal128Array::from(self.numbers(&nulls)?);
                Arc::new(numbers.with_precision_and_scale(digits, 0)?)
            }
            KeyKind::Text => {
                let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
                let texts = (0..self.len()).map(|row| (!is_null(row)).then(|| self.get(row)));
                Arc::new(texts.collect::<StringArray>())
            }
        })
    }

    fn from_array(array: &dyn Array) -> Option<Self> {
        let mut texts = Self::default();
        if let Some(strings) = array.as_string_opt::<i32>() {
            strings.iter().for_each(|text| texts.push(text.unwrap_or_default()));
        } else if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
            numbers.values().iter().for_each(|number| texts.push(&number.to_string()));
        } else {
            let numbers = array.as_primitive_opt::<Decimal128Type>()?;
            numbers.values().iter().for_each(|number| texts.push(&number.to_string()));
        }
        Some(texts)
    }
}

/// Ids that may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Optional<Ids> {
    ids: Ids,
    is_there: Vec<bool>,
}

impl<Ids: Keys> Optional<Ids> {
    pub fn push(&mut self, key: Option<Ids::Key<'_>>) {
        self.ids.push(key.unwrap_or_default());
        self.is_there.push(key.is_some());
    }

    pub fn get(&self, row: usize) -> Option<Ids::Key<'_>> {
        self.is_there[row].then(|| self.ids.get(row))
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<Ids::Key<'_>>> {
        (0..self.is_there.len()).map(|row| self.get(row))
    }

    /// As a column of the lake.
    ///
    /// # Errors
    /// As [`Keys::into_array`].
    pub fn into_array(self, kind: KeyKind) -> Result<ArrayRef> {
        let has_nulls = self.is_there.iter().any(|is_there| !is_there);
        self.ids.into_array(kind, has_nulls.then(|| NullBuffer::from(self.is_there)))
    }

    /// From a column of the lake; none when it is of another type.
    pub fn from_array(array: &dyn Array) -> Option<Self> {
        let is_there = (0..array.len()).map(|row| array.is_valid(row)).collect();
        Some(Self { ids: Ids::from_array(array)?, is_there })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [KeyKind; 3] = [KeyKind::Integer, KeyKind::Decimal(20), KeyKind::Text];

    #[test]
    fn the_options_of_a_record_say_the_kinds() {
        for invoice in KINDS {
            for business in KINDS {
                let kinds = KeyKinds { invoice, business };
                let options = format!("layout=1{} where=\"a = ' invoice_id=text'\"", kinds.options());
                assert_eq!(KeyKinds::of_options(&options), kinds, "{options}");
                assert_eq!(KeyKind::of_data_type(&invoice.data_type()), Some(invoice));
            }
        }
        assert!(KeyKinds::of_options("layout=1").are_integers());
    }

    #[test]
    fn texts_come_back_as_they_were_pushed() {
        let mut texts = Texts::default();
        let all = ["A-0001", "", " padded ", "007", "ñ'%/\"\\"];
        all.into_iter().for_each(|text| texts.push(text));
        assert_eq!((0..texts.len()).map(|row| texts.get(row)).collect::<Vec<_>>(), all);
        let array = texts.clone().into_array(KeyKind::Text, None).unwrap();
        assert_eq!(Texts::from_array(&array), Some(texts.clone()));
        for kind in [KeyKind::Integer, KeyKind::Decimal(20)] {
            let error = texts.clone().into_array(kind, None).unwrap_err().to_string();
            assert!(error.contains("A-0001"), "{error}");
        }
    }

    #[test]
    fn numbers_that_travel_as_text_become_numbers_and_come_back() {
        let mut texts = Texts::default();
        ["99999999999999999999", "-1", "0"].into_iter().for_each(|text| texts.push(text));
        let array = texts.clone().into_array(KeyKind::Decimal(20), None).unwrap();
        assert_eq!(array.data_type(), &DataType::Decimal128(20, 0));
        assert_eq!(Texts::from_array(&array), Some(texts.clone()));
        assert!(texts.into_array(KeyKind::Integer, None).is_err(), "too long for a BIGINT");
    }

    #[test]
    fn a_missing_id_is_null_in_every_kind_of_column() {
        for kind in KINDS {
            let mut ids = Optional::<Texts>::default();
            [Some("7"), None, Some("-3")].into_iter().for_each(|id| ids.push(id));
            let array = ids.into_array(kind).unwrap();
            assert_eq!((array.data_type(), array.null_count()), (&kind.data_type(), 1));
            let back = Optional::<Texts>::from_array(&array).unwrap();
            assert_eq!([0, 1, 2].map(|row| back.get(row)), [Some("7"), None, Some("-3")]);
        }
        let mut ids = Optional::<Vec<i64>>::default();
        [None, Some(5)].into_iter().for_each(|id| ids.push(id));
        let back = Optional::<Vec<i64>>::from_array(&ids.into_array(KeyKind::Integer).unwrap()).unwrap();
        assert_eq!([0, 1].map(|row| back.get(row)), [None, Some(5)]);
    }

    /// The examples of Iceberg's specification, so that other engines deal texts into the same buckets.
    #[test]
    fn texts_have_icebergs_bucket_hash() {
        assert_eq!("iceberg".bucket_hash(), 1_210_000_089);
        assert_eq!("".bucket_hash(), 0);
        assert_eq!((-7_i64).bucket_hash(), -7);
    }
}
