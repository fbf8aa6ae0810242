//! `replay`: every stored event is decided again by a fresh engine and must come out bit for bit.

use crate::change::{Change, Row};
use crate::decision::{Known, Op, Status};
use crate::engine::{Engine, Outcome};
use crate::model::features::{MEANINGS, MODEL};
use crate::rules::RuleSet;
use crate::store::{Store, StoredDecision, stored_decisions};
use invoices::source::postgres::failed;
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;

/// Differences that are logged one by one.
const LOGGED_MAX: u64 = 20;

#[derive(Default)]
struct Replay {
    rule_sets: HashMap<String, RuleSet>,
    engine: Engine,
    partition: Option<i32>,
    known: HashMap<i64, Known>,
    decisions: u64,
    other_model: u64,
    differences: u64,
}

/// Compares all stored decisions with what the engine makes of the same events.
///
/// # Errors
/// Refused when any differs.
pub fn run(store: &Store) -> Result<Value> {
    let mut client = store.connect()?;
    let mut replay = Replay::default();
    let rows = client
        .query("select rule_set, source from risk.rule_sets", &[])
        .map_err(|error| failed("cannot read the rule sets", error))?;
    for row in rows {
        let (id, source): (String, String) = (row.get(0), row.get(1));
        let rules = RuleSet::parse(&source).map_err(|error| {
            Error::bug(format!("the stored rule set {id} is not valid any more: {error}"))
        })?;
        replay.rule_sets.insert(id, rules);
    }
    stored_decisions(&mut client, None, |stored| {
        invoices::task::check_stop()?;
        replay.see(&stored)
    })?;
    let facts = json!({
        "decisions": replay.decisions,
        "differences": replay.differences,
        "other_model": replay.other_model,
        "rule_sets": replay.rule_sets.len(),
    });
    if replay.differences > 0 {
        let message =
            format!("{} of {} decisions come out differently", replay.differences, replay.decisions);
        return Err(Error::refused(message).with_facts(facts));
    }
    Ok(facts)
}

impl Replay {
    fn see(&mut self, stored: &StoredDecision) -> Result<()> {
        if self.partition != Some(stored.partition) {
            self.partition = Some(stored.partition);
            self.engine = Engine::default();
            self.known.clear();
        }
        self.decisions += 1;
        let id = stored.known.filed.invoice_id;
        if stored.model != MODEL {
            // Another version's features can't be made again; the state still follows.
            self.other_model += 1;
            let before = self.known.get(&id).filter(|known| known.status != Status::Withdrawn);
            self.engine.remember(&stored.known.filed, stored.known.status, before.map(|known| &known.filed));
            self.known.insert(id, stored.known);
            return Ok(());
        }
        let rules = self
            .rule_sets
            .get(&stored.rule_set)
            .ok_or_else(|| Error::bug(format!("the rule set {} is not stored", stored.rule_set)))?;
        let change = change_of(stored);
        let outcome = self.engine.decide(&change, stored.known.lsn, self.known.get(&id), rules);
        let difference = match &outcome {
            Outcome::Decided(decision) => {
                let mut parts = Vec::new();
                if (decision.status, decision.score) != (stored.known.status, stored.score) {
                    parts.push(format!("score {} {}", decision.score, decision.status.name()));
                }
                if decision.fired != stored.fired {
                    parts.push("other rules".to_owned());
                }
                for (index, meaning) in MEANINGS.iter().enumerate() {
                    let (now, then) = (decision.features[index], stored.features[index]);
                    if now != then {
                        parts.push(format!("{} {now} instead of {then}", meaning.name));
                    }
                }
                self.known.insert(id, decision.known());
                parts.join(", ")
            }
            other => format!("{other:?}"),
        };
        if !difference.is_empty() {
            self.differences += 1;
            if self.differences <= LOGGED_MAX {
                let (partition, offset) = (stored.partition, stored.log_offset);
                tracing::error!(
                    invoice_id = id,
                    partition,
                    offset,
                    "a decision comes out differently: {difference}"
                );
            }
        }
        Ok(())
    }
}

/// The event that led to a stored decision.
fn change_of(stored: &StoredDecision) -> Change {
    let invoice = stored.known.filed;
    let row = Row {
        issue_date_us: Some(stored.known.issue_date_us),
        issuer_id: Some(invoice.issuer_id),
        receiver_id: Some(invoice.receiver_id),
        amount: Some(invoice.amount),
    };
    let after = (stored.op != Op::Delete).then_some(row);
    let lsn = Some(stored.known.lsn);
    let committed_us = stored.committed_us;
    Change { op: stored.op, invoice_id: invoice.invoice_id, after, before: None, lsn, committed_us }
}
