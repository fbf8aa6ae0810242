//! Trino's Hive connector: partition columns come last, timestamps must be asked for in microseconds.

use super::{Definition, list, literal};
use crate::layout::ColumnType;

pub fn statements(definition: &Definition, database: Option<&str>) -> String {
    let schema = database.unwrap_or("default");
    let name = definition.name(Some(schema));
    let partitions: Vec<String> =
        definition.partition_columns.iter().map(|column| literal(&column.name)).collect();
    let (schema, table) = (literal(schema), literal(definition.table.name()));
    format!(
        "-- The catalog is called hive here, with hive.timestamp-precision=MICROSECONDS.\n\
         CREATE TABLE IF NOT EXISTS hive.{name} (\n{}\n)\nWITH (\n  external_location = {},\n  format = 'PARQUET',\n  partitioned_by = ARRAY[{}]\n);\n\
         -- After every run:\nCALL hive.system.sync_partition_metadata({schema}, {table}, 'FULL');\n",
        list(definition.columns.iter().chain(&definition.partition_columns), type_name),
        literal(&definition.location),
        partitions.join(", "),
    )
}

fn type_name(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::Timestamp => "TIMESTAMP(6)".to_owned(),
        ColumnType::Text => "VARCHAR".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;

    #[test]
    fn partition_columns_come_last() {
        let sql = statements(&definition(None), None);
        assert!(sql.contains("  issue_date_yearmonth DATE,\n  business_id BIGINT\n)\nWITH"), "{sql}");
        assert!(sql.contains("partitioned_by = ARRAY['issue_date_yearmonth', 'business_id']"), "{sql}");
    }
}
