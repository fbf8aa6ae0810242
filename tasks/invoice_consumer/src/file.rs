//! `--from`: the same engine over a file of change events. No service, no clock; the same file gives
//! the same lines.

use crate::args::Args;
use crate::change::Event;
use crate::decision::{Decision, Known};
use crate::decode::Decoder;
use crate::engine::{Engine, Outcome};
use crate::explain;
use crate::model::Version;
use crate::onnx::Model;
use crate::rule_files::RuleFiles;
use crate::rules::Verdict;
use invoices::task::Task;
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;
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

/// Decides every event of the file.
///
/// # Errors
/// Configuration for files that can't be read and wrong rules; usage when `--explain` names an
/// invoice that the file doesn't have.
pub fn run(args: &Args, path: &Path, task: &Task) -> Result<Value> {
    let model = Model::open(args.model.onnx_model.as_deref())?;
    let mut rules = RuleFiles::open(&args.rules, model.version.has_score())?;
    let mut decoder = Decoder::new(crate::decode_options(&args.decoding));
    let mut input = open(path)?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut engine = Engine::default();
    let mut known: HashMap<i64, Known> = HashMap::new();
    let mut counts = Counts::default();
    let mut explained = None;
    let mut line = Vec::new();
    loop {
        task.check_stop()?;
        if input.buffer().is_empty() && !flush(&mut output)? {
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
        rules.refresh();
        let offset = counts.events;
        counts.events += 1;
        let change = match decoder.decode(Some(text)) {
            Ok(Event::Change(change)) => change,
            Ok(Event::Nothing(_)) => {
                counts.nothing += 1;
                continue;
            }
            Err(reason) => {
                dead_letter(&mut counts, &reason);
                continue;
            }
        };
        let lsn = change.lsn.unwrap_or(offset);
        let before = known.get(&change.invoice_id);
        match engine.decide(&change, lsn, before, &rules.active(), |exact| model.score(exact)) {
            Outcome::Decided(decision) => {
                known.insert(change.invoice_id, decision.known());
                let verdict =
                    Verdict { score: decision.score, status: decision.status, fired: decision.fired.clone() };
                rules.compare(change.invoice_id, &decision.features, &verdict);
                counts.count(&decision);
                if args.explain.is_none() {
                    let id = rules.active().id.clone();
                    if !print(&mut output, &decision.to_json(&id, &model.version, None))? {
                        break;
                    }
                } else if args.explain == Some(change.invoice_id) {
                    explained = Some(decision);
                }
            }
            Outcome::Duplicate => counts.duplicates += 1,
            Outcome::Unchanged => counts.unchanged += 1,
            Outcome::Incomplete(column) => {
                dead_letter(&mut counts, &format!("the {column} is missing and not known from before"));
            }
        }
    }
    if let Some(id) = args.explain {
        let decision = explained.ok_or_else(|| {
            Error::usage(format!("there is no decision on invoice {id} in {}", path.display()))
        })?;
        eprint!("{}", explain::text(&decision, &rules.active(), &model.version));
    }
    flush(&mut output)?;
    Ok(counts.into_json(&rules, &model.version, engine.state.businesses()))
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
