//! `invoice_consumer`: change events in, one risk decision for every new invoice out.
//!
//! # Layout
//! * [`change_events`]: Debezium's messages in every form, a crate of its own; pure.
//! * [`model`]: the state of a partition and the features computed from it; pure.
//! * [`rules`]: conditions in CEL over the features, scores, reasons; pure.
//! * [`onnx`]: a model from a file that adds one feature.
//! * [`engine`]: change + state + rules = [`decision`]; [`memory`]: what is known of invoices; pure.
//! * [`file`](mod@file): the engine over a file (`--from`); [`explain`] says why.
//! * [`stream`]: the engine over Kafka; [`store`] writes effects and offsets in one transaction and
//!   rebuilds the state, [`notify`] delivers the outbox, [`slot`] watches the source.
//! * [`checkpoint`]: a partition's state as a file, so that a start reads the decisions after it alone.
//! * [`backtest`]: candidate rules over the stored features.
//! * [`replay`], [`verify`], [`dlq`]: stored decisions made again, compared with the source; dead letters put back.
//! * [`metrics`], [`http`]: what the service says of itself.
//!
//! Architecture invariant: the pure modules know no Kafka, no Postgres, no clock and no float. What they
//! decide depends on the partition's log, the rules and the ONNX model, if there is one, so every consumer
//! decides alike.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod args;
pub mod backtest;
pub mod checkpoint;
pub mod decision;
pub mod dlq;
pub mod engine;
pub mod explain;
pub mod file;
pub mod http;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod notify;
pub mod onnx;
pub mod replay;
pub mod rule_files;
pub mod rules;
pub mod slot;
pub mod store;
pub mod stream;
pub mod verify;

pub use args::Args;

use args::{Command, DecodingArgs, DlqAction};
use invoices::position;
use invoices::task::Task;
use invoices::{Error, Result};
use model::features::{EXACT_COUNT, EXACT_MODEL, MEANINGS};
use serde_json::{Value, json};
use store::Store;

/// Runs the task; see the crate documentation.
///
/// # Errors
/// As the contract says: retry when a service doesn't answer, configuration for missing tables,
/// topics and wrong rules, refused when a replay differs from what is stored.
pub fn run(args: &Args, task: &Task) -> Result<Value> {
    match &args.command {
        Some(Command::Features) => Ok(list_features()),
        Some(Command::Check { file, model }) => {
            let model = onnx::Model::open(model.onnx_model.as_deref())?;
            let rules = rule_files::read(file)?;
            Ok(json!({
                "rule_set": rules.id,
                "rules": rules.rules.len(),
                "needs_onnx_model": rules.needs_onnx.is_some(),
                "model": model.version.id(),
            }))
        }
        Some(Command::Health { address }) => http::ask_health(*address),
        Some(Command::Replay(replay)) => replay::run(
            &Store::new(&replay.decisions, "")?,
            &onnx::Model::open(replay.model.onnx_model.as_deref())?,
        ),
        Some(Command::Backtest(backtest)) => backtest::run(backtest),
        Some(Command::Verify(verify)) => verify::run(verify),
        Some(Command::Dlq(dlq)) => match &dlq.action {
            DlqAction::List(topic) => dlq::list(topic),
            DlqAction::Replay(topic) => dlq::replay(topic),
        },
        None => match (&args.from, &args.brokers, &args.decisions, args.explain) {
            (Some(path), ..) => file::run(args, path, task),
            (None, _, Some(decisions), Some(invoice)) => {
                explain::stored(&Store::new(decisions, "")?, invoice)
            }
            (None, Some(brokers), Some(decisions), None) => stream::run(args, brokers, decisions, task),
            _ => Err(Error::usage("say where the events come from: --from FILE, or --brokers HOST:PORT")),
        },
    }
}

fn list_features() -> Value {
    for meaning in MEANINGS {
        eprintln!("{:<20} {}", meaning.name, meaning.text);
    }
    json!({ "model": EXACT_MODEL, "features": EXACT_COUNT })
}

fn decode_options(args: &DecodingArgs) -> change_events::Options {
    change_events::Options {
        columns: args.columns.clone(),
        allow_number_amounts: args.allow_number_amounts,
        decimal_mode: args.decimal_mode,
        date_unit: args.date_unit,
    }
}

/// What it means when a change lies before what is known of its invoice and says something else.
fn began_anew(invoice_id: i64, lsn: u64, known: u64) -> String {
    format!(
        "a change of invoice {invoice_id} has position {} in the source's log, below {} where it was changed \
         before: the log began anew, as after a restore or a move to another cluster",
        position::in_log(lsn),
        position::in_log(known)
    )
}
