//! Flags and help of `invoice_consumer`.

use change_events::{DateUnit, DecimalMode};
use clap::{Args as ClapArgs, Parser, Subcommand};
use invoices::Month;
use invoices::source::{ColumnNames, SourceArgs};
use invoices::task::{CommonArgs, TaskArgs, WindowArgs};
use std::net::SocketAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  Decisions for a file of change events, one JSON object a line, with no service:
    invoice_consumer --from events.jsonl
    invoice_consumer --from - --rules rules.toml --shadow-rules candidate.toml < events.jsonl
  Why was invoice 42 decided as it was?
    invoice_consumer --from events.jsonl --explain 42
    invoice_consumer --decisions postgres://risk@db:5432/risk --explain 42
  The service (password from PGPASSWORD, Kafka settings such as SASL from --kafka-config FILE):
    invoice_consumer --brokers kafka:9092 --topic postgres.public.invoices \\
                     --decisions postgres://risk@db:5432/risk --listen 0.0.0.0:9100
  What could not be decoded goes back to its topic once the cause is gone:
    invoice_consumer dlq list --brokers kafka:9092
    invoice_consumer dlq replay --brokers kafka:9092
  An ONNX model adds the feature onnx_score, which rules can use:
    invoice_consumer --from events.jsonl --onnx-model model.onnx --rules rules.toml
  Is every stored decision what the model says today?
    invoice_consumer replay --decisions postgres://risk@db:5432/risk
  What would candidate rules have decided last year, and how do they compare with what came out?
    invoice_consumer backtest --rules candidate.toml --decisions postgres://risk@db:5432/risk \\
                              --from 2025-01 --to 2025-12 --labels labels.csv --changes changes.csv
  Is every invoice of the source decided as it is now, and do the figures add up?
    invoice_consumer verify --source postgres://invoice_reader@db:5432/shop --as-of 2026-01-31 \\
                            --decisions postgres://risk@db:5432/risk

Decisions go to stdout as JSON lines with --from; the last line is always the result of the run.

Exit codes: 0 done, 2 usage, 65 data refused, 70 bug, 75 try again, 78 configuration.";

/// Decides the risk of every new invoice: reads change events from Kafka (or a file), computes
/// features, applies the rules and stores each decision exactly once.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Read change events from this file, one JSON object a line; - is standard input
    #[arg(long, env = "FROM", value_name = "FILE", conflicts_with = "brokers")]
    pub from: Option<PathBuf>,

    /// Kafka brokers
    #[arg(long, env = "KAFKA_BROKERS", value_name = "HOST:PORT,…", requires = "decisions")]
    pub brokers: Option<String>,

    /// Topic of the change events
    #[arg(long, env = "KAFKA_TOPIC", default_value = "postgres.public.invoices", value_name = "NAME")]
    pub topic: String,

    /// Database of the decisions: postgres://user@host:port/database?sslmode=…
    ///
    /// The password comes from PGPASSWORD, or from the URL when the URL itself comes from the
    /// environment.
    #[arg(long, env = "DECISIONS_URL", hide_env_values = true, value_name = "URL")]
    pub decisions: Option<String>,

    #[command(flatten)]
    pub rules: RuleArgs,

    #[command(flatten)]
    pub model: ModelArgs,

    #[command(flatten)]
    pub decoding: DecodingArgs,

    /// Accept, this once, a source whose log positions start again, as after a restore or a migration
    ///
    /// Its changes count as newer than everything that was decided before: docs/migrate-source.md.
    #[arg(long, env = "ACCEPT_NEW_SOURCE")]
    pub accept_new_source: bool,

    /// Print why this invoice was decided as it was, and end
    #[arg(long, value_name = "INVOICE")]
    pub explain: Option<i64>,

    #[command(flatten)]
    pub service: ServiceArgs,

    #[command(flatten)]
    pub common: CommonArgs,
}

/// Which rules apply.
#[derive(Debug, Clone, ClapArgs)]
pub struct RuleArgs {
    /// Rules file, read again when it changes; without it the built-in rules apply
    #[arg(long, env = "RULES", value_name = "FILE")]
    pub rules: Option<PathBuf>,

    /// Candidate rules, tried beside those that decide: differences are counted and logged, and change nothing
    #[arg(long, env = "SHADOW_RULES", value_name = "FILE")]
    pub shadow_rules: Option<PathBuf>,
}

/// What computes features beside the log.
#[derive(Debug, Clone, ClapArgs)]
pub struct ModelArgs {
    /// ONNX model that adds the feature onnx_score; its metadata names the features that it takes
    #[arg(long, env = "ONNX_MODEL", value_name = "FILE")]
    pub onnx_model: Option<PathBuf>,
}

/// What messages leave open.
#[derive(Debug, Clone, ClapArgs)]
pub struct DecodingArgs {
    #[command(flatten)]
    pub columns: ColumnNames,

    /// Accept amounts that are JSON numbers (decimal.handling.mode=double)
    #[arg(long, env = "ALLOW_NUMBER_AMOUNTS")]
    pub allow_number_amounts: bool,

    /// What amounts that are texts without a schema are: the connector's decimal.handling.mode
    #[arg(long, env = "DECIMAL_MODE", value_enum, default_value_t = DecimalMode::String)]
    pub decimal_mode: DecimalMode,

    /// Unit of dates that are numbers without a schema; a schema says it itself, and texts, as the shipped
    /// connector sends them, have none
    #[arg(long, env = "DATE_UNIT", value_enum, default_value_t = DateUnit::Us)]
    pub date_unit: DateUnit,
}

/// How the service runs.
#[derive(Debug, Clone, ClapArgs)]
pub struct ServiceArgs {
    /// Consumer group
    #[arg(long, env = "KAFKA_GROUP", default_value = "invoice_consumer", value_name = "NAME")]
    pub group: String,

    /// Name of this consumer in its group (static membership), so that a restart moves no partition
    #[arg(long, env = "KAFKA_INSTANCE", value_name = "NAME")]
    pub instance: Option<String>,

    /// Further settings of librdkafka, one name=value a line, such as SASL credentials
    #[arg(long, env = "KAFKA_CONFIG", value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,

    /// Topic for messages that can't be decoded; the topic's name with .dead-letters by default
    #[arg(long, env = "DEAD_LETTER_TOPIC", value_name = "NAME")]
    pub dead_letter_topic: Option<String>,

    /// Most messages of one transaction
    #[arg(long, env = "BATCH_MAX", default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub batch_max: u64,

    /// A partition that has unread messages and makes no progress for this many seconds counts as stuck
    #[arg(long, env = "STUCK_SECONDS", default_value_t = 30, value_name = "N")]
    pub stuck_seconds: u64,

    /// Go on once, from its beginning, with a topic that was made again, or whose log ends before what
    /// was read of it: docs/migrate-source.md
    #[arg(long, env = "ACCEPT_NEW_TOPIC")]
    pub accept_new_topic: bool,

    /// Continue, this once, after a gap: messages that the topic deleted before they were read are skipped
    #[arg(long, env = "ACCEPT_GAP")]
    pub accept_gap: bool,

    /// End when everything that is in the topic has been decided
    #[arg(long, env = "EXIT_AT_END")]
    pub exit_at_end: bool,

    /// Keep the state of each partition here, so that a start reads the decisions after it alone: a folder
    /// (file:///…) or a bucket (s3://bucket/prefix); each database of decisions needs a place of its own
    #[arg(long, env = "CHECKPOINTS_URL", value_name = "URL")]
    pub checkpoints: Option<String>,

    /// Decisions of a partition from one checkpoint to the next; one more is made at the end
    #[arg(long, env = "CHECKPOINT_EVERY", default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,

    /// Serve /metrics, /health and /ready here
    #[arg(long, env = "LISTEN", value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,

    /// POST changes of status here; signed with WEBHOOK_SECRET from the environment
    #[arg(long, env = "WEBHOOK_URL", hide_env_values = true, value_name = "URL")]
    pub webhook_url: Option<String>,

    /// Send changes of status to this Kafka topic
    #[arg(long, env = "NOTIFY_TOPIC", value_name = "NAME")]
    pub notify_topic: Option<String>,

    /// Source database, to watch its replication slot
    #[arg(long, env = "SLOT_SOURCE_URL", hide_env_values = true, value_name = "URL")]
    pub slot_source: Option<String>,

    /// Replication slot to watch
    #[arg(long, env = "SLOT_NAME", default_value = "invoice_platform", value_name = "NAME")]
    pub slot_name: String,

    /// Warn when the source must keep more write-ahead log than this for the slot
    #[arg(long, env = "SLOT_LAG_BYTES_MAX", default_value_t = 1 << 30, value_name = "BYTES")]
    pub slot_lag_bytes_max: u64,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Decide every stored event again and compare
    Replay(ReplayArgs),
    /// Say what candidate rules would have decided of the invoices that are decided: what changes, by rule, by month,
    /// and against labels
    Backtest(BacktestArgs),
    /// Compare the source, the decisions on its invoices and the figures made of them, month by month
    Verify(VerifyArgs),
    /// Look at the dead letters, or put them back
    Dlq(DlqArgs),
    /// List the features with their formulas
    Features,
    /// Check a rules file, and the ONNX model if there is one, and say what is wrong
    Check {
        /// Rules file
        #[arg(value_name = "FILE")]
        file: PathBuf,

        #[command(flatten)]
        model: ModelArgs,
    },
    /// Ask a running consumer whether it is healthy, as a container's health check does
    Health {
        /// Where it serves /health
        #[arg(value_name = "HOST:PORT")]
        address: SocketAddr,
    },
}

#[derive(Debug, Clone, ClapArgs)]
pub struct ReplayArgs {
    /// Database of the decisions
    #[arg(long, env = "DECISIONS_URL", hide_env_values = true, value_name = "URL")]
    pub decisions: String,

    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct BacktestArgs {
    /// Candidate rules
    #[arg(long, env = "BACKTEST_RULES", value_name = "FILE")]
    pub rules: PathBuf,

    /// Database of the decisions
    #[arg(long, env = "DECISIONS_URL", hide_env_values = true, value_name = "URL")]
    pub decisions: String,

    /// First month of the invoices' dates; all by default
    #[arg(long, env = "BACKTEST_FROM", value_name = "YYYY-MM", value_parser = parse_month)]
    pub from: Option<Month>,

    /// Last month of the invoices' dates, that month included; all by default
    #[arg(long, env = "BACKTEST_TO", value_name = "YYYY-MM", value_parser = parse_month)]
    pub to: Option<Month>,

    /// What came of invoices: CSV with the columns invoice_id and fraud (true or false); without fraud all in it are
    #[arg(long, env = "LABELS", value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Write the invoices whose status changes here, as CSV
    #[arg(long, env = "CHANGES", value_name = "FILE")]
    pub changes: Option<PathBuf>,

    /// Connections that read in parallel, all in one snapshot
    #[arg(long, env = "CONNECTIONS", default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub connections: u8,
}

fn parse_month(text: &str) -> Result<Month, String> {
    format!("{text}-01").parse().map_err(|_| "use YYYY-MM, as in 2026-01".to_owned())
}

#[derive(Debug, Clone, ClapArgs)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub source: SourceArgs,

    /// Database of the decisions
    #[arg(long, env = "DECISIONS_URL", hide_env_values = true, value_name = "URL")]
    pub decisions: String,

    #[command(flatten)]
    pub window: WindowArgs,

    /// What differs is looked at again for this many seconds: a change is in the source before it is decided
    #[arg(long, env = "VERIFY_WAIT", default_value_t = 30, value_name = "SECONDS")]
    pub wait: u64,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct DlqArgs {
    #[command(subcommand)]
    pub action: DlqAction,
}

#[derive(Debug, Clone, Subcommand)]
pub enum DlqAction {
    /// Print the dead letters as JSON lines
    List(DlqTopicArgs),
    /// Put the dead letters that were not yet put back into their topics, each once
    Replay(DlqTopicArgs),
}

#[derive(Debug, Clone, ClapArgs)]
pub struct DlqTopicArgs {
    /// Kafka brokers
    #[arg(long, env = "KAFKA_BROKERS", value_name = "HOST:PORT,…")]
    pub brokers: String,

    /// Topic of the dead letters
    #[arg(
        long,
        env = "DEAD_LETTER_TOPIC",
        default_value = "postgres.public.invoices.dead-letters",
        value_name = "NAME"
    )]
    pub dead_letter_topic: String,

    /// Consumer group of the service; what was put back is remembered under its name
    #[arg(long, env = "KAFKA_GROUP", default_value = "invoice_consumer", value_name = "NAME")]
    pub group: String,

    /// Further settings of librdkafka, one name=value a line
    #[arg(long, env = "KAFKA_CONFIG", value_name = "FILE")]
    pub kafka_config: Option<PathBuf>,
}

impl TaskArgs for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

impl Args {
    pub fn dead_letter_topic(&self) -> String {
        self.service.dead_letter_topic.clone().unwrap_or_else(|| format!("{}.dead-letters", self.topic))
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

    #[test]
    fn a_file_or_brokers_with_a_database_are_needed() {
        let parse = |flags: &[&str]| Args::try_parse_from(["invoice_consumer"].iter().chain(flags));
        assert!(parse(&["--from", "x"]).is_ok());
        assert!(parse(&["--brokers", "x:1"]).is_err());
        assert!(parse(&["--brokers", "x:1", "--decisions", "postgres://h/d"]).is_ok());
        assert!(parse(&["--brokers", "x:1", "--decisions", "d", "--from", "x"]).is_err());
        assert!(parse(&["replay", "--decisions", "postgres://h/d"]).is_ok());
    }
}
