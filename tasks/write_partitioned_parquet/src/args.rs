//! Flags and help of `write_partitioned_parquet`.

use clap::Parser;
use invoices::lake::names::PartitionBy;
use invoices::task::args::{LakeArgs, WindowArgs};
use invoices::task::{CommonArgs, TaskArgs};

const EXAMPLES: &str = "\
Examples:
  Publish the statistics of the last 12 months, a folder per month and business:
    write_partitioned_parquet --lake s3://de-challenge --as-of 2026-01-31 --months 12
  See first what would be replaced:
    write_partitioned_parquet … --dry-run
  Many businesses: 16 objects per month, each sorted by business_id:
    write_partitioned_parquet … --partition-by 'month,bucket(business_id,16)'
  One object per month:
    write_partitioned_parquet … --partition-by month

business_bucket is pmod(business_id, N), and 0 for invoices without a business.
Changing --partition-by replaces the months of the window; what another partitioning left behind in
them is deleted. Months whose statistics have not changed since the last run are skipped.

Exit codes: 0 done, 2 usage, 65 data refused, 70 bug, 75 try again, 78 configuration.";

/// Publishes the staged statistics of the last N months as Hive partitions of Parquet objects.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub window: WindowArgs,

    /// Partitions: month | month,business_id | month,bucket(business_id,N)
    #[arg(long, env = "PARTITION_BY", default_value = "month,business_id", value_name = "COLUMNS")]
    pub partition_by: PartitionBy,

    /// Most partitions of one month; a month with more is refused before anything is written
    #[arg(long, env = "MAX_PARTITIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub max_partitions: u32,

    /// Say what would be replaced, and change nothing
    #[arg(long, env = "DRY_RUN")]
    pub dry_run: bool,

    #[command(flatten)]
    pub common: CommonArgs,
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
