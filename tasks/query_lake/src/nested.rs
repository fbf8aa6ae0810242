//! Functions of ours in nested queries. Polars hands its function registry to the outermost query
//! alone, so a nested query that calls one of them is opened as a table of its own first.

use crate::functions;
use polars::prelude::*;
use polars::sql::SQLContext;
use sqlparser::ast::{Query, SetExpr, Statement, TableAlias, VisitMut, VisitorMut};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// The query with every such part replaced by a table of the context.
///
/// # Errors
/// What Polars says of the parts; a text that is no query comes back as it is.
pub fn lift(context: &mut SQLContext, sql: &str) -> PolarsResult<String> {
    if !functions::are_in(sql) {
        return Ok(sql.to_owned());
    }
    let Ok(mut statements) = Parser::parse_sql(&GenericDialect, sql) else { return Ok(sql.to_owned()) };
    let [Statement::Query(query)] = statements.as_mut_slice() else { return Ok(sql.to_owned()) };
    if query.with.as_ref().is_some_and(|with| with.recursive) {
        return Ok(sql.to_owned());
    }
    let mut lifter = Lifter { context, depth: 0, count: 0 };
    // Later parts name earlier ones, so these become tables in their order.
    for mut cte in query.with.take().into_iter().flat_map(|with| with.cte_tables) {
        lifter.visit(&mut cte.query)?;
        let frame = lifter.context.execute(&cte.query.to_string())?;
        let frame = renamed(frame, &cte.alias)?;
        lifter.context.register(&cte.alias.name.value, frame);
    }
    lifter.visit(query)?;
    Ok(query.to_string())
}

fn renamed(mut frame: LazyFrame, alias: &TableAlias) -> PolarsResult<LazyFrame> {
    if alias.columns.is_empty() {
        return Ok(frame);
    }
    let schema = frame.collect_schema()?;
    let names = alias.columns.iter().map(|column| column.name.value.as_str());
    Ok(frame.rename(schema.iter_names().map(|name| name.as_str()), names, true))
}

struct Lifter<'a> {
    context: &'a mut SQLContext,
    depth: usize,
    count: usize,
}

impl Lifter<'_> {
    fn visit(&mut self, query: &mut Query) -> PolarsResult<()> {
        match query.visit(self) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(error) => Err(error),
        }
    }

    /// Runs a part on its own and gives the text that reads it.
    fn table_of(&mut self, part: &str) -> PolarsResult<Box<Query>> {
        let frame = self.context.execute(part)?;
        let name = format!("part {}", self.count);
        self.count += 1;
        self.context.register(&name, frame);
        let parsed = Parser::parse_sql(&GenericDialect, &format!("SELECT * FROM \"{name}\""));
        match parsed.map(|mut statements| statements.pop()) {
            Ok(Some(Statement::Query(query))) => Ok(query),
            _ => polars_bail!(SQLInterface: "a nested query cannot be opened"),
        }
    }

    /// The sides of UNION and its like are queries of their own too.
    fn lift_sides(&mut self, body: &mut SetExpr) -> PolarsResult<()> {
        let SetExpr::SetOperation { left, right, .. } = body else { return Ok(()) };
        for side in [left, right] {
            self.lift_sides(side)?;
            if matches!(**side, SetExpr::Select(_)) && functions::are_in(&side.to_string()) {
                **side = *self.table_of(&side.to_string())?.body;
            }
        }
        Ok(())
    }
}

impl VisitorMut for Lifter<'_> {
    type Break = PolarsError;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<PolarsError> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<PolarsError> {
        self.depth -= 1;
        let mut lift = || -> PolarsResult<()> {
            self.lift_sides(&mut query.body)?;
            if self.depth > 0 && functions::are_in(&query.to_string()) {
                *query = *self.table_of(&query.to_string())?;
            }
            Ok(())
        };
        lift().map_or_else(ControlFlow::Break, ControlFlow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::Functions;
    use std::sync::Arc;

    fn answer(sql: &str) -> Vec<String> {
        let mut context = SQLContext::new().with_function_registry(Arc::new(Functions));
        let texts = df!("text" => ["a INV-7", "b INV-12", "c"], "n" => [1, 2, 3]).unwrap();
        context.register("notes", texts.lazy());
        let sql = lift(&mut context, sql).unwrap();
        let frame = context.execute(&sql).unwrap().collect().unwrap();
        let values = frame.columns()[0].as_materialized_series().clone();
        values.iter().map(|value| value.to_string()).collect()
    }

    #[test]
    fn our_functions_work_wherever_a_query_may_stand() {
        let id = "regexp_extract(text, 'INV-([0-9]+)')";
        for sql in [
            format!("SELECT {id} AS id FROM notes ORDER BY n"),
            format!("WITH m AS (SELECT n, {id} AS id FROM notes) SELECT id FROM m ORDER BY n"),
            format!(
                "WITH m(a, b) AS (SELECT n, {id} FROM notes), k AS (SELECT * FROM m) SELECT b FROM k ORDER BY a"
            ),
            format!("SELECT s.id FROM (SELECT n, {id} AS id FROM notes) AS s ORDER BY s.n"),
            format!("WITH notes AS (SELECT n, {id} AS id FROM notes) SELECT id FROM notes ORDER BY n"),
            format!(
                "SELECT id FROM (SELECT {id} AS id, n FROM notes WHERE n < 3 UNION ALL SELECT {id} AS id, n FROM notes WHERE n = 3) AS u ORDER BY n"
            ),
        ] {
            assert_eq!(answer(&sql), ["\"7\"", "\"12\"", "null"], "{sql}");
        }
    }
}
