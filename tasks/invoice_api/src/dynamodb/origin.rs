//! To which source and which topic the stored positions belong. A restored or moved database and a topic
//! that was made again count from the beginning; what they say is believed under a new epoch, when
//! somebody has accepted it: docs/decisions/0065.

use super::Both;
use super::client::Client;
use super::item::{number, read_number, text};
use super::tables::Tables;
use invoices::{Error, Result, position};
use serde_json::{Value, json};

const SOURCE: &str = "source";
const TOPIC: &str = "topic";

/// What is kept under one name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kept {
    identity: Option<String>,
    epoch: u32,
}

/// What came of comparing with what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    name: &'static str,
    identity: String,
    pub epoch: u32,
    /// It is another one than before, and somebody has accepted it.
    pub is_new: bool,
}

impl Origin {
    /// A position of a change as it is stored.
    pub fn stored(&self, lsn: u64) -> u64 {
        position::stored(self.epoch, lsn)
    }

    /// Keeps it as the one that the tables belong to. Of a new one this comes last, when the tables have
    /// what it asks for.
    ///
    /// # Errors
    /// As the client's calls.
    pub async fn keep(&self, both: &Both) -> Result<()> {
        let item = json!({
            "name": text(self.name),
            "identity": text(&self.identity),
            "epoch": number(i64::from(self.epoch)),
        });
        let put = json!({ "TableName": both.writer.tables.positions, "Item": item });
        both.writer.client.call("PutItem", &put).await.map(drop)
    }
}

/// The source whose changes are written; `accepts_new` goes on with another one.
///
/// # Errors
/// Configuration for another cluster or timeline than before; as the client's calls.
pub async fn of_source(both: &Both, accepts_new: bool) -> Result<Origin> {
    let mut connection = both.connection();
    connection.query("select 1", &[]).await?;
    let identity = both.plan.cluster().unwrap_or_default();
    compare(both, SOURCE, &identity, accepts_new).await?.ok_or_else(|| {
        Error::config(
            "the source is another cluster or timeline than the one whose changes DynamoDB has, and counts its \
             positions anew; see docs/migrate-source.md, then start once with --accept-new-source and load again",
        )
    })
}

/// The topic whose events are applied; `accepts_new` goes on with another one.
///
/// # Errors
/// Configuration for another topic than before; as the client's calls.
pub async fn of_topic(both: &Both, identity: &str, accepts_new: bool) -> Result<Origin> {
    compare(both, TOPIC, identity, accepts_new).await?.ok_or_else(|| {
        Error::config(
            "the topic was made again, and what the old one had may be missing in DynamoDB; see \
             docs/migrate-source.md, then start once with --accept-new-topic and load again",
        )
    })
}

/// None when it is another one and not accepted. What isn't known is taken for the same.
async fn compare(
    both: &Both,
    name: &'static str,
    identity: &str,
    accepts_new: bool,
) -> Result<Option<Origin>> {
    let kept = read(&both.writer.client, &both.writer.tables, name).await?;
    let is_known = kept.identity.as_deref().is_some_and(|kept| !kept.is_empty()) && !identity.is_empty();
    let is_new = is_known && kept.identity.as_deref() != Some(identity);
    if is_new && !accepts_new {
        return Ok(None);
    }
    let epoch = if is_new { position::next_epoch(kept.epoch)? } else { kept.epoch };
    let origin = Origin { name, identity: identity.to_owned(), epoch, is_new };
    if !is_known && (kept.identity.is_none() || !identity.is_empty()) {
        origin.keep(both).await?;
    }
    Ok(Some(origin))
}

/// The epoch of the source whose changes are in the tables.
///
/// # Errors
/// As the client's calls.
pub async fn source_epoch(client: &Client, tables: &Tables) -> Result<u32> {
    Ok(read(client, tables, SOURCE).await?.epoch)
}

async fn read(client: &Client, tables: &Tables, name: &str) -> Result<Kept> {
    let get = json!({
        "TableName": tables.positions, "Key": { "name": text(name) }, "ConsistentRead": true,
    });
    let answer: Value = client.ask("GetItem", &get).await?;
    let item = &answer["Item"];
    Ok(Kept {
        identity: item["identity"]["S"].as_str().map(str::to_owned),
        epoch: read_number(&item["epoch"]).and_then(|epoch| u32::try_from(epoch).ok()).unwrap_or(0),
    })
}
