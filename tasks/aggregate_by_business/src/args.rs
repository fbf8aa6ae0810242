//! Flags and help of `aggregate_by_business`.

use clap::{Parser, ValueEnum};
use invoices::task::args::{LakeArgs, WindowArgs};
use invoices::task::{CommonArgs, TaskArgs};

const EXAMPLES: &str = "\
Examples:
  Statistics of the last 12 months up to January 2026, after query_source has run for them:
    aggregate_by_business --lake s3://de-challenge --as-of 2026-01-31 --months 12
  The same from a local folder:
    aggregate_by_business --lake file:///tmp/lake --as-of 2026-01-31 --months 12
  Then publish them:
    write_partitioned_parquet --lake s3://de-challenge --as-of 2026-01-31 --months 12
  Grouped by a Spark cluster, which reads the lake itself; the result is the same:
    aggregate_by_business --lake s3://de-challenge --as-of 2026-01-31 --months 12 \\
        --engine spark --spark-remote sc://spark.internal:15002

Months whose invoices have not changed since the last run are skipped.

Exit codes: 0 done, 2 usage, 65 data refused, 70 bug, 75 try again, 78 configuration.";

/// Groups the invoices of the last N months by business: totals, counts, smallest and largest
/// amounts, first and last dates and counterparties, per month and over the whole window.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub window: WindowArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub common: CommonArgs,
}

/// Who groups the months.
#[derive(Debug, Clone, clap::Args)]
pub struct EngineArgs {
    /// Where invoices are grouped: here, by Polars, or on a Spark cluster
    #[arg(long, env = "ENGINE", value_enum, default_value_t = EngineName::Polars)]
    pub engine: EngineName,

    /// Spark Connect server, sc://host:port; a URL with a token only in the environment
    #[arg(long, env = "SPARK_REMOTE", hide_env_values = true, value_name = "URL")]
    pub spark_remote: Option<String>,

    /// The lake as the Spark cluster calls it [default: the lake's URL, with s3a:// for s3://]
    #[arg(long, env = "SPARK_LAKE_URL", value_name = "URL")]
    pub spark_lake: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    Polars,
    Spark,
}

impl TaskArgs for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
