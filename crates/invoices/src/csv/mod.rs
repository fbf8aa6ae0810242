//! Strict CSV: what is accepted means the same to every reader, and everything else is refused with its
//! line and column. Pure: it reads any `BufRead`, knows no file names and no types of values.
//!
//! Other readers guess where a file contradicts itself, for example take all rows after an unclosed quote for
//! one long field. Here a quote that is never closed, text beside quotes, `\"`, rows with too few or too many
//! fields, empty lines between rows, NUL bytes, text that isn't UTF-8, mixed line ends, fields above
//! [`FIELD_BYTES_MAX`] and names that are missing or there twice are errors. Right are RFC 4180's quoted fields
//! with doubled quotes and line breaks, `\n` or `\r\n`, a byte order mark, and empty lines at the end.
//!
//! ```
//! use invoices::csv::{Options, Reader};
//!
//! let text = "id,note\n1,\"12\"\" pipe\"\n";
//! let mut reader = Reader::new(text.as_bytes(), Options::default()).map_err(|e| e.in_file("a.csv"))?;
//! assert_eq!(reader.names(), ["id", "note"]);
//! while let Some(row) = reader.read().map_err(|e| e.in_file("a.csv"))? {
//!     assert_eq!(row.get(1).as_deref(), Some("12\" pipe"));
//!     assert_eq!(row.place(1).to_string(), "line 2, column 3");
//! }
//! # Ok::<(), invoices::Error>(())
//! ```
//!
//! # Layout
//! * [`Reader`]: the header, then row by row, each with as many fields as the header has names.
//! * [`Row`]: the fields of one row, and where each stands.
//! * [`Delimiter`]: what separates fields, and which one a file seems to have.
//! * `split`: bytes to fields; `fault`: the sentences.

mod delimiter;
mod fault;
mod row;
mod split;
#[cfg(test)]
mod tests;

pub use delimiter::Delimiter;
pub use fault::{Fault, Place, ReadError};
pub use row::Row;

use split::Splitter;
use std::io::BufRead;

/// Most bytes of one field. A quote that was forgotten is found within that much of memory.
pub const FIELD_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one row.
pub const ROW_BYTES_MAX: usize = 16 << 20;

/// How a file is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    pub delimiter: Delimiter,
    /// The flag by which a user names another delimiter, for messages; none when there is none.
    pub delimiter_flag: Option<&'static str>,
}

/// Reads a table with a header line.
pub struct Reader<R> {
    splitter: Splitter<R>,
    names: Vec<String>,
    options: Options,
    rows: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header line.
    ///
    /// # Errors
    /// Without names for all columns, with the same name twice, or with another delimiter.
    pub fn new(input: R, options: Options) -> Result<Self, ReadError> {
        let mut splitter = Splitter::new(input, options);
        if !splitter.next_row()? {
            return Err(Fault::new(Place { line: 1, column: 1 }, fault::NO_HEADER).into());
        }
        let row = splitter.row();
        if let Some((other, _)) = delimiter::likely(&row, options.delimiter) {
            return Err(Fault::new(row.place(0), fault::other_delimiter(other, options)).into());
        }
        let mut names: Vec<String> = Vec::with_capacity(row.len());
        for (index, name) in row.iter().enumerate() {
            if name.trim().is_empty() {
                return Err(Fault::new(row.place(index), fault::no_name(index)).into());
            }
            if names.iter().any(|known| *known == *name) {
                return Err(Fault::new(row.place(index), fault::name_twice(&name)).into());
            }
            names.push(name.into_owned());
        }
        Ok(Self { splitter, names, options, rows: 0 })
    }

    /// The names of the columns, as they stand in the header.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Rows read so far, the header not among them. A table without any is not refused here: what it means is
    /// the caller's to say.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.splitter.bytes_read
    }

    /// The next row; none at the end of the file.
    ///
    /// # Errors
    /// After a fault that [`Fault::only_this_row`] is true of, the next call goes on with the row after it; after
    /// any other the place of the next row is unknown, and there is none.
    pub fn read(&mut self) -> Result<Option<Row<'_>>, ReadError> {
        if !self.splitter.next_row()? {
            return Ok(None);
        }
        self.rows += 1;
        let row = self.splitter.row();
        if row.len() == self.names.len() {
            return Ok(Some(row));
        }
        Err(fault::ragged(&row, self.names.len(), self.options).into())
    }
}
