//! How this task uses Polars: the streaming engine, objects in memory, one kind of error.

use bytes::Bytes;
use invoices::statistics::ROWS_PER_GROUP;
use invoices::{Error, Result};
use polars::io::HiveOptions;
use polars::polars_utils::compression::ZstdLevel;
use polars::prelude::*;

/// Parquet objects held in memory, to be read one after the other as one table.
pub fn in_memory(objects: Vec<Bytes>) -> ScanSources {
    ScanSources::Buffers(objects.into_iter().map(|object| Vec::from(object).into()).collect())
}

/// Reads [`in_memory`] objects.
pub fn scan(objects: ScanSources) -> Result<LazyFrame> {
    // Objects in memory have no path to read partition columns from; left on, Polars fails.
    let hive_options = HiveOptions::new_disabled();
    let options = ScanArgsParquet { hive_options, ..Default::default() };
    LazyFrame::scan_parquet_sources(objects, options).map_err(failed)
}

/// Runs a query. `Engine::Auto` would be the in-memory engine, so the streaming one is asked for.
pub fn collect(query: LazyFrame) -> Result<DataFrame> {
    let result = query.collect_with_engine(Engine::Streaming).map_err(failed)?;
    Ok(result.unwrap_single())
}

/// A frame as a Parquet object. The lowest level: higher ones gain 2 % and take twice as long.
pub fn to_parquet(frame: &mut DataFrame) -> Result<Bytes> {
    let mut bytes = Vec::new();
    // Polars makes groups of at least so many rows, and all of about the same size.
    let groups = frame.height().div_ceil(ROWS_PER_GROUP).max(1);
    let group_rows = (frame.height() / groups).max(1);
    let fastest = ZstdLevel::try_new(1).map_err(failed)?;
    ParquetWriter::new(&mut bytes)
        .with_compression(ParquetCompression::Zstd(Some(fastest)))
        .with_row_group_size(Some(group_rows))
        .with_statistics(StatisticsOptions::default())
        .finish(frame)
        .map_err(failed)?;
    Ok(bytes.into())
}

/// What Polars cannot read or group is not what the lake's tables hold.
pub fn failed(error: PolarsError) -> Error {
    Error::refused("Polars cannot group the invoices").because(error)
}
