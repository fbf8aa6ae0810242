//! A partition's rows as a Parquet object.
//!
//! Most objects hold one row of a dozen columns, and there are thousands of them: what a writer
//! allocates and what its footer says cost more than the data.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use invoices::Result;
use invoices::parquet::table_properties;
use invoices::statistics::ROWS_PER_GROUP;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

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

/// Whether an object that was staged is fit to be published as it is: a reader of one business then
/// reads as little of it as of one that [`encode`] makes.
pub fn is_publishable(staged: &Bytes) -> Result<bool> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(staged.clone())?;
    let groups = reader.metadata().row_groups();
    Ok(groups.iter().all(|group| group.num_rows() <= ROWS_PER_GROUP as i64))
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
    fn an_object_with_large_row_groups_is_not_published_as_it_is() {
        let ids: Vec<Option<i64>> = (0..ROWS_PER_GROUP as i64 + 1).map(Some).collect();
        let rows = testing::statistics(&ids);
        let mut in_one_group = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut in_one_group, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        assert!(!is_publishable(&in_one_group.into()).unwrap());
        assert!(is_publishable(&encode(&rows).unwrap()).unwrap());
    }

    #[test]
    fn an_object_of_one_row_is_small() {
        let object = encode(&testing::statistics(&[Some(1)])).unwrap();
        assert!(object.len() < 3_000, "{} bytes", object.len());
    }
}
