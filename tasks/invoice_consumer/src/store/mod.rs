//! The database of the decisions: one transaction per batch, state rebuilt from the rows.

pub mod batch;
mod copy;
mod kpi;
mod load;
mod topic;
mod truncate;
mod write;

pub use batch::{Batch, DeadLetter, Epochs, Receipt, Sealed, Step};
#[cfg(test)]
pub use copy::int8_array_bytes;
pub use load::{Loaded, StoredDecision, known_as_of, known_of, stored_decisions};
pub use topic::Place;
pub use truncate::{Emptied, is_unplaced};
pub use write::{Session, Written};

use crate::model::Version;
use invoices::source::SourceUrl;
use invoices::source::postgres::failed;
use invoices::source::url::PostgresUrl;
use invoices::{Error, Result};
use postgres::Client;

/// Where decisions are stored; connections are opened where they are needed.
#[derive(Debug, Clone)]
pub struct Store {
    url: PostgresUrl,
    pub topic: String,
}

impl Store {
    /// # Errors
    /// Configuration for a URL that is not Postgres.
    pub fn new(url: &str, topic: &str) -> Result<Self> {
        match url.parse()? {
            SourceUrl::Postgres(url) => Ok(Self { url, topic: topic.to_owned() }),
            SourceUrl::Sqlite(_) => Err(Error::config(
                "decisions are stored in Postgres; use postgres://user@host:5432/database, or --from FILE without a database",
            )),
        }
    }

    pub fn connect(&self) -> Result<Client> {
        let mut client = self.url.connect()?;
        client
            .batch_execute("set application_name = 'invoice_consumer'")
            .map_err(|error| failed("cannot connect", error))?;
        Ok(client)
    }

    /// Checks that the tables are there and belong to this topic, and names the model's features there.
    ///
    /// # Errors
    /// Configuration when they don't.
    pub fn check(&self, model: &Version) -> Result<()> {
        let mut client = self.connect()?;
        let doing = "cannot use the decision tables (postgres-scripts/sql/05_decisions.sql makes them)";
        let other = client
            .query_opt("select topic from risk.stream_offsets where topic <> $1 limit 1", &[&self.topic])
            .map_err(|error| failed(doing, error))?;
        if let Some(row) = other {
            let topic: String = row.get(0);
            return Err(Error::config(format!(
                "this database holds the decisions on topic {topic}; {} needs one of its own",
                self.topic
            )));
        }
        self.check_columns(&mut client)?;
        let names: Vec<&str> = model.meanings().iter().map(|meaning| meaning.name).collect();
        let sql = "insert into risk.models (model, features) values ($1, $2) on conflict do nothing";
        client.execute(sql, &[&model.id(), &names]).map_err(|error| failed(doing, error))?;
        Ok(())
    }

    /// Whether the database answers.
    pub fn name(&self) -> &str {
        &self.url.name
    }
}
