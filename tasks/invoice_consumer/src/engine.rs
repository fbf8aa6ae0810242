//! From a change to a decision. Pure: state, rules and what was known of the invoice decide, no clock.

use crate::decision::{Decision, Known, Status};
use crate::model::{Feature, Features, State, features::FEATURE_COUNT, filed_us};
use crate::rules::RuleSet;
use change_events::{Change, Op, Row};
use invoices::Invoice;

/// What a change led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Decided(Box<Decision>),
    /// The change was decided before; Debezium emits again after a crash.
    Duplicate,
    /// Neither amount nor parties changed, or what was deleted was never decided.
    Unchanged,
    /// An incomplete row of an unknown invoice; the text is a column that is missing.
    Incomplete(&'static str),
    /// The change lies before what is known of the invoice: a repetition, or another log. [`agrees`] says
    /// which.
    Earlier,
    /// A row of an incremental snapshot that says something else than what is known: without a position of
    /// its own nothing says which of the two is newer.
    Unplaced,
}

/// The state of one partition with the position of its last change.
#[derive(Debug, Default)]
pub struct Engine {
    pub state: State,
}

impl Engine {
    /// Decides one change and remembers it. `lsn` is the change's own or its place; `known` is the
    /// latest decision of the same invoice; `score` gives what an ONNX model says of the exact features.
    pub fn decide(
        &mut self,
        change: &Change,
        lsn: u64,
        known: Option<&Known>,
        rules: &RuleSet,
        score: impl FnOnce(&Features) -> i64,
    ) -> Outcome {
        if let Some(known) = known.filter(|known| is_repeated(change, lsn, known)) {
            // Rows of an incremental snapshot lie where the connector was, if they say where, not where they
            // were written.
            return match change.is_incremental {
                true if agrees(change, lsn, Some(known)) => Outcome::Duplicate,
                true => Outcome::Unplaced,
                false if lsn < known.lsn && change.lsn.is_some() => Outcome::Earlier,
                false => Outcome::Duplicate,
            };
        }
        let live = known.filter(|known| known.status != Status::Withdrawn);
        if change.op.withdraws() {
            return self.withdraw(change, lsn, live);
        }
        let row = known.map(|known| Invoice { issue_date_us: known.issue_date_us, ..known.filed });
        let invoice = match change.completed(row.as_ref()) {
            Ok(invoice) => invoice,
            Err(column) => return Outcome::Incomplete(column),
        };
        if live.is_some_and(|known| is_same(&invoice, known)) {
            // A snapshot reads what was decided, an update changed another column, a row came again.
            return if change.op == Op::Update { Outcome::Unchanged } else { Outcome::Duplicate };
        }
        if let Some(known) = live {
            self.state.remove(&known.filed);
        }
        let mut features = self.state.features(&invoice, change.committed_us);
        features[Feature::OnnxScore as usize] = score(&features);
        let verdict = rules.judge(&features);
        let decision = Decision {
            invoice,
            filed_us: filed_us(invoice.issue_date_us, change.committed_us),
            lsn,
            op: change.op,
            status: verdict.status,
            score: verdict.score,
            fired: verdict.fired,
            features,
            previous: known.copied(),
            committed_us: change.committed_us,
        };
        self.state.add(&decision.known().filed);
        Outcome::Decided(Box::new(decision))
    }

    /// Applies a decision that was made before, as when the state is rebuilt.
    pub fn remember(&mut self, filed: &Invoice, status: Status, live_before: Option<&Invoice>) {
        if let Some(before) = live_before {
            self.state.remove(before);
        }
        if status != Status::Withdrawn {
            self.state.add(filed);
        }
    }

    fn withdraw(&mut self, change: &Change, lsn: u64, live: Option<&Known>) -> Outcome {
        let Some(known) = live else { return Outcome::Unchanged };
        self.state.remove(&known.filed);
        let invoice = Invoice { issue_date_us: known.issue_date_us, ..known.filed };
        Outcome::Decided(Box::new(Decision {
            invoice,
            filed_us: known.filed.issue_date_us,
            lsn,
            op: change.op,
            status: Status::Withdrawn,
            score: 0,
            fired: Vec::new(),
            features: NO_FEATURES,
            previous: Some(*known),
            committed_us: change.committed_us,
        }))
    }
}

/// A withdrawal is no judgement.
const NO_FEATURES: Features = [0; FEATURE_COUNT];

/// Why a row of an incremental snapshot that differs from what is known can't be decided.
pub const UNPLACED: &str = "it is a row of an incremental snapshot, which has no position, and differs from what is \
    known; let the connector send a blocking snapshot instead (docs/runbook/lost-slot.md)";

/// Why a truncation can't be decided that lies before what is known, and that was not decided before.
pub const UNPLACED_TRUNCATION: &str = "the table was truncated at a position before what is known: it is repeated, or \
    another source's; if its invoices are gone withdraw them by deleting them (docs/migrate-source.md)";

/// Whether an earlier change is a repetition: what the connector sends again after a crash says what was
/// decided as of its position, and what says the same as the latest decision contradicts nothing. Any other
/// change comes from a log that began anew, because a row lock lets one writer at a time, so that positions
/// of one row rise; [`behind_snapshot`] is the exception. `as_of` is the latest decision on the invoice at
/// the change's position or below.
pub fn is_repetition(change: &Change, lsn: u64, as_of: Option<&Known>, latest: Option<&Known>) -> bool {
    agrees(change, lsn, as_of) || agrees(change, lsn, latest)
}

/// Where a change is placed that contradicts a row of a snapshot from below: right behind that row. The
/// row has the snapshot's position, and a transaction that was open while it was read wrote below it and
/// committed later.
pub fn behind_snapshot(change: &Change, latest: &Known) -> Option<u64> {
    (latest.is_loose && change.op != Op::Read).then(|| latest.lsn + 1)
}

fn agrees(change: &Change, lsn: u64, as_of: Option<&Known>) -> bool {
    let Some(known) = as_of else { return false };
    if known.lsn == lsn {
        return true;
    }
    let is_live = known.status != Status::Withdrawn;
    if change.op.withdraws() {
        return !is_live;
    }
    let row = Invoice { issue_date_us: known.issue_date_us, ..known.filed };
    is_live && change.completed(Some(&row)).is_ok_and(|invoice| is_same(&invoice, known))
}

/// A part of a changed id, completed by what was known under the old one.
pub fn renamed(part: Change, old: Option<&Known>) -> Change {
    match (part.renamed_from, part.before, old) {
        (Some(_), None, Some(old)) => {
            let row = Invoice { issue_date_us: old.issue_date_us, ..old.filed };
            Change { before: Some(Row::from(&row)), ..part }
        }
        _ => part,
    }
}

/// Changes of one row have rising positions, because a row lock lets one writer at a time. A change of
/// the message key alone comes as a deletion and a creation of the same position.
fn is_repeated(change: &Change, lsn: u64, known: &Known) -> bool {
    let second_half = known.status == Status::Withdrawn && change.op == Op::Create && lsn == known.lsn;
    lsn <= known.lsn && !second_half
}

fn is_same(invoice: &Invoice, known: &Known) -> bool {
    let parties = |invoice: &Invoice| (invoice.issuer_id, invoice.receiver_id);
    invoice.amount == known.filed.amount && parties(invoice) == parties(&known.filed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::DEFAULT_RULES;
    use change_events::Row;

    fn change(op: Op, id: i64, amount: i64, receiver: i64) -> Change {
        let row = Row {
            issue_date_us: Some(1_000_000),
            issuer_id: Some(Some(1)),
            receiver_id: Some(Some(receiver)),
            amount: Some(amount),
        };
        let after = (op != Op::Delete).then_some(row);
        Change {
            op,
            invoice_id: id,
            renamed_from: None,
            after,
            before: None,
            lsn: Some(0),
            committed_us: None,
            is_incremental: false,
        }
    }

    struct Desk {
        engine: Engine,
        rules: RuleSet,
        known: Option<Known>,
    }

    impl Desk {
        fn new() -> Self {
            let rules = RuleSet::parse(DEFAULT_RULES).unwrap();
            Self { engine: Engine::default(), rules, known: None }
        }

        fn see(&mut self, change: &Change, lsn: u64) -> Outcome {
            let outcome = self.engine.decide(change, lsn, self.known.as_ref(), &self.rules, |_| 0);
            if let Outcome::Decided(decision) = &outcome {
                self.known = Some(decision.known());
            }
            outcome
        }

        fn decided(&mut self, change: &Change, lsn: u64) -> Decision {
            match self.see(change, lsn) {
                Outcome::Decided(decision) => *decision,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_creation_that_comes_again_is_a_duplicate_even_after_later_changes() {
        let mut desk = Desk::new();
        let created = change(Op::Create, 7, 500, 2);
        assert_eq!(desk.decided(&created, 10).status, Status::Approve);
        assert_eq!(desk.see(&created, 10), Outcome::Duplicate);
        desk.decided(&change(Op::Update, 7, 600, 2), 20);
        assert_eq!(desk.see(&created, 10), Outcome::Earlier);
        assert_eq!(desk.see(&Change { is_incremental: true, ..created }, 10), Outcome::Unplaced);
        let same = change(Op::Read, 7, 600, 2);
        assert_eq!(desk.see(&Change { is_incremental: true, ..same }, 10), Outcome::Duplicate);
        assert_eq!(desk.see(&Change { lsn: None, ..created }, 10), Outcome::Duplicate);
        assert_eq!(desk.see(&change(Op::Update, 7, 600, 2), 20), Outcome::Duplicate);
        desk.decided(&change(Op::Delete, 7, 0, 2), 30);
        assert_eq!(desk.see(&change(Op::Update, 7, 600, 2), 20), Outcome::Earlier);
        assert_eq!(desk.see(&change(Op::Delete, 7, 0, 2), 30), Outcome::Duplicate);
    }

    #[test]
    fn a_repetition_says_what_was_decided_and_another_log_does_not() {
        let mut desk = Desk::new();
        let first = desk.decided(&change(Op::Create, 7, 500, 2), 10).known();
        let agree = |op, amount, lsn, as_of: Option<&Known>| agrees(&change(op, 7, amount, 2), lsn, as_of);
        assert!(agree(Op::Create, 500, 10, Some(&first)));
        // An update of other columns, which decided nothing.
        assert!(agree(Op::Update, 500, 15, Some(&first)));
        assert!(!agree(Op::Update, 600, 15, Some(&first)));
        assert!(!agree(Op::Delete, 0, 15, Some(&first)));
        assert!(!agree(Op::Create, 500, 5, None) && !agree(Op::Delete, 0, 5, None));
        let gone = desk.decided(&change(Op::Delete, 7, 0, 2), 30).known();
        assert!(agree(Op::Delete, 0, 35, Some(&gone)) && !agree(Op::Update, 500, 35, Some(&gone)));
    }

    #[test]
    fn a_row_with_another_id_is_withdrawn_under_the_old_one_and_decided_under_the_new_one() {
        let mut desk = Desk::new();
        let old = desk.decided(&change(Op::Create, 7, 500, 2), 10);
        let mut moved = change(Op::Update, 8, 500, 2);
        moved.renamed_from = Some(7);
        moved.after = Some(Row { amount: Some(500), ..Row::default() });
        let parts: Vec<Change> = moved.parts().collect();
        assert_eq!((parts[0].op, parts[0].invoice_id, parts[1].invoice_id), (Op::Delete, 7, 8));
        let known = old.known();
        assert_eq!(desk.decided(&parts[0], 20).status, Status::Withdrawn);
        desk.known = None;
        let new = desk.decided(&renamed(parts[1], Some(&known)), 20);
        assert_eq!((new.invoice.invoice_id, new.invoice.receiver_id), (8, Some(2)));
        // The invoice isn't compared with itself under its old id.
        assert_eq!(new.features[Feature::IssuerHistory as usize], 0);
    }

    #[test]
    fn updates_that_change_neither_amount_nor_parties_decide_nothing() {
        let mut desk = Desk::new();
        desk.decided(&change(Op::Create, 7, 500, 2), 10);
        assert_eq!(desk.see(&change(Op::Update, 7, 500, 2), 20), Outcome::Unchanged);
        let to_itself = desk.decided(&change(Op::Update, 7, 500, 1), 30);
        assert_eq!(to_itself.status_change(), Some((Status::Approve, Status::Block)));
        // The invoice isn't compared with its own former version.
        assert_eq!(to_itself.features[Feature::IssuerHistory as usize], 0);
    }

    #[test]
    fn a_changed_key_withdraws_and_decides_anew() {
        let mut desk = Desk::new();
        desk.decided(&change(Op::Create, 7, 500, 2), 10);
        desk.decided(&change(Op::Delete, 7, 0, 2), 20);
        desk.decided(&change(Op::Create, 7, 500, 3), 20);
        assert_eq!(desk.see(&change(Op::Create, 7, 500, 3), 20), Outcome::Duplicate);
        assert_eq!(desk.see(&change(Op::Delete, 7, 0, 2), 20), Outcome::Duplicate);
    }

    #[test]
    fn deleting_what_was_flagged_is_told_and_deleting_the_unknown_is_not() {
        let mut desk = Desk::new();
        assert_eq!(desk.see(&change(Op::Delete, 7, 0, 2), 5), Outcome::Unchanged);
        desk.decided(&change(Op::Create, 7, 500, 1), 10);
        let gone = desk.decided(&change(Op::Delete, 7, 0, 1), 20);
        assert_eq!(gone.status_change(), Some((Status::Block, Status::Withdrawn)));
        let again = desk.decided(&change(Op::Create, 7, 500, 2), 30);
        assert_eq!(again.features[Feature::IssuerHistory as usize], 0);
    }

    #[test]
    fn what_a_snapshot_reads_is_told_to_nobody() {
        let mut desk = Desk::new();
        let read = desk.decided(&change(Op::Read, 7, 500, 1), 10);
        assert_eq!((read.status, read.status_change()), (Status::Block, None));
        assert_eq!(desk.see(&change(Op::Read, 7, 500, 1), 99), Outcome::Duplicate);
    }

    #[test]
    fn a_transaction_that_was_open_during_a_snapshot_comes_behind_its_row() {
        let mut desk = Desk::new();
        let read = desk.decided(&change(Op::Read, 7, 500, 2), 100).known();
        let update = change(Op::Update, 7, 600, 2);
        assert_eq!(desk.see(&update, 80), Outcome::Earlier);
        assert!(!is_repetition(&update, 80, None, Some(&read)));
        assert_eq!(behind_snapshot(&update, &read), Some(101));
        let updated = desk.decided(&update, 101).known();
        // The transaction's next change of the row, and the first one once more.
        let deletion = change(Op::Delete, 7, 0, 2);
        assert_eq!(desk.see(&deletion, 90), Outcome::Earlier);
        assert_eq!(behind_snapshot(&deletion, &updated), Some(102));
        assert!(is_repetition(&update, 80, None, Some(&updated)));
        // Another snapshot's row is no such change, and behind a change of its own position there is none.
        assert_eq!(behind_snapshot(&change(Op::Read, 7, 600, 2), &updated), None);
        let later = desk.decided(&change(Op::Update, 7, 700, 2), 200).known();
        assert_eq!(behind_snapshot(&update, &later), None);
    }

    #[test]
    fn values_that_did_not_change_come_from_what_is_known() {
        let mut desk = Desk::new();
        let mut partial = change(Op::Update, 7, 800, 2);
        partial.after = Some(Row { amount: Some(800), ..Row::default() });
        assert_eq!(desk.see(&partial, 5), Outcome::Incomplete("issue date"));
        desk.decided(&change(Op::Create, 7, 500, 2), 10);
        let updated = desk.decided(&partial, 20);
        assert_eq!((updated.invoice.amount, updated.invoice.receiver_id), (800, Some(2)));
    }
}
