//! The three tables: invoices, the names of businesses, and the sink's places in the decisions.

use super::client::Client;
use invoices::{Error, Kind, Result};
use serde_json::{Value, json};
use std::time::Duration;

pub const BY_ISSUER: &str = "by_issuer";
pub const BY_RECEIVER: &str = "by_receiver";
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOKS: usize = 240;

/// Names of the tables, all from one.
#[derive(Debug, Clone)]
pub struct Tables {
    pub invoices: String,
    pub businesses: String,
    pub positions: String,
}

impl Tables {
    pub fn named(name: &str) -> Self {
        Self {
            invoices: name.to_owned(),
            businesses: format!("{name}_businesses"),
            positions: format!("{name}_positions"),
        }
    }

    /// Creates what does not exist yet and waits until it can be used; which ones were made.
    ///
    /// # Errors
    /// As [`Client::call`]; retry when a table takes minutes to become active.
    pub async fn create(&self, client: &Client) -> Result<Vec<String>> {
        let index = |name: &str, business: &str| {
            json!({
                "IndexName": name,
                "KeySchema": [
                    { "AttributeName": business, "KeyType": "HASH" },
                    { "AttributeName": "invoice_id", "KeyType": "RANGE" },
                ],
                "Projection": { "ProjectionType": "ALL" },
            })
        };
        let attribute = |name: &str, kind: &str| json!({ "AttributeName": name, "AttributeType": kind });
        let table = |name: &str, key: &str, kind: &str| {
            json!({
                "TableName": name,
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [attribute(key, kind)],
                "KeySchema": [{ "AttributeName": key, "KeyType": "HASH" }],
            })
        };
        let mut invoices = table(&self.invoices, "invoice_id", "N");
        invoices["AttributeDefinitions"] =
            json!([attribute("invoice_id", "N"), attribute("issuer_id", "N"), attribute("receiver_id", "N")]);
        invoices["GlobalSecondaryIndexes"] =
            json!([index(BY_ISSUER, "issuer_id"), index(BY_RECEIVER, "receiver_id")]);
        let mut made = Vec::new();
        for (name, wanted) in [
            (&self.invoices, invoices),
            (&self.businesses, table(&self.businesses, "business_id", "N")),
            (&self.positions, table(&self.positions, "name", "S")),
        ] {
            if self.status(client, name).await?.is_none() {
                client.ask("CreateTable", &wanted).await?;
                made.push(name.clone());
            }
        }
        for name in &made {
            self.wait_for(client, name).await?;
        }
        if made.contains(&self.invoices) {
            let expiry = json!({
                "TableName": self.invoices,
                "TimeToLiveSpecification": { "AttributeName": "expires_at", "Enabled": true },
            });
            client.ask("UpdateTimeToLive", &expiry).await?;
        }
        Ok(made)
    }

    async fn wait_for(&self, client: &Client, name: &str) -> Result<()> {
        for _ in 0..LOOKS {
            if self.status(client, name).await?.as_deref() == Some("ACTIVE") {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(Error::retry(format!("the table {name} is not active yet")))
    }

    async fn status(&self, client: &Client, name: &str) -> Result<Option<String>> {
        match client.ask("DescribeTable", &json!({ "TableName": name })).await {
            Ok(answer) => Ok(answer["Table"]["TableStatus"].as_str().map(str::to_owned)),
            Err(error) if error.kind() == Kind::Config && error.to_string().contains("ResourceNotFound") => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Items of some keys, read as the latest writes have left them.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn get_many(client: &Client, table: &str, key: &str, ids: &[i64]) -> Result<Vec<Value>> {
        let mut items = Vec::with_capacity(ids.len());
        // A key that comes twice is refused.
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        for chunk in ids.chunks(BATCH_MAX) {
            let keys: Vec<Value> = chunk.iter().map(|id| json!({ key: super::item::number(*id) })).collect();
            let mut wanted = json!({ table: { "Keys": keys, "ConsistentRead": true } });
            while wanted.as_object().is_some_and(|wanted| !wanted.is_empty()) {
                let mut answer = client.ask("BatchGetItem", &json!({ "RequestItems": wanted })).await?;
                if let Value::Array(found) = answer["Responses"][table].take() {
                    items.extend(found);
                }
                wanted = answer["UnprocessedKeys"].take();
            }
        }
        Ok(items)
    }
}

/// Keys of one request at most.
const BATCH_MAX: usize = 100;
