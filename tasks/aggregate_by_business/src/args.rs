//! Flags and help of `aggregate_by_business`.

use clap::Parser;
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
