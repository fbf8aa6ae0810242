//! An invoice as an item of DynamoDB. Pure.
//!
//! `invoice_id` N, `lsn` N (the change that was applied last), `issue_date_us` N, `amount` S (decimal),
//! `issuer_id` N, `receiver_id` N, `decision` M, `decided` N (its rank). A deleted invoice keeps
//! `invoice_id`, `lsn` and `expires_at` for a while, so that a late change does not bring it back.

use crate::entry::{Decision, InvoiceView, Party};
use crate::version::Applied;
use invoices::fingerprint::NULL_BUSINESS;
use invoices::money::{self, MoneyType};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Attributes of the row itself; absent from a deleted invoice.
pub const ROW: [&str; 4] = ["issue_date_us", "amount", "issuer_id", "receiver_id"];

/// What an item says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Item {
    pub applied: Applied,
    /// None: the invoice was deleted, or nothing but a decision has arrived.
    pub view: Option<InvoiceView>,
}

pub fn number(value: i64) -> Value {
    json!({ "N": value.to_string() })
}

pub fn text(value: &str) -> Value {
    json!({ "S": value })
}

pub fn read_number(value: &Value) -> Option<i64> {
    value["N"].as_str()?.parse().ok()
}

/// The row's attributes.
pub fn row(view: &InvoiceView, scale: u8) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("amount".into(), text(&money::format(i128::from(view.amount), scale)));
    if let Some(date) = view.issue_date_us {
        row.insert("issue_date_us".into(), number(date));
    }
    for (name, party) in [("issuer_id", &view.issuer), ("receiver_id", &view.receiver)] {
        if party.id != NULL_BUSINESS {
            row.insert(name.into(), number(party.id));
        }
    }
    row
}

pub fn decision(decision: &Decision) -> Value {
    let mut map = Map::new();
    map.insert("status".into(), text(&decision.status));
    map.insert("score".into(), number(i64::from(decision.score)));
    map.insert("lsn".into(), number(decision.lsn));
    map.insert("rule_set".into(), text(&decision.rule_set));
    map.insert("decided_at_us".into(), number(decision.decided_at_us));
    if let Some(rules) = &decision.rules {
        map.insert("rules".into(), text(rules));
    }
    json!({ "M": map })
}

/// # Errors
/// A sentence about what the item lacks.
pub fn read(item: &Value, money: MoneyType) -> Result<Item, String> {
    let applied = Applied {
        lsn: read_number(&item["lsn"]).unwrap_or(0).unsigned_abs(),
        decided: read_number(&item["decided"]).unwrap_or(0).unsigned_abs(),
    };
    let Some(amount) = item["amount"]["S"].as_str() else { return Ok(Item { applied, view: None }) };
    let amount = money::parse_amount(amount, money).map_err(|error| format!("the amount {error}"))?;
    let decision = match &item["decision"]["M"] {
        Value::Null => None,
        map => Some(Arc::new(read_decision(map).ok_or("the decision can't be read")?)),
    };
    let view = InvoiceView {
        issue_date_us: read_number(&item["issue_date_us"]),
        amount,
        issuer: Party::new(read_number(&item["issuer_id"]), None),
        receiver: Party::new(read_number(&item["receiver_id"]), None),
        decision,
    };
    Ok(Item { applied, view: Some(view) })
}

fn read_decision(map: &Value) -> Option<Decision> {
    let string = |name: &str| map[name]["S"].as_str().map(str::to_owned);
    Some(Decision {
        status: string("status")?,
        score: read_number(&map["score"])?.try_into().ok()?,
        lsn: read_number(&map["lsn"])?,
        rule_set: string("rule_set")?,
        rules: string("rules"),
        decided_at_us: read_number(&map["decided_at_us"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MONEY: MoneyType = MoneyType { precision: 18, scale: 2 };

    proptest! {
        #[test]
        fn an_invoice_survives_the_way_through_an_item(
            amount in -999_999_999_999_999_999_i64..=999_999_999_999_999_999,
            date: Option<i64>, issuer: Option<i64>, receiver: Option<i64>,
            decided: Option<(i16, i64, String, Option<String>)>,
        ) {
            let decided = decided.map(|(score, lsn, rule_set, rules)| Arc::new(Decision {
                status: "review".into(), score, lsn, rule_set, rules, decided_at_us: lsn,
            }));
            let view = InvoiceView {
                issue_date_us: date,
                amount,
                issuer: Party::new(issuer, None),
                receiver: Party::new(receiver, None),
                decision: decided.clone(),
            };
            let mut item = Value::Object(row(&view, MONEY.scale));
            if let Some(decided) = &decided {
                item["decision"] = decision(decided);
            }
            item["lsn"] = number(7);
            let read = read(&item, MONEY).unwrap();
            prop_assert_eq!(read.view, Some(view));
            prop_assert_eq!(read.applied.lsn, 7);
        }
    }

    #[test]
    fn a_deleted_invoice_is_none_with_its_position() {
        let item = json!({ "invoice_id": number(1), "lsn": number(9), "expires_at": number(5) });
        let expected = Item { applied: Applied { lsn: 9, decided: 0 }, view: None };
        assert_eq!(read(&item, MONEY), Ok(expected));
    }
}
