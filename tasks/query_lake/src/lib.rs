//! `query_lake`: SQL over the lake's tables and other sources, and their definitions elsewhere.
//!
//! # Layout
//! * [`args`]: flags and help.
//! * [`session`]: one query, from its text to its published answer; [`interactive`]: many of them.
//! * [`headers`]: what the answer's columns are called.
//! * [`lake_tables`], [`layout`]: what commit records say, as tables of [`objects`]; [`pinned`]: the object store that
//!   DataFusion reads through, which gives recorded objects or nothing and counts bytes.
//! * [`sources`]: files, mails and databases as tables.
//! * [`functions`], [`sum`], [`strict`]: SQL functions beside DataFusion's own, and what is refused; [`errors`]: its errors
//!   in one sentence.
//! * [`output`]: tables, CSV, JSON lines and Parquet, published when the query has ended.
//! * [`ddl`], [`lint`]: the lake for other engines; [`delta`]: the same as Delta tables; [`catalog`]: in catalogs.
//!
//! Architecture invariant: nothing here changes a table of the lake; Delta tables are other names. A query reads committed objects,
//! each by its ETag, or fails.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod args;
mod catalog;
mod ddl;
mod delta;
mod errors;
mod functions;
mod headers;
mod interactive;
mod lake_tables;
mod layout;
mod lint;
mod membership;
mod memory;
mod objects;
mod output;
mod pinned;
mod running;
mod session;
mod sources;
mod strict;
mod sum;

pub use args::Args;

use args::{Command, Format};
use invoices::lake::Lake;
use invoices::task::Task;
use invoices::{Error, Result};
use output::Destination;
use serde_json::Value;
use session::{Output, Session};
use sources::Source;
use std::io::IsTerminal;

/// Runs the query or the subcommand; see the crate documentation.
///
/// # Errors
/// As [`session::Session::answer`], `ddl` and `lint` say.
pub fn run(args: &Args, task: &Task) -> Result<Value> {
    match &args.command {
        Some(Command::Ddl(options)) => ddl::run(&open_existing(args.lake_url()?)?, options, task),
        Some(Command::Lint) => task.block_on(lint::run(&open_existing(args.lake_url()?)?)),
        Some(Command::Publish(options)) => {
            task.block_on(delta::publish(&open_existing(args.lake_url()?)?, options, &task.program()))
        }
        Some(Command::Register(options)) => {
            task.block_on(catalog::register(&open_existing(args.lake_url()?)?, options))
        }
        None => query(args, task),
    }
}

fn query(args: &Args, task: &Task) -> Result<Value> {
    let sources: Vec<Source> = args.with.iter().map(|text| Source::parse(text)).collect::<Result<_>>()?;
    if let Some((index, source)) = sources
        .iter()
        .enumerate()
        .find(|(index, source)| sources[..*index].iter().any(|s| s.name == source.name))
    {
        return Err(Error::usage(format!(
            "--with number {} has the name of an earlier one, {}; give it another name",
            index + 1,
            source.name
        )));
    }
    let session = Session {
        lake: args.lake.as_deref().map(open_existing).transpose()?,
        sources,
        null_texts: args.null_text.clone(),
        memory_budget: args.memory_budget,
        spill_folder: args.spill_folder.clone(),
        timeout: args.timeout,
        max_rows: args.max_rows,
        runtime: task.runtime.handle().clone(),
    };
    let output = output(args)?;
    match &args.query {
        Some(sql) => session.answer(sql, &output),
        None => interactive::run(&session, &output, args.history.as_deref()),
    }
}

fn output(args: &Args) -> Result<Output> {
    let destination = Destination::parse(args.output.as_deref())?;
    let is_terminal = std::io::stdout().is_terminal();
    let by_name = || args.output.as_deref().and_then(Format::of_name);
    let format = match (args.format.or_else(by_name), &destination) {
        (Some(Format::Parquet), Destination::Stdout) if is_terminal => {
            return Err(Error::usage(
                "Parquet can't be shown on a terminal; use --output FILE or redirect stdout",
            ));
        }
        (Some(format), _) => format,
        (None, Destination::Stdout) if is_terminal || args.query.is_none() => Format::Table,
        (None, Destination::Stdout) => Format::Csv,
        (None, _) => {
            return Err(Error::usage(
                "the name given to --output has no ending that says its format; add --format csv, jsonl or parquet",
            ));
        }
    };
    let width =
        comfy_table::Table::new().width().filter(|_| is_terminal && destination == Destination::Stdout);
    Ok(Output { format, destination, width })
}

/// Opens a lake to be read. A local one must be there: opening makes the folder, and a misspelt path
/// would then be a new and empty lake.
fn open_existing(lake: &str) -> Result<Lake> {
    let url = url::Url::parse(lake).ok().filter(|url| url.scheme() == "file");
    match url.and_then(|url| url.to_file_path().ok()) {
        Some(folder) if !folder.is_dir() => Err(Error::config(format!(
            "there is no lake at {lake}; correct LAKE_URL, or run query_source to make one"
        ))),
        _ => Lake::open(lake),
    }
}
