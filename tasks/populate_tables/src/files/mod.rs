//! CSV files with a header line: columns are found by name, and every bad line is refused with its
//! place and the reason. The whole file is read before it is refused, so that one message lists what
//! there is to correct; only where quotes, line ends or the encoding are wrong nothing after it can be told.

mod bad_lines;
mod dates;
mod header;
mod records;
#[cfg(test)]
mod tests;

use bad_lines::BadLines;
use invoices::csv::{Options, ReadError, Reader, Row};
use invoices::task::Progress;
use invoices::{Error, Kind, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::BufReader;
use std::marker::PhantomData;
use std::path::Path;

const BUFFER_BYTES: usize = 64 << 10;

/// What one row of a file holds.
pub trait Record: Sized {
    /// Names in the header line.
    const COLUMNS: &'static [&'static str];

    /// Reads the fields, given in the order of the columns; `customers` are all that there are, in order.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn parse(fields: &[Cow<'_, str>], customers: &[i64]) -> Result<Self, BadField>;

    /// The id, which no other row may have.
    fn id(&self) -> i64;
}

/// What is wrong with one field.
#[derive(Debug, PartialEq, Eq)]
pub struct BadField {
    /// Its place among [`Record::COLUMNS`].
    pub column: usize,
    pub reason: String,
}

/// Iterator over the rows of a file. After a bad line there are no rows any more but one error, which
/// lists this line and all that follow.
pub struct Rows<R> {
    file: String,
    reader: Reader<BufReader<File>>,
    /// Where each column stands in a row.
    positions: Vec<usize>,
    ignored_columns: Vec<String>,
    customers: Vec<i64>,
    /// The ids, and the line of each.
    lines: HashMap<i64, u64>,
    bad: BadLines,
    finished: bool,
    progress: Progress,
    kind: PhantomData<R>,
}

impl<R: Record> Rows<R> {
    /// `customers` are the ids that rows may name, in order.
    ///
    /// # Errors
    /// Configuration when the file can't be read, refused when its header lacks a column.
    pub fn open(path: &Path, options: Options, customers: Vec<i64>) -> Result<Self> {
        let name = path.display().to_string();
        let unreadable = |error| Error::config(format!("cannot read {name}")).because(error);
        let file = File::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let reader = Reader::new(BufReader::with_capacity(BUFFER_BYTES, file), options);
        let reader = reader.map_err(|error| error.in_file(&name))?;
        let positions = header::positions(&name, reader.names(), R::COLUMNS)?;
        let ignored_columns = header::others(reader.names(), R::COLUMNS);
        if !ignored_columns.is_empty() {
            tracing::warn!("{name}: columns that are not loaded: {}", ignored_columns.join(", "));
        }
        Ok(Self {
            file: name,
            reader,
            positions,
            ignored_columns,
            customers,
            lines: HashMap::new(),
            bad: BadLines::default(),
            finished: false,
            progress: Progress::new("bytes of CSV", bytes),
            kind: PhantomData,
        })
    }

    /// Columns of the file that are not loaded.
    pub fn ignored_columns(&self) -> &[String] {
        &self.ignored_columns
    }

    /// The same error, with the line of the row that the database did not take.
    pub fn located(&self, error: Error) -> Error {
        let key = error.facts().and_then(|facts| facts["taken"].as_str());
        let id = key.and_then(|key| key.strip_prefix(R::COLUMNS[0])?.trim().parse().ok());
        match id.and_then(|id: i64| self.lines.get(&id)) {
            Some(line) if error.kind() == Kind::Refused => {
                Error::refused(format!("{} line {line}: {error}", self.file))
            }
            _ => error,
        }
    }

    /// Reads one row; none at the end of the file.
    fn read(&mut self) -> Result<Option<Result<R, String>>> {
        let before = self.reader.bytes();
        let row = match self.reader.read() {
            Ok(None) => None,
            Ok(Some(row)) => Some(parsed(&row, &self.positions, &self.customers, &mut self.lines)),
            Err(ReadError::Fault(fault)) => Some(Err(fault.to_string())),
            Err(error) => return Err(error.in_file(&self.file)),
        };
        self.progress.add(self.reader.bytes() - before);
        Ok(row)
    }

    /// What there is to say after the last row.
    fn end(&self) -> Option<Error> {
        let no_rows = self.reader.rows() == 0 && self.bad.is_empty();
        let nothing =
            || Error::refused(format!("{} has a header and no rows; see whether it was cut off", self.file));
        if no_rows { Some(nothing()) } else { self.bad.error(&self.file) }
    }
}

impl<R: Record> Iterator for Rows<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        while !self.finished {
            match self.read() {
                Ok(Some(Ok(row))) if self.bad.is_empty() => return Some(Ok(row)),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(reason))) => self.bad.add(reason),
                Ok(None) => {
                    self.finished = true;
                    return self.end().map(Err);
                }
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error));
                }
            }
            if let Err(stopped) = invoices::task::check_stop() {
                self.finished = true;
                return Some(Err(stopped));
            }
        }
        None
    }
}

/// The row as a record, or where it is wrong and how.
fn parsed<R: Record>(
    row: &Row<'_>,
    positions: &[usize],
    customers: &[i64],
    lines: &mut HashMap<i64, u64>,
) -> Result<R, String> {
    let fields: Vec<Cow<'_, str>> = positions.iter().filter_map(|&at| row.get(at)).collect();
    let record = R::parse(&fields, customers)
        .map_err(|bad| format!("{}: {}", row.place(positions[bad.column]), bad.reason))?;
    match lines.entry(record.id()) {
        Entry::Vacant(entry) => {
            entry.insert(row.line());
            Ok(record)
        }
        Entry::Occupied(entry) => {
            let (place, first) = (row.place(positions[0]), entry.get());
            Err(format!("{place}: {} {} is there twice, first in line {first}", R::COLUMNS[0], record.id()))
        }
    }
}
