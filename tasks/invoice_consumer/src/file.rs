//! `--from`: the same engine over a file of change events. No service, no clock; the same file gives
//! the same lines.

use crate::args::Args;
use crate::decision::Decision;
use crate::engine::{
    Engine, Outcome, UNPLACED, UNPLACED_TRUNCATION, behind_snapshot, is_repetition, renamed,
};
use crate::explain;
use crate::memory::Memory;
use crate::model::Version;
use crate::onnx::Model;
use crate::rule_files::RuleFiles;
use crate::rules::Verdict;
use change_events::{Change, Decoder, Event, Truncation};
use invoices::position;
use invoices::task::Task;
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, StdoutLock, Write};
use std::path::Path;

const READ_BYTES: usize = 1 << 20;

/// Counts for the result line.
#[derive(Debug, Default)]
struct Counts {
    events: u64,
    decisions: u64,
    approve: u64,
    review: u64,
    block: u64,
    withdrawn: u64,
    duplicates: u64,
    unchanged: u64,
    nothing: u64,
    dead_letters: u64,
}

/// The engine with all that one pass over a file needs.
struct Desk<'a> {
    args: &'a Args,
    model: Model,
    rules: RuleFiles,
    engine: Engine,
    memory: Memory<i64>,
    counts: Counts,
    /// Logs that the events came from before this one.
    epoch: u32,
    /// Positions of truncations.
    truncations: HashSet<u64>,
    explained: Option<Box<Decision>>,
    output: BufWriter<StdoutLock<'static>>,
    /// Somebody reads what is printed.
    is_read: bool,
}

/// Decides every event of the file.
///
/// # Errors
/// Configuration for files that can't be read, wrong rules and a source that began anew; usage when
/// `--explain` names an invoice that the file doesn't have.
pub fn run(args: &Args, path: &Path, task: &Task) -> Result<Value> {
    let model = Model::open(args.model.onnx_model.as_deref())?;
    let mut desk = Desk {
        args,
        rules: RuleFiles::open(&args.rules, model.version.has_score())?,
        model,
        engine: Engine::default(),
        memory: Memory::default(),
        counts: Counts::default(),
        epoch: 0,
        truncations: HashSet::new(),
        explained: None,
        output: BufWriter::new(std::io::stdout().lock()),
        is_read: true,
    };
    let mut decoder = Decoder::new(crate::decode_options(&args.decoding));
    let mut input = open(path)?;
    let mut line = Vec::new();
    while desk.is_read {
        task.check_stop()?;
        if input.buffer().is_empty() && !flush(&mut desk.output)? {
            break;
        }
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        if read.map_err(|error| Error::retry("cannot read the events").because(error))? == 0 {
            break;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            continue;
        }
        desk.rules.refresh();
        let offset = desk.counts.events;
        desk.counts.events += 1;
        match decoder.decode(Some(text)) {
            Ok(Event::Change(change)) => desk.decide(&change, offset)?,
            Ok(Event::Truncation(truncation)) => desk.truncate(truncation, offset)?,
            Ok(Event::Nothing(_)) => desk.counts.nothing += 1,
            Err(reason) => dead_letter(&mut desk.counts, &reason),
        }
    }
    if let Some(id) = args.explain {
        let decision = desk.explained.ok_or_else(|| {
            Error::usage(format!("there is no decision on invoice {id} in {}", path.display()))
        })?;
        eprint!("{}", explain::text(&decision, &desk.rules.active(), &desk.model.version));
    }
    flush(&mut desk.output)?;
    let businesses = desk.engine.state.businesses();
    Ok(desk.counts.into_json(&desk.rules, &desk.model.version, businesses))
}

impl Desk<'_> {
    fn decide(&mut self, change: &Change, offset: u64) -> Result<()> {
        let old = change.renamed_from.and_then(|id| self.memory.latest(id)).copied();
        for part in change.parts() {
            let part = renamed(part, old.as_ref());
            let mut outcome = self.outcome(&part, self.place(&part, offset));
            if outcome == Outcome::Earlier {
                outcome = self.settle(&part, offset)?;
            }
            match outcome {
                Outcome::Decided(decision) => self.take(decision)?,
                Outcome::Duplicate | Outcome::Earlier => self.counts.duplicates += 1,
                Outcome::Unchanged => self.counts.unchanged += 1,
                Outcome::Unplaced => dead_letter(&mut self.counts, UNPLACED),
                Outcome::Incomplete(column) => {
                    let reason = format!("the {column} is missing and not known from before");
                    dead_letter(&mut self.counts, &reason);
                }
            }
        }
        Ok(())
    }

    fn place(&self, change: &Change, offset: u64) -> u64 {
        change.lsn.map_or(offset, |lsn| position::stored(self.epoch, lsn))
    }

    /// What a change is that lies before what is known of its invoice.
    fn settle(&mut self, change: &Change, offset: u64) -> Result<Outcome> {
        let (id, lsn) = (change.invoice_id, self.place(change, offset));
        let latest = self.memory.latest(id);
        if is_repetition(change, lsn, self.memory.as_of(id, lsn), latest) {
            return Ok(Outcome::Duplicate);
        }
        if let Some(behind) = latest.and_then(|latest| behind_snapshot(change, latest)) {
            return Ok(self.outcome(change, behind));
        }
        self.begin_anew(change, lsn)?;
        Ok(self.outcome(change, self.place(change, offset)))
    }

    fn outcome(&mut self, change: &Change, lsn: u64) -> Outcome {
        let known = self.memory.latest(change.invoice_id);
        let rules = self.rules.active();
        self.engine.decide(change, lsn, known, &rules, |exact| self.model.score(exact))
    }

    fn begin_anew(&mut self, change: &Change, lsn: u64) -> Result<()> {
        let known = self.memory.latest(change.invoice_id).map_or(0, |known| known.lsn);
        if !self.args.accept_new_source || self.epoch > 0 {
            let (id, event) = (change.invoice_id, self.counts.events);
            return Err(Error::config(format!(
                "event {event}: {}; look at what it was, then go on with --accept-new-source (docs/migrate-source.md)",
                crate::began_anew(id, lsn, known)
            )));
        }
        self.epoch += 1;
        tracing::warn!(event = self.counts.events, "from here on the positions are those of a new source");
        Ok(())
    }

    /// Withdraws every invoice that was there, in the order of their ids.
    fn truncate(&mut self, truncation: Truncation, offset: u64) -> Result<()> {
        let lsn = self.place(&truncation.of(0), offset);
        let (mut ids, later): (Vec<i64>, Vec<i64>) =
            self.memory.live().partition(|id| self.memory.latest(*id).is_some_and(|known| known.lsn < lsn));
        if self.truncations.insert(lsn) && !later.is_empty() {
            dead_letter(&mut self.counts, UNPLACED_TRUNCATION);
            return Ok(());
        }
        ids.sort_unstable();
        for invoice_id in ids {
            self.decide(&truncation.of(invoice_id), offset)?;
            if !self.is_read {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, decision: Box<Decision>) -> Result<()> {
        let id = decision.invoice.invoice_id;
        self.memory.remember(id, decision.known());
        if !decision.op.withdraws() {
            let verdict =
                Verdict { score: decision.score, status: decision.status, fired: decision.fired.clone() };
            self.rules.compare(id, &decision.features, &verdict);
        }
        self.counts.count(&decision);
        if self.args.explain.is_none() {
            let line = decision.to_json(&self.rules.active().id, &self.model.version, None);
            self.is_read = print(&mut self.output, &line)?;
        } else if self.args.explain == Some(id) {
            self.explained = Some(decision);
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<BufReader<Box<dyn std::io::Read>>> {
    let source: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        let opened = File::open(path);
        Box::new(opened.map_err(|error| {
            Error::config(format!("cannot read the events {}", path.display())).because(error)
        })?)
    };
    Ok(BufReader::with_capacity(READ_BYTES, source))
}

/// Prints one line; false when nobody reads any more.
fn print(output: &mut BufWriter<StdoutLock<'_>>, line: &Value) -> Result<bool> {
    still_read(writeln!(output, "{line}"))
}

fn flush(output: &mut BufWriter<StdoutLock<'_>>) -> Result<bool> {
    still_read(output.flush())
}

fn still_read(written: std::io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::retry("cannot write the decisions").because(error)),
    }
}

fn dead_letter(counts: &mut Counts, reason: &str) {
    counts.dead_letters += 1;
    tracing::warn!(event = counts.events, "dead letter: {reason}");
}

impl Counts {
    fn count(&mut self, decision: &Decision) {
        use crate::decision::Status;
        self.decisions += 1;
        match decision.status {
            Status::Approve => self.approve += 1,
            Status::Review => self.review += 1,
            Status::Block => self.block += 1,
            Status::Withdrawn => self.withdrawn += 1,
        }
    }

    fn into_json(self, rules: &RuleFiles, model: &Version, businesses: usize) -> Value {
        json!({
            "events": self.events,
            "decisions": self.decisions,
            "approve": self.approve,
            "review": self.review,
            "block": self.block,
            "withdrawn": self.withdrawn,
            "duplicates": self.duplicates,
            "unchanged": self.unchanged,
            "without_decision": self.nothing,
            "dead_letters": self.dead_letters,
            "shadow_differences": rules.differences,
            "businesses": businesses,
            "rule_set": rules.active().id,
            "model": model.id(),
        })
    }
}
