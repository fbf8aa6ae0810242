//! BigQuery: an external table over a bucket of its own cloud, or of S3 through a BigLake connection.

use super::{Definition, list, literal};
use crate::layout::ColumnType;

/// Digits before the point that NUMERIC holds; beyond that, and for sums, it is BIGNUMERIC.
const NUMERIC_WHOLE_DIGITS: u8 = 29;
const NUMERIC_SCALE: u8 = 9;

pub fn statements(definition: &Definition, database: Option<&str>) -> String {
    let name = definition.name(Some(database.unwrap_or("lake")));
    let connection = if definition.location.starts_with("s3:") {
        "-- S3 is read through a connection: name yours.\n"
    } else {
        ""
    };
    let with_connection = if connection.is_empty() { "" } else { "WITH CONNECTION `aws-us-east-1.lake`\n" };
    format!(
        "{connection}CREATE EXTERNAL TABLE IF NOT EXISTS {name} (\n{}\n)\nWITH PARTITION COLUMNS (\n{}\n)\n{with_connection}OPTIONS (\n  format = 'PARQUET',\n  uris = [{}],\n  hive_partition_uri_prefix = {}\n);\n",
        list(&definition.columns, type_name),
        list(&definition.partition_columns, type_name),
        text(&format!("{}/*", definition.location)),
        text(&definition.location),
    )
}

fn type_name(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::BigInt | ColumnType::Int => "INT64".to_owned(),
        // BigQuery's TIMESTAMP is an instant; the lake's has no zone.
        ColumnType::Timestamp => "DATETIME".to_owned(),
        ColumnType::Date => "DATE".to_owned(),
        ColumnType::Text => "STRING".to_owned(),
        ColumnType::Double => "FLOAT64".to_owned(),
        ColumnType::Bool => "BOOL".to_owned(),
        ColumnType::Decimal { precision, scale } => {
            let fits = precision - scale <= NUMERIC_WHOLE_DIGITS && scale <= NUMERIC_SCALE;
            format!("{}({precision}, {scale})", if fits { "NUMERIC" } else { "BIGNUMERIC" })
        }
    }
}

fn text(url: &str) -> String {
    literal(url).replace("''", "\\'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;

    #[test]
    fn sums_are_bignumeric() {
        assert_eq!(type_name(ColumnType::Decimal { precision: 12, scale: 2 }), "NUMERIC(12, 2)");
        let sql = statements(&definition(None), Some("finance"));
        assert!(
            sql.contains("EXISTS finance.invoice_by_business (\n  total_amount_issued BIGNUMERIC(38, 2)"),
            "{sql}"
        );
    }
}
