//! How a month's statistics are cut into partitions. Pure.

use arrow::array::{Array, AsArray, Int64Array, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use invoices::lake::names::PartitionBy;
use invoices::statistics::BUSINESS_ID;
use invoices::{Error, Result};
use std::collections::BTreeMap;

/// Size of a bucket's object: worth the request that fetches it, and little to read for one business.
const OBJECT_BYTES_TARGET: u64 = 16 << 20;

/// The rows of one object.
#[derive(Debug)]
pub struct Partition {
    /// Folder below the month's, with a trailing slash, or nothing.
    pub folder: String,
    pub rows: RecordBatch,
}

/// Cuts rows that are sorted by business into partitions; the order stays within each.
///
/// In Business form the column `business_id` is the folder's name and leaves the rows.
///
/// # Errors
/// Refused when a business has two rows or the rows are not sorted.
pub fn cut(rows: &RecordBatch, by: PartitionBy) -> Result<Vec<Partition>> {
    let businesses = businesses_of(rows)?;
    if businesses.is_empty() {
        return Ok(Vec::new());
    }
    match by {
        PartitionBy::Month => Ok(vec![Partition { folder: by.folder(None), rows: rows.clone() }]),
        PartitionBy::Business => one_each(rows, &businesses, by),
        PartitionBy::Bucket(count) => buckets(rows, &businesses, count),
    }
}

/// Most partitions that [`cut`] makes of so many rows.
pub fn count_at_most(rows: u64, by: PartitionBy) -> u64 {
    match by {
        PartitionBy::Month => rows.min(1),
        PartitionBy::Business => rows,
        PartitionBy::Bucket(count) => rows.min(u64::from(count)),
    }
}

/// Number of buckets whose objects are of about [`OBJECT_BYTES_TARGET`], for a month of so many bytes.
pub fn advised_buckets(staged_bytes: u64, max_partitions: u64) -> u64 {
    let wanted = (staged_bytes + OBJECT_BYTES_TARGET / 2) / OBJECT_BYTES_TARGET;
    wanted.clamp(1, max_partitions)
}

fn businesses_of(rows: &RecordBatch) -> Result<Int64Array> {
    let column = rows.column_by_name(BUSINESS_ID).and_then(|column| column.as_primitive_opt::<Int64Type>());
    let businesses = column.ok_or_else(|| Error::bug("staged statistics have no business_id"))?;
    let key = |row: usize| (businesses.is_null(row), businesses.value(row));
    // NULL is the greatest and nothing follows it, whatever value lies beneath.
    let ascending = |row: usize| !key(row - 1).0 && key(row - 1) < key(row);
    if !(1..businesses.len()).all(ascending) {
        let advice = "run aggregate_by_business again";
        return Err(Error::refused(format!(
            "staged statistics are not one row per business in ascending order; {advice}"
        )));
    }
    Ok(businesses.clone())
}

fn one_each(rows: &RecordBatch, businesses: &Int64Array, by: PartitionBy) -> Result<Vec<Partition>> {
    let body: Vec<usize> =
        (0..rows.num_columns()).filter(|&at| rows.schema_ref().field(at).name() != BUSINESS_ID).collect();
    let body = rows.project(&body)?;
    let partition = |(row, business)| Partition { folder: by.folder(business), rows: body.slice(row, 1) };
    Ok(businesses.iter().enumerate().map(partition).collect())
}

fn buckets(rows: &RecordBatch, businesses: &Int64Array, count: u32) -> Result<Vec<Partition>> {
    let taken = bucket_rows(businesses, count).into_iter().map(|(bucket, indices)| {
        let folder = PartitionBy::Bucket(count).folder(Some(i64::from(bucket)));
        Ok(Partition { folder, rows: take_record_batch(rows, &UInt32Array::from(indices))? })
    });
    taken.collect()
}

/// Row numbers of each bucket, ascending.
fn bucket_rows(businesses: &Int64Array, count: u32) -> BTreeMap<u32, Vec<u32>> {
    let mut rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (row, business) in (0_u32..).zip(businesses) {
        rows.entry(PartitionBy::bucket(business, count)).or_default().push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use proptest::prelude::*;

    fn ids(partition: &Partition) -> Vec<Option<i64>> {
        businesses_of(&partition.rows).unwrap().iter().collect()
    }

    #[test]
    fn a_business_partition_has_one_row_and_no_business_id() {
        let rows = testing::statistics(&[Some(-3), Some(42), None]);
        let partitions = cut(&rows, PartitionBy::Business).unwrap();
        let folders: Vec<&str> = partitions.iter().map(|partition| partition.folder.as_str()).collect();
        assert_eq!(
            folders,
            ["business_id=-3/", "business_id=42/", "business_id=__HIVE_DEFAULT_PARTITION__/"]
        );
        for partition in &partitions {
            assert_eq!(partition.rows.num_rows(), 1);
            assert!(partition.rows.column_by_name(BUSINESS_ID).is_none());
        }
    }

    #[test]
    fn rows_that_are_not_one_per_business_in_order_are_refused() {
        for ids in [vec![Some(2), Some(1)], vec![Some(1), Some(1)], vec![None, Some(1)], vec![None, None]] {
            let rows = testing::statistics(&ids);
            assert!(cut(&rows, PartitionBy::Month).is_err(), "{ids:?}");
        }
    }

    #[test]
    fn an_empty_month_has_no_partitions() {
        for by in [PartitionBy::Month, PartitionBy::Business, PartitionBy::Bucket(4)] {
            assert!(cut(&testing::statistics(&[]), by).unwrap().is_empty());
        }
    }

    #[test]
    fn the_advised_buckets_have_objects_near_their_target() {
        assert_eq!(advised_buckets(900_000, 10_000), 1);
        assert_eq!(advised_buckets(60 << 20, 10_000), 4);
        assert_eq!(advised_buckets(1 << 30, 10_000), 64);
        assert_eq!(advised_buckets(1 << 30, 3), 3);
    }

    proptest! {
        #[test]
        fn buckets_keep_every_row_once_and_in_order(
            ids in proptest::collection::btree_set(any::<i64>(), 0..200),
            with_null: bool,
            buckets in 1_u32..50,
        ) {
            let mut all: Vec<Option<i64>> = ids.into_iter().map(Some).collect();
            all.extend(with_null.then_some(None));
            let rows = testing::statistics(&all);
            let by = PartitionBy::Bucket(buckets);
            let partitions = cut(&rows, by).unwrap();
            prop_assert!(partitions.len() as u64 <= count_at_most(all.len() as u64, by));
            let mut found = Vec::new();
            for partition in &partitions {
                for id in ids_checked(partition, by) {
                    found.push(id);
                }
            }
            found.sort_by_key(|id| (id.is_none(), *id));
            prop_assert_eq!(found, all);
        }
    }

    fn ids_checked(partition: &Partition, by: PartitionBy) -> Vec<Option<i64>> {
        let ids = ids(partition);
        assert!(ids.iter().all(|id| by.folder(*id) == partition.folder));
        ids
    }
}
