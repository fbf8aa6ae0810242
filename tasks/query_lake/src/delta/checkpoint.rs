//! A checkpoint of Delta's log: the state of a version as one Parquet object, so that readers need
//! not follow every commit since the first.

use super::log::{File, State, protocol, uri};
use arrow::array::{
    Array, ArrayRef, BooleanArray, Int32Array, Int64Array, ListBuilder, MapBuilder, MapFieldNames,
    StringArray, StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::record_batch::RecordBatch;
use invoices::Result;
use parquet::arrow::ArrowWriter;
use serde_json::Value;
use std::sync::Arc;

/// One row of the checkpoint: an action.
enum Row<'a> {
    Protocol(Value),
    Metadata(&'a Value),
    Add(&'a str, &'a File),
    Remove(&'a str, i64),
}

/// Rows and bytes of the checkpoint of a state.
pub fn encode(state: &State) -> Result<(usize, Vec<u8>)> {
    let rows: Vec<Row> = [Row::Protocol(protocol())]
        .into_iter()
        .chain(state.metadata.iter().map(Row::Metadata))
        .chain(state.files.iter().map(|(path, file)| Row::Add(path, file)))
        .chain(state.removed_at_ms.iter().map(|(path, at)| Row::Remove(path, *at)))
        .collect();
    let columns = [
        ("protocol", protocols(&rows)?),
        ("metaData", metadata(&rows)?),
        ("add", additions(&rows)?),
        ("remove", removals(&rows)?),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, column)| Arc::new(column) as ArrayRef).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    Ok((rows.len(), bytes))
}

/// A struct that is there in the rows which `is_set` names.
fn structs(
    rows: &[Row],
    is_set: impl Fn(&Row) -> bool,
    children: Vec<(&str, ArrayRef)>,
) -> Result<StructArray> {
    let fields: Fields =
        children.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = children.into_iter().map(|(_, array)| array).collect();
    let nulls: NullBuffer = rows.iter().map(is_set).collect();
    Ok(StructArray::try_new(fields, arrays, Some(nulls))?)
}

fn protocols(rows: &[Row]) -> Result<StructArray> {
    let body = |row: &Row| if let Row::Protocol(body) = row { body.clone() } else { Value::Null };
    let number = |key: &str| -> ArrayRef {
        let values = rows.iter().map(|row| body(row)[key].as_i64().map(|number| number as i32));
        Arc::new(values.collect::<Int32Array>())
    };
    let children = vec![
        ("minReaderVersion", number("minReaderVersion")),
        ("minWriterVersion", number("minWriterVersion")),
        ("readerFeatures", lists(rows.iter().map(|row| body(row)["readerFeatures"].clone()))),
        ("writerFeatures", lists(rows.iter().map(|row| body(row)["writerFeatures"].clone()))),
    ];
    structs(rows, |row| matches!(row, Row::Protocol(_)), children)
}

fn metadata(rows: &[Row]) -> Result<StructArray> {
    let body = |row: &Row| if let Row::Metadata(body) = row { (*body).clone() } else { Value::Null };
    let is_set = |row: &Row| matches!(row, Row::Metadata(_));
    let text = |get: &dyn Fn(&Value) -> Value| -> ArrayRef {
        let values = rows.iter().map(|row| get(&body(row)).as_str().map(str::to_owned));
        Arc::new(values.collect::<StringArray>())
    };
    let format = structs(
        rows,
        is_set,
        vec![
            ("provider", text(&|body| body["format"]["provider"].clone())),
            ("options", maps(rows.iter().map(|row| entries(&body(row)["format"]["options"])))?),
        ],
    )?;
    let created: Int64Array = rows.iter().map(|row| body(row)["createdTime"].as_i64()).collect();
    let children = vec![
        ("id", text(&|body| body["id"].clone())),
        ("name", text(&|body| body["name"].clone())),
        ("format", Arc::new(format) as ArrayRef),
        ("schemaString", text(&|body| body["schemaString"].clone())),
        ("partitionColumns", lists(rows.iter().map(|row| body(row)["partitionColumns"].clone()))),
        ("configuration", maps(rows.iter().map(|row| entries(&body(row)["configuration"])))?),
        ("createdTime", Arc::new(created)),
    ];
    structs(rows, is_set, children)
}

fn additions(rows: &[Row]) -> Result<StructArray> {
    let file = |row: &Row| if let Row::Add(_, file) = row { Some((*file).clone()) } else { None };
    let is_set = |row: &Row| matches!(row, Row::Add(..));
    let path = |row: &Row| if let Row::Add(path, _) = row { Some(uri(path)) } else { None };
    let sizes = rows.iter().map(|row| file(row).map(|file| file.size as i64));
    let times = rows.iter().map(|row| file(row).map(|file| file.added_at_ms));
    let children = vec![
        ("path", Arc::new(rows.iter().map(path).collect::<StringArray>()) as ArrayRef),
        ("partitionValues", maps(rows.iter().map(|row| file(row).map(|file| file.partition)))?),
        ("size", Arc::new(sizes.collect::<Int64Array>())),
        ("modificationTime", Arc::new(times.collect::<Int64Array>())),
        (
            "dataChange",
            Arc::new(rows.iter().map(|row| is_set(row).then_some(false)).collect::<BooleanArray>()),
        ),
    ];
    structs(rows, is_set, children)
}

fn removals(rows: &[Row]) -> Result<StructArray> {
    let is_set = |row: &Row| matches!(row, Row::Remove(..));
    let path = |row: &Row| if let Row::Remove(path, _) = row { Some(uri(path)) } else { None };
    let time = |row: &Row| if let Row::Remove(_, at) = row { Some(*at) } else { None };
    let children = vec![
        ("path", Arc::new(rows.iter().map(path).collect::<StringArray>()) as ArrayRef),
        ("deletionTimestamp", Arc::new(rows.iter().map(time).collect::<Int64Array>())),
        (
            "dataChange",
            Arc::new(rows.iter().map(|row| is_set(row).then_some(false)).collect::<BooleanArray>()),
        ),
    ];
    structs(rows, is_set, children)
}

fn entries(value: &Value) -> Option<Vec<(String, Option<String>)>> {
    let map = value.as_object()?.iter();
    Some(map.map(|(key, value)| (key.clone(), value.as_str().map(str::to_owned))).collect())
}

fn maps(rows: impl Iterator<Item = Option<Vec<(String, Option<String>)>>>) -> Result<ArrayRef> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in row.iter().flatten() {
            maps.keys().append_value(key);
            maps.values().append_option(value.as_ref());
        }
        maps.append(row.is_some())?;
    }
    Ok(Arc::new(maps.finish()))
}

fn lists(rows: impl Iterator<Item = Value>) -> ArrayRef {
    let field = Field::new("element", DataType::Utf8, true);
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(field);
    for row in rows {
        for item in row.as_array().into_iter().flatten() {
            lists.values().append_option(item.as_str());
        }
        lists.append(row.is_array());
    }
    Arc::new(lists.finish())
}
