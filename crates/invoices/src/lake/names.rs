//! Names of tables, partitions and objects. Deterministic, so that a rerun replaces and never adds.
//!
//! Names that begin with `_` are invisible to query engines: commits, staging and temporary files.

use crate::error::{Error, Result};
use crate::key::Key;
use crate::month::Month;
use std::fmt;
use std::str::FromStr;

/// Hive's name for the partition of NULL.
pub const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";
/// Partition column of the monthly tables.
pub const MONTH_COLUMN: &str = "issue_date_yearmonth";
/// The one object of a partition.
pub const OBJECT_NAME: &str = "part-0.parquet";

/// A table of the lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Invoices as the source has them, an object per month.
    Invoices,
    /// Statistics per month and business, before publication.
    StagedByBusiness,
    /// Statistics per business over a whole window, before publication.
    StagedLastNMonths,
    /// Published statistics per month and business.
    ByBusiness,
    /// Published statistics per business over a whole window.
    LastNMonths,
}

impl Table {
    pub const ALL: [Table; 5] = [
        Table::Invoices,
        Table::StagedByBusiness,
        Table::StagedLastNMonths,
        Table::ByBusiness,
        Table::LastNMonths,
    ];

    /// Name in results and commit records.
    pub fn name(self) -> &'static str {
        match self {
            Table::Invoices => "invoices",
            Table::StagedByBusiness => "staged_invoice_by_business",
            Table::StagedLastNMonths => "staged_business_last_n_months",
            Table::ByBusiness => "invoice_by_business",
            Table::LastNMonths => "business_last_n_months",
        }
    }

    /// Folder of its objects.
    pub fn folder(self) -> &'static str {
        match self {
            Table::StagedByBusiness => "_staging/invoice_by_business",
            Table::StagedLastNMonths => "_staging/business_last_n_months",
            visible => visible.name(),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `issue_date_yearmonth=2026-01-01`
pub fn month_partition(month: Month) -> String {
    format!("{MONTH_COLUMN}={month}")
}

/// `as_of=2026-01-01/months=12`
pub fn window_partition(as_of: Month, months: usize) -> String {
    format!("as_of={as_of}/months={months}")
}

/// The month of a partition or object path; none for another table's path.
pub fn month_of(path: &str) -> Option<Month> {
    let value = path.split('/').find_map(|part| part.strip_prefix(MONTH_COLUMN)?.strip_prefix('='));
    value?.parse().ok()
}

/// The only object of a table's partition.
pub fn object(table: Table, partition: &str) -> String {
    format!("{}/{partition}/{OBJECT_NAME}", table.folder())
}

/// The commit record of a table's partition.
pub fn commit(table: Table, partition: &str) -> String {
    format!("_commits/{}/{partition}.json", table.name())
}

/// A value as the name of a partition's folder, with what Hive escapes in it escaped as Hive does.
pub fn escaped(value: &str) -> String {
    let mut name = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '"'
            | '#'
            | '%'
            | '\''
            | '*'
            | '/'
            | ':'
            | '='
            | '?'
            | '\\'
            | '{'
            | '['
            | ']'
            | '^'
            | '\x7f'
            | '\x01'..='\x1f' => name.push_str(&format!("%{:02X}", u32::from(character))),
            plain => name.push(plain),
        }
    }
    name
}

/// What [`escaped`] was given; none for a name that it does not make.
pub fn unescaped(name: &str) -> Option<String> {
    let mut value = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((plain, after)) = rest.split_once('%') {
        value.push_str(plain);
        let (digits, behind) = after.split_at_checked(2)?;
        value.push(char::from(u8::from_str_radix(digits, 16).ok()?));
        rest = behind;
    }
    value.push_str(rest);
    (escaped(&value) == name).then_some(value)
}

/// How `invoice_by_business` is cut below the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionBy {
    /// One object per month.
    Month,
    /// One object per month and business.
    Business,
    /// One object per month and bucket; `business_id` stays a column.
    Bucket(u32),
}

impl PartitionBy {
    /// The bucket of a business: for a number one that Hive, Trino and Spark users can compute as
    /// `pmod(business_id, buckets)`, for a text the one of Iceberg's bucket transform; NULL is in bucket 0.
    pub fn bucket(business_id: Option<impl Key>, buckets: u32) -> u32 {
        business_id.map_or(0, Key::bucket_hash).rem_euclid(i64::from(buckets)) as u32
    }

    /// The folder below the month, with a trailing slash, or nothing.
    pub fn folder(self, business_id: Option<impl Key>) -> String {
        match self {
            PartitionBy::Month => String::new(),
            PartitionBy::Business => match business_id {
                Some(id) => format!("business_id={}/", escaped(&id.to_string())),
                None => format!("business_id={NULL_PARTITION}/"),
            },
            PartitionBy::Bucket(buckets) => Self::bucket_folder(Self::bucket(business_id, buckets)),
        }
    }

    /// The folder of a bucket.
    pub fn bucket_folder(bucket: u32) -> String {
        format!("business_bucket={bucket}/")
    }
}

impl fmt::Display for PartitionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartitionBy::Month => f.write_str("month"),
            PartitionBy::Business => f.write_str("month,business_id"),
            PartitionBy::Bucket(buckets) => write!(f, "month,bucket(business_id,{buckets})"),
        }
    }
}

impl FromStr for PartitionBy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let bucket = compact
            .strip_prefix("month,bucket(business_id,")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|count| count.parse().ok())
            .filter(|&count| (1..=100_000).contains(&count));
        match (compact.as_str(), bucket) {
            ("month", _) => Ok(PartitionBy::Month),
            ("month,business_id", _) => Ok(PartitionBy::Business),
            (_, Some(count)) => Ok(PartitionBy::Bucket(count)),
            _ => Err(Error::usage(format!(
                "{text:?} is not a partitioning; use month, month,business_id or month,bucket(business_id,N)"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitionings_read_as_they_are_written() {
        for text in ["month", "month,business_id", "month,bucket(business_id,16)"] {
            assert_eq!(text.parse::<PartitionBy>().unwrap().to_string(), text);
        }
        for text in
            ["", "business_id", "month,../x", "month,bucket(business_id,0)", "month,bucket(business_id,-1)"]
        {
            assert!(text.parse::<PartitionBy>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_are_what_hive_expects() {
        let month = "2026-01-01".parse().unwrap();
        let partition = month_partition(month);
        assert_eq!(
            object(Table::Invoices, &partition),
            "invoices/issue_date_yearmonth=2026-01-01/part-0.parquet"
        );
        assert_eq!(month_of(&object(Table::ByBusiness, &partition)), Some(month));
        assert_eq!(PartitionBy::Business.folder(None::<i64>), "business_id=__HIVE_DEFAULT_PARTITION__/");
        assert_eq!(PartitionBy::Bucket(8).folder(Some(-1)), "business_bucket=7/");
        assert_eq!(PartitionBy::Business.folder(Some("a/b=50% ñ")), "business_id=a%2Fb%3D50%25 ñ/");
        assert_eq!(PartitionBy::Bucket(16).folder(Some("iceberg")), "business_bucket=9/");
    }

    #[test]
    fn values_come_back_from_their_names() {
        for value in
            ["", "7", "a b", "a/b=50%", "%2F", "ñ", "\u{1}\u{7f}\"'{[]}^", "__HIVE_DEFAULT_PARTITION__"]
        {
            assert_eq!(unescaped(&escaped(value)).as_deref(), Some(value));
        }
        for name in ["a/b", "100%", "%2f", "%zz", "%41", "a=b"] {
            assert_eq!(unescaped(name), None, "{name}");
        }
    }
}
