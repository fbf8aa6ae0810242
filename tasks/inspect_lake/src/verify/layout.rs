//! Which objects belong into a month's folder. Pure.

use invoices::KeyKind;
use invoices::lake::Object;
use invoices::lake::names::Table;
use invoices::lake::strangers;

/// The objects of a month's folder, and the paths of those that no task writes there. A reader that
/// globs would read both.
pub fn divide(
    table: Table,
    folder: &str,
    listed: Vec<Object>,
    business: KeyKind,
) -> (Vec<Object>, Vec<String>) {
    let (objects, strangers): (Vec<Object>, Vec<Object>) =
        listed.into_iter().partition(|object| strangers::belongs(table, folder, &object.path, business));
    (objects, strangers.into_iter().map(|object| object.path).collect())
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
