//! Athena: months and buckets are projected, so that no catalog need be told of new ones. Businesses
//! are not: projection is slow on keys of many values and knows no NULL, so those are registered.

use super::{Definition, list, literal};
use crate::layout::BUCKET_COLUMN;
use invoices::lake::names::{MONTH_COLUMN, Table};

pub fn statements(definition: &Definition, database: Option<&str>) -> String {
    let name = definition.name(database);
    let has_businesses = definition.table == Table::ByBusiness
        && definition.partition_columns.iter().any(|column| column.name == invoices::statistics::BUSINESS_ID);
    let is_projected = !has_businesses && definition.table != Table::LastNMonths;
    let mut sql = format!(
        "CREATE EXTERNAL TABLE IF NOT EXISTS {name} (\n{}\n)\nPARTITIONED BY (\n{}\n)\nSTORED AS PARQUET\nLOCATION {}",
        list(&definition.columns, |column_type| column_type.to_string()),
        list(&definition.partition_columns, |column_type| column_type.to_string()),
        literal(&format!("{}/", definition.location)),
    );
    if is_projected {
        let properties: Vec<String> = projection(definition)
            .into_iter()
            .map(|(key, value)| format!("  {}={}", literal(&key), literal(&value)))
            .collect();
        return sql + &format!("\nTBLPROPERTIES (\n{}\n);\n", properties.join(",\n"));
    }
    sql += &format!(";\n-- After every run:\nMSCK REPAIR TABLE {name};\n");
    sql
}

fn projection(definition: &Definition) -> Vec<(String, String)> {
    let mut properties = vec![("projection.enabled".to_owned(), "true".to_owned())];
    let mut property = |column: &str, key: &str, value: String| {
        properties.push((format!("projection.{column}.{key}"), value));
    };
    let months = definition.partitions.iter().filter_map(|partition| {
        partition.split('/').find_map(|part| part.strip_prefix(MONTH_COLUMN)?.strip_prefix('='))
    });
    let first = months.min().unwrap_or("1970-01-01");
    property(MONTH_COLUMN, "type", "date".to_owned());
    property(MONTH_COLUMN, "format", "yyyy-MM-dd".to_owned());
    property(MONTH_COLUMN, "range", format!("{first},NOW"));
    property(MONTH_COLUMN, "interval", "1".to_owned());
    property(MONTH_COLUMN, "interval.unit", "MONTHS".to_owned());
    if let Some(buckets) = definition.buckets {
        property(BUCKET_COLUMN, "type", "integer".to_owned());
        property(BUCKET_COLUMN, "range", format!("0,{}", buckets - 1));
    }
    let template: Vec<String> =
        definition.partition_columns.iter().map(|column| format!("{0}=${{{0}}}", column.name)).collect();
    properties.push((
        "storage.location.template".to_owned(),
        format!("{}/{}", definition.location, template.join("/")),
    ));
    properties
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;

    #[test]
    fn buckets_are_projected_and_businesses_registered() {
        let sql = statements(&definition(Some(8)), None);
        assert!(sql.contains("'projection.business_bucket.range'='0,7'"), "{sql}");
        assert!(sql.contains("'projection.issue_date_yearmonth.range'='2025-12-01,NOW'"), "{sql}");
        assert!(
            sql.contains("/issue_date_yearmonth=${issue_date_yearmonth}/business_bucket=${business_bucket}'"),
            "{sql}"
        );
        assert!(!sql.contains("MSCK"));
        assert!(statements(&definition(None), None).contains("MSCK REPAIR"));
    }
}
