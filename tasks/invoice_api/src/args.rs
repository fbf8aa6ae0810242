//! Flags and help of `invoice_api`.

use crate::dynamodb::args::{DynamodbCommand, StoreArgs};
use clap::{
    ArgMatches, Args as ClapArgs, Command as ClapCommand, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use invoices::source::SourceArgs;
use invoices::source::args::ColumnNames;
use invoices::task::{CommonArgs, TaskArgs};
use invoices::{Error, Result};
use std::net::SocketAddr;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  A token for a reader of invoices, then the service (tokens are kept as hashes):
    invoice_api token --name shop --scopes invoices --tokens tokens.txt
    invoice_api --source postgres://invoice_api@db:5432/shop --lake s3://de-challenge \\
                --redis redis://cache:6379 --brokers kafka:9092 --tokens tokens.txt
  Without any service, on the demo's data:
    invoice_api --source sqlite:demo/invoices.db --lake file:///srv/demo/lake --tokens demo/tokens.txt
  One invoice:
    curl -H \"Authorization: Bearer $TOKEN\" http://127.0.0.1:8000/v1/invoices/42

Scopes: invoices, businesses, decisions, pipeline, metrics. TLS is a proxy's business: docs/howto/api.md.

Exit codes: 0 stopped by a signal, 2 usage, 70 bug, 75 try again, 78 configuration.";

/// Serves invoices by their ids from a read-through cache, and the console's pages.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,

    #[command(flatten)]
    pub serve: Serve,

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
    /// Makes a token, adds its hash to the file and prints the token, once
    Token(TokenArgs),
    /// Moves the table to DynamoDB: creates, fills, follows and compares it (docs/howto/dynamodb.md)
    Dynamodb(Box<DynamodbCommand>),
}

#[derive(Debug, ClapArgs)]
pub struct TokenArgs {
    /// Name of the holder, for logs and metrics
    #[arg(long, value_name = "NAME")]
    pub name: String,

    /// What the holder may read
    #[arg(long, default_value = "invoices,businesses,decisions,pipeline", value_name = "SCOPE,…")]
    pub scopes: String,

    /// File of tokens to add to
    #[arg(long, env = "API_TOKENS_FILE", value_name = "FILE")]
    pub tokens: PathBuf,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct ServeArgs {
    #[command(flatten)]
    pub source: SourceArgs,

    /// Lake: s3://bucket/prefix (standard AWS_* environment variables) or file:///absolute/folder
    #[arg(long, env = "LAKE_URL", value_name = "URL")]
    pub lake: String,

    /// Where invoices are read; with dynamodb the source only serves the decisions of the live feed
    #[arg(long, env = "STORE", value_enum, default_value_t = Store::Postgres)]
    pub store: Store,

    #[command(flatten)]
    pub dynamodb: StoreArgs,

    /// Table that holds the names of the businesses, customer_id and customer_name
    #[arg(long, env = "CUSTOMERS_TABLE", default_value = "public.customers", value_name = "NAME")]
    pub customers_table: String,

    /// Address to listen on
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8000", value_name = "HOST:PORT")]
    pub listen: SocketAddr,

    /// File of tokens: name, SHA-256 of the token and scopes on each line; read again when it changes
    #[arg(long, env = "API_TOKENS_FILE", value_name = "FILE")]
    pub tokens: PathBuf,

    /// Redis: redis://host:port/db, shared by all processes; a password comes from the environment
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis: Option<String>,

    /// Longest time that one request to Redis may take, milliseconds
    #[arg(long, env = "REDIS_TIMEOUT_MS", default_value_t = 50, value_name = "MS")]
    pub redis_timeout_ms: u64,

    /// Kafka brokers whose change events keep the caches fresh
    #[arg(long, env = "BROKERS", value_name = "HOST:PORT,…")]
    pub brokers: Option<String>,

    /// Topic of the change events
    #[arg(long, env = "TOPIC", default_value = "postgres.public.invoices", value_name = "NAME")]
    pub topic: String,

    /// More settings of the Kafka client, as key=value
    #[arg(long = "kafka-option", env = "KAFKA_OPTIONS", value_delimiter = ',', value_name = "KEY=VALUE")]
    pub kafka_options: Vec<String>,

    /// Connections to Postgres that load invoices
    #[arg(long, env = "CONNECTIONS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "N")]
    pub connections: u16,

    /// Invoices in the process's own cache at most
    #[arg(long, env = "CACHE_ENTRIES", default_value_t = 1_000_000, value_name = "N")]
    pub cache_entries: usize,

    /// Longest age of a cached invoice when no change event tells otherwise, seconds
    #[arg(long, env = "TTL_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400), value_name = "S")]
    pub ttl_seconds: u32,

    /// How long "there is no such invoice" is remembered, seconds
    #[arg(long, env = "NEGATIVE_TTL_SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=3600), value_name = "S")]
    pub negative_ttl_seconds: u32,

    /// How long past its age an invoice is served, marked as stale, while the source is down, seconds
    #[arg(long, env = "STALE_SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(0..=604_800), value_name = "S")]
    pub stale_seconds: u32,

    /// Requests per second of one token; 0 for no limit
    #[arg(long, env = "RATE_LIMIT", default_value_t = 1000, value_name = "N")]
    pub rate_limit: u32,
}

/// Where invoices live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    /// The source itself, Postgres or SQLite
    #[value(alias = "sqlite")]
    Postgres,
    Dynamodb,
}

impl ServeArgs {
    pub fn columns(&self) -> &ColumnNames {
        &self.source.columns
    }
}

/// The flags of the service; absent beside a subcommand, which needs none of them.
#[derive(Debug)]
pub struct Serve(Option<ServeArgs>);

impl Serve {
    /// # Errors
    /// Usage when they were not given.
    pub fn given(&self) -> Result<&ServeArgs> {
        self.0.as_ref().ok_or_else(|| Error::usage("--source, --lake and --tokens are needed; see --help"))
    }
}

impl FromArgMatches for Serve {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        // Without a subcommand clap itself has insisted on what is required.
        Ok(Self(ServeArgs::from_arg_matches(matches).ok()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl ClapArgs for Serve {
    fn augment_args(command: ClapCommand) -> ClapCommand {
        ServeArgs::augment_args(command)
    }

    fn augment_args_for_update(command: ClapCommand) -> ClapCommand {
        ServeArgs::augment_args_for_update(command)
    }
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
    fn a_token_needs_no_source() {
        let line = ["invoice_api", "token", "--name", "shop", "--tokens", "t.txt"];
        assert!(Args::try_parse_from(line).unwrap().serve.given().is_err());
    }

    #[test]
    fn the_service_needs_a_source_a_lake_and_tokens() {
        let line = ["invoice_api", "--source", "sqlite:a.db", "--lake", "file:///l", "--tokens", "t"];
        assert!(Args::try_parse_from(line).unwrap().serve.given().is_ok());
        assert!(Args::try_parse_from(&line[..5]).is_err());
    }
}
