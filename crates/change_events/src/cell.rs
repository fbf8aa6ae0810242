//! One value of a row as JSON has it, and integers out of it.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A JSON value; objects are kept only as far as Debezium's variable-scale decimal needs.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    Null,
    Bool,
    Integer(i64),
    /// A number that is no 64-bit integer.
    Number(f64),
    Text(Cow<'a, str>),
    /// `{"scale": 2, "value": "<base64>"}`.
    Scaled {
        scale: i64,
        value: Cow<'a, str>,
    },
    Array,
    Object,
}

impl Cell<'_> {
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Cell::Text(text) if text == super::UNAVAILABLE)
    }

    /// A 64-bit integer or null; numbers that were written as text are accepted.
    ///
    /// # Errors
    /// The end of a sentence that begins with the column's name.
    pub fn integer(&self) -> Result<Option<i64>, String> {
        match self {
            Cell::Null => Ok(None),
            Cell::Integer(value) => Ok(Some(*value)),
            Cell::Text(text) => match text.parse() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(format!("is the text {:?}, not a 64-bit integer", shortened(text))),
            },
            other => Err(format!("is {}, not a 64-bit integer", other.kind())),
        }
    }

    /// For messages: what kind of value this is.
    pub fn kind(&self) -> &'static str {
        match self {
            Cell::Null => "null",
            Cell::Bool => "true or false",
            Cell::Integer(_) => "an integer",
            Cell::Number(_) => "a number with a fraction or out of range",
            Cell::Text(_) => "a text",
            Cell::Scaled { .. } => "a decimal with its scale",
            Cell::Array => "an array",
            Cell::Object => "an object",
        }
    }
}

/// The beginning of a text, for messages.
pub fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

impl<'de> Deserialize<'de> for Cell<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Cell::Bool)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Cell::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Cell::Number(value as f64), Cell::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Cell::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Cell::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Cell::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let (mut scale, mut value) = (None, None);
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            match name.as_ref() {
                "scale" => scale = Some(fields.next_value::<Cell<'de>>()?),
                "value" => value = Some(fields.next_value::<Cell<'de>>()?),
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        match (scale, value) {
            (Some(Cell::Integer(scale)), Some(Cell::Text(value))) => Ok(Cell::Scaled { scale, value }),
            _ => Ok(Cell::Object),
        }
    }
}
