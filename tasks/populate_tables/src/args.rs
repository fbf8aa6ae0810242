//! Flags and help of `populate_tables`.

use crate::generate::DAYS_MIN;
use chrono::{Datelike, NaiveDate};
use clap::{Parser, ValueEnum};
use invoices::csv::Delimiter;
use invoices::task::args::{MONTHS_MAX, parse_date};
use invoices::task::{CommonArgs, TaskArgs};
use invoices::{Error, Result, Window};
use std::path::PathBuf;

/// Most businesses that invoices are drawn between; their weights are kept in memory.
const CUSTOMERS_MAX: u64 = 10_000_000;
/// Most invoices of one run.
const INVOICES_MAX: u64 = 10_000_000_000;

const EXAMPLES: &str = "\
Examples:
  A database file with 24 months of invoices up to the end of January 2026:
    populate_tables --source sqlite:demo/invoices.db --customers 500 --invoices 50000 \\
                    --seed 7 --until 2026-01-31
  Ten million invoices in Postgres (password from PGPASSWORD); much faster as the tables' owner:
    populate_tables --source postgres://shop_owner@db:5432/shop --customers 10000 \\
                    --invoices 10000000 --seed 7 --until 2026-01-31
  The table grows: February's invoices, after the highest id there is:
    populate_tables … --customers 10000 --invoices 400000 --until 2026-02-28 --months 1
  Labelled cases of fraud in realistic traffic, and all of it as change events:
    populate_tables … --customers 2000 --invoices 100000 --until 2026-01-31 --scenarios \\
                    --labels labels.csv --events events.jsonl
  Real invoices from files (columns by header name, in any order; empty means unknown; dates in UTC):
    populate_tables … --customers-csv customers.csv --invoices-csv invoices.csv

A CSV file is read strictly: where it could mean two things it is refused with line and column.
Everything is loaded in one transaction: all of it or nothing. The same seed, counts, dates and
first free id make the same rows on every machine.

Exit codes: 0 done, 2 usage, 65 data refused, 70 bug, 75 try again, 78 configuration.";

/// Fills the tables customers and invoices of the source database, with mock data that a seed
/// makes reproducible or with CSV files. Missing tables are created; rows are only ever added.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// Database to fill: postgres://user@host:port/database?sslmode=… or sqlite:path/to/file.db
    ///
    /// The password comes from PGPASSWORD, or from the URL when the URL itself comes from the
    /// environment; never from a flag, where every user of the machine could read it.
    /// A SQLite file that doesn't exist is created.
    #[arg(long, env = "SOURCE_URL", hide_env_values = true, value_name = "URL")]
    pub source: String,

    /// Businesses that the generated invoices are between; those that are missing are added
    #[arg(
        long, env = "CUSTOMERS", value_name = "N",
        required_unless_present_any = ["customers_csv", "invoices_csv"],
        value_parser = clap::value_parser!(u64).range(1..=CUSTOMERS_MAX)
    )]
    pub customers: Option<u64>,

    /// Invoices to generate; their ids go on after the highest there is
    #[arg(
        long, env = "INVOICES", value_name = "N",
        required_unless_present_any = ["customers_csv", "invoices_csv"],
        value_parser = clap::value_parser!(u64).range(0..=INVOICES_MAX)
    )]
    pub invoices: Option<u64>,

    /// Number that all random choices follow from
    #[arg(long, env = "SEED", default_value_t = 1, value_name = "N")]
    pub seed: u64,

    /// Last day that has invoices; needed to generate any
    #[arg(long, env = "UNTIL", value_parser = parse_date, value_name = "YYYY-MM-DD")]
    pub until: Option<NaiveDate>,

    /// Calendar months that have invoices, the month of --until included, 1 to 1200
    #[arg(long, env = "MONTHS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=i64::from(MONTHS_MAX)), value_name = "N")]
    pub months: u32,

    /// Whether issue dates grow with the ids
    #[arg(long, env = "DATES", value_enum, default_value_t = DateOrder::FollowIds)]
    pub dates: DateOrder,

    /// Plant labelled cases of fraud among the generated invoices, on top of their number; needs a year
    #[arg(long, env = "SCENARIOS")]
    pub scenarios: bool,

    /// Write the labels of the planted cases here; columns invoice_id,case,typology
    #[arg(long, env = "LABELS", value_name = "FILE", requires = "scenarios")]
    pub labels: Option<PathBuf>,

    /// Write every generated invoice here too, as the change event that Debezium would send
    #[arg(long, env = "EVENTS", value_name = "FILE")]
    pub events: Option<PathBuf>,

    /// Load these customers first; header customer_id,customer_name
    #[arg(long, env = "CUSTOMERS_CSV", value_name = "FILE")]
    pub customers_csv: Option<PathBuf>,

    /// Load these invoices; header invoice_id,issue_date,issuer_id,receiver_id,amount_usd
    #[arg(long, env = "INVOICES_CSV", value_name = "FILE")]
    pub invoices_csv: Option<PathBuf>,

    /// What separates the fields of the CSV files: a sign such as ; or |, or the word tab
    #[arg(long, env = "DELIMITER", default_value = ",", value_name = "SIGN")]
    pub delimiter: Delimiter,

    #[command(flatten)]
    pub common: CommonArgs,
}

impl TaskArgs for Args {
    fn common(&self) -> &CommonArgs {
        &self.common
    }
}

/// How issue dates relate to ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DateOrder {
    /// A later id never has an earlier date
    FollowIds,
    /// Dates are drawn independently of the ids
    Random,
}

impl Args {
    /// What the parser can't see.
    ///
    /// # Errors
    /// Usage errors.
    pub fn check(&self) -> Result<()> {
        if self.invoices.unwrap_or(0) > 0 {
            let (first, last) = self.first_and_last_day()?;
            if self.scenarios && (last - first).num_days() < DAYS_MIN {
                return Err(Error::usage(format!(
                    "--scenarios needs {DAYS_MIN} days of invoices or more; use --months 12"
                )));
            }
        }
        if self.scenarios && self.dates == DateOrder::Random {
            return Err(Error::usage("--scenarios needs dates that follow ids, without --dates random"));
        }
        Ok(())
    }

    /// The days that generated invoices lie between, both included.
    ///
    /// # Errors
    /// Usage error without --until, or for days before the year 1.
    pub fn first_and_last_day(&self) -> Result<(NaiveDate, NaiveDate)> {
        let last = self.until.ok_or_else(|| {
            Error::usage(
                "--until is missing: say which day the invoices end on, for example --until 2026-01-31",
            )
        })?;
        let first = Window::ending(last, self.months).first.first_day();
        if first.year() < 1 {
            return Err(Error::usage(format!(
                "{} months before {last} begin before the year 1",
                self.months
            )));
        }
        Ok((first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Result<Args, clap::Error> {
        let source = ["populate_tables", "--source", "sqlite:x.db"];
        Args::try_parse_from(source.iter().chain(flags))
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn either_numbers_or_files_say_what_to_load() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--customers", "5"]).is_err());
        assert!(parse(&["--customers", "0", "--invoices", "5"]).is_err());
        assert!(parse(&["--customers", "5", "--invoices", "5"]).is_ok());
        assert!(parse(&["--invoices-csv", "i.csv"]).is_ok());
    }

    #[test]
    fn a_delimiter_is_one_sign_or_the_word_tab() {
        let with = |sign| parse(&["--invoices-csv", "i.csv", "--delimiter", sign]);
        assert_eq!(with("tab").unwrap().delimiter, Delimiter::TAB);
        assert!(with(";").is_ok() && with("comma").is_err() && with("\"").is_err());
    }

    #[test]
    fn generated_invoices_need_an_end_and_files_do_not() {
        let error = parse(&["--customers", "5", "--invoices", "5"]).unwrap().check().unwrap_err();
        assert!(error.to_string().contains("--until"), "{error}");
        assert!(parse(&["--customers", "5", "--invoices", "0"]).unwrap().check().is_ok());
        assert!(parse(&["--customers-csv", "c.csv"]).unwrap().check().is_ok());
    }

    #[test]
    fn the_first_day_begins_the_first_of_the_months() {
        let flags = ["--customers", "5", "--invoices", "5", "--until", "2024-02-29", "--months", "3"];
        let (first, last) = parse(&flags).unwrap().first_and_last_day().unwrap();
        assert_eq!((first.to_string(), last.to_string()), ("2023-12-01".into(), "2024-02-29".into()));
        let ancient = ["--customers", "5", "--invoices", "5", "--until", "0001-12-31", "--months", "13"];
        assert!(parse(&ancient).unwrap().check().is_err());
    }
}
