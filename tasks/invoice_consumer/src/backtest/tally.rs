//! What changes when other rules decide, counted. Pure.

use super::read::Standing;
use crate::decision::{Fired, Status};
use crate::rules::{Firing, RuleSet, Verdict};
use invoices::Month;
use std::collections::BTreeMap;

/// The statuses that a standing decision has, in the order of the tables.
pub const STATUSES: [Status; 3] = [Status::Approve, Status::Review, Status::Block];

/// Invoices and their amounts in cents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    pub invoices: u64,
    pub cents: i128,
}

/// The same of the decisions as they stand and of the candidate rules'.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Both {
    pub before: Amount,
    pub after: Amount,
}

/// How flagged invoices (review or block) compare with the labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hits {
    pub flagged: u64,
    /// Flagged ones that are labelled as frauds.
    pub frauds: u64,
    /// Flagged ones that are labelled as legitimate.
    pub legitimate: u64,
}

/// An invoice that would have another status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub invoice_id: i64,
    pub issue_date_us: i64,
    pub amount_cents: i64,
    pub before: Status,
    pub score_before: u8,
    pub after: Verdict,
}

/// All counts; those of several parts are merged.
#[derive(Debug, Default)]
pub struct Tally {
    /// From one status to another, by the positions in [`STATUSES`].
    pub moves: [[Amount; 3]; 3],
    pub by_month: BTreeMap<Month, [Both; 3]>,
    pub by_rule: BTreeMap<String, Both>,
    pub changes: Vec<Changed>,
    /// Scores that differ although the status doesn't.
    pub other_scores: u64,
    /// Decisions by another version of the features, which were left out.
    pub other_model: u64,
    /// Labelled frauds among the invoices.
    pub frauds: u64,
    pub hits_before: Hits,
    pub hits_after: Hits,
}

impl Amount {
    pub fn add(&mut self, cents: i64) {
        self.invoices += 1;
        self.cents += i128::from(cents);
    }

    fn merge(&mut self, other: Self) {
        self.invoices += other.invoices;
        self.cents += other.cents;
    }
}

impl Both {
    fn merge(&mut self, other: Self) {
        self.before.merge(other.before);
        self.after.merge(other.after);
    }
}

impl Hits {
    fn add(&mut self, status: Status, label: Option<bool>) {
        if status.is_flagged() {
            self.flagged += 1;
            self.frauds += u64::from(label == Some(true));
            self.legitimate += u64::from(label == Some(false));
        }
    }

    fn merge(&mut self, other: Self) {
        self.flagged += other.flagged;
        self.frauds += other.frauds;
        self.legitimate += other.legitimate;
    }
}

fn position(status: Status) -> usize {
    STATUSES.iter().position(|known| *known == status).unwrap_or_default()
}

impl Tally {
    /// Judges one decision anew. `label` is none without labels at all, and holds none for an invoice without one.
    pub fn add(&mut self, standing: &Standing<'_>, rules: &RuleSet, label: Option<Option<bool>>) {
        let cents = standing.amount_cents;
        let firing = rules.firing(&standing.features);
        let (score, after) = rules.status_of(&firing);
        let (from, to) = (position(standing.status), position(after));
        self.moves[from][to].add(cents);
        if let Some(month) = Month::of_timestamp_us(standing.issue_date_us) {
            let counts = self.by_month.entry(month).or_default();
            counts[from].before.add(cents);
            counts[to].after.add(cents);
        }
        for Firing { rule, .. } in &firing {
            self.rule(&rule.id).after.add(cents);
        }
        let stored: Vec<Fired> =
            standing.rules.and_then(|rules| serde_json::from_str(rules).ok()).unwrap_or_default();
        for rule in stored {
            self.rule(&rule.id).before.add(cents);
        }
        if from != to {
            self.changes.push(Changed {
                invoice_id: standing.invoice_id,
                issue_date_us: standing.issue_date_us,
                amount_cents: cents,
                before: standing.status,
                score_before: standing.score,
                after: rules.verdict(&firing, &standing.features),
            });
        } else if score != standing.score {
            self.other_scores += 1;
        }
        if let Some(label) = label {
            self.frauds += u64::from(label == Some(true));
            self.hits_before.add(standing.status, label);
            self.hits_after.add(after, label);
        }
    }

    fn rule(&mut self, id: &str) -> &mut Both {
        if !self.by_rule.contains_key(id) {
            self.by_rule.insert(id.to_owned(), Both::default());
        }
        self.by_rule.entry(id.to_owned()).or_default()
    }

    pub fn merge(&mut self, other: Self) {
        for (mine, theirs) in self.moves.iter_mut().flatten().zip(other.moves.iter().flatten()) {
            mine.merge(*theirs);
        }
        for (month, counts) in other.by_month {
            let mine = self.by_month.entry(month).or_default();
            mine.iter_mut().zip(counts).for_each(|(mine, theirs)| mine.merge(theirs));
        }
        for (id, counts) in other.by_rule {
            self.by_rule.entry(id).or_default().merge(counts);
        }
        self.changes.extend(other.changes);
        self.changes.sort_unstable_by_key(|change| change.invoice_id);
        self.other_scores += other.other_scores;
        self.other_model += other.other_model;
        self.frauds += other.frauds;
        self.hits_before.merge(other.hits_before);
        self.hits_after.merge(other.hits_after);
    }

    /// All invoices that were judged.
    pub fn judged(&self) -> Amount {
        let mut all = Amount::default();
        self.moves.iter().flatten().for_each(|amount| all.merge(*amount));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::features::FEATURE_COUNT;
    use crate::model::{Feature, Version};

    const RULES: &str = "[thresholds]\nreview = 40\nblock = 80\n\
        [[rule]]\nid = 'large'\nscore = 50\nreason = 'large'\nwhen = 'amount > 1000'\n\
        [[rule]]\nid = 'self'\nscore = 90\nreason = 'self'\nwhen = 'self_invoice'\n";

    fn standing(id: i64, amount: i64, status: Status, rules: Option<&'static str>) -> Standing<'static> {
        let mut features = [0; FEATURE_COUNT];
        features[Feature::Amount as usize] = amount;
        Standing {
            invoice_id: id,
            issue_date_us: 0,
            amount_cents: amount,
            status,
            score: 0,
            rules,
            features,
            model: Version::new(None),
        }
    }

    #[test]
    fn moves_months_rules_and_labels_are_counted_and_parts_add_up() {
        let rules = RuleSet::parse(RULES).unwrap();
        let gone = Some(r#"[{"id":"gone","score":60,"reason":"r"}]"#);
        let rows = [
            (standing(3, 500, Status::Review, gone), Some(false)),
            (standing(1, 2_000, Status::Approve, None), Some(true)),
            (standing(2, 100, Status::Approve, None), None),
        ];
        let mut parts: Vec<Tally> = Vec::new();
        for (row, label) in &rows {
            let mut part = Tally::default();
            part.add(row, &rules, Some(*label));
            parts.push(part);
        }
        let mut tally = Tally::default();
        parts.into_iter().for_each(|part| tally.merge(part));
        assert_eq!(tally.judged(), Amount { invoices: 3, cents: 2_600 });
        assert_eq!(tally.moves[0][1], Amount { invoices: 1, cents: 2_000 });
        assert_eq!(tally.moves[1][0], Amount { invoices: 1, cents: 500 });
        let ids: Vec<i64> = tally.changes.iter().map(|change| change.invoice_id).collect();
        assert_eq!(ids, [1, 3]);
        assert_eq!(tally.changes[0].after.fired[0].id, "large");
        assert_eq!((tally.by_rule["large"].after.invoices, tally.by_rule["gone"].before.cents), (1, 500));
        assert_eq!(tally.frauds, 1);
        assert_eq!(tally.hits_before, Hits { flagged: 1, frauds: 0, legitimate: 1 });
        assert_eq!(tally.hits_after, Hits { flagged: 1, frauds: 1, legitimate: 0 });
        let january = tally.by_month.values().next().unwrap();
        assert_eq!((january[0].before.invoices, january[0].after.invoices), (2, 2));
    }
}
