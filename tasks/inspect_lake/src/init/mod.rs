//! `init`: which table of the source looks like the invoices, and the settings that read it.
//!
//! # Layout
//! * [`catalog`]: the tables that the role can read, with their columns; Postgres and SQLite.
//! * [`guess`]: what each column may be, by its type, name and keys; pure.
//! * [`proposal`]: the settings, what to look at before the first run, and how both are written; pure.

mod catalog;
mod guess;
mod proposal;

use crate::args::InitArgs;
use crate::table::{Form, Sheet, plain};
use catalog::{Column, Relation};
use invoices::{Error, Result};
use proposal::Proposal;
use serde_json::{Value, json};

/// Tables that are named beside the one proposed.
const OTHERS_MAX: usize = 5;

/// Looks at the source's tables and proposes the settings of the likeliest one.
///
/// # Errors
/// Configuration when no table can be one of invoices, and for a file that can't be written; retry when the
/// database doesn't answer.
pub fn run(args: &InitArgs, form: Form) -> Result<Value> {
    let source = args.source.parse()?;
    let mut catalog = catalog::Catalog::open(source)?;
    let relations = catalog.relations()?;
    let mut ranked = guess::ranked(&relations, args.table.as_deref());
    if ranked.is_empty() {
        return Err(nothing_found(args.table.as_deref(), &relations));
    }
    let best = ranked.remove(0);
    let values = |column: &Column| catalog.common_values(best.relation, column);
    let proposal = Proposal::new(&best, values)?;
    if let Some(path) = &args.output {
        std::fs::write(path, proposal.shell())
            .map_err(|error| Error::config(format!("cannot write {}", path.display())).because(error))?;
    }
    show(&proposal, form);
    let others: Vec<Value> = ranked
        .iter()
        .take(OTHERS_MAX)
        .map(|other| json!({"table": other.relation.name(), "score": other.score}))
        .collect();
    Ok(json!({
        "table": best.relation.name(),
        "rows_estimate": best.relation.rows,
        "settings": proposal.settings_json(),
        "look_at": proposal.look_at,
        "others": others,
        "airflow_extra": proposal.airflow_extra(),
    }))
}

fn nothing_found(table: Option<&str>, relations: &[Relation]) -> Error {
    let needs =
        "a table of invoices has an id, a date or timestamp and an amount (numeric, money or whole numbers)";
    match table {
        Some(table) if !relations.iter().any(|relation| relation.is(table)) => Error::config(format!(
            "there is no table {table} that this role can read; write it as schema.table, as it is spelt in the database"
        )),
        Some(table) => Error::config(format!("{table} can't be read as invoices: {needs}")),
        None => Error::config(format!(
            "none of the {} tables that this role can read looks like invoices: {needs}; name it with --table, or \
             grant select on it",
            relations.len()
        )),
    }
}

/// Tables and text on stderr: stdout belongs to the result line.
fn show(proposal: &Proposal, form: Form) {
    if form == Form::Json {
        tracing::info!(
            table = proposal.table,
            "these settings read the invoices: {}",
            proposal.settings_json()
        );
        for sentence in &proposal.look_at {
            tracing::warn!("{sentence}");
        }
        return;
    }
    let mut sheet =
        Sheet::new(format!("{} looks like the invoices", proposal.table), &["", "column", "because"]);
    for part in &proposal.parts {
        sheet.add(vec![plain(part.role), plain(&part.column), plain(&part.because)]);
    }
    sheet.print();
    for sentence in &proposal.look_at {
        eprintln!("Look at this first: {sentence}.");
    }
    eprintln!("{}\nNext, with these in the shell: inspect_lake doctor --source … --lake …", proposal.shell());
}
