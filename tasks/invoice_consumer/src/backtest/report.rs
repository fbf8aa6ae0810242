//! The tally as tables for people, as JSON, and the invoices that change as CSV.

use super::tally::{Amount, Both, Changed, Hits, STATUSES, Tally};
use crate::decision::time_text;
use crate::rules::RuleSet;
use invoices::task::grouped;
use invoices::{Error, Result, money};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::Path;

const CENTS_SCALE: u8 = 2;

fn dollars(amount: Amount) -> String {
    money::format(amount.cents, CENTS_SCALE)
}

/// The result line's facts.
pub fn json(tally: &Tally, rules: &RuleSet, has_labels: bool) -> Value {
    let amount = |amount: Amount| json!({"invoices": amount.invoices, "amount_usd": dollars(amount)});
    let both = |both: &Both| json!({"before": amount(both.before), "after": amount(both.after)});
    let mut moves = Map::new();
    for (from, row) in STATUSES.iter().zip(&tally.moves) {
        for (to, moved) in STATUSES.iter().zip(row) {
            moves.insert(format!("{}_to_{}", from.name(), to.name()), amount(*moved));
        }
    }
    let months: Map<String, Value> = tally
        .by_month
        .iter()
        .map(|(month, counts)| {
            let statuses: Map<String, Value> = STATUSES
                .iter()
                .zip(counts)
                .map(|(status, counts)| (status.name().to_owned(), both(counts)))
                .collect();
            (month.to_string(), Value::Object(statuses))
        })
        .collect();
    let by_rule: Map<String, Value> =
        tally.by_rule.iter().map(|(id, counts)| (id.clone(), both(counts))).collect();
    let mut facts = json!({
        "rule_set": rules.id,
        "decisions": tally.judged().invoices,
        "changed": tally.changes.len(),
        "other_scores": tally.other_scores,
        "other_model": tally.other_model,
        "moves": moves,
        "months": months,
        "by_rule": by_rule,
    });
    if has_labels {
        let hits = |hits: &Hits| {
            json!({
                "flagged": hits.flagged,
                "frauds": hits.frauds,
                "legitimate": hits.legitimate,
                "recall": share(hits.frauds, tally.frauds),
                "precision": share(hits.frauds, hits.flagged),
            })
        };
        facts["labels"] = json!({
            "frauds": tally.frauds,
            "before": hits(&tally.hits_before),
            "after": hits(&tally.hits_after),
        });
    }
    facts
}

/// A share with four digits; none of nothing.
fn share(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| (part as f64 / all as f64 * 10_000.0).round() / 10_000.0)
}

/// Tables for people.
pub fn text(tally: &Tally, has_labels: bool) -> String {
    let mut text = String::new();
    let judged = tally.judged();
    let _ = writeln!(
        text,
        "{} invoices of {} judged again, {} change\n",
        grouped(judged.invoices),
        grouped(dollars(judged)),
        grouped(tally.changes.len())
    );
    let mut rows = vec![["from".to_owned(), "to".into(), "invoices".into(), "amount usd".into()]];
    for (from, row) in STATUSES.iter().zip(&tally.moves) {
        for (to, moved) in STATUSES.iter().zip(row).filter(|(_, moved)| moved.invoices > 0) {
            rows.push([
                from.name().into(),
                to.name().into(),
                grouped(moved.invoices),
                grouped(dollars(*moved)),
            ]);
        }
    }
    table(&mut text, &rows);
    let mut rows =
        vec![["rule".to_owned(), "fired before".into(), "after".into(), "amount usd after".into()]];
    for (id, counts) in &tally.by_rule {
        let (before, after) = (grouped(counts.before.invoices), grouped(counts.after.invoices));
        rows.push([id.clone(), before, after, grouped(dollars(counts.after))]);
    }
    table(&mut text, &rows);
    let mut rows = vec![["month", "", "review", "block"].map(str::to_owned)];
    for (month, counts) in &tally.by_month {
        let of =
            |side: fn(&Both) -> Amount| [1, 2].map(|index: usize| grouped(side(&counts[index]).invoices));
        let [review, block] = of(|both| both.before);
        rows.push([month.to_string(), "before".into(), review, block]);
        let [review, block] = of(|both| both.after);
        rows.push([String::new(), "after".into(), review, block]);
    }
    table(&mut text, &rows);
    if has_labels {
        let mut rows = vec![["labels", "flagged", "recall", "precision"].map(str::to_owned)];
        for (name, hits) in [("before", &tally.hits_before), ("after", &tally.hits_after)] {
            let percent = |part, all| {
                share(part, all).map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0))
            };
            let (recall, precision) =
                (percent(hits.frauds, tally.frauds), percent(hits.frauds, hits.flagged));
            rows.push([name.into(), grouped(hits.flagged), recall, precision]);
        }
        table(&mut text, &rows);
    }
    if tally.other_model > 0 {
        let _ = writeln!(
            text,
            "{} decisions by another version of the features were left out",
            tally.other_model
        );
    }
    text
}

/// Columns of one width, numbers to the right.
fn table(text: &mut String, rows: &[[String; 4]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(width);
    for [first, second, third, fourth] in rows {
        let [a, b, c, d] = widths;
        let line = format!("{first:a$}  {second:>b$}  {third:>c$}  {fourth:>d$}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
}

/// Writes the invoices whose status changes, by their ids, as CSV.
///
/// # Errors
/// Configuration for a file that can't be written.
pub fn write_changes(path: &Path, changes: &[Changed]) -> Result<()> {
    let failed = |error| Error::config(format!("cannot write {}", path.display())).because(error);
    let mut file = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    let header = "invoice_id,issue_date,amount_usd,before,score_before,after,score_after,rules_after";
    writeln!(file, "{header}").map_err(failed)?;
    for change in changes {
        let rules: Vec<&str> = change.after.fired.iter().map(|rule| rule.id.as_str()).collect();
        writeln!(
            file,
            "{},{},{},{},{},{},{},{}",
            change.invoice_id,
            time_text(change.issue_date_us),
            money::format(change.amount_cents.into(), CENTS_SCALE),
            change.before.name(),
            change.score_before,
            change.after.status.name(),
            change.after.score,
            rules.join(" ")
        )
        .map_err(failed)?;
    }
    file.flush().map_err(failed)
}
