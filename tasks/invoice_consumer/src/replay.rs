//! `replay`: every stored event is decided again by a fresh engine and must come out bit for bit. Scores
//! of an ONNX model are made again where it is the model given here, and taken as stored where it is not.

use crate::decision::{Known, Status};
use crate::engine::{Engine, Outcome};
use crate::model::{Feature, Features};
use crate::onnx::Model;
use crate::rules::RuleSet;
use crate::store::{Store, StoredDecision, stored_decisions};
use change_events::{Change, Row};
use invoices::source::postgres::failed;
use invoices::{Error, Invoice, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Differences that are logged one by one.
const LOGGED_MAX: u64 = 20;

struct Replay<'a> {
    model: &'a Model,
    rule_sets: HashMap<String, RuleSet>,
    engine: Engine,
    partition: Option<i32>,
    known: HashMap<i64, Known>,
    decisions: u64,
    other_model: u64,
    /// Decisions by ONNX models that are not the one given here.
    unchecked_scores: BTreeMap<String, u64>,
    differences: u64,
}

/// Compares all stored decisions with what the engine makes of the same events.
///
/// # Errors
/// Refused when any differs.
pub fn run(store: &Store, model: &Model) -> Result<Value> {
    let mut client = store.connect()?;
    let mut replay = Replay {
        model,
        rule_sets: HashMap::new(),
        engine: Engine::default(),
        partition: None,
        known: HashMap::new(),
        decisions: 0,
        other_model: 0,
        unchecked_scores: BTreeMap::new(),
        differences: 0,
    };
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
    for (model, decisions) in &replay.unchecked_scores {
        tracing::warn!(model, decisions, "another ONNX model's scores are taken as stored");
    }
    let facts = json!({
        "decisions": replay.decisions,
        "differences": replay.differences,
        "other_model": replay.other_model,
        "unchecked_scores": replay.unchecked_scores.values().sum::<u64>(),
        "rule_sets": replay.rule_sets.len(),
    });
    if replay.differences > 0 {
        let message =
            format!("{} of {} decisions come out differently", replay.differences, replay.decisions);
        return Err(Error::refused(message).with_facts(facts));
    }
    Ok(facts)
}

impl Replay<'_> {
    fn see(&mut self, stored: &StoredDecision) -> Result<()> {
        if self.partition != Some(stored.partition) {
            self.partition = Some(stored.partition);
            self.engine = Engine::default();
            self.known.clear();
        }
        self.decisions += 1;
        let id = stored.known.filed.invoice_id;
        if !stored.model.is_exact_part_current() {
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
        let is_scored_here = stored.model == *self.model.version;
        if stored.model.has_score() && !is_scored_here {
            *self.unchecked_scores.entry(stored.model.id().to_owned()).or_default() += 1;
        }
        let score = |exact: &Features| match (stored.model.has_score(), is_scored_here) {
            (false, _) => 0,
            (true, true) => self.model.score(exact),
            (true, false) => stored.features[Feature::OnnxScore as usize],
        };
        let outcome = self.engine.decide(&change, stored.known.lsn, self.known.get(&id), rules, score);
        let difference = match &outcome {
            Outcome::Decided(decision) => {
                let mut parts = Vec::new();
                if (decision.status, decision.score) != (stored.known.status, stored.score) {
                    parts.push(format!("score {} {}", decision.score, decision.status.name()));
                }
                if decision.fired != stored.fired {
                    parts.push("other rules".to_owned());
                }
                for (index, meaning) in stored.model.meanings().iter().enumerate() {
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
    let row = Row::from(&Invoice { issue_date_us: stored.known.issue_date_us, ..invoice });
    Change {
        op: stored.op,
        invoice_id: invoice.invoice_id,
        renamed_from: None,
        after: (!stored.op.withdraws()).then_some(row),
        before: None,
        lsn: Some(stored.known.lsn),
        committed_us: stored.committed_us,
        is_incremental: false,
    }
}
