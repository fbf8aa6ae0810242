//! Other tables than the lake's: files, mails and tables of databases, each under a name.
//!
//! Parquet is scanned as the lake is; everything else is read whole, within the memory budget.

mod csv;
mod database;
mod files;
mod hive;
mod json;
mod json_rows;
mod text;
mod values;

use crate::pinned::Pinned;
use arrow::array::ArrayRef;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use invoices::lake::names::Table;
use invoices::source::url::has_password;
use invoices::{Error, Result};
use std::sync::Arc;

/// Whole columns by name.
pub type Columns = Vec<(String, ArrayRef)>;

const BATCH_ROWS: usize = 8192;

/// A `--with name=URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub name: String,
    pub location: String,
}

/// What loading needs beside the source.
pub struct Loading<'a> {
    pub pinned: &'a Arc<Pinned>,
    pub runtime: &'a tokio::runtime::Handle,
    pub null_texts: &'a [String],
    pub bytes_max: u64,
}

impl Source {
    /// Reads `name=URL`.
    ///
    /// # Errors
    /// Usage for anything else, for the name of a lake table, and for a password.
    pub fn parse(text: &str) -> Result<Self> {
        let usage = |problem: &str| {
            let name = text.split_once('=').map_or("…", |(name, _)| name);
            Err(Error::usage(format!(
                "--with {name}: {problem}; use NAME=URL, as in rates=file:///data/rates.csv"
            )))
        };
        let Some((name, location)) = text.split_once('=') else { return usage("there is no =") };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name || location.is_empty() {
            return usage("a name is letters, digits and _, and something must follow the =");
        }
        if Table::ALL.iter().any(|table| table.name() == name) {
            return usage("the lake has a table of that name");
        }
        if has_password(location) {
            return usage(
                "a password in a flag could be read by every user of this machine; put it into PGPASSWORD",
            );
        }
        Ok(Self { name: name.to_owned(), location: location.to_owned() })
    }

    /// The source as a table.
    ///
    /// # Errors
    /// Refused for content that is not what its name says, configuration for what is not there,
    /// retry for services that don't answer.
    pub fn load(&self, loading: &Loading) -> Result<Arc<dyn TableProvider>> {
        if database::is_database(&self.location) {
            return in_memory(database::load(self, loading)?);
        }
        files::load(self, loading)
    }
}

/// Columns as a table.
fn in_memory(columns: Columns) -> Result<Arc<dyn TableProvider>> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    // Slices share the columns and let both cores work.
    let rows = batch.num_rows();
    let slices = (0..rows).step_by(BATCH_ROWS).map(|at| batch.slice(at, BATCH_ROWS.min(rows - at))).collect();
    let table = MemTable::try_new(schema, vec![slices])
        .map_err(|error| Error::bug("columns are no table").because(error))?;
    Ok(Arc::new(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_a_name_and_a_place() {
        let source = Source::parse("rates=file:///a=b.csv").unwrap();
        assert_eq!((source.name.as_str(), source.location.as_str()), ("rates", "file:///a=b.csv"));
        for text in ["rates", "=x", "a b=x", "1a=x", "rates=", "invoices=x"] {
            assert_eq!(Source::parse(text).unwrap_err().kind().exit_code(), 2, "{text}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let error = Source::parse("c=postgres://u:secret@h/db#t").unwrap_err().to_string();
        assert!(error.contains("PGPASSWORD") && !error.contains("secret"), "{error}");
    }
}
