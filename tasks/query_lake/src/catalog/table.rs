//! A table of the lake as catalogs describe tables, and what has to change where one is known already. Pure.

use crate::ddl::Definition;
use crate::layout::Column;
use invoices::lake::names::unescaped;
use invoices::{Error, Result};
use std::collections::BTreeSet;

/// The parameter that says who has made a table, so that nobody else's is ever changed.
pub const MARKER: (&str, &str) = ("invoice_platform.registered_by", "query_lake");

pub const INPUT_FORMAT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat";
pub const OUTPUT_FORMAT: &str = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat";
pub const SERDE: &str = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe";

/// Name and type of a column, both in lower case, as Hive and Glue keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub field_type: String,
}

/// A table as it shall be.
#[derive(Debug)]
pub struct Table {
    pub name: &'static str,
    pub columns: Vec<Field>,
    pub keys: Vec<Field>,
    pub location: String,
    /// As `key=value/key=value`.
    pub partitions: BTreeSet<String>,
}

/// A table as a catalog has it, without its partitions.
#[derive(Debug, Clone)]
pub struct Found {
    pub columns: Vec<Field>,
    pub keys: Vec<Field>,
    pub location: String,
    pub is_ours: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Keep,
    Create,
    /// A table's partition columns and place cannot be altered, so it is made anew.
    Replace,
}

impl Table {
    /// `locate` writes a URL of the lake as the catalog's readers do.
    pub fn new(definition: &Definition, locate: impl Fn(&str) -> String) -> Self {
        Self {
            name: definition.table.name(),
            columns: fields(&definition.columns),
            keys: fields(&definition.partition_columns),
            location: locate(&definition.location),
            partitions: definition.partitions.clone(),
        }
    }

    /// What has to be done before partitions can be compared.
    ///
    /// # Errors
    /// Refused when somebody else has made a table of this name.
    pub fn step(&self, found: Option<&Found>, database: &str) -> Result<Step> {
        let Some(found) = found else { return Ok(Step::Create) };
        if !found.is_ours {
            return Err(Error::refused(format!(
                "{database}.{} was not made by query_lake register; drop that table or choose another --database",
                self.name
            )));
        }
        let is_same = found.columns == self.columns
            && found.keys == self.keys
            && place(&found.location) == place(&self.location);
        Ok(if is_same { Step::Keep } else { Step::Replace })
    }

    pub fn partition_location(&self, partition: &str) -> String {
        format!("{}/{partition}", self.location)
    }

    /// Partitions that `known` lacks, and those that it has and should not have.
    pub fn difference(&self, known: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
        let missing = self.partitions.difference(known).cloned().collect();
        let gone = known.difference(&self.partitions).cloned().collect();
        (missing, gone)
    }
}

/// The values in `key=value/key=value`, as catalogs keep them: not as they are escaped in folders.
pub fn values(partition: &str) -> Vec<String> {
    let value = |name: &str| unescaped(name).unwrap_or_else(|| name.to_owned());
    partition.split('/').filter_map(|part| Some(value(part.split_once('=')?.1))).collect()
}

/// Hive writes `file:/folder` for `file:///folder`.
fn place(location: &str) -> String {
    let location = location.trim_end_matches('/');
    location.strip_prefix("file://").map_or_else(|| location.to_owned(), |path| format!("file:{path}"))
}

fn fields(columns: &[Column]) -> Vec<Field> {
    let field = |column: &Column| Field {
        name: column.name.clone(),
        field_type: column.column_type.to_string().to_lowercase(),
    };
    columns.iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;
    use invoices::Kind;

    fn table() -> Table {
        Table::new(&definition(None), str::to_owned)
    }

    fn found(table: &Table) -> Found {
        let (columns, keys) = (table.columns.clone(), table.keys.clone());
        Found { columns, keys, location: table.location.clone(), is_ours: true }
    }

    #[test]
    fn types_and_values_are_as_hive_writes_them() {
        let table = table();
        let types: Vec<&str> = table.columns.iter().map(|column| column.field_type.as_str()).collect();
        assert_eq!(types, ["decimal(38,2)", "timestamp"]);
        assert_eq!(table.keys[0].field_type, "date");
        assert_eq!(
            values("issue_date_yearmonth=2026-01-01/business_id=__HIVE_DEFAULT_PARTITION__"),
            ["2026-01-01", "__HIVE_DEFAULT_PARTITION__"]
        );
        assert_eq!(values("issue_date_yearmonth=2026-01-01/business_id=a%2Fb"), ["2026-01-01", "a/b"]);
    }

    #[test]
    fn a_table_that_is_as_it_should_be_is_kept_and_any_other_of_ours_replaced() {
        let table = table();
        let same = found(&table);
        assert_eq!(table.step(None, "lake").unwrap(), Step::Create);
        assert_eq!(table.step(Some(&same), "lake").unwrap(), Step::Keep);
        let slash = Found { location: format!("{}/", table.location), ..same.clone() };
        assert_eq!(table.step(Some(&slash), "lake").unwrap(), Step::Keep);
        let moved = Found { location: "s3://other".to_owned(), ..same.clone() };
        let recut = Found { keys: table.keys[..1].to_vec(), ..same.clone() };
        let mut wider = same;
        wider.columns[0].field_type = "decimal(20,2)".to_owned();
        for other in [moved, recut, wider] {
            assert_eq!(table.step(Some(&other), "lake").unwrap(), Step::Replace, "{other:?}");
        }
    }

    #[test]
    fn somebody_elses_table_is_refused_even_if_it_looks_the_same() {
        let table = table();
        let theirs = Found { is_ours: false, ..found(&table) };
        let error = table.step(Some(&theirs), "finance").unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert!(error.to_string().contains("finance.invoice_by_business"), "{error}");
    }

    #[test]
    fn only_differences_are_added_and_removed() {
        let table = table();
        let gone = "issue_date_yearmonth=2020-01-01/business_id=7".to_owned();
        let kept = table.partitions.first().unwrap().clone();
        let (added, removed) = table.difference(&[gone.clone(), kept.clone()].into());
        assert_eq!((added.len(), removed), (table.partitions.len() - 1, vec![gone]));
        assert!(!added.contains(&kept));
        assert_eq!(table.difference(&table.partitions), (vec![], vec![]));
    }

    #[test]
    fn hives_spelling_of_local_folders_is_the_same_place() {
        assert_eq!(place("file:///data/lake/invoices"), place("file:/data/lake/invoices/"));
    }
}
