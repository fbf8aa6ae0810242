//! `write_partitioned_parquet`: from staged statistics to published Hive partitions.
//!
//! # Layout
//! * [`args`]: flags and help.
//! * [`job`]: what is published, month by month and for the window (no I/O).
//! * [`partitions`], [`encode`], [`totals`]: cutting, encoding and adding up rows (no I/O).
//! * [`staged`]: reading what `aggregate_by_business` left.
//! * [`publish`]: objects, deletions, commit record, in this order.
//!
//! Architecture invariant: no Polars here; the rows are few and only cut.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod args;
mod encode;
mod job;
mod partitions;
mod publish;
mod report;
mod staged;
mod totals;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use args::Args;

use futures::{StreamExt, TryStreamExt, stream};
use invoices::lake::commit::CommitRecord;
use invoices::lake::{CONCURRENCY, Lake};
use invoices::task::{Progress, Task};
use invoices::{Error, Result, Window};
use job::Job;
use publish::Publisher;
use report::Report;
use serde_json::Value;
use staged::Staged;

/// Partitions being published at once: one is listed while another is written.
const JOBS_AT_ONCE: usize = 2;

/// Runs the task; see the crate documentation.
///
/// # Errors
/// Refused when a month has too many partitions or its totals differ; configuration when a month
/// was not staged; retry as the contract says.
pub fn run(args: &Args, task: &Task) -> Result<Value> {
    let window = args.window.window()?;
    let lake = args.lake.open()?;
    task.block_on(publish_all(args, window, &lake, &task.program()))
}

async fn publish_all(args: &Args, window: Window, lake: &Lake, program: &str) -> Result<Value> {
    let jobs = Job::all(window, args.partition_by);
    let staged = find_staged(lake, &jobs).await?;
    let mut objects = 0;
    for (job, record) in jobs.iter().zip(&staged) {
        job.check_limit(record, args.max_partitions)?;
        objects += job.parts_at_most(record);
    }
    let progress = Progress::new("partitions", objects);
    let publisher = Publisher { lake, max_partitions: args.max_partitions, program, progress: &progress };
    let mut report = Report::new(window, args.partition_by);
    if args.dry_run {
        for job in &jobs {
            report.planned(job, publisher.plan(job).await?);
        }
        return report.into_json();
    }
    let publishing =
        stream::iter(&jobs).map(async |job| Ok::<_, Error>((job, publisher.publish(job).await?)));
    let mut publishing = std::pin::pin!(publishing.buffered(JOBS_AT_ONCE));
    while let Some((job, published)) = publishing.try_next().await? {
        report.published(job, published);
    }
    report.into_json()
}

/// What is staged for every job; a month that is missing or too large stops the run before it
/// has written anything.
async fn find_staged(lake: &Lake, jobs: &[Job]) -> Result<Vec<CommitRecord>> {
    stream::iter(jobs)
        .map(|job| async move {
            let staged = Staged::find(lake, job.from, &job.partition, &job.what).await?;
            Ok::<_, Error>(staged.record)
        })
        .buffered(CONCURRENCY)
        .try_collect()
        .await
}
