//! `backtest`: what candidate rules would have decided of the invoices that are decided, by their stored features.
//!
//! # Layout
//! * [`read`](mod@read): the standing decisions, by several connections in one snapshot.
//! * [`tally`]: what changes, counted; pure.
//! * [`report`]: the tally for people and programs.

mod read;
mod report;
mod tally;

use crate::args::BacktestArgs;
use crate::rule_files;
use crate::rules::RuleSet;
use crate::store::Store;
use invoices::{Error, Result};
use read::Standing;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use tally::Tally;

/// Which invoices were looked into by somebody, with what came out; see [`labels`].
pub type Labels = HashMap<i64, bool>;

/// Judges all standing decisions by the candidate rules.
///
/// # Errors
/// Configuration for rules or labels that are wrong, usage for rules that need an ONNX model's score where decisions
/// have none; retry when the database doesn't answer.
pub fn run(args: &BacktestArgs) -> Result<Value> {
    let rules = rule_files::read(&args.rules)?;
    let labels = args.labels.as_deref().map(labels).transpose()?;
    let store = Store::new(&args.decisions, "")?;
    let tallies = read::each(&store, args, |standing: &Standing<'_>, tally: &mut Tally| {
        judge(&rules, labels.as_ref(), standing, tally)
    })?;
    let mut tally = Tally::default();
    for part in tallies {
        tally.merge(part);
    }
    if let Some(path) = &args.changes {
        report::write_changes(path, &tally.changes)?;
    }
    eprint!("{}", report::text(&tally, labels.is_some()));
    Ok(report::json(&tally, &rules, labels.is_some()))
}

fn judge(rules: &RuleSet, labels: Option<&Labels>, standing: &Standing<'_>, tally: &mut Tally) -> Result<()> {
    if !standing.model.is_exact_part_current() {
        // Features of another version have other meanings.
        tally.other_model += 1;
        return Ok(());
    }
    if let Some(mistake) = rules.needs_onnx.as_ref().filter(|_| !standing.model.has_score()) {
        return Err(Error::usage(format!(
            "the rules use onnx_score ({mistake}), and invoice {} was decided without an ONNX model; use rules without \
             it, or --from a month since when there is one",
            standing.invoice_id
        )));
    }
    let label = labels.map(|labels| labels.get(&standing.invoice_id).copied());
    tally.add(standing, rules, label);
    Ok(())
}

/// Reads labels: CSV with the columns `invoice_id` and, if it is there, `fraud` (true or false, 1 or 0); without that
/// column every invoice in the file is a fraud, as in the files of `populate_tables --labels`.
///
/// # Errors
/// Configuration, with the line.
fn labels(path: &Path) -> Result<Labels> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::config(format!("cannot read the labels {shown}")).because(error))?;
    parse_labels(&text).map_err(|(line, why)| Error::config(format!("{shown} line {line}: {why}")))
}

fn parse_labels(text: &str) -> std::result::Result<Labels, (usize, String)> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let (_, header) =
        lines.next().ok_or((1, "the file is empty; it needs the column invoice_id".to_owned()))?;
    let names: Vec<&str> = header.trim_start_matches('\u{feff}').split(',').map(str::trim).collect();
    let column = |name: &str| names.iter().position(|known| *known == name);
    let id_column =
        column("invoice_id").ok_or_else(|| (1, format!("there is no column invoice_id among {header}")))?;
    let fraud_column = column("fraud");
    let mut labels = Labels::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() != names.len() {
            return Err((number, format!("there are {} fields and {} columns", fields.len(), names.len())));
        }
        let id = fields[id_column]
            .parse()
            .map_err(|_| (number, format!("{:?} is not an id", fields[id_column])))?;
        let is_fraud = match fraud_column.map(|column| fields[column]) {
            None | Some("true" | "1") => true,
            Some("false" | "0") => false,
            Some(other) => return Err((number, format!("fraud is {other:?}; write true or false"))),
        };
        if labels.insert(id, is_fraud).is_some_and(|earlier| earlier != is_fraud) {
            return Err((number, format!("invoice {id} has two labels")));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_name_frauds_or_say_what_came_out() {
        let planted = parse_labels("invoice_id,case,typology\n7,1,split\n8,1,split\n").unwrap();
        assert_eq!(planted, Labels::from([(7, true), (8, true)]));
        let disposed = parse_labels("fraud,invoice_id\ntrue,7\n0,9\n").unwrap();
        assert_eq!(disposed, Labels::from([(7, true), (9, false)]));
        for (wrong, line, why) in [
            ("", 1, "is empty"),
            ("id\n7\n", 1, "no column invoice_id"),
            ("invoice_id\nseven\n", 2, "is not an id"),
            ("invoice_id,fraud\n7\n", 2, "1 fields and 2 columns"),
            ("invoice_id,fraud\n7,maybe\n", 2, "write true or false"),
            ("invoice_id,fraud\n7,1\n7,0\n", 3, "two labels"),
        ] {
            let (number, said) = parse_labels(wrong).unwrap_err();
            assert_eq!(number, line, "{wrong}");
            assert!(said.contains(why), "{said}");
        }
    }
}
