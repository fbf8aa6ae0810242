//! AWS Glue's catalog, which Athena, Redshift Spectrum, EMR and others read.

use super::Catalog;
use super::table::{Field, Found, INPUT_FORMAT, MARKER, OUTPUT_FORMAT, SERDE, Table, values};
use invoices::aws::{Client, Refusal, Reply, Service};
use invoices::lake::names::escaped;
use invoices::lake::retry_timeout;
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const SERVICE: Service = Service {
    name: "AWS Glue",
    id: "glue",
    target: "AWSGlue",
    content_type: "application/x-amz-json-1.1",
    request_timeout: Duration::from_secs(30),
};
/// The most that BatchDeletePartition takes.
const DELETED_AT_ONCE: usize = 25;

pub struct Glue {
    client: Client,
    database: String,
}

impl Glue {
    /// The region and the endpoint are where Amazon's own programs look for them.
    ///
    /// # Errors
    /// Configuration without a region.
    pub fn from_env(database: &str) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region =
            region.ok_or_else(|| Error::config("the region of AWS Glue is missing; set AWS_REGION"))?;
        let endpoint = variable("AWS_ENDPOINT_URL_GLUE");
        let client = Client::new(&SERVICE, endpoint.as_deref(), &region, retry_timeout())?;
        Ok(Self { client, database: database.to_owned() })
    }

    /// An answer, or None when Glue refuses with the kind that is expected.
    async fn ask_unless(&self, expected: &str, operation: &str, body: &Value) -> Result<Option<Value>> {
        match self.client.call(operation, body).await? {
            Reply::Answer(answer) => Ok(Some(answer)),
            Reply::Refused(Refusal { kind, .. }) if kind == expected => Ok(None),
            Reply::Refused(refusal) => Err(refusal.error),
        }
    }

    async fn ask(&self, operation: &str, body: &Value) -> Result<Value> {
        match self.client.call(operation, body).await? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Refused(refusal) => Err(refusal.error),
        }
    }

    /// Batches report what failed in them, partition by partition.
    async fn batch(&self, expected: &str, operation: &str, body: &Value) -> Result<()> {
        let answer = self.ask(operation, body).await?;
        for failure in answer["Errors"].as_array().into_iter().flatten() {
            let code = failure["ErrorDetail"]["ErrorCode"].as_str().unwrap_or_default();
            if code != expected {
                let (partition, said) =
                    (&failure["PartitionValues"], &failure["ErrorDetail"]["ErrorMessage"]);
                return Err(Error::retry(format!(
                    "AWS Glue did not complete {operation} for {partition}: {code} {said}; register again"
                )));
            }
        }
        Ok(())
    }
}

impl Catalog for Glue {
    async fn make_database(&self) -> Result<()> {
        let name = &self.database;
        if self
            .ask_unless("EntityNotFoundException", "GetDatabase", &json!({ "Name": name }))
            .await?
            .is_some()
        {
            return Ok(());
        }
        let input = json!({ "Name": name, "Description": "The tables of an invoice platform's lake" });
        let body = json!({ "DatabaseInput": input });
        self.ask_unless("AlreadyExistsException", "CreateDatabase", &body).await.map(drop)
    }

    async fn find(&self, table: &str) -> Result<Option<Found>> {
        let body = json!({ "DatabaseName": self.database, "Name": table });
        let answer = self.ask_unless("EntityNotFoundException", "GetTable", &body).await?;
        Ok(answer.map(|answer| found(&answer["Table"])))
    }

    async fn create(&self, table: &Table) -> Result<()> {
        let input = json!({
            "Name": table.name,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": { "EXTERNAL": "TRUE", "classification": "parquet", (MARKER.0): MARKER.1 },
            "PartitionKeys": columns(&table.keys),
            "StorageDescriptor": storage(table, &table.location),
        });
        self.ask("CreateTable", &json!({ "DatabaseName": self.database, "TableInput": input }))
            .await
            .map(drop)
    }

    /// Glue deletes the partitions of a deleted table some time later: they go first.
    async fn forget(&self, table: &str) -> Result<()> {
        let partitions: Vec<String> = self.partitions(table).await?.into_iter().collect();
        self.remove(table, &partitions).await?;
        let body = json!({ "DatabaseName": self.database, "Name": table });
        self.ask_unless("EntityNotFoundException", "DeleteTable", &body).await.map(drop)
    }

    async fn partitions(&self, table: &str) -> Result<BTreeSet<String>> {
        let described =
            self.ask("GetTable", &json!({ "DatabaseName": self.database, "Name": table })).await?;
        let keys = found(&described["Table"]).keys;
        let mut partitions = BTreeSet::new();
        let mut body =
            json!({ "DatabaseName": self.database, "TableName": table, "ExcludeColumnSchema": true });
        loop {
            let page = self.ask("GetPartitions", &body).await?;
            let found = page["Partitions"].as_array().into_iter().flatten();
            partitions.extend(found.map(|partition| name(&keys, &partition["Values"])));
            match &page["NextToken"] {
                Value::String(token) if !token.is_empty() => body["NextToken"] = token.as_str().into(),
                _ => return Ok(partitions),
            }
        }
    }

    async fn add(&self, table: &Table, partitions: &[String]) -> Result<()> {
        let input = |partition: &String| {
            let location = table.partition_location(partition);
            json!({ "Values": values(partition), "StorageDescriptor": storage(table, &location) })
        };
        let inputs: Vec<Value> = partitions.iter().map(input).collect();
        let body =
            json!({ "DatabaseName": self.database, "TableName": table.name, "PartitionInputList": inputs });
        self.batch("AlreadyExistsException", "BatchCreatePartition", &body).await
    }

    async fn remove(&self, table: &str, partitions: &[String]) -> Result<()> {
        for chunk in partitions.chunks(DELETED_AT_ONCE) {
            let values: Vec<Value> = chunk.iter().map(|name| json!({ "Values": values(name) })).collect();
            let body =
                json!({ "DatabaseName": self.database, "TableName": table, "PartitionsToDelete": values });
            self.batch("EntityNotFoundException", "BatchDeletePartition", &body).await?;
        }
        Ok(())
    }
}

fn columns(fields: &[Field]) -> Vec<Value> {
    fields.iter().map(|field| json!({ "Name": field.name, "Type": field.field_type })).collect()
}

fn storage(table: &Table, location: &str) -> Value {
    json!({
        "Columns": columns(&table.columns),
        "Location": location,
        "InputFormat": INPUT_FORMAT,
        "OutputFormat": OUTPUT_FORMAT,
        "SerdeInfo": { "SerializationLibrary": SERDE, "Parameters": { "serialization.format": "1" } },
    })
}

fn found(table: &Value) -> Found {
    let storage = &table["StorageDescriptor"];
    Found {
        columns: fields(&storage["Columns"]),
        keys: fields(&table["PartitionKeys"]),
        location: text(&storage["Location"]),
        is_ours: table["Parameters"][MARKER.0] == MARKER.1,
    }
}

fn fields(columns: &Value) -> Vec<Field> {
    let field = |column: &Value| Field { name: text(&column["Name"]), field_type: text(&column["Type"]) };
    columns.as_array().into_iter().flatten().map(field).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `key=value/key=value`, as folders are called.
fn name(keys: &[Field], values: &Value) -> String {
    let values = values.as_array().into_iter().flatten().map(text);
    let parts: Vec<String> =
        keys.iter().zip(values).map(|(key, value)| format!("{}={}", key.name, escaped(&value))).collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::testing::definition;

    #[test]
    fn partitions_have_the_same_names_as_their_folders() {
        let table = Table::new(&definition(None), str::to_owned);
        for partition in &table.partitions {
            assert_eq!(&name(&table.keys, &json!(values(partition))), partition);
        }
    }

    #[test]
    fn a_table_that_was_made_is_found_as_it_should_be() {
        let table = Table::new(&definition(Some(8)), str::to_owned);
        let mut made = json!({
            "PartitionKeys": columns(&table.keys),
            "StorageDescriptor": storage(&table, &table.location),
            "Parameters": { (MARKER.0): MARKER.1 },
        });
        let found_again = found(&made);
        assert!(found_again.is_ours);
        assert_eq!((found_again.columns, found_again.keys), (table.columns, table.keys));
        made["Parameters"] = json!({ "classification": "parquet" });
        assert!(!found(&made).is_ours);
    }
}
