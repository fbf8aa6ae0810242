//! The comparison for people, and for the result line.

use super::month::MonthState;
use super::read::Side;
use crate::table::{Form, Sheet, Tone, judged, number, plain};
use crate::text;
use comfy_table::Cell;
use invoices::lake::commit::SourceSnapshot;
use invoices::money::{self, MoneyType};
use invoices::{Error, Fingerprint, Result};
use serde_json::{Value, json};

/// A table of months with what is wrong below it, or a log line for each month.
pub fn show(states: &[MonthState], money: MoneyType, form: Form, only_differences: bool) {
    let shown: Vec<&MonthState> =
        states.iter().filter(|state| !only_differences || !state.problems.is_empty()).collect();
    if form == Form::Json {
        shown.iter().for_each(|state| log(state, money));
        return;
    }
    if shown.is_empty() {
        return;
    }
    let header = [
        "month",
        "source rows",
        "amount",
        "invoices rows",
        "amount",
        "by business rows",
        "amount",
        "verdict",
    ];
    let mut sheet = Sheet::new("source, invoices and invoice_by_business", &header);
    shown.iter().for_each(|state| sheet.add(row(state, money)));
    sheet.print();

    let mut problems = Sheet::new("what differs", &["month", "problem"]);
    for state in shown.iter().filter(|state| !state.problems.is_empty()) {
        problems.add(vec![plain(state.month), plain(state.problems.join("\n"))]);
    }
    problems.print();
}

fn row(state: &MonthState, money: MoneyType) -> Vec<Cell> {
    let amount = |unscaled: i128| text::grouped(money::format(unscaled, money.scale));
    let invoices = match &state.invoices.content {
        Ok(found) => [text::grouped(found.fingerprint.rows), amount(found.fingerprint.amount)],
        Err(_) => ["?".to_owned(), "?".to_owned()],
    };
    // The two sides are equal unless something is wrong, and then both are worth seeing.
    let both = |issued: String, received: String| {
        if issued == received { issued } else { format!("{issued} issued\n{received} received") }
    };
    let by_business = match &state.by_business.content {
        Ok(found) => [
            both(text::grouped(found.issued.rows), text::grouped(found.received.rows)),
            both(amount(found.issued.amount), amount(found.received.amount)),
        ],
        Err(_) => ["?".to_owned(), "?".to_owned()],
    };
    let verdict = match state.problems.as_slice() {
        [] if state.is_empty() => plain("empty"),
        [] => judged("agree", Tone::Good),
        _ => judged("differs", Tone::Bad),
    };
    let mut cells = vec![
        plain(state.month),
        number(text::grouped(state.source.rows)),
        number(amount(state.source.amount)),
    ];
    cells.extend(invoices.into_iter().chain(by_business).map(number));
    cells.push(verdict);
    cells
}

fn log(state: &MonthState, money: MoneyType) {
    let (rows, amount) = (state.source.rows, money::format(state.source.amount, money.scale));
    match state.problems.as_slice() {
        [] => tracing::info!(month = %state.month, rows, amount, "source and lake agree"),
        problems => tracing::error!(month = %state.month, rows, amount, "differs: {}", problems.join("; ")),
    }
}

/// The result line's facts.
///
/// # Errors
/// Refused, with the facts, when a month differs.
pub fn result(states: &[MonthState], money: MoneyType, snapshot: &SourceSnapshot) -> Result<Value> {
    let mut total = Fingerprint::default();
    states.iter().for_each(|state| total.merge(state.source));
    let differing: Vec<&MonthState> = states.iter().filter(|state| !state.problems.is_empty()).collect();
    let facts = json!({
        "command": "verify",
        "first_month": states.first().map(|state| state.month),
        "last_month": states.last().map(|state| state.month),
        "months_differ": differing.len(),
        "rows": total.rows,
        "amount_usd": money::format(total.amount, money.scale),
        "snapshot": snapshot.snapshot,
        "lsn": snapshot.lsn,
        "months": states.iter().map(|state| as_json(state, money)).collect::<Vec<_>>(),
    });
    match differing.as_slice() {
        [] => Ok(facts),
        [first, others @ ..] => {
            Err(Error::refused(sentence(first, others.len(), states.len())).with_facts(facts))
        }
    }
}

fn sentence(first: &MonthState, others: usize, months: usize) -> String {
    let count = others + 1;
    let verb = if count == 1 { "differs" } else { "differ" };
    let problem = first.problems.first().map_or("", String::as_str);
    let more = match others {
        0 => String::new(),
        others => format!(" (and {others} more)"),
    };
    format!("{count} of {} {verb}: {}: {problem}{more}", text::count(months, "month"), first.month)
}

fn as_json(state: &MonthState, money: MoneyType) -> Value {
    let amount = |unscaled: i128| money::format(unscaled, money.scale);
    let side = |side: Side| json!({ "rows": i64::try_from(side.rows).ok(), "amount": amount(side.amount) });
    let invoices = state.invoices.content.as_ref().ok().map(|found| found.fingerprint);
    let totals = state.by_business.content.as_ref().ok();
    json!({
        "month": state.month,
        "agree": state.problems.is_empty(),
        "source": { "rows": state.source.rows, "amount": amount(state.source.amount) },
        "invoices": {
            "rows": invoices.map(|found| found.rows),
            "amount": invoices.map(|found| amount(found.amount)),
            "objects": state.invoices.objects.len(),
            "bytes": state.invoices.bytes(),
        },
        "invoice_by_business": {
            "issued": totals.map(|totals| side(totals.issued)),
            "received": totals.map(|totals| side(totals.received)),
            "objects": state.by_business.objects.len(),
            "bytes": state.by_business.bytes(),
        },
        "problems": state.problems,
    })
}
