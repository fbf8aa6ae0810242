//! What is wrong with a month, in sentences that say what to do. Pure.

use super::month::Found;
use super::read::{Invoices, Side, Totals};
use crate::text;
use invoices::Fingerprint;
use invoices::lake::names::Table;
use invoices::money::{self, MoneyType};

const EXTRACT: &str = "run query_source";
const EXTRACT_ANYWAY: &str = "run query_source --refresh window";
const GROUP: &str = "run aggregate_by_business and write_partitioned_parquet";

/// All problems of a month; none when source and lake agree, or have nothing of it.
pub fn problems(
    source: &Fingerprint,
    money: MoneyType,
    invoices: &Found<Invoices>,
    by_business: &Found<Totals>,
) -> Vec<String> {
    let mut problems = Vec::new();
    judge_layout(Table::Invoices, invoices, &mut problems);
    judge_invoices(source, money, invoices, &mut problems);
    judge_layout(Table::ByBusiness, by_business, &mut problems);
    judge_by_business(source, money, by_business, &mut problems);
    problems
}

fn judge_layout<T>(table: Table, found: &Found<T>, problems: &mut Vec<String>) {
    for path in &found.strangers {
        problems.push(format!("{path} does not belong there, and readers would count it; delete it"));
    }
    if found.partitionings.len() > 1 {
        let list = found.partitionings.join(" and ");
        problems.push(format!("{table} is divided by {list} at once; {GROUP}"));
    }
}

fn judge_invoices(
    source: &Fingerprint,
    money: MoneyType,
    found: &Found<Invoices>,
    problems: &mut Vec<String>,
) {
    let Some(content) = readable(Table::Invoices, found, EXTRACT_ANYWAY, problems) else { return };
    let record_problems =
        judge_record(Table::Invoices, money, found, EXTRACT, |recorded| *recorded == content.fingerprint);
    if found.objects.is_empty() {
        problems.extend(absent(Table::Invoices, source, EXTRACT));
        problems.extend(record_problems);
        return;
    }
    let proven = content.proof.as_ref().and_then(|proof| proof.invoices.parse(proof.money.scale));
    let is_proven = proven == Some(content.fingerprint);
    if !is_proven {
        problems.push(match proven {
            Some(_) => format!("the content of invoices is not what its footer proves; {EXTRACT_ANYWAY}"),
            None => format!("the object of invoices carries no proof; {EXTRACT_ANYWAY}"),
        });
    }
    if content.fingerprint != *source {
        let difference = content.fingerprint.difference(source, money.scale);
        let taken =
            content.proof.as_ref().map(|proof| text::time(proof.snapshot.taken_at_us)).unwrap_or_default();
        let cause = match is_proven && record_problems.is_empty() {
            true => format!("the source has changed since {taken}, {EXTRACT}"),
            false => EXTRACT_ANYWAY.to_owned(),
        };
        problems.push(format!("invoices has {difference}; {cause}"));
    }
    problems.extend(record_problems);
}

fn absent(table: Table, source: &Fingerprint, mend: &str) -> Option<String> {
    let rows = text::grouped(source.rows);
    (source.rows > 0).then(|| format!("nothing in {table} where the source has {rows} rows; {mend}"))
}

fn judge_by_business(
    source: &Fingerprint,
    money: MoneyType,
    found: &Found<Totals>,
    problems: &mut Vec<String>,
) {
    let table = Table::ByBusiness;
    let Some(content) = readable(table, found, GROUP, problems) else { return };
    let record_problems = judge_record(table, money, found, GROUP, |recorded| {
        is_sum_of(content.issued, recorded) && is_sum_of(content.received, recorded)
    });
    if found.objects.is_empty() {
        problems.extend(absent(table, source, GROUP));
        problems.extend(record_problems);
        return;
    }
    let mut add_up = true;
    for (side, name) in [(content.issued, "issued"), (content.received, "received")] {
        if !is_sum_of(side, source) {
            add_up = false;
            problems.push(format!(
                "{table} has {} invoices and {} {name} where the source says {} and {}; {GROUP}",
                side.rows,
                money::format(side.amount, money.scale),
                source.rows,
                money::format(source.amount, money.scale),
            ));
        }
    }
    // Equal sums of other invoices: an invoice moved from one business to another, say.
    let recorded = found.record.as_ref().and_then(|record| record.fingerprint().ok());
    if add_up && recorded.is_some_and(|recorded| recorded.hash != source.hash) {
        problems.push(format!("{table} was computed from other invoices with the same sum; {GROUP}"));
    }
    problems.extend(record_problems);
}

fn is_sum_of(side: Side, invoices: &Fingerprint) -> bool {
    side.rows == i128::from(invoices.rows) && side.amount == invoices.amount
}

fn readable<'a, T>(
    table: Table,
    found: &'a Found<T>,
    mend: &str,
    problems: &mut Vec<String>,
) -> Option<&'a T> {
    match &found.content {
        Ok(content) => Some(content),
        Err(error) => {
            problems.push(format!("{table}: {error}; {mend}"));
            None
        }
    }
}

/// Whether the commit record describes the objects and their content. A month without objects needs
/// no record.
fn judge_record<T>(
    table: Table,
    money: MoneyType,
    found: &Found<T>,
    mend: &str,
    is_content: impl Fn(&Fingerprint) -> bool,
) -> Vec<String> {
    let Some(record) = &found.record else {
        let missing = format!("{table} has no commit record, a run was cut short; {mend}");
        return if found.objects.is_empty() { Vec::new() } else { vec![missing] };
    };
    let mut problems = Vec::new();
    if !record.describes(&found.objects) {
        problems.push(format!("the commit record of {table} describes other objects; {mend}"));
    }
    if record.money != money {
        problems.push(format!("{table} holds {} where the source has {money}; {mend}", record.money));
    } else if !record.fingerprint().is_ok_and(|recorded| is_content(&recorded)) {
        let says = &record.invoices;
        problems.push(format!(
            "the commit record of {table} says {} invoices, {} and row hash {}, its objects something else; {mend}",
            says.rows, says.amount, says.row_hash
        ));
    }
    problems
}
