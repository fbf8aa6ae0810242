//! `top`: the largest businesses of a window, from `business_last_n_months`.

use crate::args::TopArgs;
use crate::table::{Form, Sheet, number, plain};
use crate::text::grouped;
use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Int64Type};
use arrow::record_batch::RecordBatch;
use invoices::lake::names::{self, Table};
use invoices::statistics::{BUSINESS_ID, ISSUED_COUNT, RECEIVED_COUNT, TOTAL_ISSUED, TOTAL_RECEIVED};
use invoices::{Error, Month, Result, money};
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// One business: unscaled totals and counts of both sides.
struct Business {
    /// None stands for invoices without a business on that side.
    id: Option<Value>,
    issued: (i128, i64),
    received: (i128, i64),
}

pub fn run(args: &TopArgs, form: Form, runtime: &Runtime) -> Result<Value> {
    let lake = crate::open_existing(&args.lake)?;
    let month = Month::of_date(args.window.as_of);
    let partition = names::window_partition(month, args.window.window()?.len());
    let found = runtime.block_on(lake.get(&names::object(Table::LastNMonths, &partition)))?;
    let (_, bytes) = found.ok_or_else(|| {
        let advice = "run write_partitioned_parquet with the same --as-of and --months first";
        Error::config(format!("the lake has no window {partition}; {advice}"))
    })?;
    let mut businesses = Vec::new();
    let mut scale = 0;
    // Types as Parquet has them: Polars calls texts views of texts.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    for batch in ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options)?.build()? {
        scale = read(&batch?, &mut businesses)?;
    }
    businesses.sort_by_key(|business| std::cmp::Reverse(business.issued.0));
    businesses.truncate(args.limit);
    if form == Form::Text {
        sheet(&businesses, scale).print();
    }
    let lines: Vec<Value> = businesses.iter().map(|business| line(business, scale)).collect();
    Ok(json!({ "command": "top", "businesses": lines }))
}

/// Adds a batch's businesses and returns the scale of its amounts.
fn read(batch: &RecordBatch, businesses: &mut Vec<Business>) -> Result<u8> {
    let wrong = |name: &str| Error::refused(format!("column {name} is missing or has another type"));
    let whole = |name: &str| {
        batch.column_by_name(name).and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(|| wrong(name))
    };
    let decimal = |name: &str| {
        let column = batch.column_by_name(name);
        column.and_then(|c| c.as_primitive_opt::<Decimal128Type>()).ok_or_else(|| wrong(name))
    };
    let ids = ids(batch).ok_or_else(|| wrong(BUSINESS_ID))?;
    let (issued, received) = (decimal(TOTAL_ISSUED)?, decimal(TOTAL_RECEIVED)?);
    let (issued_count, received_count) = (whole(ISSUED_COUNT)?, whole(RECEIVED_COUNT)?);
    for (row, id) in ids.into_iter().enumerate() {
        businesses.push(Business {
            id,
            issued: (issued.value(row), issued_count.value(row)),
            received: (received.value(row), received_count.value(row)),
        });
    }
    Ok(issued.scale() as u8)
}

/// Numbers or texts, as the source has them.
fn ids(batch: &RecordBatch) -> Option<Vec<Option<Value>>> {
    let column = batch.column_by_name(BUSINESS_ID)?;
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().map(|id| id.map(Into::into)).collect(),
        _ => column.as_primitive_opt::<Int64Type>()?.iter().map(|id| id.map(Into::into)).collect(),
    })
}

fn sheet(businesses: &[Business], scale: u8) -> Sheet {
    let header = ["business", "issued USD", "invoices", "received USD", "invoices"];
    let mut sheet = Sheet::new("Largest businesses by the amount they issued", &header);
    for Business { id, issued, received } in businesses {
        let name = match id {
            None => "(none)".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(number) => number.to_string(),
        };
        let amount = |unscaled: i128| number(grouped(money::format(unscaled, scale)));
        sheet.add(vec![
            plain(name),
            amount(issued.0),
            number(grouped(issued.1)),
            amount(received.0),
            number(grouped(received.1)),
        ]);
    }
    sheet
}

fn line(business: &Business, scale: u8) -> Value {
    json!({
        "business_id": business.id,
        "total_amount_issued": money::format(business.issued.0, scale),
        "issued_count": business.issued.1,
        "total_amount_received": money::format(business.received.0, scale),
        "received_count": business.received.1,
    })
}
