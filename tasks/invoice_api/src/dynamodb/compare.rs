//! Are both homes equal? Every invoice with its decision, in both directions, and every name.

use super::args::CompareArgs;
use super::item::Item;
use super::{Both, names};
use crate::entry::InvoiceView;
use crate::store::Reader;
use crate::store::postgres::Connection;
use invoices::task::{Task, check_stop};
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PAGE: i64 = 1000;
const SHOWN_MAX: usize = 20;
/// Differences that are looked at again, at most; more of them do not settle.
const DIFFERENCES_MAX: usize = 10_000;
const PAUSE: Duration = Duration::from_millis(250);

/// # Errors
/// Refused when they differ, retry when a database doesn't answer.
pub fn run(args: &CompareArgs, both: &Both, task: &Task) -> Result<Value> {
    task.block_on(compare(args, both))
}

async fn compare(args: &CompareArgs, both: &Both) -> Result<Value> {
    let mut connection = both.connection();
    let mut suspects = Vec::new();
    let (mut compared, mut last) = (0_u64, i64::MIN);
    loop {
        check_stop()?;
        let page = connection.after(last, PAGE).await?;
        let Some((highest, _)) = page.last() else { break };
        last = *highest;
        let ids: Vec<i64> = page.iter().map(|(id, _)| *id).collect();
        let mut items = both.items.raw(&ids).await?;
        compared += page.len() as u64;
        suspects.extend(
            page.into_iter()
                .filter_map(|(id, view)| difference(Some(&view), items.remove(&id).as_ref()).map(|_| id)),
        );
        if suspects.len() > DIFFERENCES_MAX {
            break;
        }
    }
    let mut reader = Reader::Postgres(Box::new(both.connection()));
    suspects.extend(surplus(both, &mut reader).await?);
    suspects.sort_unstable();
    suspects.dedup();
    let differing = settled(args, both, &mut reader, suspects).await?;
    let names = settled_names(args, both, &mut connection).await?;
    let facts = json!({
        "command": "dynamodb compare", "compared": compared, "differing": differing.len(),
        "names_differing": names,
        "examples": differing.iter().take(SHOWN_MAX)
            .map(|(id, what)| json!({ "invoice_id": id, "what": what })).collect::<Vec<_>>(),
    });
    if differing.is_empty() && names == 0 {
        return Ok(facts);
    }
    let sentence =
        format!("{} invoices and {names} names differ between Postgres and DynamoDB", differing.len());
    Err(Error::refused(sentence).with_facts(facts))
}

/// Live items whose invoice Postgres does not have.
async fn surplus(both: &Both, reader: &mut Reader) -> Result<Vec<i64>> {
    let mut surplus = Vec::new();
    let mut scan = json!({
        "TableName": both.writer.tables.invoices,
        "ConsistentRead": true,
        "ProjectionExpression": "invoice_id",
        "FilterExpression": "attribute_exists(amount)",
    });
    loop {
        check_stop()?;
        let mut page = both.writer.client.ask("Scan", &scan).await?;
        let items = page["Items"].as_array().into_iter().flatten();
        let ids: Vec<i64> = items.filter_map(|item| super::item::read_number(&item["invoice_id"])).collect();
        for chunk in ids.chunks(PAGE as usize) {
            let read = reader.read(chunk).await?;
            let missing = chunk.iter().zip(&read.found).filter(|(_, found)| found.is_none());
            surplus.extend(missing.map(|(id, _)| *id));
        }
        match page["LastEvaluatedKey"].take() {
            Value::Null => return Ok(surplus),
            next => scan["ExclusiveStartKey"] = next,
        }
    }
}

/// What still differs when changes under way have had their time.
async fn settled(
    args: &CompareArgs,
    both: &Both,
    reader: &mut Reader,
    mut suspects: Vec<i64>,
) -> Result<BTreeMap<i64, &'static str>> {
    let deadline = Instant::now() + Duration::from_secs(args.settle_seconds);
    loop {
        let mut differing = BTreeMap::new();
        for chunk in suspects.chunks(PAGE as usize) {
            let read = reader.read(chunk).await?;
            let items = both.items.raw(chunk).await?;
            for (id, view) in chunk.iter().zip(read.found) {
                if let Some(what) = difference(view.as_ref(), items.get(id)) {
                    differing.insert(*id, what);
                }
            }
        }
        if differing.is_empty() || Instant::now() > deadline {
            return Ok(differing);
        }
        check_stop()?;
        suspects = differing.into_keys().collect();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn settled_names(args: &CompareArgs, both: &Both, connection: &mut Connection) -> Result<usize> {
    let deadline = Instant::now() + Duration::from_secs(args.settle_seconds);
    loop {
        let count = names::differences(connection, both).await?;
        if count == 0 || Instant::now() > deadline {
            return Ok(count);
        }
        check_stop()?;
        tokio::time::sleep(PAUSE).await;
    }
}

/// What differs first; names are compared apart.
fn difference(view: Option<&InvoiceView>, item: Option<&Item>) -> Option<&'static str> {
    let there = item.and_then(|item| item.view.as_ref());
    let (Some(view), Some(there)) = (view, there) else {
        return match (view, there) {
            (None, None) => None,
            (Some(_), _) => Some("missing in DynamoDB"),
            (None, _) => Some("not in Postgres"),
        };
    };
    let checks = [
        (view.amount == there.amount, "amount"),
        (view.issue_date_us == there.issue_date_us, "issue date"),
        (view.issuer.id == there.issuer.id, "issuer"),
        (view.receiver.id == there.receiver.id, "receiver"),
        (view.decision == there.decision, "decision"),
    ];
    checks.into_iter().find(|(is_equal, _)| !is_equal).map(|(_, what)| what)
}
