//! Objects in the folders of the lake that no task has written: which they are, and what to say of them.

use super::names::{NULL_PARTITION, OBJECT_NAME, Table, unescaped};
use crate::key::KeyKind;
use std::str::FromStr;

/// Whether a path in the folder of a partition is one that a task writes there, where businesses have such ids.
pub fn belongs(table: Table, folder: &str, path: &str, business: KeyKind) -> bool {
    let below = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
    let parts: Vec<&str> = below.unwrap_or_default().split('/').collect();
    match (table, parts.as_slice()) {
        (_, [OBJECT_NAME]) => true,
        (Table::ByBusiness, [partition, OBJECT_NAME]) => is_business_partition(partition, business),
        _ => false,
    }
}

/// Whether engines that list folders pass a path over: something in it begins with `_` or `.`.
pub fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with(['_', '.']))
}

fn is_business_partition(name: &str, business: KeyKind) -> bool {
    match name.split_once('=') {
        Some(("business_id", NULL_PARTITION)) => true,
        Some(("business_id", id)) => match business {
            KeyKind::Text => unescaped(id).is_some_and(|id| !id.is_empty()),
            KeyKind::Integer | KeyKind::Decimal(_) => is_written_as_itself::<i64>(id),
        },
        Some(("business_bucket", bucket)) => is_written_as_itself::<u32>(bucket),
        _ => false,
    }
}

/// `07` and `+7` are not how a task writes 7, and a reader would take them for 7 all the same.
fn is_written_as_itself<N: FromStr + ToString>(text: &str) -> bool {
    text.parse::<N>().is_ok_and(|number| number.to_string() == text)
}

/// The sentence for objects in the folders of a table that no task has written; none when there are none.
pub fn sentence(paths: &[String]) -> Option<String> {
    const NAMED_MAX: usize = 3;
    let first = paths.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if paths.len() > NAMED_MAX {
        format!(" and {} more", paths.len() - NAMED_MAX)
    } else {
        String::new()
    };
    (!paths.is_empty()).then(|| {
        format!("no task has written {first}{more}, and engines that list the folder read it too; move or delete it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_a_task_writes_belong() {
        const FOLDER: &str = "t/issue_date_yearmonth=2026-01-01";
        let belongs_to = |table, rest: &str, kind| belongs(table, FOLDER, &format!("{FOLDER}/{rest}"), kind);
        let belongs_below = |table, rest: &str| belongs_to(table, rest, KeyKind::Integer);
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
        for (id, belongs) in [("07", true), ("a%2Fb", true), ("7", true), ("", false), ("100%", false)] {
            let rest = format!("business_id={id}/part-0.parquet");
            assert_eq!(belongs_to(Table::ByBusiness, &rest, KeyKind::Text), belongs, "{id}");
        }
        assert!(is_hidden("t/m=1/_SUCCESS") && is_hidden("t/.x/a") && !is_hidden("t/m=1/part-1.parquet"));
    }

    #[test]
    fn three_strangers_are_named() {
        let paths = |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>();
        assert_eq!(sentence(&[]), None);
        assert!(sentence(&paths(1)).unwrap().starts_with("no task has written p0, and engines"));
        assert!(sentence(&paths(5)).unwrap().contains("p0, p1, p2 and 2 more, and"));
    }
}
