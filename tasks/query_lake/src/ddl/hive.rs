//! Hive, and Spark with a Hive metastore. Both add new partitions by MSCK REPAIR, and remove gone ones.

use super::{Definition, list, literal};
use crate::layout::ColumnType;

pub fn hive(definition: &Definition, database: Option<&str>) -> String {
    let name = definition.name(database);
    format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {name} (\n{}\n)\nPARTITIONED BY (\n{}\n)\nSTORED AS PARQUET\nLOCATION {};\n\
         -- After every run:\nMSCK REPAIR TABLE {name} SYNC PARTITIONS;\n",
        list(&definition.columns, type_name),
        list(&definition.partition_columns, type_name),
        text(&hadoop(&definition.location)),
    )
}

pub fn spark(definition: &Definition, database: Option<&str>) -> String {
    let name = definition.name(database);
    let partitions: Vec<&str> =
        definition.partition_columns.iter().map(|column| column.name.as_str()).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {name} (\n{}\n)\nUSING PARQUET\nPARTITIONED BY ({})\nLOCATION {};\n\
         -- After every run:\nMSCK REPAIR TABLE {name} SYNC PARTITIONS;\n",
        list(definition.columns.iter().chain(&definition.partition_columns), spark_type_name),
        partitions.join(", "),
        text(&hadoop(&definition.location)),
    )
}

fn type_name(column_type: ColumnType) -> String {
    column_type.to_string()
}

/// The lake's timestamps are no instants of a session's time zone.
fn spark_type_name(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::Timestamp => "TIMESTAMP_NTZ".to_owned(),
        other => other.to_string(),
    }
}

/// Hadoop's client for S3 is called s3a.
pub fn hadoop(location: &str) -> String {
    location.strip_prefix("s3://").map_or_else(|| location.to_owned(), |rest| format!("s3a://{rest}"))
}

/// In both, a backslash escapes and a doubled quote is two texts.
fn text(location: &str) -> String {
    literal(location).replace("''", "\\'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;

    #[test]
    fn partition_columns_are_not_among_hives_columns() {
        let sql = hive(&definition(None), Some("finance"));
        assert_eq!(sql.matches("business_id BIGINT").count(), 1);
        assert!(
            sql.contains("EXISTS finance.invoice_by_business (\n  total_amount_issued DECIMAL(38,2),"),
            "{sql}"
        );
        assert!(sql.contains("LOCATION 's3a://lake/it\\'s/invoice_by_business';"), "{sql}");
    }

    #[test]
    fn spark_has_timestamps_without_a_zone() {
        assert!(spark(&definition(Some(8)), None).contains("first_issue_date TIMESTAMP_NTZ"));
    }
}
