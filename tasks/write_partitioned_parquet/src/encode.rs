//! A partition's rows as a Parquet object.
//!
//! Most objects hold one row of a dozen columns, and there are thousands of them: what a writer
//! allocates and what its footer says cost more than the data.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use invoices::Result;
use invoices::parquet::table_properties;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

/// Rows are sorted by business, and a reader of one business reads one group: some 400 KB of all columns.
const ROWS_PER_GROUP: usize = 16 * 1024;

/// Fewer rows than this compress to nothing less, and a compressor costs a good part of a megabyte.
const ROWS_WORTH_COMPRESSING: usize = 64;

/// The rows as Parquet. A dictionary is never worth it: amounts and dates hardly repeat.
pub fn encode(rows: &RecordBatch) -> Result<Bytes> {
    let options =
        ArrowWriterOptions::new().with_properties(properties(rows.num_rows())).with_skip_arrow_metadata(true);
    let mut object = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut object, rows.schema(), options)?;
    writer.write(rows)?;
    writer.close()?;
    Ok(object.into())
}

fn properties(rows: usize) -> WriterProperties {
    let properties = table_properties(ROWS_PER_GROUP).set_dictionary_enabled(false);
    if rows < ROWS_WORTH_COMPRESSING {
        return properties.set_compression(Compression::UNCOMPRESSED).set_offset_index_disabled(true).build();
    }
    properties.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn an_object_gives_back_its_rows() {
        for count in [1, 63, 64, 5_000] {
            let ids: Vec<Option<i64>> = (0..count).map(Some).collect();
            let rows = testing::statistics(&ids);
            let reader = ParquetRecordBatchReaderBuilder::try_new(encode(&rows).unwrap()).unwrap();
            let found: Vec<RecordBatch> =
                reader.with_batch_size(10_000).build().unwrap().map(Result::unwrap).collect();
            assert_eq!(found, [rows]);
        }
    }

    #[test]
    fn an_object_of_one_row_is_small() {
        let object = encode(&testing::statistics(&[Some(1)])).unwrap();
        assert!(object.len() < 3_000, "{} bytes", object.len());
    }
}
