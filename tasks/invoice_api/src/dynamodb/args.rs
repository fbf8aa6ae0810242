//! Flags of `invoice_api dynamodb …`.

use clap::{Args as ClapArgs, Subcommand};
use invoices::source::SourceArgs;

/// Where the tables are.
#[derive(Debug, Clone, ClapArgs)]
pub struct StoreArgs {
    /// Table of the invoices; NAME_businesses and NAME_positions are beside it
    #[arg(long, env = "DYNAMODB_TABLE", default_value = "invoices", value_name = "NAME")]
    pub dynamodb_table: String,

    /// Address of DynamoDB when it is not the region's own
    #[arg(long, env = "AWS_ENDPOINT_URL_DYNAMODB", value_name = "URL")]
    pub dynamodb_endpoint: Option<String>,

    /// Region; credentials come from the standard AWS_* variables or the machine's role
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1", value_name = "NAME")]
    pub region: String,
}

/// Both homes of the invoices.
#[derive(Debug, Clone, ClapArgs)]
pub struct WithSource {
    #[command(flatten)]
    pub source: SourceArgs,

    /// Table that holds the names of the businesses, customer_id and customer_name
    #[arg(long, env = "CUSTOMERS_TABLE", default_value = "public.customers", value_name = "NAME")]
    pub customers_table: String,

    #[command(flatten)]
    pub store: StoreArgs,

    /// Requests to DynamoDB under way at once
    #[arg(long, env = "CONCURRENCY", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=512), value_name = "N")]
    pub concurrency: u16,
}

#[derive(Debug, ClapArgs)]
pub struct DynamodbCommand {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Subcommand)]
pub enum Action {
    /// Creates the tables that do not exist yet
    Create(StoreArgs),
    /// Copies what is in Postgres, without overwriting anything newer
    Load(LoadArgs),
    /// Applies change events from Kafka until a signal
    Sink(SinkArgs),
    /// Compares invoices, decisions and names; exit 65 when they differ
    Compare(CompareArgs),
}

#[derive(Debug, ClapArgs)]
pub struct LoadArgs {
    #[command(flatten)]
    pub both: WithSource,

    /// Go on after this id, where an earlier load has stopped
    #[arg(long, default_value_t = i64::MIN, hide_default_value = true, value_name = "ID")]
    pub after: i64,

    /// Longest wait for transactions that were running at the start, seconds
    #[arg(long, env = "TRANSACTION_WAIT_SECONDS", default_value_t = 600, value_name = "S")]
    pub transaction_wait_seconds: u64,
}

#[derive(Debug, ClapArgs)]
pub struct SinkArgs {
    #[command(flatten)]
    pub both: WithSource,

    /// Kafka brokers
    #[arg(long, env = "BROKERS", value_name = "HOST:PORT,…")]
    pub brokers: String,

    /// Topic of the change events
    #[arg(long, env = "TOPIC", default_value = "postgres.public.invoices", value_name = "NAME")]
    pub topic: String,

    /// Consumer group, whose offsets say how far the sink has come
    #[arg(long, env = "GROUP", default_value = "invoice_dynamodb", value_name = "NAME")]
    pub group: String,

    /// More settings of the Kafka client, as key=value
    #[arg(long = "kafka-option", env = "KAFKA_OPTIONS", value_delimiter = ',', value_name = "KEY=VALUE")]
    pub kafka_options: Vec<String>,

    /// Go on once with a source that is another cluster: every item is read again, events from before are
    /// left out; load afterwards (docs/migrate-source.md)
    #[arg(long, env = "ACCEPT_NEW_SOURCE")]
    pub accept_new_source: bool,

    /// Go on once with a topic that was made again, or that has removed events before they were applied;
    /// load afterwards
    #[arg(long, env = "ACCEPT_NEW_TOPIC")]
    pub accept_new_topic: bool,

    /// How often the names of businesses are brought up to date, seconds
    #[arg(long, env = "NAMES_EVERY_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400), value_name = "S")]
    pub names_every_seconds: u32,
}

#[derive(Debug, ClapArgs)]
pub struct CompareArgs {
    #[command(flatten)]
    pub both: WithSource,

    /// How long a difference may take to disappear while changes are under way, seconds
    #[arg(long, env = "SETTLE_SECONDS", default_value_t = 5, value_name = "S")]
    pub settle_seconds: u64,
}

impl DynamodbCommand {
    pub fn store(&self) -> &StoreArgs {
        match &self.action {
            Action::Create(store) => store,
            Action::Load(args) => &args.both.store,
            Action::Sink(args) => &args.both.store,
            Action::Compare(args) => &args.both.store,
        }
    }
}
