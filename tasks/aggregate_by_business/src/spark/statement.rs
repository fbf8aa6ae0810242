//! The one statement of a month, in words that Spark and other engines behind its protocol know alike.

use invoices::money::MoneyType;
use invoices::statistics::{self as names, TOTAL_PRECISION};

/// The lake's URL as Spark calls it: `s3://` is `s3a://` there.
pub fn lake_of_spark(url: &str) -> String {
    let url = url.trim_end_matches('/');
    url.strip_prefix("s3://").map_or_else(|| url.to_owned(), |rest| format!("s3a://{rest}"))
}

/// Statistics per business of the invoices in one object, in the table's columns and in no order.
///
/// Every invoice is two rows, one for each side; a column that is NULL on the other side makes counts, sums and
/// extremes of one side. NULL is a group, and no counterparty. `SUM` of a `DECIMAL(18, s)` has 28 digits: more
/// than any number of invoices fills, and where Spark finds otherwise it fails, or gives the NULL that the
/// comparison of totals then refuses. Dates are not converted: they come as the microseconds that are in the file,
/// whatever the session's time zone is.
pub fn month(place: &str, money: MoneyType) -> String {
    let place = place.replace('`', "``");
    let MoneyType { precision, scale } = money;
    let total = |side: &str| format!("CAST(COALESCE(SUM({side}), 0) AS DECIMAL({TOTAL_PRECISION}, {scale}))");
    let columns = [
        ("business_id".to_owned(), names::BUSINESS_ID),
        (total("issued"), names::TOTAL_ISSUED),
        (total("received"), names::TOTAL_RECEIVED),
        ("COUNT(issued)".to_owned(), names::ISSUED_COUNT),
        ("COUNT(received)".to_owned(), names::RECEIVED_COUNT),
        ("MIN(issued)".to_owned(), names::MIN_ISSUED),
        ("MAX(issued)".to_owned(), names::MAX_ISSUED),
        ("MIN(received)".to_owned(), names::MIN_RECEIVED),
        ("MAX(received)".to_owned(), names::MAX_RECEIVED),
        ("MIN(issue_date)".to_owned(), names::FIRST_DATE),
        ("MAX(issue_date)".to_owned(), names::LAST_DATE),
        ("COUNT(DISTINCT other)".to_owned(), names::COUNTERPARTIES),
    ];
    let columns = columns.map(|(expression, name)| format!("{expression} AS {name}")).join(", ");
    let nothing = format!("CAST(NULL AS DECIMAL({precision}, {scale}))");
    format!(
        "SELECT {columns} FROM (\
         SELECT issuer_id AS business_id, receiver_id AS other, issue_date, amount_usd AS issued, {nothing} AS received \
         FROM parquet.`{place}` \
         UNION ALL \
         SELECT receiver_id, issuer_id, issue_date, {nothing}, amount_usd FROM parquet.`{place}`\
         ) AS sides GROUP BY business_id"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::statistics::{Scope, schema};

    const MONEY: MoneyType = MoneyType { precision: 12, scale: 3 };

    #[test]
    fn columns_have_the_names_and_the_order_of_the_table() {
        let statement = month("s3a://lake/x.parquet", MONEY);
        let (columns, _) = statement.split_once(" FROM (").unwrap();
        let found: Vec<&str> =
            columns.split(" AS ").skip(1).map(|text| text.split(',').next().unwrap()).collect();
        let found: Vec<&str> = found.into_iter().filter(|name| !name.starts_with("DECIMAL")).collect();
        let schema = schema(MONEY, Scope::Month, invoices::KeyKind::Integer);
        let wanted: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(found, wanted);
        assert!(statement.contains("DECIMAL(38, 3)") && statement.contains("DECIMAL(12, 3)"), "{statement}");
    }

    #[test]
    fn a_path_cannot_end_its_quotes() {
        let statement = month("file:///a`; DROP TABLE x; --", MONEY);
        assert!(statement.contains("parquet.`file:///a``; DROP TABLE x; --`"), "{statement}");
    }

    #[test]
    fn only_plain_s3_has_another_name() {
        for (lake, spark) in [
            ("s3://bucket/lake/", "s3a://bucket/lake"),
            ("s3a://bucket", "s3a://bucket"),
            ("file:///lake", "file:///lake"),
            ("abfss://lake@account/x", "abfss://lake@account/x"),
        ] {
            assert_eq!(lake_of_spark(lake), spark);
        }
    }
}
