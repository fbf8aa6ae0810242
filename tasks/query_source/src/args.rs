//! Flags and help of `query_source`.

use clap::{Parser, ValueEnum};
use invoices::source::{SelectArgs, SourceArgs};
use invoices::task::args::{LakeArgs, WindowArgs};
use invoices::task::{CommonArgs, TaskArgs};

const EXAMPLES: &str = "\
Examples:
  The last 12 months up to January 2026, from Postgres into S3 (password from PGPASSWORD):
    query_source --source postgres://invoice_reader@db:5432/shop --lake s3://de-challenge \\
                 --as-of 2026-01-31 --months 12
  See first what would be read and replaced:
    query_source … --dry-run
  A table with other names:
    query_source … --table billing.docs --invoice-id-column doc_no --issue-date-column issued_at
  Without drafts and deleted ones, amounts in whole cents:
    query_source … --where \"status <> 'draft' and deleted_at is null\" --amount-unit cents
  With two further columns in the lake, one of them under another name:
    query_source … --column status --column due_date=DueOn
  Verified TLS:
    query_source --source 'postgres://reader@db/shop?sslmode=verify-full&sslrootcert=/etc/ca.pem' …
  An embedded database into a local folder:
    query_source --source sqlite:demo/invoices.db --lake file:///tmp/lake --as-of 2026-01-31

Exit codes: 0 done, 2 usage, 65 data refused, 70 bug, 75 try again, 78 configuration.";

/// Copies the invoices of the last N months from the source database to the lake, one Parquet
/// object per month, and proves every month against the source before it is published.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub window: WindowArgs,

    /// Which months to read again
    #[arg(long, env = "REFRESH", value_enum, default_value_t = Refresh::Changed)]
    pub refresh: Refresh,

    /// Connections that read in parallel, all in one snapshot
    #[arg(long, env = "CONNECTIONS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "N")]
    pub connections: u16,

    /// Memory for months being written; a window that needs more is read in several passes
    #[arg(long, env = "MEMORY_BUDGET", default_value = "256MiB", value_parser = invoices::task::args::parse_budget, value_name = "SIZE")]
    pub memory_budget: u64,

    /// Publish a window that has no invoices any more, although the lake has some
    #[arg(long, env = "ALLOW_EMPTY")]
    pub allow_empty: bool,

    /// Take an id that several rows have for as many invoices, where nothing in the source keeps ids unique
    #[arg(long, env = "ALLOW_REPEATED_IDS")]
    pub allow_repeated_ids: bool,

    /// Say what would be read and replaced, and change nothing
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

/// Which months of the window are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Refresh {
    /// Months whose rows, sum or row hashes in the source differ from what the lake has
    Changed,
    /// All months of the window
    Window,
    /// The newest month, and months that the lake lacks
    Latest,
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
