//! Invoices from DynamoDB, with the names of their businesses: the same answers as from Postgres.

use super::{PageOf, Read, Side};
use crate::dynamodb::client::Client;
use crate::dynamodb::item::{self, Item, number, read_number};
use crate::dynamodb::tables::{BY_ISSUER, BY_RECEIVER, Tables};
use crate::entry::{InvoiceView, Name, Party};
use crate::version::Snapshot;
use invoices::fingerprint::NULL_BUSINESS;
use invoices::money::MoneyType;
use invoices::{Error, Result};
use quick_cache::sync::Cache;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a name is remembered, and how many.
const NAMES_FOR: Duration = Duration::from_secs(30);
const NAMES_MAX: usize = 200_000;

/// Reads items; clones share connections and names.
#[derive(Clone)]
pub struct Items {
    client: Client,
    tables: Tables,
    money: MoneyType,
    names: Arc<Cache<i64, (Instant, Option<Name>)>>,
}

impl Items {
    pub fn new(client: Client, tables: Tables, money: MoneyType) -> Self {
        Self { client, tables, money, names: Arc::new(Cache::new(NAMES_MAX)) }
    }

    /// The epoch of the source whose changes the items have.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn source_epoch(&self) -> Result<u32> {
        crate::dynamodb::origin::source_epoch(&self.client, &self.tables).await
    }

    pub fn money(&self) -> MoneyType {
        self.money
    }

    /// Items as they are, without names.
    ///
    /// # Errors
    /// Retry when DynamoDB doesn't answer, refused for an item that is no invoice.
    pub async fn raw(&self, ids: &[i64]) -> Result<HashMap<i64, Item>> {
        let found = Tables::get_many(&self.client, &self.tables.invoices, "invoice_id", ids).await?;
        found.iter().map(|found| self.understood(found)).collect()
    }

    /// The id and the content of an item.
    ///
    /// # Errors
    /// Refused when it is no invoice.
    pub fn understood(&self, found: &Value) -> Result<(i64, Item)> {
        let id =
            read_number(&found["invoice_id"]).ok_or_else(|| Error::refused("an item has no invoice_id"))?;
        let item = item::read(found, self.money);
        Ok((id, item.map_err(|why| Error::refused(format!("invoice {id} in DynamoDB: {why}")))?))
    }

    pub async fn read(&self, ids: &[i64]) -> Result<Read> {
        let mut items = self.raw(ids).await?;
        let ordered: Vec<Item> = ids.iter().map(|id| items.remove(id).unwrap_or_default()).collect();
        let applied = ordered.iter().map(|item| item.applied).collect();
        let mut found: Vec<Option<InvoiceView>> = ordered.into_iter().map(|item| item.view).collect();
        self.name(found.iter_mut().flatten()).await?;
        Ok(Read { snapshot: Snapshot::unknown(), found, applied })
    }

    pub async fn page(&self, page: PageOf) -> Result<Vec<(i64, InvoiceView)>> {
        // An invoice of a business to itself is on both sides and comes once.
        let mut found: BTreeMap<i64, InvoiceView> = BTreeMap::new();
        for (side, index, column) in
            [(Side::Issued, BY_ISSUER, "issuer_id"), (Side::Received, BY_RECEIVER, "receiver_id")]
        {
            if page.side == side || page.side == Side::Both {
                found.extend(self.one_side(page, index, column).await?);
            }
        }
        let newest = found.into_iter().rev().take(usize::from(page.limit));
        let mut newest: Vec<(i64, InvoiceView)> = newest.collect();
        self.name(newest.iter_mut().map(|(_, view)| view)).await?;
        Ok(newest)
    }

    async fn one_side(&self, page: PageOf, index: &str, column: &str) -> Result<Vec<(i64, InvoiceView)>> {
        let mut rows = Vec::new();
        let mut query = json!({
            "TableName": self.tables.invoices,
            "IndexName": index,
            "KeyConditionExpression": format!("{column} = :business and invoice_id < :before"),
            "ExpressionAttributeValues": {
                ":business": number(page.business_id),
                ":before": number(page.before.unwrap_or(i64::MAX)),
            },
            "ScanIndexForward": false,
            "Limit": page.limit,
        });
        loop {
            let mut answer = self.client.ask("Query", &query).await?;
            for found in answer["Items"].as_array().into_iter().flatten() {
                let (id, item) = self.understood(found)?;
                rows.extend(item.view.map(|view| (id, view)));
            }
            let next = answer["LastEvaluatedKey"].take();
            if next.is_null() || rows.len() >= usize::from(page.limit) {
                return Ok(rows);
            }
            query["ExclusiveStartKey"] = next;
        }
    }

    pub async fn business_name(&self, business_id: i64) -> Result<Option<String>> {
        let names = self.names_of(&[business_id]).await?;
        Ok(names.get(&business_id).cloned().flatten().map(|name| name.to_string()))
    }

    async fn name(&self, views: impl Iterator<Item = &mut InvoiceView>) -> Result<()> {
        let mut parties: Vec<&mut Party> =
            views.flat_map(|view| [&mut view.issuer, &mut view.receiver]).collect();
        let mut ids: Vec<i64> =
            parties.iter().map(|party| party.id).filter(|id| *id != NULL_BUSINESS).collect();
        ids.sort_unstable();
        ids.dedup();
        let names = self.names_of(&ids).await?;
        for party in &mut parties {
            party.name = names.get(&party.id).cloned().flatten();
        }
        Ok(())
    }

    async fn names_of(&self, ids: &[i64]) -> Result<HashMap<i64, Option<Name>>> {
        let mut names = HashMap::with_capacity(ids.len());
        let mut wanted = Vec::new();
        for id in ids {
            match self.names.get(id) {
                Some((at, name)) if at.elapsed() < NAMES_FOR => drop(names.insert(*id, name)),
                _ => wanted.push(*id),
            }
        }
        let found = Tables::get_many(&self.client, &self.tables.businesses, "business_id", &wanted).await?;
        let mut read: HashMap<i64, Option<Name>> = wanted.iter().map(|id| (*id, None)).collect();
        for item in &found {
            if let Some(id) = read_number(&item["business_id"]) {
                read.insert(id, item["business_name"]["S"].as_str().map(|name| Name::new(name.into())));
            }
        }
        for (id, name) in &read {
            self.names.insert(*id, (Instant::now(), name.clone()));
        }
        names.extend(read);
        Ok(names)
    }
}
