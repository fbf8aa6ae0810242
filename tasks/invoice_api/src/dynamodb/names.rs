//! The names of businesses, which have no change events: compared as a whole now and then.

use super::Both;
use super::client::Client;
use super::item::{number, read_number, text};
use crate::store::postgres::Connection;
use invoices::Result;
use serde_json::{Value, json};
use std::collections::HashMap;

const PAGE: i64 = 5000;

/// Makes the table of names equal to the source's; how many names that took.
///
/// # Errors
/// Retry when a database doesn't answer.
pub async fn synchronise(connection: &mut Connection, both: &Both) -> Result<usize> {
    let table = &both.writer.tables.businesses;
    let mut there = all(&both.writer.client, table).await?;
    let mut requests = Vec::new();
    for (id, name) in of_source(connection).await? {
        if there.remove(&id).as_ref() != Some(&name) {
            let item = json!({ "business_id": number(id), "business_name": text(&name) });
            requests.push(json!({ "PutRequest": { "Item": item } }));
        }
    }
    let gone = there.keys().map(|id| json!({ "DeleteRequest": { "Key": { "business_id": number(*id) } } }));
    requests.extend(gone);
    let count = requests.len();
    both.writer.replace(table, requests).await?;
    Ok(count)
}

/// How many names differ, are missing or are too many.
///
/// # Errors
/// Retry when a database doesn't answer.
pub async fn differences(connection: &mut Connection, both: &Both) -> Result<usize> {
    let mut there = all(&both.writer.client, &both.writer.tables.businesses).await?;
    let names = of_source(connection).await?;
    let different = names.into_iter().filter(|(id, name)| there.remove(id).as_ref() != Some(name)).count();
    Ok(different + there.len())
}

async fn of_source(connection: &mut Connection) -> Result<HashMap<i64, String>> {
    let mut names = HashMap::new();
    let mut last = i64::MIN;
    loop {
        let page = connection.names_after(last, PAGE).await?;
        let Some((highest, _)) = page.last() else { return Ok(names) };
        last = *highest;
        names.extend(page);
    }
}

async fn all(client: &Client, table: &str) -> Result<HashMap<i64, String>> {
    let mut names = HashMap::new();
    let mut scan = json!({ "TableName": table, "ConsistentRead": true });
    loop {
        let mut page = client.ask("Scan", &scan).await?;
        for item in page["Items"].as_array().into_iter().flatten() {
            if let (Some(id), Some(name)) =
                (read_number(&item["business_id"]), item["business_name"]["S"].as_str())
            {
                names.insert(id, name.to_owned());
            }
        }
        match page["LastEvaluatedKey"].take() {
            Value::Null => return Ok(names),
            next => scan["ExclusiveStartKey"] = next,
        }
    }
}
