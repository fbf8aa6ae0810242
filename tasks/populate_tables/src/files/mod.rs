//! CSV files with a header line: columns are found by name, and every bad line is refused with its
//! number and the reason. The whole file is read before it is refused, so that one message lists
//! what there is to correct.

mod records;

use csv::{ErrorKind, Position, StringRecord};
use invoices::task::Progress;
use invoices::{Error, Result};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// Most bad lines that one message lists.
const LISTED_MAX: usize = 10;

/// What one line of a file holds.
pub trait Record: Sized {
    /// Names in the header line.
    const COLUMNS: &'static [&'static str];

    /// Reads the fields, given in the order of the columns.
    ///
    /// # Errors
    /// What is wrong with the line.
    fn parse(fields: &[&str]) -> Result<Self, String>;

    /// The id, which no other line may have.
    fn id(&self) -> i64;
}

/// Iterator over the rows of a file. After a bad line there are no rows any more but one error, which
/// lists this line and all that follow.
pub struct Rows<R> {
    path: PathBuf,
    reader: csv::Reader<File>,
    /// Where each column stands in a line.
    positions: Vec<usize>,
    line: StringRecord,
    ids: HashSet<i64>,
    bad: BadLines,
    finished: bool,
    /// Where the line just read begins, or blank lines before it.
    start: Position,
    progress: Progress,
    kind: PhantomData<R>,
}

impl<R: Record> Rows<R> {
    /// # Errors
    /// Configuration when the file can't be read, refused when its header lacks a column.
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |error| Error::config(format!("cannot read {}", path.display())).because(error);
        let file = File::open(path).map_err(unreadable)?;
        let bytes = file.metadata().map_err(unreadable)?.len();
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(file);
        let header = reader.headers().map_err(|error| broken(path, error))?.clone();
        let positions: Result<Vec<usize>> =
            R::COLUMNS.iter().map(|column| position(path, &header, column, R::COLUMNS)).collect();
        Ok(Self {
            path: path.to_owned(),
            reader,
            positions: positions?,
            line: StringRecord::new(),
            ids: HashSet::new(),
            bad: BadLines::default(),
            finished: false,
            start: Position::new(),
            progress: Progress::new("bytes of CSV", bytes),
            kind: PhantomData,
        })
    }

    /// The row of the line just read.
    fn row(&mut self) -> Result<R, String> {
        let fields: Vec<&str> = self.positions.iter().filter_map(|&at| self.line.get(at)).collect();
        let row = R::parse(&fields)?;
        if !self.ids.insert(row.id()) {
            return Err(format!("{} {} is there twice", R::COLUMNS[0], row.id()));
        }
        Ok(row)
    }

    /// Reads one line; none at the end of the file.
    fn read(&mut self) -> Result<Option<Result<R, String>>> {
        self.start = self.reader.position().clone();
        let read = self.reader.read_record(&mut self.line);
        self.progress.add(self.reader.position().byte().saturating_sub(self.start.byte()));
        match read {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(self.row())),
            Err(error) => match bad_line(&error) {
                Some(reason) => Ok(Some(Err(reason))),
                None => Err(broken(&self.path, error)),
            },
        }
    }
}

impl<R: Record> Iterator for Rows<R> {
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        while !self.finished {
            match self.read() {
                Ok(Some(Ok(row))) if self.bad.count == 0 => return Some(Ok(row)),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(reason))) => self.bad.add(|| line_number(&self.path, &self.start), &reason),
                Ok(None) => {
                    self.finished = true;
                    return self.bad.error(&self.path).map(Err);
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

/// The lines that are refused.
#[derive(Default)]
struct BadLines {
    count: u64,
    listed: Vec<String>,
}

impl BadLines {
    fn add(&mut self, number: impl FnOnce() -> u64, reason: &str) {
        self.count += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(format!("line {}: {reason}", number()));
        }
    }

    fn error(&self, path: &Path) -> Option<Error> {
        let list = self.listed.join("; ");
        let more = match self.count - self.listed.len() as u64 {
            0 => String::new(),
            others => format!("; and {others} more"),
        };
        let lines = if self.count == 1 { "1 line" } else { &format!("{} lines", self.count) };
        let message = format!("{}: {lines} refused, nothing was loaded: {list}{more}", path.display());
        (self.count > 0).then(|| Error::refused(message))
    }
}

/// Number of the first line at or after a position that isn't blank. The reader's own count is behind
/// after blank lines; it stands in for a file that can't be read twice.
fn line_number(path: &Path, start: &Position) -> u64 {
    let count = || -> std::io::Result<u64> {
        let mut number = 1;
        for (offset, byte) in (0..).zip(BufReader::new(File::open(path)?).bytes()) {
            match byte? {
                b'\n' => number += 1,
                b'\r' => {}
                _ if offset >= start.byte() => return Ok(number),
                _ => {}
            }
        }
        Err(std::io::ErrorKind::UnexpectedEof.into())
    };
    count().unwrap_or(start.line())
}

/// What is wrong with a line that is no CSV record of this file; none when reading itself failed.
fn bad_line(error: &csv::Error) -> Option<String> {
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Some(format!("{len} fields instead of {expected_len}"))
        }
        ErrorKind::Utf8 { .. } => Some("not UTF-8 text".to_owned()),
        _ => None,
    }
}

fn broken(path: &Path, error: csv::Error) -> Error {
    match error.into_kind() {
        ErrorKind::Io(error) => Error::config(format!("cannot read {}", path.display())).because(error),
        ErrorKind::Utf8 { .. } => Error::refused(format!("{}: the header is not UTF-8 text", path.display())),
        other => Error::refused(format!("{}: {other:?}", path.display())),
    }
}

/// Where a column stands in the header.
fn position(path: &Path, header: &StringRecord, column: &str, all: &[&str]) -> Result<usize> {
    let mut found = header.iter().enumerate().filter(|(_, name)| *name == column).map(|(at, _)| at);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (None, _) => Err(Error::refused(format!(
            "{}: the header has no column {column}; it needs {}",
            path.display(),
            all.join(",")
        ))),
        (Some(_), Some(_)) => {
            Err(Error::refused(format!("{}: the header has the column {column} twice", path.display())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Customer;
    use invoices::{Invoice, Kind};
    use std::io::Write;

    fn read<R: Record>(text: impl AsRef<[u8]>) -> Result<Vec<R>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_ref()).unwrap();
        Rows::open(file.path())?.collect()
    }

    fn refusal<R: Record + std::fmt::Debug>(text: impl AsRef<[u8]>) -> String {
        let error = read::<R>(text).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        error.to_string()
    }

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let text = "amount_usd,note, invoice_id,receiver_id,issue_date,issuer_id\r\n-1.5,x,7,,2024-02-29 10:00:00,3\r\n";
        let expected = Invoice {
            invoice_id: 7,
            issue_date_us: 1_709_200_800_000_000,
            issuer_id: Some(3),
            receiver_id: None,
            amount: -150,
        };
        assert_eq!(read::<Invoice>(text).unwrap(), [expected]);
    }

    #[test]
    fn quoted_names_keep_commas_and_spaces_and_a_byte_order_mark_is_no_name() {
        let rows: Vec<Customer> = read("\u{feff}customer_id,customer_name\n1,\" A, B \"\n").unwrap();
        assert_eq!(rows[0].customer_name, " A, B ");
    }

    #[test]
    fn every_bad_line_is_named_with_its_number() {
        let header = "invoice_id,issue_date,issuer_id,receiver_id,amount_usd";
        let lines = [
            "1,2024-01-01 00:00:00,1,2,1.00",
            "x,2024-01-01 00:00:00,1,2,1.00",
            "3,2024-02-30 00:00:00,1,2,1.00",
            "4,2024-01-01 00:00:00,1,2,1.005",
            "5,2024-01-01 00:00:00,1,2",
            "",
            "1,2024-01-01 00:00:00,1,2,1.00",
            "8,2024-01-01 00:00:00,one,2,1.00",
        ];
        for newline in ["\n", "\r\n"] {
            let text = format!("{header}{newline}{}{newline}", lines.join(newline));
            let said = refusal::<Invoice>(text);
            let expected = [
                "6 lines refused",
                "line 3: invoice_id \"x\" is not an id",
                "line 4: issue_date \"2024-02-30 00:00:00\" is not a date",
                "line 5: amount_usd \"1.005\" has more than 2 digits",
                "line 6: 4 fields instead of 5",
                "line 8: invoice_id 1 is there twice",
                "line 9: issuer_id \"one\" is not an id",
            ];
            for part in expected {
                assert!(said.contains(part), "{part} is not in {said}");
            }
        }
    }

    #[test]
    fn the_first_ten_bad_lines_are_listed_and_the_others_counted() {
        let said = refusal::<Customer>(format!("customer_id,customer_name\n{}", "x,y\n".repeat(12)));
        assert!(
            said.contains("12 lines") && said.contains("line 11:") && !said.contains("line 12:"),
            "{said}"
        );
        assert!(said.ends_with("and 2 more"), "{said}");
    }

    #[test]
    fn lines_that_are_not_text_are_refused_too() {
        let said = refusal::<Customer>(b"customer_id,customer_name\n1,A\n2,\xff\n3,\n");
        assert!(said.contains("line 3: not UTF-8 text") && said.contains("line 4: customer_name"), "{said}");
    }

    #[test]
    fn a_header_must_name_every_column_once() {
        assert!(refusal::<Customer>("customer_id,name\n1,A\n").contains("no column customer_name"));
        assert!(refusal::<Customer>("customer_id,customer_name,customer_id\n").contains("twice"));
        assert!(refusal::<Customer>("").contains("no column customer_id"));
    }

    #[test]
    fn a_missing_file_is_a_matter_of_configuration() {
        let error = Rows::<Customer>::open(Path::new("no/such.csv")).err().unwrap();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.to_string().contains("no/such.csv"), "{error}");
    }
}
