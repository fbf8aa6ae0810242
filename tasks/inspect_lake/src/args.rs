//! Flags and help of `inspect_lake`.

use clap::{Args as ClapArgs, Parser, Subcommand};
use invoices::source::{SelectArgs, SourceArgs};
use invoices::task::{CommonArgs, LakeArgs, TaskArgs, WindowArgs};

const EXAMPLES: &str = "\
Examples:
  Another company's database: which table is it, and what are its columns?
    inspect_lake init --source postgres://invoice_reader@db:5432/erp
  Before the first run: does everything work, and what should be better?
    inspect_lake doctor --source postgres://invoice_reader@db:5432/shop --lake s3://de-challenge
  After a run: is the lake, cent by cent, what the source says?
    inspect_lake verify --source … --lake … --as-of 2026-01-31 --months 12
  What ran last, and is it still there?
    inspect_lake status --lake s3://de-challenge

The result is one JSON line on stdout; tables for people go to stderr (on a terminal, or always with
--log-format text).

Exit codes: 0 done, 2 usage, 65 source and lake differ, 70 bug, 75 try again, 78 configuration.";

const INIT_EXAMPLES: &str = "\
Examples:
  Propose settings, and use them:
    inspect_lake init --source postgres://invoice_reader@db:5432/erp --output invoices.sh
    . ./invoices.sh && inspect_lake doctor --source … --lake …
  The table is known, its columns are not:
    inspect_lake init --source sqlite:erp.db --table ar_invoices
  The extra of Airflow's connection invoice_source:
    inspect_lake init --source … 2>/dev/null | jq .airflow_extra

Types, names, keys and the planner's statistics are looked at; no row is, but in SQLite. It proposes, and you decide:
read the sentences that begin with \"Look at this first\".

Exit codes: 0 done, 75 try again, 78 no table looks like invoices.";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  From Postgres to S3 (password from PGPASSWORD, credentials from AWS_*):
    inspect_lake doctor --source 'postgres://invoice_reader@db/shop?sslmode=verify-full' \\
                        --lake s3://de-challenge
  An embedded database and a local folder:
    inspect_lake doctor --source sqlite:demo/invoices.db --lake file:///tmp/lake
  The connector of the stream too:
    inspect_lake doctor --source … --lake … --connect http://connect:8083
  Only what needs attention:
    inspect_lake doctor 2>/dev/null | jq '.checks[] | select(.result != \"ok\")'

The lake needs one thing that no program can check through S3: a lifecycle rule that aborts
unfinished multipart uploads after a day. A killed run leaves such parts behind, nobody sees them,
and the bucket's owner pays for them.

Exit codes: 0 no check failed, 75 a service is down, 78 something must be changed.";

const VERIFY_EXAMPLES: &str = "\
Examples:
  The last 12 months up to January 2026:
    inspect_lake verify --source postgres://invoice_reader@db:5432/shop --lake s3://de-challenge \\
                        --as-of 2026-01-31 --months 12
  Only the months that differ:
    inspect_lake verify … --quiet
  For programs:
    inspect_lake verify … 2>/dev/null | jq '.months[] | select(.problems != [])'
  Every invoice, by other SQL and another reader of Parquet than the tasks' (minutes; memory for one month's ids):
    inspect_lake verify … --deep

No footer and no record is believed: every object of the window is read in full.

Exit codes: 0 all agree, 65 something differs, 75 try again, 78 configuration.";

const STATUS_EXAMPLES: &str = "\
Examples:
  A table per lake table:
    inspect_lake status --lake s3://de-challenge
  Partitions whose objects are not the recorded ones:
    inspect_lake status 2>/dev/null | jq '.partitions[] | select(.state != \"as recorded\")'";

/// Looks at source and lake and says what works, what is true and what ran last. Changes nothing.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,

    #[command(flatten)]
    pub common: CommonArgs,
}

impl TaskArgs for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Looks for the table of invoices and proposes the settings that read it
    #[command(after_help = INIT_EXAMPLES)]
    Init(InitArgs),
    /// Tries everything that the batch path needs and says what to do where something is missing
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Compares the source with what the lake's objects really hold, month by month
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Shows the last commit of every partition and whether its objects are still there
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Lists the businesses that issued most over the window
    Top(TopArgs),
}

#[derive(Debug, ClapArgs)]
pub struct TopArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub window: WindowArgs,

    /// Number of businesses
    #[arg(long, env = "LIMIT", default_value_t = 10, value_name = "N")]
    pub limit: usize,
}

#[derive(Debug, ClapArgs)]
pub struct InitArgs {
    /// Source database: postgres://user@host:port/database?sslmode=… or sqlite:path/to/file.db
    ///
    /// The password comes from PGPASSWORD, or from the URL when the URL itself comes from the environment.
    #[arg(long, env = "SOURCE_URL", hide_env_values = true, value_name = "URL")]
    pub source: String,

    /// The table, where several look like invoices
    #[arg(long, env = "INIT_TABLE", value_name = "NAME")]
    pub table: Option<String>,

    /// Also write the settings here, as lines for a shell
    #[arg(long, env = "INIT_OUTPUT", value_name = "FILE")]
    pub output: Option<std::path::PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// The connector of the stream, looked at when its Kafka Connect is named.
#[derive(Debug, ClapArgs)]
pub struct ConnectArgs {
    /// Kafka Connect, whose connector is looked at too: http://host:8083
    #[arg(long, env = "CONNECT_URL", hide_env_values = true, value_name = "URL")]
    pub connect: Option<String>,

    /// Name of the connector
    #[arg(long, env = "CONNECTOR", default_value = "invoices", value_name = "NAME")]
    pub connector: String,
}

#[derive(Debug, ClapArgs)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub lake: LakeArgs,
    #[command(flatten)]
    pub window: WindowArgs,

    /// Also compare every invoice by an independent way: other SQL, another reader of Parquet, ids as sets
    #[arg(long, env = "DEEP")]
    pub deep: bool,

    /// Show only the months that differ
    #[arg(long, short, env = "QUIET")]
    pub quiet: bool,
}

#[derive(Debug, ClapArgs)]
pub struct StatusArgs {
    #[command(flatten)]
    pub lake: LakeArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn status_needs_only_the_lake() {
        assert!(Args::try_parse_from(["inspect_lake", "status", "--lake", "file:///tmp/lake"]).is_ok());
    }
}
