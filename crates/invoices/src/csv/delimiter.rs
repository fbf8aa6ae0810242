//! What separates the fields of a row.

use super::Row;
use std::str::FromStr;

/// One ASCII character; a comma unless it is said otherwise. Parses from `,`, `;`, `|`, `tab`, or another sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delimiter(u8);

/// Those that programs write, with their names.
const USUAL: [(u8, &str, &str); 4] =
    [(b',', "commas", "','"), (b';', "semicolons", "';'"), (b'\t', "tabs", "tab"), (b'|', "pipes", "'|'")];

impl Delimiter {
    pub const COMMA: Self = Self(b',');
    pub const TAB: Self = Self(b'\t');

    pub(super) fn byte(self) -> u8 {
        self.0
    }

    /// `semicolons`, and what the flag wants, `';'`.
    pub(super) fn in_words(self) -> (String, String) {
        let usual = USUAL.iter().find(|(byte, ..)| *byte == self.0);
        match usual {
            Some((_, plural, flag)) => ((*plural).to_owned(), (*flag).to_owned()),
            None => (format!("{:?}", char::from(self.0)), format!("'{}'", char::from(self.0))),
        }
    }

    /// The usual delimiter that a byte is, when it isn't this one.
    pub(super) fn other(self, byte: u8) -> Option<Self> {
        USUAL.iter().find(|(usual, ..)| *usual == byte && byte != self.0).map(|_| Self(byte))
    }
}

impl Default for Delimiter {
    fn default() -> Self {
        Self::COMMA
    }
}

impl FromStr for Delimiter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let byte = match text.as_bytes() {
            _ if text.eq_ignore_ascii_case("tab") || text == "\\t" => b'\t',
            [byte] => *byte,
            _ => 0,
        };
        let never = |byte: u8| matches!(byte, b'"' | b'\'' | b'\\' | b'.' | b'-' | b'+');
        if byte == b'\t' || (byte.is_ascii_punctuation() && !never(byte)) {
            Ok(Self(byte))
        } else {
            Err("a delimiter is one sign, such as , ; | or the word tab".to_owned())
        }
    }
}

/// The delimiter that a row seems to have, and how often: another one that is in it more often than the one that
/// it was split at.
pub(super) fn likely(row: &Row<'_>, current: Delimiter) -> Option<(Delimiter, usize)> {
    let count = |byte: u8| row.bare_fields().map(|text| text.bytes().filter(|b| *b == byte).count()).sum();
    let others = USUAL.iter().filter(|(byte, ..)| *byte != current.0);
    let (most, byte) = others.map(|(byte, ..)| -> (usize, u8) { (count(*byte), *byte) }).max()?;
    (most >= row.len()).then_some((Delimiter(byte), most))
}
