//! Where DataFusion answers `x IN (SELECT …)` without NULL: `x NOT IN` a list with a NULL in it is neither true nor false,
//! and that is right where it is a condition of its own, and lost beside OR, in CASE, IS NULL and the like. Such
//! questions are refused. So are a condition that names a subquery alone over a sum of all rows, which would be asked of
//! the rows, and an order of grouping sets that would be another. Pure.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Join, JoinConstraint, JoinOperator, OrderByExpr, OrderByKind, Query,
    Select, SelectItem, SetExpr, TableFactor, UnaryOperator, Visit, Visitor,
};
use std::ops::ControlFlow;

const NULLS_LOST: &str = "NOT IN (SELECT …) is right only as a condition of its own, joined to others by AND; write NOT EXISTS \
    (SELECT … WHERE …) here";
const LITERAL: &str = "a literal NOT IN (SELECT …) loses NULLs; write NOT EXISTS (SELECT … WHERE …)";
const SUMS: &str = "a condition that names a subquery and nothing else is not supported over aggregates of all rows; compare a \
    column with it, or ask both in a query of their own";
const SETS: &str = "ORDER BY of a column that WHERE makes constant is lost over ROLLUP, CUBE and GROUPING SETS; leave it out \
    of the order";
/// Functions that make one row of many.
const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "max",
    "mean",
    "median",
    "min",
    "stddev",
    "string_agg",
    "sum",
    "var",
];

/// The sentence for what DataFusion would answer wrongly in a query's own parts; subqueries are queries of their own.
/// `sums` names the common tables that have one row, see [`sums_of`].
pub fn refusal(query: &Query, sums: &[String]) -> Option<&'static str> {
    let sorted = match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(sorted)) => sorted.as_slice(),
        _ => &[],
    };
    let refused = |select: &&Select| of_select(select, sums);
    selects(&query.body).iter().find_map(refused).or_else(|| match query.body.as_ref() {
        SetExpr::Select(select) => is_sorted_by_a_constant(select, sorted).then_some(SETS),
        _ => None,
    })
}

/// The common tables of a query that aggregate all rows.
pub fn sums_of(query: &Query) -> impl Iterator<Item = String> + '_ {
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    tables.filter(|table| is_of_all_rows(&table.query)).map(|table| table.alias.name.value.to_lowercase())
}

/// The selects of a query and of the set operations in it.
fn selects(body: &SetExpr) -> Vec<&Select> {
    match body {
        SetExpr::Select(select) => vec![select],
        SetExpr::SetOperation { left, right, .. } => [selects(left), selects(right)].concat(),
        _ => Vec::new(),
    }
}

fn of_select(select: &Select, sums: &[String]) -> Option<&'static str> {
    let joined = select.from.iter().flat_map(|table| &table.joins).filter_map(condition_of);
    let conditions = select.selection.iter().chain(&select.having).chain(&select.qualify);
    conditions.chain(joined).find_map(of_condition).or_else(|| {
        let over_sums = select.selection.iter().filter(|_| reads_sums(select, sums));
        let of_sums = select.having.iter().filter(|_| is_without_groups(select));
        over_sums.chain(of_sums).any(names_a_subquery_alone).then_some(SUMS)
    })
}

fn condition_of(join: &Join) -> Option<&Expr> {
    match &join.join_operator {
        JoinOperator::Join(JoinConstraint::On(condition))
        | JoinOperator::Inner(JoinConstraint::On(condition))
        | JoinOperator::Left(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition))
        | JoinOperator::Right(JoinConstraint::On(condition))
        | JoinOperator::RightOuter(JoinConstraint::On(condition))
        | JoinOperator::FullOuter(JoinConstraint::On(condition))
        | JoinOperator::Semi(JoinConstraint::On(condition))
        | JoinOperator::LeftSemi(JoinConstraint::On(condition))
        | JoinOperator::RightSemi(JoinConstraint::On(condition))
        | JoinOperator::Anti(JoinConstraint::On(condition))
        | JoinOperator::LeftAnti(JoinConstraint::On(condition))
        | JoinOperator::RightAnti(JoinConstraint::On(condition)) => Some(condition),
        _ => None,
    }
}

/// A condition of its own, or one joined to others by AND.
fn of_condition(condition: &Expr) -> Option<&'static str> {
    match condition {
        Expr::Nested(inner) => of_condition(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            of_condition(left).or_else(|| of_condition(right))
        }
        // NOT x IN (…) is x NOT IN (…).
        Expr::UnaryOp { op: UnaryOperator::Not, expr } if is_membership(expr) => None,
        Expr::InSubquery { expr, negated, .. } => match expr.as_ref() {
            Expr::Value(_) if *negated => Some(LITERAL),
            expr => in_value(expr),
        },
        other => in_value(other),
    }
}

/// Inside of an expression whose value may be NULL without being false. Beside OR alone, NULL is as good as false.
fn in_value(expr: &Expr) -> Option<&'static str> {
    match expr {
        Expr::Nested(inner) => in_value(inner),
        Expr::BinaryOp { left, op: BinaryOperator::Or | BinaryOperator::And, right } => {
            in_value(left).or_else(|| in_value(right))
        }
        Expr::InSubquery { negated: false, .. } => None,
        other => any(other, |part| matches!(part, Expr::InSubquery { .. })).then_some(NULLS_LOST),
    }
}

fn is_membership(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_membership(inner),
        Expr::InSubquery { expr, negated: false, .. } => !matches!(expr.as_ref(), Expr::Value(_)),
        _ => false,
    }
}

/// Whether one of the conditions joined by AND compares a subquery with nothing of the query's own rows.
fn names_a_subquery_alone(condition: &Expr) -> bool {
    match condition {
        Expr::Nested(inner) => names_a_subquery_alone(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            names_a_subquery_alone(left) || names_a_subquery_alone(right)
        }
        alone => any(alone, |part| matches!(part, Expr::Subquery(_))) && !any(alone, is_of_a_row),
    }
}

/// What has another value for other rows, or for other groups.
fn is_of_a_row(part: &Expr) -> bool {
    matches!(part, Expr::Function(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

/// Whether a select reads one row of aggregates alone.
fn reads_sums(select: &Select, sums: &[String]) -> bool {
    select.from.iter().any(|table| match &table.relation {
        TableFactor::Derived { subquery, .. } => is_of_all_rows(subquery),
        TableFactor::Table { name, .. } => sums.contains(&name.to_string().to_lowercase()),
        _ => false,
    })
}

fn is_of_all_rows(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else { return false };
    let is_aggregate = |part: &Expr| {
        let Expr::Function(function) = part else { return false };
        let name = function.name.to_string().to_lowercase();
        function.over.is_none() && AGGREGATES.iter().any(|known| name.starts_with(known))
    };
    let items = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    is_without_groups(select) && items.into_iter().any(|item| any(item, is_aggregate))
}

fn is_without_groups(select: &Select) -> bool {
    matches!(&select.group_by, GroupByExpr::Expressions(groups, _) if groups.is_empty())
}

/// Whether an answer of grouping sets is to be sorted by a column that WHERE makes constant: it is NULL in the sums, and
/// left out of the order.
fn is_sorted_by_a_constant(select: &Select, sorted: &[OrderByExpr]) -> bool {
    let GroupByExpr::Expressions(groups, _) = &select.group_by else { return false };
    let has_sets =
        groups.iter().any(|group| matches!(group, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_)));
    let mut constants = Vec::new();
    select.selection.iter().for_each(|condition| add_constants(condition, &mut constants));
    let is_constant = |expr: &Expr| column(expr).is_some_and(|name| constants.contains(&name));
    has_sets
        && sorted.iter().any(|OrderByExpr { expr, .. }| match expr {
            Expr::Value(_) => {
                let place = expr.to_string().parse::<usize>().ok();
                let item = place.and_then(|place| select.projection.get(place.checked_sub(1)?));
                matches!(item, Some(SelectItem::UnnamedExpr(item)) if is_constant(item))
            }
            expr => is_constant(expr),
        })
}

/// The columns that have the same value in every row.
fn add_constants(condition: &Expr, constants: &mut Vec<String>) {
    let is_same_everywhere = |expr: &Expr| !any(expr, is_of_a_row);
    match condition {
        Expr::Nested(inner) => add_constants(inner, constants),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            add_constants(left, constants);
            add_constants(right, constants);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            let constant =
                [(left, right), (right, left)].into_iter().find(|(_, other)| is_same_everywhere(other));
            constants.extend(constant.and_then(|(named, _)| column(named)));
        }
        Expr::InList { expr, list, negated: false } if list.len() == 1 => constants.extend(column(expr)),
        _ => {}
    }
}

fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => column(inner),
        Expr::Identifier(name) => Some(name.value.to_lowercase()),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.to_lowercase()),
        _ => None,
    }
}

/// Whether a part of an expression is meant, the expression itself included; subqueries are not looked into.
fn any(expr: &Expr, is_meant: impl Fn(&Expr) -> bool) -> bool {
    expr.visit(&mut Search { is_meant, depth: 0 }).is_break()
}

struct Search<F> {
    is_meant: F,
    /// Of the subquery that is visited.
    depth: usize,
}

impl<F: Fn(&Expr) -> bool> Visitor for Search<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 0 && (self.is_meant)(expr) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::parser::{DFParser, Statement};
    use datafusion::sql::sqlparser::ast::Statement as Sql;

    fn refused(sql: &str) -> Option<&'static str> {
        let Statement::Statement(statement) = DFParser::parse_sql(sql).unwrap().pop_front().unwrap() else {
            panic!("{sql}")
        };
        let Sql::Query(query) = *statement else { panic!("{sql}") };
        refusal(&query, &sums_of(&query).collect::<Vec<_>>())
    }

    #[test]
    fn membership_as_a_condition_of_its_own_is_answered() {
        for sql in [
            "SELECT 1 FROM t WHERE x NOT IN (SELECT y FROM u)",
            "SELECT 1 FROM t WHERE (a > 1) AND (x NOT IN (SELECT y FROM u)) AND b IN (SELECT y FROM u)",
            "SELECT 1 FROM t WHERE NOT (x IN (SELECT y FROM u))",
            "SELECT 1 FROM t WHERE a > 1 OR x IN (SELECT y FROM u)",
            "SELECT 1 FROM t WHERE a NOT IN (1, 2) OR b = 3",
            "SELECT 1 FROM t WHERE a > (SELECT MAX(y) FROM u WHERE y NOT IN (SELECT z FROM v))",
            "SELECT COUNT(*) FROM t HAVING COUNT(*) > 3",
            "SELECT COUNT(*) FROM t HAVING false",
            "SELECT COUNT(*) FROM t HAVING COUNT(*) > (SELECT MIN(y) FROM u)",
            "SELECT a FROM t WHERE (SELECT MIN(y) FROM u) < 0",
            "SELECT n FROM (SELECT COUNT(*) AS n FROM t) s WHERE n > (SELECT MIN(y) FROM u)",
            "SELECT n FROM (SELECT COUNT(*) AS n FROM t) s WHERE EXISTS (SELECT 1 FROM u WHERE u.y = s.n)",
            "SELECT n FROM (SELECT a AS n, COUNT(*) FROM t GROUP BY a) s WHERE (SELECT MIN(y) FROM u) < 0",
            "SELECT a FROM t GROUP BY a HAVING 1 > 0",
        ] {
            assert_eq!(refused(sql), None, "{sql}");
        }
    }

    #[test]
    fn membership_whose_null_would_be_lost_is_refused() {
        for sql in [
            "SELECT 1 FROM t WHERE a > 1 OR x NOT IN (SELECT y FROM u)",
            "SELECT 1 FROM t WHERE (x NOT IN (SELECT y FROM u)) IS NULL",
            "SELECT 1 FROM t WHERE NOT (a > 1 OR x IN (SELECT y FROM u))",
            "SELECT 1 FROM t WHERE CASE WHEN x NOT IN (SELECT y FROM u) THEN true ELSE a END",
            "SELECT 1 FROM t WHERE b = 2 AND (a > 1 OR NOT x IN (SELECT y FROM u))",
            "SELECT 1 FROM t WHERE COALESCE(x NOT IN (SELECT y FROM u), true)",
            "SELECT 1 FROM t WHERE (x NOT IN (SELECT y FROM u)) IS DISTINCT FROM true",
            "SELECT 1 FROM t UNION ALL SELECT 2 FROM t WHERE a > 1 OR x NOT IN (SELECT y FROM u)",
            "SELECT 1 FROM t JOIN v ON t.a = v.a OR t.x NOT IN (SELECT y FROM u)",
            "SELECT a FROM t GROUP BY a HAVING COUNT(*) > 1 OR a NOT IN (SELECT y FROM u)",
        ] {
            assert_eq!(refused(sql), Some(NULLS_LOST), "{sql}");
        }
        assert_eq!(refused("SELECT 1 FROM t WHERE 5 NOT IN (SELECT y FROM u)"), Some(LITERAL));
        for sql in [
            "SELECT COUNT(*) FROM t HAVING (SELECT MIN(y) FROM u) < 0",
            "SELECT n FROM (SELECT COUNT(*) AS n FROM t) s WHERE n > 1 AND (SELECT MIN(y) FROM u) < 0",
            "WITH s AS (SELECT SUM(a) AS n FROM t) SELECT n FROM s WHERE ((SELECT MIN(y) FROM u) < 0)",
        ] {
            assert_eq!(refused(sql), Some(SUMS), "{sql}");
        }
        let sets = "SELECT c, d, COUNT(*) FROM t WHERE t.c = 'DE' AND e > 1 GROUP BY CUBE (c, d) ORDER BY";
        for (order, expected) in
            [("c, d", Some(SETS)), ("1", Some(SETS)), ("2", None), ("d DESC", None), ("9", None)]
        {
            assert_eq!(refused(&format!("{sets} {order}")), expected, "{order}");
        }
        assert_eq!(refused("SELECT c FROM t WHERE c = 1 GROUP BY c ORDER BY c"), None);
        let of = |condition: &str| {
            refused(&format!("SELECT c FROM t WHERE {condition} GROUP BY CUBE (c) ORDER BY c"))
        };
        assert_eq!((of("c IN ('DE')"), of("lower('A') = c"), of("c = d")), (Some(SETS), None, None));
    }
}
