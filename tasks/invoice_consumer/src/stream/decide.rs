//! From messages to the open batch.

use super::Service;
use super::assignment::Partition;
use super::dead_letters::{PUT_BACK_HEADER, header};
use crate::engine::{Outcome, UNPLACED, UNPLACED_TRUNCATION, behind_snapshot, is_repetition, renamed};
use crate::memory::Memory;
use crate::metrics::now_us;
use crate::model::Features;
use crate::rules::{RuleSet, Verdict};
use crate::store::{Batch, DeadLetter, Emptied, Receipt, is_unplaced, known_as_of, known_of};
use change_events::{Change, Event, Truncation};
use invoices::position;
use invoices::{Error, Result, failpoint};
use rdkafka::consumer::Consumer;
use rdkafka::message::{BorrowedMessage, Message};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of invoices, by partition and id.
type Known = Memory<(i32, i64)>;

/// A decoded message of one batch.
struct Decoded<'m> {
    message: BorrowedMessage<'m>,
    event: std::result::Result<Event, String>,
}

/// The change's position in the source, or its place in the topic; either with its epoch.
fn lsn_of(partition: &Partition, change: &Change, offset: i64) -> u64 {
    let epochs = partition.loaded.epochs;
    change.lsn.map_or_else(
        || position::stored(epochs.topic, offset as u64),
        |lsn| position::stored(epochs.source, lsn),
    )
}

impl Service<'_> {
    /// Decodes, looks up what is known, and adds the decisions to the open batch.
    pub(super) fn decide_all(&mut self, messages: Vec<BorrowedMessage<'_>>) -> Result<()> {
        let received_us = now_us();
        let messages = self.in_order(messages)?;
        let decoded: Vec<Decoded<'_>> = messages
            .into_iter()
            .map(|message| Decoded { event: self.decoder.decode(message.payload()), message })
            .collect();
        let mut known = self.look_up(&decoded)?;
        let mut batch = self.open_batch();
        for (index, Decoded { message, event }) in decoded.iter().enumerate() {
            let (number, offset) = (message.partition(), message.offset());
            let failure = match event {
                Ok(Event::Change(change)) => {
                    self.decide(change, message, received_us, &mut known, &mut batch)?
                }
                Ok(Event::Truncation(truncation)) => {
                    self.put_open(batch);
                    self.flush()?;
                    batch = self.open_batch();
                    let reason = self.why_not_truncated(message, *truncation)?;
                    if reason.is_none() {
                        if !self.truncate(message, *truncation, received_us)? {
                            return Ok(());
                        }
                        known = self.look_up(&decoded[index + 1..])?;
                        continue;
                    }
                    reason
                }
                Ok(Event::Nothing(nothing)) => {
                    tracing::debug!(?nothing, partition = number, offset, "nothing to decide");
                    None
                }
                Err(reason) => Some(reason.clone()),
            };
            let Some(place) = self.partitions.get(&number).map(|partition| partition.loaded.place(offset))
            else {
                continue;
            };
            if let Some(reason) = failure {
                if !self.send_letter(message, place, &reason)? {
                    // The partition is another consumer's now; nothing of this batch is written.
                    return self.forget_all();
                }
                batch.dead_letters.push(DeadLetter { partition: number, place, reason });
            }
            if let Some(partition) = self.partitions.get_mut(&number) {
                batch.advance(number, partition.loaded.next_offset, offset, partition.loaded.epochs);
                partition.loaded.next_offset = offset + 1;
            }
        }
        failpoint!("risk::decided");
        self.put_open(batch);
        Ok(())
    }

    fn open_batch(&self) -> Batch {
        let open = self.writer.take_open();
        open.unwrap_or_else(|| Batch::new(self.rules.active(), Arc::clone(&self.model.version)))
    }

    fn put_open(&self, batch: Batch) {
        if batch.messages > 0 {
            self.writer.put_open(batch);
        }
    }

    /// Decides one change; a reason when it can't be decided.
    fn decide(
        &mut self,
        change: &Change,
        message: &BorrowedMessage<'_>,
        received_us: i64,
        known: &mut Known,
        batch: &mut Batch,
    ) -> Result<Option<String>> {
        let (number, offset) = (message.partition(), message.offset());
        let old = change.renamed_from.and_then(|id| known.latest((number, id))).copied();
        let rules = Arc::clone(&batch.rules);
        let mut failure = None;
        for (step, part) in change.parts().enumerate() {
            let part = renamed(part, old.as_ref());
            let mut outcome = self.outcome(&part, None, message, known, &rules);
            if matches!(outcome, Outcome::Earlier) {
                outcome = self.settle(&part, message, known, &rules)?;
            }
            match outcome {
                Outcome::Decided(decision) => {
                    let Some(partition) = self.partitions.get_mut(&number) else { continue };
                    known.remember((number, part.invoice_id), decision.known());
                    partition.loaded.ids.insert(part.invoice_id as u64);
                    partition.loaded.decisions += 1;
                    let place = partition.loaded.place(offset);
                    if !decision.op.withdraws() {
                        let fired = decision.fired.clone();
                        let verdict = Verdict { score: decision.score, status: decision.status, fired };
                        self.rules.compare(part.invoice_id, &decision.features, &verdict);
                    }
                    let (step, decided_us) = (step as i32, now_us());
                    batch.add(&decision, Receipt { partition: number, place, step, received_us, decided_us });
                }
                Outcome::Duplicate | Outcome::Earlier => self.metrics.duplicate(),
                Outcome::Unchanged => {}
                Outcome::Unplaced => failure = Some(UNPLACED.to_owned()),
                Outcome::Incomplete(column) => {
                    failure = Some(format!("the {column} is missing and not known from before"));
                }
            }
        }
        Ok(failure)
    }

    /// What the engine says of a change at its own position, or at another one.
    fn outcome(
        &mut self,
        change: &Change,
        position: Option<u64>,
        message: &BorrowedMessage<'_>,
        known: &Known,
        rules: &RuleSet,
    ) -> Outcome {
        let number = message.partition();
        let Some(partition) = self.partitions.get_mut(&number) else { return Outcome::Unchanged };
        let lsn = position.unwrap_or_else(|| lsn_of(partition, change, message.offset()));
        let before = known.latest((number, change.invoice_id));
        let score = |exact: &Features| self.model.score(exact);
        partition.loaded.engine.decide(change, lsn, before, rules, score)
    }

    /// What a change is that lies before what is known of its invoice: a repetition, a dead letter that was
    /// put back late, of a transaction that was open while a snapshot read the row, or of another log.
    fn settle(
        &mut self,
        change: &Change,
        message: &BorrowedMessage<'_>,
        known: &Known,
        rules: &RuleSet,
    ) -> Result<Outcome> {
        let number = message.partition();
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(Outcome::Unchanged) };
        let lsn = lsn_of(partition, change, message.offset());
        let key = (number, change.invoice_id);
        let latest = known.latest(key);
        if is_repetition(change, lsn, known.as_of(key, lsn), latest)
            || header(message, PUT_BACK_HEADER).is_some()
        {
            return Ok(Outcome::Duplicate);
        }
        if let Some(behind) = latest.and_then(|latest| behind_snapshot(change, latest)) {
            return Ok(self.outcome(change, Some(behind), message, known, rules));
        }
        let epoch = position::next_epoch(partition.loaded.epochs.source)?;
        // Accepted by this run, and never written because the partition was lost meanwhile: it is the same.
        let begun = self.accepted_sources.get(&number);
        if !self.args.accept_new_source || begun.is_some_and(|begun| *begun != epoch) {
            return Err(Error::config(format!(
                "partition {number}, offset {}: {}; see docs/migrate-source.md, then go on with --accept-new-source",
                message.offset(),
                crate::began_anew(change.invoice_id, lsn, latest.map_or(0, |latest| latest.lsn))
            )));
        }
        self.accepted_sources.insert(number, epoch);
        partition.loaded.epochs.source = epoch;
        let offset = message.offset();
        tracing::warn!(
            partition = number,
            offset,
            epoch,
            "from here on the positions are those of a new source"
        );
        Ok(self.outcome(change, None, message, known, rules))
    }

    /// A truncation concerns all invoices, and nothing orders it against the messages of other partitions.
    fn why_not_truncated(
        &mut self,
        message: &BorrowedMessage<'_>,
        truncation: Truncation,
    ) -> Result<Option<String>> {
        let topic = &self.args.topic;
        let metadata = self.consumer.fetch_metadata(Some(topic), ASK_TIMEOUT).map_err(|error| {
            Error::retry(format!("cannot ask for the partitions of {topic}")).because(error)
        })?;
        let partitions = metadata.topics().iter().map(|topic| topic.partitions().len()).sum::<usize>();
        if partitions != 1 {
            return Ok(Some(format!(
                "the source's table was truncated, which {partitions} partitions can't be told in order: its \
                 invoices stay decided; withdraw them by deleting them, see docs/migrate-source.md"
            )));
        }
        let number = message.partition();
        let Some(partition) = self.partitions.get(&number) else { return Ok(None) };
        let lsn = lsn_of(partition, &truncation.of(0), message.offset());
        let is_unplaced = self.with_database(|_, client| is_unplaced(client, number, lsn))?;
        Ok(is_unplaced.unwrap_or(false).then(|| UNPLACED_TRUNCATION.to_owned()))
    }

    /// Withdraws every invoice that the table had; false when nothing more of these messages may be decided.
    fn truncate(
        &mut self,
        message: &BorrowedMessage<'_>,
        truncation: Truncation,
        received_us: i64,
    ) -> Result<bool> {
        let (number, offset) = (message.partition(), message.offset());
        self.flush()?;
        if self.writer.check_fenced()? {
            self.forget_all()?;
            return Ok(false);
        }
        let Some(partition) = self.partitions.get(&number) else { return Ok(false) };
        let (rules, model) = (self.rules.active(), Arc::clone(&self.model.version));
        let (place, epochs) = (partition.loaded.place(offset), partition.loaded.epochs);
        let from = partition.loaded.next_offset;
        let lsn = lsn_of(partition, &truncation.of(0), offset);
        let committed_us = truncation.committed_us;
        let emptied = self.with_database(|store, client| {
            let (rules, model) = (&*rules, &*model);
            let emptied = Emptied {
                partition: number,
                from,
                offset,
                place,
                lsn,
                committed_us,
                received_us,
                epochs,
                rules,
                model,
            };
            store.empty(client, &emptied)
        })?;
        let Some(Some(withdrawn)) = emptied else {
            self.forget_all()?;
            return Ok(false);
        };
        tracing::warn!(partition = number, offset, withdrawn, "the source's table was truncated");
        self.metrics.withdrew(withdrawn);
        self.load(number)?;
        if let Some(partition) = self.partitions.get_mut(&number) {
            partition.is_placed = true;
        }
        Ok(true)
    }

    /// Latest decisions on the invoices of the batch that were decided before, and those that repetitions
    /// are compared with. Most invoices are new, and a set of ids in memory says so; for the others the
    /// database is asked, all batches written.
    fn look_up(&mut self, decoded: &[Decoded<'_>]) -> Result<Known> {
        let mut wanted: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for Decoded { message, event } in decoded {
            if let Ok(Event::Change(change)) = event
                && let Some(partition) = self.partitions.get(&message.partition())
            {
                for id in [Some(change.invoice_id), change.renamed_from].into_iter().flatten() {
                    if partition.loaded.ids.contains(id as u64) {
                        wanted.entry(message.partition()).or_default().push(id);
                    }
                }
            }
        }
        let mut known = Known::default();
        if wanted.is_empty() {
            return Ok(known);
        }
        self.flush()?;
        for (partition, ids) in wanted {
            let found = self.with_database(|_, client| known_of(client, partition, &ids))?;
            for (id, latest) in found.into_iter().flatten() {
                known.remember((partition, id), latest);
            }
        }
        for (partition, earlier) in self.earlier(decoded, &known) {
            let found = self.with_database(|_, client| known_as_of(client, partition, &earlier))?;
            for one in found.into_iter().flatten() {
                known.remember_earlier((partition, one.filed.invoice_id), one);
            }
        }
        Ok(known)
    }

    /// Changes that lie before what is known of their invoices.
    fn earlier(&self, decoded: &[Decoded<'_>], known: &Known) -> BTreeMap<i32, Vec<(i64, u64)>> {
        let mut earlier: BTreeMap<i32, Vec<(i64, u64)>> = BTreeMap::new();
        for Decoded { message, event } in decoded {
            let number = message.partition();
            if let Ok(Event::Change(change)) = event
                && let Some(partition) = self.partitions.get(&number)
            {
                for part in change.parts() {
                    let lsn = lsn_of(partition, &part, message.offset());
                    if known.latest((number, part.invoice_id)).is_some_and(|latest| lsn < latest.lsn) {
                        earlier.entry(number).or_default().push((part.invoice_id, lsn));
                    }
                }
            }
        }
        earlier
    }
}
