//! Flags that say where the invoices are and what their columns are called.

use super::condition::{Condition, Language};
use super::url::SourceUrl;
use crate::error::{Error, Result};
use crate::more::MoreName;
use clap::{Args, ValueEnum};

/// Source database and table.
#[derive(Debug, Clone, Args)]
pub struct SourceArgs {
    /// Source database: postgres://user@host:port/database?sslmode=… or sqlite:path/to/file.db
    ///
    /// The password comes from PGPASSWORD, or from the URL when the URL itself comes from the
    /// environment; never from a flag, where every user of the machine could read it.
    #[arg(long, env = "SOURCE_URL", hide_env_values = true, value_name = "URL")]
    pub source: String,

    /// Table or view that holds the invoices, as schema.table or table
    #[arg(long, env = "SOURCE_TABLE", default_value = "public.invoices", value_name = "NAME")]
    pub table: String,

    #[command(flatten)]
    pub columns: ColumnNames,

    /// Digits after the decimal point when the amount column declares none (plain numeric, SQLite)
    #[arg(long, env = "AMOUNT_SCALE", default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=10), value_name = "N")]
    pub amount_scale: u8,
}

/// Which rows are invoices, and what their amounts are.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectArgs {
    /// Condition that a row must meet, in the source's SQL: "status <> 'draft' and deleted_at is null"
    #[arg(long = "where", env = "SOURCE_WHERE", value_name = "CONDITION")]
    pub condition: Option<String>,

    /// What the amounts count
    #[arg(long, env = "AMOUNT_UNIT", value_enum, default_value_t = AmountUnit::Dollars)]
    pub amount_unit: AmountUnit,

    /// Accept amounts that are floating-point numbers, each rounded to this many digits after the decimal point, half
    /// away from zero
    #[arg(long, env = "ROUND_FLOATS", value_parser = clap::value_parser!(u8).range(0..=10), value_name = "DIGITS")]
    pub round_floats: Option<u8>,

    /// Further columns for the lake's invoices: status, or due_date=DueOn where the source has another name; several
    /// with commas
    #[arg(long = "column", env = "SOURCE_COLUMNS", value_delimiter = ',', value_name = "NAME[=SOURCE]")]
    pub more: Vec<String>,

    /// Zone whose days and months count, for issue dates with a time zone: Europe/Madrid; UTC by default
    #[arg(long, env = "SOURCE_TIME_ZONE", value_name = "ZONE")]
    pub time_zone: Option<String>,
}

/// What an amount of 1 is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AmountUnit {
    /// Dollars, with or without digits after the decimal point
    #[default]
    Dollars,
    /// Whole numbers of cents
    Cents,
}

impl SelectArgs {
    /// # Errors
    /// As [`Condition::parse`].
    pub fn condition(&self, language: Language) -> Result<Option<Condition>> {
        self.condition.as_deref().map(|text| Condition::parse(text, language)).transpose()
    }

    /// The further columns, each name once.
    ///
    /// # Errors
    /// Usage for a name that is there twice.
    pub fn more_columns(&self) -> Result<Vec<MoreName>> {
        let mut columns: Vec<MoreName> = Vec::new();
        // A variable that is set to nothing names none.
        for text in self.more.iter().filter(|text| !text.is_empty()) {
            let column: MoreName = text.parse()?;
            if columns.iter().any(|other| other.name == column.name) {
                return Err(Error::usage(format!("--column names {} twice", column.name)));
            }
            columns.push(column);
        }
        Ok(columns)
    }

    /// What differs from the defaults, for commit records: empty when nothing does.
    pub fn options(&self) -> String {
        let mut options = String::new();
        if self.amount_unit == AmountUnit::Cents {
            options.push_str(" amount_unit=cents");
        }
        if let Some(digits) = self.round_floats {
            options.push_str(&format!(" round_floats={digits}"));
        }
        if let Some(zone) = &self.time_zone {
            options.push_str(&format!(" time_zone={zone}"));
        }
        if let Some(condition) = &self.condition {
            options.push_str(&format!(" where={:?}", condition.trim()));
        }
        options
    }
}

/// What the source calls the five columns.
#[derive(Debug, Clone, Args)]
pub struct ColumnNames {
    /// Column of the invoice id
    #[arg(long, env = "INVOICE_ID_COLUMN", default_value = "invoice_id", value_name = "NAME")]
    pub invoice_id_column: String,
    /// Column of the issue date
    #[arg(long, env = "ISSUE_DATE_COLUMN", default_value = "issue_date", value_name = "NAME")]
    pub issue_date_column: String,
    /// Column of the issuing business
    #[arg(long, env = "ISSUER_COLUMN", default_value = "issuer_id", value_name = "NAME")]
    pub issuer_column: String,
    /// Column of the receiving business
    #[arg(long, env = "RECEIVER_COLUMN", default_value = "receiver_id", value_name = "NAME")]
    pub receiver_column: String,
    /// Column of the amount
    #[arg(long, env = "AMOUNT_COLUMN", default_value = "amount_usd", value_name = "NAME")]
    pub amount_column: String,
}

impl ColumnNames {
    /// Names in the order id, date, issuer, receiver, amount.
    pub fn in_order(&self) -> [&str; 5] {
        [
            &self.invoice_id_column,
            &self.issue_date_column,
            &self.issuer_column,
            &self.receiver_column,
            &self.amount_column,
        ]
    }
}

impl SourceArgs {
    pub fn url(&self) -> Result<SourceUrl> {
        self.source.parse()
    }

    /// Schema and name of the table.
    ///
    /// # Errors
    /// Usage error for an empty part.
    pub fn table_parts(&self) -> Result<(Option<&str>, &str)> {
        let (schema, name) = match self.table.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, self.table.as_str()),
        };
        if name.is_empty() || schema.is_some_and(str::is_empty) {
            return Err(Error::usage(format!("{:?} is not a table name; use schema.table", self.table)));
        }
        Ok((schema, name))
    }
}

/// An SQL identifier, quoted so that any name is only a name.
pub fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
