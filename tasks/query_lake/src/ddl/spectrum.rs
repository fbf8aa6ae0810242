//! Redshift Spectrum: partitions are named one by one, at most 100 per statement with Glue.

use super::{Definition, list, literal};
use crate::layout::ColumnType;
use invoices::lake::names::{NULL_PARTITION, unescaped};

const PARTITIONS_PER_STATEMENT: usize = 100;

pub fn statements(definition: &Definition, database: Option<&str>) -> String {
    let name = definition.name(Some(database.unwrap_or("lake")));
    let mut sql = format!(
        "CREATE EXTERNAL TABLE {name} (\n{}\n)\nPARTITIONED BY (\n{}\n)\nSTORED AS PARQUET\nLOCATION {};\n",
        list(&definition.columns, type_name),
        list(&definition.partition_columns, type_name),
        literal(&format!("{}/", definition.location)),
    );
    // No value of its type stands for NULL, so this partition can't be named.
    let (unnamed, named): (Vec<&String>, Vec<&String>) =
        definition.partitions.iter().partition(|partition| partition.contains(NULL_PARTITION));
    for chunk in named.chunks(PARTITIONS_PER_STATEMENT) {
        sql += &format!(
            "ALTER TABLE {name} ADD IF NOT EXISTS\n{};\n",
            chunk.iter().map(|partition| add(definition, partition)).collect::<Vec<_>>().join("\n")
        );
    }
    if !unnamed.is_empty() {
        sql += "-- Invoices without a business are in partitions of NULL, which Spectrum has no value for:\n\
                -- publish with --partition-by month or month,bucket(business_id,N) to see them here.\n";
    }
    sql
}

fn type_name(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::Text => "VARCHAR(65535)".to_owned(),
        ColumnType::Double => "DOUBLE PRECISION".to_owned(),
        other => other.to_string(),
    }
}

fn add(definition: &Definition, partition: &str) -> String {
    let values: Vec<String> = partition
        .split('/')
        .filter_map(|part| part.split_once('='))
        .map(|(key, name)| {
            let value = unescaped(name).unwrap_or_else(|| name.to_owned());
            format!("{key}={}", literal(&value))
        })
        .collect();
    let location = literal(&format!("{}/{partition}/", definition.location));
    format!("PARTITION({}) LOCATION {location}", values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;

    #[test]
    fn partitions_come_a_hundred_at_a_time() {
        let mut definition = definition(Some(300));
        definition.partitions = (0..201)
            .map(|bucket| format!("issue_date_yearmonth=2026-01-01/business_bucket={bucket}"))
            .collect();
        let sql = statements(&definition, None);
        assert_eq!(sql.matches("ALTER TABLE lake.invoice_by_business ADD").count(), 3);
        assert_eq!(sql.matches("PARTITION(").count(), 201);
    }

    #[test]
    fn the_partition_of_null_is_told() {
        let sql = statements(&definition(None), None);
        assert!(!sql.contains(NULL_PARTITION) && sql.contains("partitions of NULL"), "{sql}");
    }
}
