//! `register`: the lake's tables and partitions in a Hive metastore or in AWS Glue, as the commit records
//! say they are now. Only descriptions change: no object of the lake is written or deleted.

mod glue;
mod hive;
mod hive_types;
mod table;

use crate::args::RegisterArgs;
use crate::ddl;
use glue::Glue;
use hive::Hive;
use invoices::lake::Lake;
use invoices::task::check_stop;
use invoices::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use table::{Found, Step, Table};

/// Partitions in one request: the most that Glue takes.
const BATCH: usize = 100;

const METASTORE_PORT: u16 = 9083;

/// Where tables are registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Hive { host: String, port: u16 },
    Glue,
}

impl Target {
    /// # Errors
    /// A sentence for anything but `glue` and `thrift://host:port`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "glue" {
            return Ok(Target::Glue);
        }
        let wrong = || format!("{text:?} is not a catalog; use thrift://host:{METASTORE_PORT} or glue");
        let url = url::Url::parse(text).map_err(|_| wrong())?;
        let is_bare = url.username().is_empty() && url.path().trim_matches('/').is_empty();
        match url.host_str().filter(|host| !host.is_empty()) {
            Some(host) if url.scheme() == "thrift" && is_bare && url.query().is_none() => {
                let host = host.trim_matches(['[', ']']).to_owned();
                Ok(Target::Hive { host, port: url.port().unwrap_or(METASTORE_PORT) })
            }
            _ => Err(wrong()),
        }
    }
}

/// What a catalog is told and asked, always about one database.
trait Catalog {
    /// Makes the database if it is missing.
    async fn make_database(&self) -> Result<()>;
    async fn find(&self, table: &str) -> Result<Option<Found>>;
    async fn create(&self, table: &Table) -> Result<()>;
    /// Forgets a table with its partitions.
    async fn forget(&self, table: &str) -> Result<()>;
    /// Partitions as `key=value/key=value`.
    async fn partitions(&self, table: &str) -> Result<BTreeSet<String>>;
    async fn add(&self, table: &Table, partitions: &[String]) -> Result<()>;
    async fn remove(&self, table: &str, partitions: &[String]) -> Result<()>;
}

/// Registers every table of the lake.
///
/// # Errors
/// Configuration for a lake without tables or one that the catalog's readers cannot reach, and for missing
/// rights; refused when a table is cut in different ways or somebody else's has its name; retry when the
/// catalog does not answer.
pub async fn register(lake: &Lake, args: &RegisterArgs) -> Result<Value> {
    let database = args.database.as_str();
    if args.catalog == Target::Glue && lake.url().starts_with("file:") {
        let url = lake.url();
        return Err(Error::config(format!(
            "readers of Glue's tables see S3 alone, and the lake is {url}; use one at s3://bucket"
        )));
    }
    let definitions = ddl::definitions(lake).await?;
    let (place, tables) = match &args.catalog {
        Target::Hive { host, port } => {
            let hive = Hive::connect(host, *port, database).await?;
            let tables = definitions.iter().map(|definition| Table::new(definition, ddl::hadoop)).collect();
            (format!("thrift://{host}:{port}"), register_all(&hive, tables, database).await?)
        }
        Target::Glue => {
            let glue = Glue::from_env(database)?;
            let tables = definitions.iter().map(|definition| Table::new(definition, str::to_owned)).collect();
            ("glue".to_owned(), register_all(&glue, tables, database).await?)
        }
    };
    Ok(json!({ "command": "register", "catalog": place, "database": database, "tables": tables }))
}

async fn register_all(
    catalog: &impl Catalog,
    tables: Vec<Table>,
    database: &str,
) -> Result<Map<String, Value>> {
    catalog.make_database().await?;
    let mut facts = Map::new();
    for table in tables {
        facts.insert(table.name.to_owned(), register_table(catalog, &table, database).await?);
    }
    Ok(facts)
}

async fn register_table(catalog: &impl Catalog, table: &Table, database: &str) -> Result<Value> {
    let found = catalog.find(table.name).await?;
    let step = table.step(found.as_ref(), database)?;
    if step == Step::Replace {
        tracing::warn!(
            "{database}.{} has changed its columns, partitioning or place; making it anew",
            table.name
        );
        catalog.forget(table.name).await?;
    }
    let known = if step == Step::Keep {
        catalog.partitions(table.name).await?
    } else {
        catalog.create(table).await?;
        BTreeSet::new()
    };
    let (missing, gone) = table.difference(&known);
    for batch in missing.chunks(BATCH) {
        check_stop()?;
        catalog.add(table, batch).await?;
    }
    for batch in gone.chunks(BATCH) {
        check_stop()?;
        catalog.remove(table.name, batch).await?;
    }
    Ok(json!({
        "created": step != Step::Keep,
        "partitions": table.partitions.len(),
        "partitions_added": missing.len(),
        "partitions_removed": gone.len(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalog_is_glue_or_a_metastore_with_a_host() {
        assert_eq!(Target::parse("glue"), Ok(Target::Glue));
        let hive = |host: &str, port| Ok(Target::Hive { host: host.to_owned(), port });
        assert_eq!(Target::parse("thrift://metastore"), hive("metastore", 9083));
        assert_eq!(Target::parse("thrift://127.0.0.1:19083/"), hive("127.0.0.1", 19083));
        assert_eq!(Target::parse("thrift://[::1]:9083"), hive("::1", 9083));
        for wrong in [
            "",
            "hive",
            "thrift://",
            "http://host:9083",
            "thrift://host/db",
            "thrift://me@host",
            "thrift://h?x",
        ] {
            assert!(Target::parse(wrong).unwrap_err().contains("use thrift://host:9083 or glue"), "{wrong}");
        }
    }
}
