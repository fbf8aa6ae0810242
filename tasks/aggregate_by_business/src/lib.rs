//! `aggregate_by_business`: from the lake's invoices to staged statistics per business.
//!
//! # Layout
//! * [`args`]: flags and help.
//! * [`month`], [`window`]: one partition each, from its inputs to its commit record.
//! * [`staging`]: what the two have in common.
//! * [`grouping`]: who groups a month.
//! * [`group`], [`merge`]: the grouping in Polars; [`dense`]: the same by position where ids allow it;
//!   [`pairs`]: counterparties by sorting (no I/O).
//! * [`spark`]: the same on a Spark cluster.
//! * [`totals`]: what was grouped adds up to what was read (no I/O).
//! * [`engine`]: how Polars is called.
//!
//! Architecture invariant: invoices are read once, month by month; the window is a merge of months.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod args;
mod codes;
mod dense;
mod engine;
mod group;
mod grouping;
mod merge;
mod month;
mod pairs;
mod report;
#[cfg_attr(not(feature = "spark"), path = "no_spark.rs")]
mod spark;
mod staging;
mod totals;
mod window;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use args::Args;

use args::EngineName;
use futures::{StreamExt, TryStreamExt, stream};
use grouping::Engine;
use invoices::lake::names::{self, Table};
use invoices::lake::{ATTEMPTS, Lake, Object, step_aside};
use invoices::task::{Progress, Task};
use invoices::{Error, Result, Window};
use month::StagedMonth;
use serde_json::Value;
use spark::Spark;

/// Most months under way at once: some are read or written while others keep the cores busy. More
/// is no faster (10 million invoices on 2 cores: 1.5 s one by one, 1.1 s with 2, 0.9 s with 3).
const MONTHS_AT_ONCE: u64 = 3;

/// Compressed invoices in memory at once. Unpacked and grouped they take several times as much: 100 million
/// invoices, 55 MB a month, need 0.5 GB one month after the other and 0.9 GB three at a time.
const INVOICE_BYTES_AT_ONCE: u64 = 64 << 20;

/// Runs the task; see the crate documentation.
///
/// # Errors
/// Refused when the statistics do not add up to the invoices' proof; configuration when a month was
/// not extracted; retry as the contract says.
pub fn run(args: &Args, task: &Task) -> Result<Value> {
    let window = args.window.window()?;
    let lake = args.lake.open()?;
    task.block_on(async {
        let engine = match args.engine.engine {
            EngineName::Polars => Engine::Polars,
            EngineName::Spark => Engine::Spark(Spark::open(&args.engine, lake.url()).await?),
        };
        let line = aggregate(&lake, &engine, window, &task.program()).await;
        engine.close().await;
        line
    })
}

async fn aggregate(lake: &Lake, engine: &Engine, window: Window, program: &str) -> Result<Value> {
    for attempt in 1..=ATTEMPTS {
        step_aside(attempt).await;
        let months = stage_months(lake, engine, window, program).await?;
        if let Some(staged) = window::stage(lake, window, &months, program).await? {
            return report::line(engine, window, &months, &staged);
        }
        tracing::warn!(attempt, "another run staged a month meanwhile; merging again");
    }
    Err(Error::retry("other runs keep staging months of the same window; run again when they are done"))
}

/// All months of the window, oldest first, brought up to date.
async fn stage_months(
    lake: &Lake,
    engine: &Engine,
    window: Window,
    program: &str,
) -> Result<Vec<StagedMonth>> {
    let invoices = lake.list(Table::Invoices.folder()).await?;
    let in_window =
        |object: &&Object| names::month_of(&object.path).is_some_and(|month| window.contains(month));
    let sizes = invoices.iter().filter(in_window).map(|object| object.size);
    let largest_bytes = match engine {
        Engine::Polars => sizes.max().unwrap_or_default(),
        // The invoices stay where they are.
        Engine::Spark(_) => 0,
    };
    let progress = Progress::new("months", window.len() as u64);
    stream::iter(window.months())
        .map(|month| month::stage(lake, engine, month, program))
        .buffered(months_at_once(largest_bytes))
        .inspect_ok(|_| progress.add(1))
        .try_collect()
        .await
}

/// As many months as fit in memory together.
fn months_at_once(largest_bytes: u64) -> usize {
    (INVOICE_BYTES_AT_ONCE / largest_bytes.max(1)).clamp(1, MONTHS_AT_ONCE) as usize
}
