//! How a month's statistics are cut into partitions. Pure.

use arrow::array::UInt32Array;
use arrow::compute::take_record_batch;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use invoices::lake::names::{NULL_PARTITION, PartitionBy};
use invoices::statistics::BUSINESS_ID;
use invoices::{Error, Key, Keys, Optional, Result, Texts};
use std::collections::BTreeMap;

/// Size of a bucket's object: worth the request that fetches it, and little to read for one business.
const OBJECT_BYTES_TARGET: u64 = 16 << 20;
/// Bytes of a folder's name, slash included, that every file system takes.
const FOLDER_BYTES_MAX: usize = 255;

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
/// Refused when a business has two rows or the rows are not sorted, and for a business whose id can't name a folder.
pub fn cut(rows: &RecordBatch, by: PartitionBy) -> Result<Vec<Partition>> {
    match rows.column_by_name(BUSINESS_ID).map(|column| column.data_type()) {
        Some(DataType::Utf8) => cut_keyed::<Texts>(rows, by),
        _ => cut_keyed::<Vec<i64>>(rows, by),
    }
}

fn cut_keyed<Ids: Keys>(rows: &RecordBatch, by: PartitionBy) -> Result<Vec<Partition>> {
    let businesses: Optional<Ids> = businesses_of(rows)?;
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    match by {
        PartitionBy::Month => Ok(vec![Partition { folder: String::new(), rows: rows.clone() }]),
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

fn businesses_of<Ids: Keys>(rows: &RecordBatch) -> Result<Optional<Ids>> {
    let column = rows.column_by_name(BUSINESS_ID).and_then(|column| Optional::<Ids>::from_array(column));
    let businesses = column.ok_or_else(|| Error::bug("staged statistics have no business_id"))?;
    // NULL is the greatest and nothing follows it.
    let ascending = |row: usize| match (businesses.get(row - 1), businesses.get(row)) {
        (Some(before), Some(business)) => before < business,
        (before, None) => before.is_some(),
        (None, _) => false,
    };
    if !(1..rows.num_rows()).all(ascending) {
        let advice = "run aggregate_by_business again";
        return Err(Error::refused(format!(
            "staged statistics are not one row per business in ascending order; {advice}"
        )));
    }
    Ok(businesses)
}

fn one_each<Ids: Keys>(
    rows: &RecordBatch,
    businesses: &Optional<Ids>,
    by: PartitionBy,
) -> Result<Vec<Partition>> {
    let body: Vec<usize> =
        (0..rows.num_columns()).filter(|&at| rows.schema_ref().field(at).name() != BUSINESS_ID).collect();
    let body = rows.project(&body)?;
    let partition =
        |(row, business)| Ok(Partition { folder: named(business, by)?, rows: body.slice(row, 1) });
    businesses.iter().enumerate().map(partition).collect()
}

/// The folder of one business, if no engine takes it for another one's.
fn named(business: Option<impl Key>, by: PartitionBy) -> Result<String> {
    let folder = by.folder(business);
    let id = business.map(|id| id.to_string());
    let why = match id.as_deref() {
        Some("") => "an empty text, which engines take for a missing one".to_owned(),
        // Hive's name, DuckDB's and Trino's.
        Some(id) if id == NULL_PARTITION || id.eq_ignore_ascii_case("null") || id == "\\N" => {
            format!("{id}, which engines take for a missing one")
        }
        Some(id) if folder.len() > FOLDER_BYTES_MAX => {
            format!("longer than the name of a folder may be ({}…)", id.chars().take(40).collect::<String>())
        }
        _ => return Ok(folder),
    };
    Err(Error::refused(format!(
        "the id of a business is {why}; use --partition-by month or 'month,bucket(business_id,N)'; nothing was written"
    )))
}

fn buckets<Ids: Keys>(rows: &RecordBatch, businesses: &Optional<Ids>, count: u32) -> Result<Vec<Partition>> {
    let taken = bucket_rows(businesses, count).into_iter().map(|(bucket, indices)| {
        let folder = PartitionBy::bucket_folder(bucket);
        Ok(Partition { folder, rows: take_record_batch(rows, &UInt32Array::from(indices))? })
    });
    taken.collect()
}

/// Row numbers of each bucket, ascending.
fn bucket_rows<Ids: Keys>(businesses: &Optional<Ids>, count: u32) -> BTreeMap<u32, Vec<u32>> {
    let mut rows: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (row, business) in (0_u32..).zip(businesses.iter()) {
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
        businesses_of::<Vec<i64>>(&partition.rows).unwrap().iter().collect()
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
    fn texts_are_escaped_in_folders_and_kept_in_buckets() {
        let rows = |ids: &[Option<&str>]| testing::of_texts(ids);
        let ids = [Some("A/1"), Some("a b"), Some("ñ"), None];
        let partitions = cut(&rows(&ids), PartitionBy::Business).unwrap();
        let folders: Vec<&str> = partitions.iter().map(|partition| partition.folder.as_str()).collect();
        assert_eq!(
            folders,
            [
                "business_id=A%2F1/",
                "business_id=a b/",
                "business_id=ñ/",
                "business_id=__HIVE_DEFAULT_PARTITION__/"
            ]
        );
        let partitions = cut(&rows(&ids), PartitionBy::Bucket(4)).unwrap();
        assert_eq!(partitions.iter().map(|partition| partition.rows.num_rows()).sum::<usize>(), 4);
        for (id, words) in [
            ("", "empty"),
            (NULL_PARTITION, "missing one"),
            ("Null", "missing one"),
            ("\\N", "missing one"),
            (&"x".repeat(300), "longer"),
        ] {
            let rows = rows(&[Some(id)]);
            let error = cut(&rows, PartitionBy::Business).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("bucket"), "{error}");
            assert_eq!(cut(&rows, PartitionBy::Month).unwrap().len(), 1);
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
