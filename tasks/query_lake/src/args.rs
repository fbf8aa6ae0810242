//! Flags and help of `query_lake`.

use crate::catalog::Target;
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use invoices::task::{CommonArgs, TaskArgs};
use invoices::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  The largest issuers of January 2026, from the month's objects alone:
    query_lake --lake s3://de-challenge \"SELECT business_id, total_amount_issued
      FROM invoice_by_business WHERE issue_date_yearmonth = '2026-01-01'
      ORDER BY total_amount_issued DESC LIMIT 10\"
  Joined with a table of the database and a file:
    query_lake --with 'customers=postgres://reader@db:5432/shop#customers' \\
               --with rates=s3://finance/rates.csv \"SELECT … FROM invoices JOIN customers …\"
  Into a file, for another program, or line by line:
    query_lake --format parquet --output s3://reports/january.parquet \"SELECT …\"
    query_lake --format csv \"SELECT …\" > january.csv
    query_lake --format jsonl \"SELECT …\" | jq .
  Questions one after the other, with history:
    query_lake --lake file:///tmp/lake
  Table definitions for other engines, and Redshift Spectrum's rules:
    query_lake ddl --engine athena --lake s3://de-challenge
    query_lake lint --lake s3://de-challenge
  The same objects as Delta tables below delta/, for readers that need one state of all partitions:
    query_lake publish --lake s3://de-challenge --keep-days 30
  Tables and partitions in a Hive metastore or in AWS Glue, for Trino, Athena and others:
    query_lake register --lake s3://de-challenge --catalog thrift://metastore:9083 --database finance
    query_lake register --lake s3://de-challenge --catalog glue

Tables: invoices, invoice_by_business, business_last_n_months, and every --with. A query sees what the
commit records say, whatever is being written. Data goes to stdout and the result line to stderr; with
--output the result line is on stdout, as everywhere.

Exit codes: 0 done, 2 usage, 65 data refused, 70 bug, 75 try again, 78 configuration.";

const WITH_HELP: &str = "\
Another table: a file, a folder or a pattern, local or on S3, or a table of a database

  rates=s3://finance/rates.csv          CSV with a header line; exact decimals; .tsv too
  ratings=file:///data/ratings/*.jsonl  JSON lines or an array of objects, nested; .json, .ndjson too
  tickets=tickets/*.txt                 a row per line: file, line, text; .log and .md too
  mails=file:///data/mails/*.eml        a row per mail: file, sender, recipients, subject, sent, body
  old=s3://archive/invoices/            Parquet; key=value folders are columns
  customers=postgres://user@host/db#customers   or sqlite:path.db#customers; password from PGPASSWORD";

/// Answers SQL over the lake's tables and other sources: files, mails, tables of a database.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// The query; without one the questions are read from the terminal
    pub query: Option<String>,

    #[command(subcommand)]
    pub command: Option<Command>,

    /// Lake: s3://bucket/prefix (standard AWS_* environment variables) or file:///absolute/folder
    #[arg(long, env = "LAKE_URL", value_name = "URL", global = true)]
    pub lake: Option<String>,

    #[arg(long, env = "WITH", value_name = "NAME=URL", value_delimiter = None, help = "Another table; see --help", long_help = WITH_HELP)]
    pub with: Vec<String>,

    /// Text that stands for no value in CSV files, besides the empty one; may be repeated
    #[arg(long, env = "NULL_TEXT", value_name = "TEXT")]
    pub null_text: Vec<String>,

    /// Form of the answer: table on a terminal and csv elsewhere, unless --output names another
    #[arg(long, env = "FORMAT", value_enum)]
    pub format: Option<Format>,

    /// Where the answer goes instead of stdout: s3://bucket/object, file:///path or a path
    #[arg(long, env = "OUTPUT", value_name = "URL")]
    pub output: Option<String>,

    /// Most rows that a table on the terminal shows
    #[arg(long, env = "MAX_ROWS", default_value_t = 100, value_name = "N")]
    pub max_rows: usize,

    /// Most memory that a query may use before it is ended
    #[arg(long, env = "MEMORY_BUDGET", default_value = "2GiB", value_parser = invoices::task::args::parse_budget, value_name = "SIZE")]
    pub memory_budget: u64,

    /// Folder for what does not fit in memory [default: the system's folder for temporary files]
    #[arg(long, env = "SPILL_FOLDER", value_name = "FOLDER")]
    pub spill_folder: Option<PathBuf>,

    /// Longest time that a query may take, in seconds
    #[arg(long, env = "QUERY_TIMEOUT", value_parser = parse_seconds, value_name = "SECONDS")]
    pub timeout: Option<Duration>,

    /// History of the interactive mode [default: query_lake/history in the user's state folder]
    #[arg(long, env = "QUERY_LAKE_HISTORY", value_name = "FILE")]
    pub history: Option<PathBuf>,

    #[command(flatten)]
    pub common: CommonArgs,
}

impl TaskArgs for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn is_interactive(&self) -> bool {
        self.command.is_none() && self.query.is_none()
    }

    fn data_on_stdout(&self) -> bool {
        match &self.command {
            Some(Command::Ddl(_)) => true,
            Some(Command::Lint | Command::Publish(_) | Command::Register(_)) => false,
            None => self.output.is_none(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prints the definitions of the lake's tables, as they are now, for another engine
    Ddl(DdlArgs),
    /// Checks the lake's files against the rules of Redshift Spectrum, which are the strictest
    Lint,
    /// Publishes the lake's tables as Delta tables too: one state of all partitions, and earlier ones
    Publish(PublishArgs),
    /// Registers the lake's tables and partitions in a catalog, and removes partitions that are gone
    Register(RegisterArgs),
}

#[derive(Debug, ClapArgs)]
pub struct PublishArgs {
    /// How long files of earlier versions are kept, for readers that travel back in time
    #[arg(long, env = "KEEP_DAYS", default_value_t = 30, value_name = "DAYS")]
    pub keep_days: u16,
}

#[derive(Debug, ClapArgs)]
pub struct RegisterArgs {
    /// thrift://host:9083 for a Hive metastore, or glue (standard AWS_* environment variables)
    #[arg(long, env = "CATALOG_URL", value_parser = Target::parse, value_name = "URL")]
    pub catalog: Target,

    /// Database that the tables belong to; it is made if it is missing
    #[arg(long, env = "DATABASE", default_value = "lake", value_parser = parse_database, value_name = "NAME")]
    pub database: String,
}

#[derive(Debug, ClapArgs)]
pub struct DdlArgs {
    /// Whose SQL to write
    #[arg(long, env = "ENGINE", value_enum)]
    pub engine: Engine,

    /// Database or schema that the tables belong to; Spectrum's external schema, BigQuery's dataset
    #[arg(long, env = "DATABASE", value_name = "NAME")]
    pub database: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    Hive,
    Spectrum,
    Athena,
    Trino,
    Spark,
    Duckdb,
    Bigquery,
}

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Csv,
    #[value(alias = "json")]
    Jsonl,
    Parquet,
}

impl Format {
    /// The form that a file's name asks for.
    pub fn of_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1 {
            "csv" => Some(Format::Csv),
            "json" | "jsonl" | "ndjson" => Some(Format::Jsonl),
            "parquet" => Some(Format::Parquet),
            "txt" => Some(Format::Table),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Jsonl => "jsonl",
            Format::Parquet => "parquet",
        }
    }
}

impl Args {
    /// Where the lake is.
    ///
    /// # Errors
    /// Usage when nobody said it.
    pub fn lake_url(&self) -> Result<&str> {
        self.lake.as_deref().ok_or_else(|| {
            Error::usage("--lake or LAKE_URL is missing; use s3://bucket/prefix or file:///absolute/folder")
        })
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is not a number of seconds; use one such as 30")),
    }
}

/// Catalogs know names in lower case only, and some engines no other signs.
fn parse_database(text: &str) -> Result<String, String> {
    let is_known = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == '_';
    if text.is_empty() || text.len() > 128 || !text.chars().all(is_known) {
        return Err(format!("{text:?} is not a database name; use lower-case letters, digits and _"));
    }
    Ok(text.to_owned())
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
    fn a_query_is_no_subcommand() {
        let args = Args::try_parse_from(["query_lake", "--lake", "file:///l", "SELECT 1"]).unwrap();
        assert_eq!(args.query.as_deref(), Some("SELECT 1"));
        let args =
            Args::try_parse_from(["query_lake", "ddl", "--engine", "hive", "--lake", "file:///l"]).unwrap();
        assert!(matches!(args.command, Some(Command::Ddl(_))));
        assert_eq!(args.lake_url().unwrap(), "file:///l");
    }
}
