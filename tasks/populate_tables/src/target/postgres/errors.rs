//! Errors of the Postgres client in one sentence each, the tables' constraints in plain words.

use crate::target::refusals::{taken, unknown_business};
use invoices::{Error, Result};
use postgres::error::{DbError, SqlState};
use std::io;

/// One sentence and a kind for an error of the Postgres client.
pub fn failed(doing: &str, error: postgres::Error) -> Error {
    let explained = error.as_db_error().and_then(|database| explain(doing, database));
    explained.unwrap_or_else(|| invoices::source::postgres::failed(doing, error))
}

/// The same for an error while rows are sent.
pub fn sending_failed(doing: &str, error: io::Error) -> Error {
    match error.downcast::<postgres::Error>() {
        Ok(error) => failed(doing, error),
        Err(error) => Error::retry(doing).because(error),
    }
}

fn explain(doing: &str, error: &DbError) -> Option<Error> {
    let key = error.detail().and_then(key_of);
    let key = key.unwrap_or_else(|| format!("what {} forbids", error.constraint().unwrap_or("a constraint")));
    let code = error.code();
    if *code == SqlState::FOREIGN_KEY_VIOLATION {
        return Some(unknown_business(&key));
    }
    if *code == SqlState::UNIQUE_VIOLATION {
        return Some(taken(error.table().unwrap_or("the table"), &key));
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return Some(Error::config(format!(
            "{doing}: {}; this user needs SELECT and INSERT on customers and invoices, and CREATE on the schema when they are missing",
            error.message()
        )));
    }
    None
}

/// `issuer_id 99` out of `Key (issuer_id)=(99) is not …`, in whatever language the server speaks.
fn key_of(detail: &str) -> Option<String> {
    let (_, after) = detail.split_once('(')?;
    let (column, after) = after.split_once(")=(")?;
    let (value, _) = after.split_once(')')?;
    Some(format!("{column} {value}"))
}

/// As many rows as were sent must have arrived; a trigger or a rule could swallow some.
pub fn all_arrived(table: &str, sent: u64, arrived: u64) -> Result<()> {
    if sent == arrived {
        return Ok(());
    }
    Err(Error::config(format!(
        "{table} took {arrived} of {sent} rows; look for triggers on it that drop rows, nothing was loaded"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_in_a_detail_of_any_language() {
        let english = "Key (issuer_id)=(99) is not present in table \"customers\".";
        let german = "Schlüssel (issuer_id)=(99) ist nicht in Tabelle »customers« vorhanden.";
        assert_eq!(key_of(english).as_deref(), Some("issuer_id 99"));
        assert_eq!(key_of(german).as_deref(), Some("issuer_id 99"));
        assert_eq!(key_of("nothing of the kind"), None);
    }
}
