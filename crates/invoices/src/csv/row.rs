//! One row, as it stands in the file: fields are looked up in its text.

use super::fault::{Place, place};
use std::borrow::Cow;

/// Where a field stands in the text of its row, without its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub start: usize,
    pub end: usize,
    pub quoted: bool,
    /// Quotes inside are doubled.
    pub doubled: bool,
}

/// The fields of one row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    pub(super) text: &'a str,
    pub(super) fields: &'a [Field],
    pub(super) line: u64,
}

impl<'a> Row<'a> {
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The value of a field; it is copied only to undo doubled quotes.
    pub fn get(&self, index: usize) -> Option<Cow<'a, str>> {
        self.fields.get(index).map(|field| self.value(field))
    }

    /// All values, from left to right.
    pub fn iter(&self) -> impl Iterator<Item = Cow<'a, str>> + '_ {
        self.fields.iter().map(|field| self.value(field))
    }

    /// Whether a field stands in quotes, which tells an empty text from no value.
    pub fn is_quoted(&self, index: usize) -> bool {
        self.fields.get(index).is_some_and(|field| field.quoted)
    }

    /// The line that the row begins in; the header's is 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Where a field begins, its quote included; found out when it is asked for.
    pub fn place(&self, index: usize) -> Place {
        let start = self.fields.get(index).map_or(0, |field| field.start - usize::from(field.quoted));
        place(self.text.as_bytes(), self.line, start)
    }

    /// The texts of the fields without quotes.
    pub(super) fn bare_fields(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.fields.iter().filter(|field| !field.quoted).map(|field| &self.text[field.start..field.end])
    }

    fn value(&self, field: &Field) -> Cow<'a, str> {
        let text = &self.text[field.start..field.end];
        if field.doubled { Cow::Owned(text.replace("\"\"", "\"")) } else { Cow::Borrowed(text) }
    }
}
