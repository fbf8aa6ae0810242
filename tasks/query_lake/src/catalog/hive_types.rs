//! Tables and partitions in the words of the metastore's protocol, and its exceptions in ours.

use super::table::{Field, Found, INPUT_FORMAT, MARKER, OUTPUT_FORMAT, SERDE, Table, values};
use hive_metastore as hms;
use invoices::{Error, Kind};
use pilota::{AHashMap, FastStr};

/// Why the metastore does not do what it is asked for, with what it says.
#[derive(Debug)]
pub enum Refusal {
    Missing(String),
    Exists(String),
    Invalid(String),
    /// Whatever goes wrong inside: its database, the store that it looks into, its rules.
    Failed(String),
}

impl Refusal {
    /// One sentence, and whether it may pass.
    pub fn into_error(self, sentence: &str) -> Error {
        let (kind, text) = match self {
            Refusal::Missing(text) | Refusal::Exists(text) => (Kind::Retry, text),
            Refusal::Invalid(text) => (Kind::Config, text),
            Refusal::Failed(text) => (kind_of(&text), text),
        };
        Error::new(kind, format!("{sentence}: {text}"))
    }
}

/// The metastore has one exception for all of these.
fn kind_of(text: &str) -> Kind {
    let lasting =
        ["AccessControl", "AccessDenied", "403 Forbidden", "ermission denied", "No FileSystem for scheme"];
    if lasting.iter().any(|sign| text.contains(sign)) { Kind::Config } else { Kind::Retry }
}

/// Each call has exceptions of its own type, numbered.
macro_rules! refusals {
    ($($exception:ident { $($variant:ident: $refusal:ident),+ })+) => {$(
        impl From<hms::$exception> for Refusal {
            fn from(exception: hms::$exception) -> Self {
                let (refusal, message): (fn(String) -> Refusal, _) = match exception {
                    $(hms::$exception::$variant(inner) => (Refusal::$refusal, inner.message)),+
                };
                refusal(message.unwrap_or_default().to_string())
            }
        }
    )+};
}

refusals! {
    ThriftHiveMetastoreGetDatabaseException { O1: Missing, O2: Failed }
    ThriftHiveMetastoreCreateDatabaseException { O1: Exists, O2: Invalid, O3: Failed }
    ThriftHiveMetastoreGetTableReqException { O1: Failed, O2: Missing }
    ThriftHiveMetastoreCreateTableException { O1: Exists, O2: Invalid, O3: Failed, O4: Missing }
    ThriftHiveMetastoreDropTableException { O1: Missing, O3: Failed }
    ThriftHiveMetastoreGetPartitionNamesException { O2: Failed }
    ThriftHiveMetastoreAddPartitionsReqException { O1: Invalid, O2: Exists, O3: Failed }
    ThriftHiveMetastoreDropPartitionsReqException { O1: Missing, O2: Failed }
}

pub fn thrift_table(table: &Table, database: &FastStr) -> hms::Table {
    // EXTERNAL without external.table.purge: whoever drops the table leaves the objects alone.
    let parameters = [("EXTERNAL", "TRUE"), MARKER];
    hms::Table {
        table_name: Some(table.name.into()),
        db_name: Some(database.clone()),
        owner: Some(MARKER.1.into()),
        sd: Some(storage(table, table.location.clone())),
        partition_keys: Some(table.keys.iter().map(schema).collect()),
        parameters: Some(parameters.map(|(name, value)| (name.into(), value.into())).into_iter().collect()),
        table_type: Some("EXTERNAL_TABLE".into()),
        ..Default::default()
    }
}

pub fn partition(table: &Table, database: &FastStr, name: &str) -> hms::Partition {
    hms::Partition {
        values: Some(values(name).into_iter().map(Into::into).collect()),
        db_name: Some(database.clone()),
        table_name: Some(table.name.into()),
        sd: Some(storage(table, table.partition_location(name))),
        parameters: Some(AHashMap::default()),
        ..Default::default()
    }
}

fn storage(table: &Table, location: String) -> hms::StorageDescriptor {
    let serde = hms::SerDeInfo {
        name: Some(table.name.into()),
        serialization_lib: Some(SERDE.into()),
        parameters: Some([("serialization.format".into(), "1".into())].into_iter().collect()),
    };
    hms::StorageDescriptor {
        cols: Some(table.columns.iter().map(schema).collect()),
        location: Some(location.into()),
        input_format: Some(INPUT_FORMAT.into()),
        output_format: Some(OUTPUT_FORMAT.into()),
        compressed: Some(false),
        num_buckets: Some(-1),
        serde_info: Some(serde),
        bucket_cols: Some(Vec::new()),
        sort_cols: Some(Vec::new()),
        parameters: Some(AHashMap::default()),
        ..Default::default()
    }
}

fn schema(field: &Field) -> hms::FieldSchema {
    hms::FieldSchema {
        name: Some(field.name.clone().into()),
        r#type: Some(field.field_type.clone().into()),
        comment: None,
    }
}

pub fn found(table: hms::Table) -> Found {
    let sd = table.sd.unwrap_or_default();
    let parameters = table.parameters.unwrap_or_default();
    Found {
        columns: fields(sd.cols),
        keys: fields(table.partition_keys),
        location: sd.location.unwrap_or_default().to_string(),
        is_ours: parameters.get(MARKER.0).is_some_and(|value| value == MARKER.1),
    }
}

fn fields(schemas: Option<Vec<hms::FieldSchema>>) -> Vec<Field> {
    let text = |value: Option<FastStr>| value.unwrap_or_default().to_string();
    let field = |schema: hms::FieldSchema| Field { name: text(schema.name), field_type: text(schema.r#type) };
    schemas.unwrap_or_default().into_iter().map(field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;

    #[test]
    fn a_table_that_was_made_is_found_as_it_should_be() {
        let table = Table::new(&definition(Some(8)), str::to_owned);
        let mut made = thrift_table(&table, &"lake".into());
        let found_again = found(made.clone());
        assert!(found_again.is_ours);
        assert_eq!((found_again.columns, found_again.keys), (table.columns, table.keys));
        made.parameters = None;
        assert!(!found(made).is_ours);
    }

    #[test]
    fn what_the_metastore_says_decides_whether_to_try_again() {
        let kind = |text: &str| Refusal::Failed(text.to_owned()).into_error("it cannot").kind();
        assert_eq!(kind("Unable to open a test connection to the given database"), Kind::Retry);
        assert_eq!(kind("java.nio.file.AccessDeniedException: s3a://lake"), Kind::Config);
        assert_eq!(kind("No FileSystem for scheme \"s3a\""), Kind::Config);
    }
}
