//! `doctor`: tries everything the batch path needs, and says what to do where something is missing.
//!
//! A check that fails never hides the next one unless that one needs it.

mod check;
mod connector;
mod content;
mod index;
mod lake;
mod postgres;
mod server;
mod sqlite;
mod table_facts;

use crate::args::DoctorArgs;
use crate::table::Form;
use check::Checks;
use invoices::Result;
use invoices::source::{SelectArgs, SourceArgs, SourceUrl};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Runs all checks.
///
/// # Errors
/// Configuration when a check failed, retry when all that failed was a service that is down.
pub fn run(args: &DoctorArgs, form: Form, runtime: &Runtime) -> Result<Value> {
    let source = check_source(&args.source, &args.select);
    source.show(form);
    let lake = runtime.block_on(lake::check(&args.lake));
    lake.show(form);
    let mut checks = [source.into_inner(), lake.into_inner()].concat();
    if let Some(url) = &args.connect.connect {
        let connector = connector::check(&args.connect, url, &args.source, runtime);
        connector.show(form);
        checks.extend(connector.into_inner());
    }

    let [ok, warn, fail] = check::tally(&checks);
    let facts = json!({ "command": "doctor", "ok": ok, "warn": warn, "fail": fail, "checks": checks });
    match check::failure(&checks) {
        Some(error) => Err(error.with_facts(facts)),
        None => Ok(facts),
    }
}

fn check_source(args: &SourceArgs, select: &SelectArgs) -> Checks {
    let mut checks = Checks::new("source");
    match checks.value_or_fail("url", args.url()) {
        Some(SourceUrl::Postgres(url)) => postgres::check(&url, args, select, &mut checks),
        Some(SourceUrl::Sqlite(path)) => sqlite::check(&path, args, select, &mut checks),
        None => {}
    }
    checks
}
