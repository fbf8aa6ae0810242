//! `query_source`: from the invoice table to the lake's table `invoices`, one object per month.
//!
//! # Layout
//! * [`args`]: flags and help.
//! * [`plan`]: which months must be read (pure).
//! * [`guard`]: what a source must not lose in silence (pure).
//! * [`extract`]: ConnectorX reads rows in one shared snapshot and routes them to their months.
//! * [`month_writer`]: one month's Parquet, streamed into its upload.
//! * [`publish`]: proof, atomic put, commit record; older runs never hide newer ones.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod args;
mod extract;
mod guard;
mod month_writer;
mod plan;
mod publish;
mod report;

pub use args::Args;

use extract::Extraction;
use invoices::lake::names::{self, Table};
use invoices::lake::strangers;
use invoices::lake::{ATTEMPTS, Lake, Object, step_aside};
use invoices::source::{MonthFingerprints, Source};
use invoices::task::Task;
use invoices::{Error, Kind, Month, Result, Window, failpoint};
use plan::{Form, Known, Plan};
use publish::Published;
use report::Report;
use std::collections::BTreeMap;

/// Runs the task; see the crate documentation.
///
/// # Errors
/// Refused when what was written is not what the source says; retry, configuration and usage as the
/// contract says.
pub fn run(args: &Args, task: &Task) -> Result<serde_json::Value> {
    let window = args.window.window()?;
    let lake = args.lake.open()?;
    for attempt in 1..=ATTEMPTS {
        task.block_on(step_aside(attempt));
        task.check_stop()?;
        match run_once(args, window, task, &lake)? {
            Some(report) => return Ok(report.into_json()),
            None => tracing::warn!(attempt, "a newer run committed meanwhile; reading again"),
        }
    }
    Err(Error::retry(
        "runs with newer snapshots keep committing the same months; run again when they are done. If there are none, \
         this source is a replica that lags, its clock is behind that of the server before it, or it was restored from \
         a copy of its files: then remove _commits/invoices from the lake, and every month is read again",
    ))
}

/// One attempt in one snapshot; none when a newer run overtook it.
fn run_once(args: &Args, window: Window, task: &Task, lake: &Lake) -> Result<Option<Report>> {
    let mut source = Source::open(&args.source, &args.select)?;
    failpoint!("query::after_snapshot");
    let (known, strangers) = task.block_on(known_months(lake))?;
    let mut report = Report::new(window, &source);
    if let Some(sentence) = strangers::sentence(&strangers) {
        report.warn(sentence);
    }
    if let Some(sentence) = guard::new_source(&known, source.snapshot()) {
        report.warn(sentence);
    }

    let form = Form::new(&source.shape(), &args.select);
    let cold = plan::nothing_known(window, &known, &form);
    let compares = args.refresh == args::Refresh::Changed && !cold;
    let fingerprints = if compares || args.dry_run { Some(source.fingerprints(window)?) } else { None };
    let plan = Plan::new(args.refresh, window, &known, fingerprints.as_ref(), &form);
    report.planned(&plan);
    task.block_on(refuse_foreign(lake, &plan.read, &known))?;
    if let Some(fingerprints) = &fingerprints {
        refuse_emptied(args, window, &known, fingerprints)?;
    }
    if !args.allow_repeated_ids
        && let Some(sentence) = source.repeated_ids(window, &plan.read)?
    {
        return Err(sentence);
    }
    if args.dry_run {
        let fingerprints = fingerprints.unwrap_or_default();
        report.lost(guard::losses(&plan.read, &known, &fingerprints));
        report.explain(&plan, &known, &fingerprints);
        return Ok(Some(report));
    }
    // Whether the window is empty is asked once, and only where it may be.
    let mut is_guarded = compares;
    for months in plan.passes(args.memory_budget) {
        task.check_stop()?;
        let Extraction { fingerprints, writers } =
            extract::extract(args, task, lake, &mut source, &months, fingerprints.as_ref())?;
        failpoint!("query::after_extract");
        let proven = publish::prove(writers, &fingerprints, &mut source);
        let writers = proven.map_err(|failure| task.block_on(failure.abort()))?;
        if !is_guarded && guard::is_suspicious(window, &months, &known, &fingerprints) {
            is_guarded = true;
            let refused =
                source.fingerprints(window).and_then(|all| refuse_emptied(args, window, &known, &all));
            if let Err(error) = refused {
                return Err(task.block_on(publish::Failure::new(writers, error).abort()));
            }
        }
        report.lost(guard::losses(&months, &known, &fingerprints));
        for writer in writers {
            task.check_stop()?;
            match task.block_on(publish::publish(lake, task, &source, &form, &known, writer))? {
                Published::Written { fingerprint, bytes } => report.wrote(&fingerprint, bytes),
                Published::Emptied => report.emptied(),
                Published::Same => report.same(),
                Published::Overtaken => return Ok(None),
            }
        }
    }
    Ok(Some(report))
}

/// See [`guard::refuse_emptied`]; `--allow-empty` says that it is meant.
fn refuse_emptied(
    args: &Args,
    window: Window,
    known: &BTreeMap<Month, Known>,
    fingerprints: &MonthFingerprints,
) -> Result<()> {
    if args.allow_empty {
        return Ok(());
    }
    guard::refuse_emptied(window, known, fingerprints, &args.source.table)
}

/// # Errors
/// Refused when a month has an object where this task writes and no record of it, and another program wrote it: to
/// replace it would be to lose it.
async fn refuse_foreign(lake: &Lake, months: &[Month], known: &BTreeMap<Month, Known>) -> Result<()> {
    let unrecorded = |month: &&Month| {
        known.get(month).is_some_and(|known| known.record.is_none() && !known.objects.is_empty())
    };
    for month in months.iter().filter(unrecorded) {
        let path = names::object(Table::Invoices, &names::month_partition(*month));
        let is_own = match lake.footer(&path).await {
            Ok(Some((_, proof))) => proof.is_some(),
            Ok(None) => true,
            Err(error) if error.kind() == Kind::Refused => false,
            Err(error) => return Err(error),
        };
        if !is_own {
            return Err(Error::refused(format!(
                "{} was written by another program, and this task would replace it; move it away, or give --lake \
                 another prefix",
                lake.locate(&path)
            )));
        }
    }
    Ok(())
}

/// What the lake has of each month, its objects and its last commit record; and the paths that no task has written.
async fn known_months(lake: &Lake) -> Result<(BTreeMap<Month, Known>, Vec<String>)> {
    let mut known: BTreeMap<Month, Known> = BTreeMap::new();
    for (partition, record) in lake.read_commits(Table::Invoices).await? {
        if let Some(month) = names::month_of(&partition) {
            known.entry(month).or_default().record = Some(record);
        }
    }
    let objects: Vec<Object> = lake.list(Table::Invoices.folder()).await?;
    let mut strangers = Vec::new();
    for object in objects {
        match names::month_of(&object.path) {
            Some(month) if object.path == names::object(Table::Invoices, &names::month_partition(month)) => {
                known.entry(month).or_default().objects.push(object);
            }
            _ if strangers::is_hidden(&object.path) => {}
            _ => strangers.push(object.path),
        }
    }
    Ok((known, strangers))
}

/// Fingerprint of a month, zero for a month without invoices.
fn fingerprint_of(fingerprints: &MonthFingerprints, month: Month) -> invoices::Fingerprint {
    fingerprints.get(&month).copied().unwrap_or_default()
}
