//! Names of an answer's columns: an expression without a name of its own is headed by its text as it was written,
//! where DataFusion would show its plan of it. Pure.

use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, Statement as Sql};
use std::collections::HashSet;
use std::sync::Arc;

/// The schema of an answer with the names that its columns are shown under; each name is there once.
pub fn named(statement: &Statement, schema: &Schema) -> SchemaRef {
    let items = match statement {
        Statement::Statement(statement) => match statement.as_ref() {
            Sql::Query(query) => items_of(&query.body),
            _ => &[],
        },
        _ => &[],
    };
    let mut names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    for (position, text) in written(items, names.len()) {
        names[position] = text;
    }
    let mut taken = HashSet::new();
    let fields = schema.fields().iter().zip(names).map(|(field, name)| {
        let mut unique = name.clone();
        let mut count = 1;
        while !taken.insert(unique.clone()) {
            count += 1;
            unique = format!("{name} ({count})");
        }
        field.as_ref().clone().with_name(unique)
    });
    Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
}

/// A batch under other names.
///
/// # Errors
/// When the schema has other columns than the batch.
pub fn renamed(batch: &RecordBatch, names: &SchemaRef) -> arrow::error::Result<RecordBatch> {
    let fields = batch.schema_ref().fields().iter().zip(names.fields());
    let fields: Vec<Field> =
        fields.map(|(field, name)| field.as_ref().clone().with_name(name.name())).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), batch.columns().to_vec())
}

/// What the first of united queries selects: it names the columns of all.
fn items_of(body: &SetExpr) -> &[SelectItem] {
    match body {
        SetExpr::Select(select) => &select.projection,
        SetExpr::Query(query) => items_of(&query.body),
        SetExpr::SetOperation { left, .. } => items_of(left),
        _ => &[],
    }
}

/// Positions of the columns that are expressions without a name, and their texts. One * stands for as many columns as
/// are left; with several nobody knows where the second begins.
fn written(items: &[SelectItem], columns: usize) -> Vec<(usize, String)> {
    let is_star =
        |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let stars = items.iter().filter(|item| is_star(item)).count();
    if stars > 1 || columns < items.len() - stars {
        return Vec::new();
    }
    let of_star = columns - (items.len() - stars);
    let mut texts = Vec::new();
    let mut position = 0;
    for item in items {
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => position += 1,
            SelectItem::UnnamedExpr(expression) => {
                texts.push((position, expression.to_string()));
                position += 1;
            }
            star if is_star(star) => position += of_star,
            _ => position += 1,
        }
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::datatypes::DataType;
    use datafusion::sql::parser::DFParser;

    fn names(sql: &str, planned: &[&str]) -> Vec<String> {
        let statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        let fields: Vec<Field> =
            planned.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        named(&statement, &Schema::new(fields)).fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn expressions_are_headed_by_their_text() {
        let planned = ["a", "sum(t.b)", "count(*)", "n", "t.d + IntervalMonthDayNano(\"…\")"];
        assert_eq!(
            names("SELECT t.a, SUM(b), COUNT(*), 1 AS n, d + INTERVAL '1 month' FROM t", &planned),
            ["a", "SUM(b)", "COUNT(*)", "n", "d + INTERVAL '1 month'"]
        );
    }

    #[test]
    fn a_star_takes_the_columns_that_are_left() {
        assert_eq!(names("SELECT *, a + 1 FROM t", &["a", "b", "t.a + Int64(1)"]), ["a", "b", "a + 1"]);
        assert_eq!(names("SELECT 2, t.* FROM t", &["Int64(2)", "a"]), ["2", "a"]);
        assert_eq!(names("SELECT a.*, b.*, 1 FROM a, b", &["x", "y", "Int64(1)"]), ["x", "y", "Int64(1)"]);
    }

    #[test]
    fn the_first_of_united_queries_names_the_columns() {
        let sql = "WITH w AS (SELECT 9) (SELECT a, MIN(b) FROM w GROUP BY a) UNION ALL SELECT 1, 2";
        assert_eq!(names(sql, &["a", "min(w.b)"]), ["a", "MIN(b)"]);
    }

    #[test]
    fn no_name_is_there_twice() {
        assert_eq!(names("SELECT 1+1, 1 + 1, 2", &["x", "y", "z"]), ["1 + 1", "1 + 1 (2)", "2"]);
    }
}
