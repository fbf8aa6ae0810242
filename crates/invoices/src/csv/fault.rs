//! What is wrong with a file, where, and what to do about it.

use super::delimiter;
use super::split::LineEnd;
use super::{Options, Row};
use crate::Error;
use std::fmt;
use std::io;

/// A place in a file as editors show it: lines and characters are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// The place of an offset in bytes whose first is the beginning of `first_line`.
pub(super) fn place(bytes: &[u8], first_line: u64, at: usize) -> Place {
    let before = &bytes[..at.min(bytes.len())];
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let lines = memchr::memchr_iter(b'\n', before).count() as u64;
    // Every character of UTF-8 has one byte that is no continuation.
    let characters = before[line_start..].iter().filter(|byte| **byte & 0xC0 != 0x80).count() as u64;
    Place { line: first_line + lines, column: characters + 1 }
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub place: Place,
    /// What is wrong and what to do, without the place.
    pub reason: String,
    /// The rows after it can still be read.
    pub only_this_row: bool,
}

impl Fault {
    pub(super) fn new(place: Place, reason: impl Into<String>) -> Self {
        Self { place, reason: reason.into(), only_this_row: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Why there is no row.
#[derive(Debug)]
pub enum ReadError {
    Io(io::Error),
    Fault(Fault),
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl ReadError {
    /// The error of a task: refused, or configuration when the file can't be read.
    pub fn in_file(self, name: &str) -> Error {
        match self {
            Self::Io(error) => Error::config(format!("cannot read {name}")).because(error),
            Self::Fault(fault) => Error::refused(format!("{name} {fault}")),
        }
    }
}

pub(super) const NO_HEADER: &str = "the file is empty; it needs a header line with the names of its columns";
pub(super) const EMPTY_LINE: &str =
    "an empty line stands before other lines; delete it, or write \"\" if it is an empty value";
pub(super) const UNCLOSED: &str =
    "a quote is opened here and never closed; close it, and write a quote inside of quotes as two";
pub(super) const QUOTED_TOO_LONG: &str =
    "a quote is opened here and not closed within 1 MiB; close it, and write a quote inside of quotes as two";
pub(super) const FIELD_TOO_LONG: &str = "a field is longer than 1 MiB; shorten it, or see whether delimiters \
                                         or line ends are missing";
pub(super) const ROW_TOO_LONG: &str =
    "a row is longer than 16 MiB; see whether line ends are missing, and shorten it";
pub(super) const NUL: &str =
    "there is a NUL byte, so the file is damaged or not text, perhaps UTF-16; save it as UTF-8";
pub(super) const BACKSLASH: &str = "a backslash stands before a quote, which some programs read as an escape and \
     others as text; write a quote inside of quotes as two, and a field that ends in a backslash without quotes";
const QUOTE_INSIDE: &str =
    "a quote stands inside of a field without quotes; put the field in quotes and write this quote as two";
const BARE_CR: &str = "a carriage return stands without a line feed; save the file with line ends \\n or \\r\\n, and \
     put fields with line breaks in quotes";

pub(super) fn no_name(index: usize) -> String {
    format!("column {} of the header has no name; give it one", index + 1)
}

pub(super) fn name_twice(name: &str) -> String {
    format!("the header has the name {name:?} twice; give every column another name")
}

pub(super) fn other_delimiter(found: delimiter::Delimiter, options: Options) -> String {
    let (here, _) = options.delimiter.in_words();
    let (there, value) = found.in_words();
    match options.delimiter_flag {
        Some(flag) => format!("fields seem to be separated by {there}, not by {here}; use {flag} {value}"),
        None => format!("fields seem to be separated by {there}; save the file with {here}"),
    }
}

pub(super) fn ragged(row: &Row<'_>, wanted: usize, options: Options) -> Fault {
    let found = row.len();
    let mut reason = format!("the row has {found} {} where the header has {wanted}", fields(found));
    let likely = delimiter::likely(row, options.delimiter).filter(|(_, count)| count + 1 == wanted);
    let advice = match likely {
        Some((other, _)) => format!("; {}", other_delimiter(other, options)),
        None if found > wanted => {
            let (delimiters, _) = options.delimiter.in_words();
            format!("; put values with {delimiters} in quotes, and write decimals with a point")
        }
        None => "; add what is missing, or see whether a quote or a line break is wrong".to_owned(),
    };
    reason.push_str(&advice);
    // The first field that is too many, or the last one that is there.
    Fault { place: row.place(wanted.min(found - 1)), reason, only_this_row: true }
}

fn fields(count: usize) -> &'static str {
    if count == 1 { "field" } else { "fields" }
}

/// `stop` is the place of a byte that a field without quotes can't have.
pub(super) fn in_bare_field(field: &[u8], stop: usize) -> &'static str {
    match field[stop] {
        0 => NUL,
        b'\r' => BARE_CR,
        _ if field[..stop].ends_with(b"\\") => BACKSLASH,
        _ => QUOTE_INSIDE,
    }
}

pub(super) fn after_quotes(byte: u8, opened: Place, options: Options) -> String {
    match options.delimiter.other(byte) {
        Some(other) => other_delimiter(other, options),
        None => format!(
            "text follows the quote that closes the field of {opened}; write a quote inside of quotes as two, and see \
             whether an earlier quote is not closed"
        ),
    }
}

pub(super) fn other_line_end(found: LineEnd) -> &'static str {
    match found {
        LineEnd::Lf => "the line ends with \\n, those before with \\r\\n; save the file with one kind",
        LineEnd::CrLf => "the line ends with \\r\\n, those before with \\n; save the file with one kind",
    }
}

/// What a file is that isn't text, or is another encoding's.
pub(super) fn no_text(bytes: &[u8]) -> Option<String> {
    const KINDS: [(&[u8], &str); 7] = [
        (b"\xFF\xFE\0\0", "UTF-32"),
        (b"\0\0\xFE\xFF", "UTF-32"),
        (b"\xFF\xFE", "UTF-16"),
        (b"\xFE\xFF", "UTF-16"),
        (b"\x1F\x8B", "compressed by gzip"),
        (b"PK\x03\x04", "a ZIP archive or a spreadsheet"),
        (b"PAR1", "Parquet"),
    ];
    let (_, kind) = KINDS.iter().find(|(beginning, _)| bytes.starts_with(beginning))?;
    Some(format!("the file is {kind}, not CSV in UTF-8; save it as that"))
}

/// `rest` begins with the bytes that are not UTF-8.
pub(super) fn not_utf8(rest: &[u8]) -> String {
    let byte = rest.first().copied().unwrap_or_default();
    // Letters of Western languages are single bytes from 0xC0 in Latin-1; 0x80 to 0x9F are signs in Windows-1252.
    let likely = if byte < 0xA0 { "Windows-1252" } else { "Latin-1 or Windows-1252" };
    format!("the byte 0x{byte:02X} is not UTF-8, perhaps it is {likely}; save the file as UTF-8")
}
