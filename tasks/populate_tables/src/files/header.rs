//! Which column of a file is which; the reader has seen to it that no name is there twice.

use invoices::{Error, Result};

/// Where each of the columns stands.
///
/// # Errors
/// Refused without one of them.
pub fn positions(file: &str, names: &[String], columns: &[&str]) -> Result<Vec<usize>> {
    let position = |column: &&str| {
        let mut found = names.iter().enumerate().filter(|(_, name)| name.trim() == *column);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(at),
            (Some(_), Some(_)) => {
                Err(Error::refused(format!("{file} line 1: the header has the column {column} twice")))
            }
            (None, _) => Err(Error::refused(format!(
                "{file} line 1: the header has no column {column}; it needs {}, and has {}",
                columns.join(","),
                names.join(",")
            ))),
        }
    };
    columns.iter().map(position).collect()
}

/// The names that are not asked for.
pub fn others(names: &[String], columns: &[&str]) -> Vec<String> {
    let other = names.iter().map(|name| name.trim()).filter(|name| !columns.contains(name));
    other.map(str::to_owned).collect()
}
