//! A table of pinned Parquet objects: partition columns have their types, a NULL is a NULL, and objects that a
//! condition on partition columns excludes are never opened.

use crate::pinned::{self, Pinned};
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, Statistics};
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;
use std::sync::Arc;

/// An object and the values of its partition columns.
#[derive(Debug, Clone)]
pub struct Part {
    pub meta: ObjectMeta,
    pub values: Vec<ScalarValue>,
}

/// Objects that are cut in the same way.
#[derive(Debug)]
pub struct Group {
    /// Names of the partition columns; all other columns are in the objects, or NULL.
    pub keys: Vec<String>,
    pub parts: Vec<Part>,
    pub rows: Option<usize>,
}

#[derive(Debug)]
pub struct Objects {
    pub schema: SchemaRef,
    pub groups: Vec<Group>,
    pub pinned: Arc<Pinned>,
}

impl Group {
    /// Columns of the objects, then those of the folders.
    fn table_schema(&self, schema: &Schema) -> TableSchema {
        let is_key = |field: &&FieldRef| self.keys.contains(field.name());
        let columns: Vec<FieldRef> = schema.fields().iter().filter(|field| !is_key(field)).cloned().collect();
        let keys =
            self.keys.iter().filter_map(|key| schema.fields().find(key).map(|(_, field)| field.clone()));
        TableSchema::builder(Arc::new(Schema::new(columns)))
            .with_table_partition_cols(keys.collect::<Vec<FieldRef>>())
            .build()
    }

    /// The parts that may hold rows for which all conditions are true.
    fn pruned(&self, schema: &Schema, filters: &[Expr], state: &dyn Session) -> Result<Vec<Part>> {
        let about_keys = filters.iter().filter(|filter| {
            !filter.is_volatile()
                && filter.column_refs().iter().all(|column| self.keys.contains(&column.name))
                && !filter.column_refs().is_empty()
        });
        let Some(condition) = conjunction(about_keys.cloned()) else { return Ok(self.parts.clone()) };
        if self.parts.is_empty() {
            return Ok(Vec::new());
        }
        let fields = self.table_schema(schema).table_partition_cols().clone();
        let columns = (0..self.keys.len()).map(|index| {
            ScalarValue::iter_to_array(self.parts.iter().map(|part| part.values[index].clone()))
        });
        let columns: Vec<ArrayRef> = columns.collect::<Result<_>>()?;
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        let known = DFSchema::try_from(batch.schema())?;
        let found = state
            .create_physical_expr(condition, &known)
            .and_then(|condition| condition.evaluate(&batch)?.into_array(batch.num_rows()));
        // What cannot be decided here, such as a condition on a subquery, excludes nothing.
        let Some(found) = found.ok().and_then(|found| found.as_boolean_opt().cloned()) else {
            return Ok(self.parts.clone());
        };
        let kept = self.parts.iter().zip(found.iter()).filter(|(_, kept)| *kept == Some(true));
        Ok(kept.map(|(part, _)| part.clone()).collect())
    }

    fn plan(
        &self,
        table: &Objects,
        projection: &[usize],
        filters: &[Expr],
        state: &dyn Session,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let parts = self.pruned(&table.schema, filters, state)?;
        if parts.is_empty() {
            return Ok(None);
        }
        let own = self.table_schema(&table.schema);
        let position = |index: &usize| own.table_schema().index_of(table.schema.field(*index).name());
        let projection: Vec<usize> =
            projection.iter().map(position).collect::<std::result::Result<_, _>>()?;
        let mut statistics = Statistics::new_unknown(own.table_schema());
        if let Some(rows) = self.rows {
            statistics.num_rows = Precision::Inexact(rows * parts.len() / self.parts.len().max(1));
        }
        let store: Arc<dyn object_store::ObjectStore> = table.pinned.clone();
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let source = ParquetSource::new(own)
            .with_table_parquet_options(state.config_options_parquet())
            .with_enable_page_index(true)
            .with_bloom_filter_on_read(true)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache)));
        let files = parts.into_iter().map(|part| {
            let size = part.meta.size;
            datafusion::datasource::listing::PartitionedFile::new_from_meta(part.meta)
                .with_partition_values(part.values)
                .with_metadata_size_hint(pinned::tail_bytes(size) as usize)
        });
        let count = state.config().target_partitions();
        let config = FileScanConfigBuilder::new(pinned::store_url()?, Arc::new(source))
            .with_file_groups(FileGroup::new(files.collect()).split_files(count))
            .with_statistics(statistics)
            .with_projection_indices(Some(projection))?
            .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }
}

/// The session's options for reading Parquet.
trait ParquetOptionsOf {
    fn config_options_parquet(&self) -> datafusion::common::config::TableParquetOptions;
}

impl ParquetOptionsOf for dyn Session + '_ {
    fn config_options_parquet(&self) -> datafusion::common::config::TableParquetOptions {
        datafusion::common::config::TableParquetOptions {
            global: self.config_options().execution.parquet.clone(),
            ..Default::default()
        }
    }
}

#[async_trait]
impl TableProvider for Objects {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let plans = self.groups.iter().map(|group| group.plan(self, projection, filters, state));
        let mut plans: Vec<Arc<dyn ExecutionPlan>> =
            plans.filter_map(Result::transpose).collect::<Result<_>>()?;
        match plans.len() {
            0 => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(projection)?)))),
            1 => plans.pop().ok_or_else(|| DataFusionError::Internal("no plan".to_owned())),
            _ => UnionExec::try_new(plans),
        }
    }
}
