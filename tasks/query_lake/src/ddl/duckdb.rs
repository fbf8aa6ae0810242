//! DuckDB: a view over the folder, with exact types for the partition columns.

use super::{Definition, literal};

pub fn statements(definition: &Definition, database: Option<&str>) -> String {
    let types: Vec<String> = definition
        .partition_columns
        .iter()
        .map(|column| format!("{}: {}", literal(&column.name), column.column_type))
        .collect();
    let comment = if definition.location.starts_with("s3:") {
        "-- Needs the extension httpfs and a secret: CREATE SECRET (TYPE s3, PROVIDER credential_chain);\n"
    } else {
        ""
    };
    let folder = definition.location.strip_prefix("file://").unwrap_or(&definition.location);
    format!(
        "{comment}CREATE OR REPLACE VIEW {} AS\nSELECT * FROM read_parquet({},\n  hive_partitioning = true, hive_types = {{{}}});\n",
        definition.name(database),
        literal(&format!("{folder}/**/*.parquet")),
        types.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;

    #[test]
    fn partition_columns_have_exact_types() {
        let sql = statements(&definition(None), None);
        assert!(sql.contains("hive_types = {'issue_date_yearmonth': DATE, 'business_id': BIGINT}"), "{sql}");
        assert!(sql.contains("'s3://lake/it''s/invoice_by_business/**/*.parquet'"), "{sql}");
    }
}
