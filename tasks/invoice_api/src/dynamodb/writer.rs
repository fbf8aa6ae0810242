//! Writes that only ever move an invoice forward: the row by the position of its change, the decision
//! by its rank. Whatever comes late, twice or from a writer that was believed dead changes nothing.

use super::client::{Client, Done};
use super::item::{self, number};
use super::tables::Tables;
use crate::entry::InvoiceView;
use crate::local::now;
use crate::version::decision_rank;
use futures::{StreamExt, TryStreamExt};
use invoices::Result;
use serde_json::{Map, Value, json};

/// How long a deleted invoice is remembered; longer than change events are kept in Kafka.
const REMEMBER_DELETED_SECONDS: u32 = 90 * 86_400;

/// What one invoice is to become.
#[derive(Debug, Clone)]
pub struct Write {
    pub id: i64,
    /// Position of the change that made it so; none leaves the row as it is.
    pub lsn: Option<u64>,
    /// None when the invoice was deleted.
    pub view: Option<InvoiceView>,
    /// Rank of the decision that was announced, which may be on an invoice that is deleted by now.
    pub decided: u64,
}

#[derive(Clone)]
pub struct Writer {
    pub client: Client,
    pub tables: Tables,
    pub scale: u8,
    /// Requests under way at once.
    pub concurrency: usize,
}

impl Writer {
    /// Writes all of it; how many updates found something newer there and changed nothing.
    ///
    /// # Errors
    /// As [`Client::call`]; what was written before the error stays.
    pub async fn write(&self, writes: Vec<Write>) -> Result<u64> {
        let done = futures::stream::iter(writes).map(|write| self.write_one(write));
        done.buffer_unordered(self.concurrency).try_fold(0, |sum, late| async move { Ok(sum + late) }).await
    }

    async fn write_one(&self, write: Write) -> Result<u64> {
        let mut late = 0;
        if let Some(lsn) = write.lsn {
            late += self.update(row_update(write.id, lsn, write.view.as_ref(), self.scale)).await?;
        }
        if let Some(update) = decision_update(&write) {
            late += self.update(update).await?;
        }
        Ok(late)
    }

    async fn update(&self, mut update: Value) -> Result<u64> {
        update["TableName"] = json!(self.tables.invoices);
        match self.client.call("UpdateItem", &update).await? {
            Done::Answer(_) => Ok(0),
            Done::ConditionFailed => Ok(1),
        }
    }

    /// Puts and deletes items without any condition, 25 at a time.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn replace(&self, table: &str, requests: Vec<Value>) -> Result<()> {
        let chunks: Vec<Vec<Value>> = requests.chunks(25).map(<[Value]>::to_vec).collect();
        let written = futures::stream::iter(chunks).map(|chunk| async move {
            let mut items = json!({ table: chunk });
            while items.as_object().is_some_and(|items| !items.is_empty()) {
                let mut answer = self.client.ask("BatchWriteItem", &json!({ "RequestItems": items })).await?;
                items = answer["UnprocessedItems"].take();
            }
            Ok(())
        });
        written.buffer_unordered(self.concurrency).try_collect().await
    }
}

/// The row, if what is there is older than this change.
fn row_update(id: i64, lsn: u64, view: Option<&InvoiceView>, scale: u8) -> Value {
    let lsn = i64::try_from(lsn).unwrap_or(i64::MAX);
    let row = view.map_or_else(Map::new, |view| item::row(view, scale));
    let mut set = vec!["lsn = :lsn".to_owned()];
    let mut remove = Vec::new();
    let mut values = Map::from_iter([(":lsn".to_owned(), number(lsn))]);
    for name in item::ROW {
        match row.get(name) {
            Some(value) => {
                set.push(format!("{name} = :{name}"));
                values.insert(format!(":{name}"), value.clone());
            }
            None => remove.push(name),
        }
    }
    if view.is_some() {
        remove.push("expires_at");
    } else {
        set.push("expires_at = :expires_at".to_owned());
        let expires_at = now().saturating_add(REMEMBER_DELETED_SECONDS);
        values.insert(":expires_at".to_owned(), number(i64::from(expires_at)));
    }
    let removed = if remove.is_empty() { String::new() } else { format!(" remove {}", remove.join(", ")) };
    json!({
        "Key": { "invoice_id": number(id) },
        "UpdateExpression": format!("set {}{removed}", set.join(", ")),
        "ConditionExpression": "attribute_not_exists(lsn) or lsn < :lsn",
        "ExpressionAttributeValues": values,
    })
}

/// The decision, if what is there is an earlier one; without its invoice only its rank.
fn decision_update(write: &Write) -> Option<Value> {
    let decision = write.view.as_ref().and_then(|view| view.decision.as_ref());
    let found = decision.map_or(0, |decision| decision_rank(decision.lsn.unsigned_abs(), &decision.status));
    let rank = i64::try_from(found.max(write.decided)).unwrap_or(i64::MAX);
    if rank == 0 {
        return None;
    }
    let mut values = json!({ ":rank": number(rank) });
    let (expression, condition) = match decision {
        Some(decision) => {
            values[":decision"] = item::decision(decision);
            (
                "set decision = :decision, decided = :rank",
                " or (decided = :rank and attribute_not_exists(decision))",
            )
        }
        None => ("set decided = :rank remove decision", ""),
    };
    Some(json!({
        "Key": { "invoice_id": number(write.id) },
        "UpdateExpression": expression,
        "ConditionExpression": format!("attribute_not_exists(decided) or decided < :rank{condition}"),
        "ExpressionAttributeValues": values,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Party;

    #[test]
    fn a_row_replaces_all_of_an_older_one_and_a_deletion_leaves_its_position() {
        let view = InvoiceView {
            issue_date_us: None,
            amount: 150,
            issuer: Party::new(Some(1), Some("A")),
            receiver: Party::new(None, None),
            decision: None,
        };
        let update = row_update(7, 9, Some(&view), 2);
        assert_eq!(
            update["UpdateExpression"],
            "set lsn = :lsn, amount = :amount, issuer_id = :issuer_id \
             remove issue_date_us, receiver_id, expires_at"
        );
        assert_eq!(update["ExpressionAttributeValues"][":amount"]["S"], "1.50");
        let deletion = row_update(7, 9, None, 2);
        assert_eq!(
            deletion["UpdateExpression"],
            "set lsn = :lsn, expires_at = :expires_at remove issue_date_us, amount, issuer_id, receiver_id"
        );
    }
}
