//! Which objects belong into a month's folder. Pure.

use invoices::lake::Object;
use invoices::lake::names::{NULL_PARTITION, OBJECT_NAME, Table};

/// The objects of a month's folder, and the paths of those that no task writes there. A reader that
/// globs would read both.
pub fn divide(table: Table, folder: &str, listed: Vec<Object>) -> (Vec<Object>, Vec<String>) {
    let (objects, strangers): (Vec<Object>, Vec<Object>) =
        listed.into_iter().partition(|object| belongs(table, folder, &object.path));
    (objects, strangers.into_iter().map(|object| object.path).collect())
}

fn belongs(table: Table, folder: &str, path: &str) -> bool {
    let below = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    let parts: Vec<&str> = below.unwrap_or_default().split('/').collect();
    match (table, parts.as_slice()) {
        (_, [OBJECT_NAME]) => true,
        (Table::ByBusiness, [partition, OBJECT_NAME]) => is_business_partition(partition),
        _ => false,
    }
}

fn is_business_partition(name: &str) -> bool {
    match name.split_once('=') {
        Some(("business_id", id)) => id == NULL_PARTITION || is_written_as_itself::<i64>(id),
        Some(("business_bucket", bucket)) => is_written_as_itself::<u32>(bucket),
        _ => false,
    }
}

/// `07` and `+7` are not how a task writes 7, and a reader would take them for 7 all the same.
fn is_written_as_itself<N: std::str::FromStr + ToString>(text: &str) -> bool {
    text.parse::<N>().is_ok_and(|number| number.to_string() == text)
}

/// The ways in which a month is divided; more than one counts businesses twice.
pub fn partitionings(folder: &str, objects: &[Object]) -> Vec<&'static str> {
    let mut found: Vec<&str> = objects
        .iter()
        .map(|object| match object.path.strip_prefix(folder).unwrap_or_default() {
            rest if rest.starts_with("/business_id=") => "business_id",
            rest if rest.starts_with("/business_bucket=") => "business_bucket",
            _ => "month",
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "t/issue_date_yearmonth=2026-01-01";

    #[test]
    fn only_names_that_a_task_writes_belong() {
        let belongs_below = |table, rest: &str| belongs(table, FOLDER, &format!("{FOLDER}/{rest}"));
        for rest in [
            "part-0.parquet",
            "business_id=-7/part-0.parquet",
            "business_bucket=3/part-0.parquet",
            "business_id=__HIVE_DEFAULT_PARTITION__/part-0.parquet",
        ] {
            assert!(belongs_below(Table::ByBusiness, rest), "{rest}");
        }
        for rest in [
            "part-1.parquet",
            "business_id=07/part-0.parquet",
            "business_id=/part-0.parquet",
            "x=1/part-0.parquet",
            "business_id=1/x/part-0.parquet",
            "_SUCCESS",
        ] {
            assert!(!belongs_below(Table::ByBusiness, rest), "{rest}");
        }
        assert!(!belongs_below(Table::Invoices, "business_id=1/part-0.parquet"));
    }

    #[test]
    fn mixed_partitionings_are_seen() {
        let object = |rest: &str| Object {
            path: format!("{FOLDER}/{rest}/part-0.parquet"),
            size: 1,
            etag: String::new(),
        };
        assert_eq!(
            partitionings(FOLDER, &[object("business_id=1"), object("business_id=2")]),
            ["business_id"]
        );
        assert_eq!(partitionings(FOLDER, &[object("business_id=1"), object("business_bucket=0")]).len(), 2);
    }
}
