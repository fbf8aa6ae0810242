//! Bytes to the fields of one row. A row's bytes are kept as they are, so that a fault can say where it is.

use super::fault::{self, Fault, Place, ReadError, place};
use super::row::Field;
use super::{FIELD_BYTES_MAX, Options, ROW_BYTES_MAX, Row};
use memchr::{memchr, memchr2};
use std::io::{BufRead, ErrorKind};
use std::mem::take;

const QUOTE: u8 = b'"';
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How a line ends; the last one may end without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    Lf,
    CrLf,
}

pub(super) struct Splitter<R> {
    input: R,
    options: Options,
    pub bytes_read: u64,
    /// Lines read so far.
    lines: u64,
    /// How the first row ended, which all others must end like.
    line_end: Option<LineEnd>,
    ended: bool,
    row: Current,
}

/// The row being split, and after that the row that was split last.
#[derive(Default)]
struct Current {
    bytes: Vec<u8>,
    /// The bytes, once they are known to be UTF-8.
    text: String,
    fields: Vec<Field>,
    first_line: u64,
    /// Where the content of the last line ends and its line end begins.
    content_end: usize,
    line_end: Option<LineEnd>,
    too_long: bool,
}

impl<R: BufRead> Splitter<R> {
    pub fn new(input: R, options: Options) -> Self {
        let row = Current::default();
        Self { input, options, bytes_read: 0, lines: 0, line_end: None, ended: false, row }
    }

    /// The row that was split last.
    pub fn row(&self) -> Row<'_> {
        Row { text: &self.row.text, fields: &self.row.fields, line: self.row.first_line }
    }

    /// Splits the next row; false at the end of the file and after a fault.
    pub fn next_row(&mut self) -> Result<bool, ReadError> {
        if self.ended {
            return Ok(false);
        }
        let found = self.find_row();
        self.ended = !matches!(found, Ok(true));
        found
    }

    fn find_row(&mut self) -> Result<bool, ReadError> {
        self.row.bytes = take(&mut self.row.text).into_bytes();
        self.row.fields.clear();
        let mut empty_line = None;
        loop {
            self.row.bytes.clear();
            self.row.first_line = self.lines + 1;
            if !self.read_line()? {
                return Ok(false);
            }
            if self.row.first_line == 1 {
                self.look_at_the_beginning()?;
            }
            if self.row.content_end > 0 {
                break;
            }
            empty_line.get_or_insert(self.row.first_line);
        }
        if let Some(line) = empty_line {
            return Err(Fault::new(Place { line, column: 1 }, fault::EMPTY_LINE).into());
        }
        self.split()?;
        self.check_end()?;
        self.row.text = match String::from_utf8(take(&mut self.row.bytes)) {
            Ok(text) => text,
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                self.row.bytes = error.into_bytes();
                return Err(self.fault(at, fault::not_utf8(&self.row.bytes[at..])));
            }
        };
        Ok(true)
    }

    /// Appends one line; false at the end of the file. Stops within a line that is too long.
    fn read_line(&mut self) -> Result<bool, ReadError> {
        let row = &mut self.row;
        let before = row.bytes.len();
        row.line_end = None;
        while row.line_end.is_none() && !row.too_long {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReadError::Io(error)),
            };
            if chunk.is_empty() {
                break;
            }
            let found = memchr(b'\n', chunk);
            let taken = found.map_or(chunk.len(), |at| at + 1);
            row.bytes.extend_from_slice(&chunk[..taken]);
            self.input.consume(taken);
            self.bytes_read += taken as u64;
            row.line_end = found.map(|_| LineEnd::Lf);
            row.too_long = row.bytes.len() > ROW_BYTES_MAX;
        }
        row.content_end = row.bytes.len() - usize::from(row.line_end.is_some());
        if row.line_end.is_some() && row.bytes[before..row.content_end].ends_with(b"\r") {
            row.line_end = Some(LineEnd::CrLf);
            row.content_end -= 1;
        }
        let any = row.bytes.len() > before;
        self.lines += u64::from(any);
        Ok(any)
    }

    /// A byte order mark is no part of the first name; other encodings and compressed files are named.
    fn look_at_the_beginning(&mut self) -> Result<(), ReadError> {
        if self.row.bytes.starts_with(BYTE_ORDER_MARK) {
            self.row.bytes.drain(..BYTE_ORDER_MARK.len());
            self.row.content_end -= BYTE_ORDER_MARK.len();
        }
        match fault::no_text(&self.row.bytes) {
            Some(reason) => Err(self.fault(0, reason)),
            None => Ok(()),
        }
    }

    fn split(&mut self) -> Result<(), ReadError> {
        let mut start = 0;
        loop {
            let quoted = self.row.bytes[start..self.row.content_end].first() == Some(&QUOTE);
            let end = if quoted { self.quoted_field(start)? } else { self.bare_field(start)? };
            if end == self.row.content_end {
                return Ok(());
            }
            start = end + 1;
        }
    }

    /// Takes a field without quotes; returns the place of its delimiter or of the line's end.
    fn bare_field(&mut self, start: usize) -> Result<usize, ReadError> {
        let delimiter = self.options.delimiter.byte();
        let content = &self.row.bytes[start..self.row.content_end];
        let stop = content.iter().position(|&b| b == delimiter || matches!(b, QUOTE | b'\r' | 0));
        let end = start + stop.unwrap_or(content.len());
        if stop.is_some() && self.row.bytes[end] != delimiter {
            let reason = fault::in_bare_field(&self.row.bytes[start..], end - start);
            return Err(self.fault(end, reason));
        }
        self.take_field(Field { start, end, quoted: false, doubled: false })?;
        Ok(end)
    }

    /// Takes a field in quotes, with more lines when it goes on in them.
    fn quoted_field(&mut self, open: usize) -> Result<usize, ReadError> {
        let mut at = open + 1;
        let mut doubled = false;
        loop {
            let Some(found) = memchr2(QUOTE, 0, &self.row.bytes[at..]) else {
                at = self.row.bytes.len();
                if at - open > FIELD_BYTES_MAX {
                    return Err(self.fault(open, fault::QUOTED_TOO_LONG));
                }
                if self.row.too_long || !self.read_line()? {
                    return Err(self.fault(open, fault::UNCLOSED));
                }
                continue;
            };
            let quote = at + found;
            if self.row.bytes[quote] == 0 {
                return Err(self.fault(quote, fault::NUL));
            }
            if quote > open + 1 && self.row.bytes[quote - 1] == b'\\' {
                return Err(self.fault(quote - 1, fault::BACKSLASH));
            }
            let next = quote + 1;
            if next == self.row.content_end || self.row.bytes[next] == self.options.delimiter.byte() {
                self.take_field(Field { start: open + 1, end: quote, quoted: true, doubled })?;
                return Ok(next);
            }
            if self.row.bytes[next] != QUOTE {
                let opened = place(&self.row.bytes, self.row.first_line, open);
                let reason = fault::after_quotes(self.row.bytes[next], opened, self.options);
                return Err(self.fault(next, reason));
            }
            doubled = true;
            at = next + 1;
        }
    }

    fn take_field(&mut self, field: Field) -> Result<(), ReadError> {
        if field.end - field.start > FIELD_BYTES_MAX {
            return Err(self.fault(field.start, fault::FIELD_TOO_LONG));
        }
        self.row.fields.push(field);
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), ReadError> {
        if self.row.too_long {
            return Err(self.fault(0, fault::ROW_TOO_LONG));
        }
        let Some(end) = self.row.line_end else { return Ok(()) };
        if *self.line_end.get_or_insert(end) != end {
            return Err(self.fault(self.row.content_end, fault::other_line_end(end)));
        }
        Ok(())
    }

    fn fault(&self, at: usize, reason: impl Into<String>) -> ReadError {
        Fault::new(place(&self.row.bytes, self.row.first_line, at), reason).into()
    }
}
