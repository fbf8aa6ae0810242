//! Why an invoice was decided as it was, for people.

use crate::decision::Decision;
use crate::model::Version;
use crate::model::features::display;
use crate::rules::RuleSet;
use crate::store::{Store, StoredDecision, stored_decisions};
use invoices::source::postgres::failed;
use invoices::{Error, Invoice, Result, money};
use serde_json::{Value, json};
use std::fmt::Write;

/// Explains the latest stored decision on an invoice, with the rules that decided it.
///
/// # Errors
/// Usage when there is none.
pub fn stored(store: &Store, invoice_id: i64) -> Result<Value> {
    let mut client = store.connect()?;
    let mut latest: Option<StoredDecision> = None;
    stored_decisions(&mut client, Some(invoice_id), |decision| {
        if latest.as_ref().is_none_or(|known| known.known.lsn <= decision.known.lsn) {
            latest = Some(decision);
        }
        Ok(())
    })?;
    let decision =
        latest.ok_or_else(|| Error::usage(format!("there is no decision on invoice {invoice_id}")))?;
    let row = client
        .query_one("select source from risk.rule_sets where rule_set = $1", &[&decision.rule_set])
        .map_err(|error| failed("cannot read the rule set", error))?;
    let rules = RuleSet::parse(row.get(0))
        .map_err(|error| Error::bug("a stored rule set is wrong").because(error))?;
    let known = decision.known;
    let explained = Decision {
        invoice: Invoice { issue_date_us: known.issue_date_us, ..known.filed },
        filed_us: known.filed.issue_date_us,
        lsn: known.lsn,
        op: decision.op,
        status: known.status,
        score: decision.score,
        fired: decision.fired,
        features: decision.features,
        previous: None,
        committed_us: decision.committed_us,
    };
    eprint!("{}", text(&explained, &rules, &decision.model));
    Ok(json!({ "invoice_id": invoice_id, "decision": known.status, "score": explained.score }))
}

/// The decision, each rule with its condition, and the features.
pub fn text(decision: &Decision, rules: &RuleSet, model: &Version) -> String {
    let party = |id: Option<i64>| id.map_or("unknown".to_owned(), |id| id.to_string());
    let invoice = &decision.invoice;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Invoice {} from {} to {} of {}: {} with score {} (review from {}, block from {}; rules {}, model {})",
        invoice.invoice_id,
        party(invoice.issuer_id),
        party(invoice.receiver_id),
        money::format(invoice.amount.into(), 2),
        decision.status.name(),
        decision.score,
        rules.review_from,
        rules.block_from,
        rules.id,
        model.id(),
    );
    for rule in &rules.rules {
        let fired = decision.fired.iter().find(|fired| fired.id == rule.id);
        let condition = rule.when.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = match fired {
            Some(fired) => writeln!(
                text,
                "  + {:<20} {:>3}  {}\n{:29}{condition}",
                rule.id, fired.score, fired.reason, ""
            ),
            None => writeln!(text, "  - {:<20}      {condition}", rule.id),
        };
    }
    let _ = writeln!(text, "Features");
    for (index, meaning) in model.meanings().iter().enumerate() {
        let value = display(index, decision.features[index]);
        let _ = writeln!(text, "  {:<20} {value:>20}  {}", meaning.name, meaning.text);
    }
    text
}
