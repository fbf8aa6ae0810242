//! Where DataFusion answers `x IN (SELECT …)` without NULL: `x NOT IN` a list with a NULL in it is neither true nor false,
//! and that is right where it is a condition of its own, and lost beside OR, in CASE, IS NULL and the like. Such
//! questions are refused. So are a HAVING over all rows that names nothing, which would be asked of the rows, and an
//! order of grouping sets that would be another. Pure.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    UnaryOperator,
};

const NULLS_LOST: &str = "NOT IN (SELECT …) is right only as a condition of its own, joined to others by AND; write NOT EXISTS \
    (SELECT … WHERE …) here";
const LITERAL: &str = "a literal NOT IN (SELECT …) loses NULLs; write NOT EXISTS (SELECT … WHERE …)";
const HAVING: &str = "HAVING without GROUP BY needs an aggregate in it; put the condition around the query, as in \
    SELECT * FROM (…) WHERE …";

const SETS: &str = "ORDER BY of a column that WHERE makes constant is lost over ROLLUP, CUBE and GROUPING SETS; leave it out \
    of the order";

/// The sentence for what a query's own parts would be answered wrongly; subqueries are queries of their own.
pub fn refusal(query: &Query) -> Option<&'static str> {
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let sorted = match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(sorted)) => sorted.as_slice(),
        _ => &[],
    };
    of_select(select).or_else(|| is_sorted_by_a_constant(select, sorted).then_some(SETS))
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

/// The columns that are equal to a literal in every row.
fn add_constants(condition: &Expr, constants: &mut Vec<String>) {
    match condition {
        Expr::Nested(inner) => add_constants(inner, constants),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            add_constants(left, constants);
            add_constants(right, constants);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => match (column(left), column(right)) {
            (Some(name), None) | (None, Some(name)) => constants.push(name),
            _ => {}
        },
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

fn of_select(select: &Select) -> Option<&'static str> {
    let found = select.selection.iter().chain(&select.having).find_map(of_condition);
    let is_of_all_rows = matches!(&select.group_by, GroupByExpr::Expressions(groups, _) if groups.is_empty());
    let names_nothing = |having: &Expr| {
        !any(having, &|part| {
            matches!(part, Expr::Function(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        })
    };
    let is_lost = is_of_all_rows && select.having.as_ref().is_some_and(names_nothing);
    found.or(is_lost.then_some(HAVING))
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
    let is_plain = |part: &Expr| matches!(part, Expr::InSubquery { negated: false, .. });
    if let Expr::BinaryOp { left, op: BinaryOperator::Or | BinaryOperator::And, right } = expr {
        return [left, right].into_iter().find_map(|side| in_value(side));
    }
    match expr {
        Expr::Nested(inner) => in_value(inner),
        plain if is_plain(plain) => None,
        other => any(other, &|part| matches!(part, Expr::InSubquery { .. })).then_some(NULLS_LOST),
    }
}

fn is_membership(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_membership(inner),
        Expr::InSubquery { expr, negated: false, .. } => !matches!(expr.as_ref(), Expr::Value(_)),
        _ => false,
    }
}

/// Whether a part of an expression is meant, the expression itself included; subqueries are not looked into.
fn any(expr: &Expr, is_meant: &impl Fn(&Expr) -> bool) -> bool {
    let below = |part: &Expr| any(part, is_meant);
    if is_meant(expr) {
        return true;
    }
    match expr {
        Expr::Nested(inner)
        | Expr::UnaryOp { expr: inner, .. }
        | Expr::IsNull(inner)
        | Expr::IsNotNull(inner)
        | Expr::IsTrue(inner)
        | Expr::IsNotTrue(inner)
        | Expr::IsFalse(inner)
        | Expr::IsNotFalse(inner)
        | Expr::IsUnknown(inner)
        | Expr::IsNotUnknown(inner)
        | Expr::Cast { expr: inner, .. } => below(inner),
        Expr::BinaryOp { left, right, .. } => below(left) || below(right),
        Expr::Between { expr, low, high, .. } => below(expr) || below(low) || below(high),
        Expr::InList { expr, list, .. } => below(expr) || list.iter().any(below),
        Expr::InSubquery { expr, .. } => below(expr),
        Expr::Case { operand, conditions, else_result, .. } => {
            operand.iter().chain(else_result).any(|part| below(part))
                || conditions.iter().any(|when| below(&when.condition) || below(&when.result))
        }
        _ => false,
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
        refusal(&query)
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
        ] {
            assert_eq!(refused(sql), Some(NULLS_LOST), "{sql}");
        }
        assert_eq!(refused("SELECT 1 FROM t WHERE 5 NOT IN (SELECT y FROM u)"), Some(LITERAL));
        assert_eq!(refused("SELECT COUNT(*) FROM t HAVING (SELECT MIN(y) FROM u) < 0"), Some(HAVING));
        assert_eq!(refused("SELECT COUNT(*) FROM t HAVING false"), Some(HAVING));
        let sets = "SELECT c, d, COUNT(*) FROM t WHERE t.c = 'DE' AND e > 1 GROUP BY CUBE (c, d) ORDER BY";
        for (order, expected) in
            [("c, d", Some(SETS)), ("1", Some(SETS)), ("2", None), ("d DESC", None), ("9", None)]
        {
            assert_eq!(refused(&format!("{sets} {order}")), expected, "{order}");
        }
        assert_eq!(refused("SELECT c FROM t WHERE c = 1 GROUP BY c ORDER BY c"), None);
    }
}
