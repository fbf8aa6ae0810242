//! The condition that a row of the source must meet to be an invoice, in the source's own SQL.
//!
//! It becomes a part of every query that reads the table, so it is one expression over the row's own columns: what it
//! says of a row must not depend on other tables or on the moment, or a proof would compare two different sets.

use crate::error::{Error, Result};
use sqlparser::ast::{Expr, Value, visit_expressions};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, SQLiteDialect};
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Token;
use std::ops::ControlFlow;

/// Functions whose value hangs on their arguments alone, in Postgres or SQLite.
const FUNCTIONS: &[&str] = &[
    "abs",
    "btrim",
    "ceil",
    "ceiling",
    "char_length",
    "coalesce",
    "concat",
    "date",
    "date_part",
    "date_trunc",
    "floor",
    "greatest",
    "ifnull",
    "iif",
    "instr",
    "left",
    "least",
    "length",
    "lower",
    "ltrim",
    "mod",
    "nullif",
    "position",
    "regexp_like",
    "replace",
    "right",
    "round",
    "rtrim",
    "sign",
    "split_part",
    "starts_with",
    "strpos",
    "substr",
    "substring",
    "trim",
    "trunc",
    "upper",
];

/// Whose SQL a condition is written in.
#[derive(Debug, Clone, Copy)]
pub enum Language {
    Postgres,
    Sqlite,
}

/// A checked condition.
#[derive(Debug, Clone)]
pub struct Condition(String);

impl Condition {
    /// # Errors
    /// Usage error for what is not one expression over the row's columns and functions that hang on them alone.
    pub fn parse(text: &str, language: Language) -> Result<Self> {
        let dialect: &dyn Dialect = match language {
            Language::Postgres => &PostgreSqlDialect {},
            Language::Sqlite => &SQLiteDialect {},
        };
        let refused = |why: String| Error::usage(format!("--where {text:?} {why}"));
        let parsed = Parser::new(dialect).try_with_sql(text).and_then(|mut parser| {
            let expression = parser.parse_expr()?;
            Ok((expression, parser.peek_token().token))
        });
        let (expression, next) = parsed.map_err(|error| refused(format!("is not SQL: {error}")))?;
        if next != Token::EOF {
            return Err(refused(format!("must be one condition, and {next} follows it")));
        }
        match visit_expressions(&expression, |part| {
            fault(part).map_or(ControlFlow::Continue(()), ControlFlow::Break)
        }) {
            ControlFlow::Break(why) => Err(refused(why)),
            ControlFlow::Continue(()) => Ok(Self(text.trim().to_owned())),
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// In parentheses; the line end closes a comment.
    pub fn sql(&self) -> String {
        format!("({}\n)", self.0)
    }
}

/// What makes a part of a condition no matter of the row alone.
fn fault(part: &Expr) -> Option<String> {
    match part {
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => Some(
            "has a query in it; a condition may only use the row's own columns, so make a view for more"
                .to_owned(),
        ),
        Expr::Function(function) => {
            let name = function.name.to_string().trim_matches('"').to_lowercase();
            (!FUNCTIONS.contains(&name.as_str())).then(|| {
                format!("uses {name}, whose value may change while the row does not; use constants and of functions only {}", FUNCTIONS.join(", "))
            })
        }
        Expr::Value(value) => match &value.value {
            Value::Placeholder(sign) => Some(format!("has the placeholder {sign}; write the value")),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Condition::parse(text, Language::Postgres).unwrap_err().to_string()
    }

    #[test]
    fn conditions_on_the_row_are_taken_as_they_are_written() {
        for text in [
            "status <> 'draft' and deleted_at is null",
            "not (\"Kind\" in ('a', 'b')) or lower(trim(country)) = 'es'",
            "amount_usd between -1 and 100.50 -- as agreed",
            "extract(year from issue_date) >= 2020 and note not like '%test%'",
            "note ~* 'x' and tags @> array['paid']",
            "data->>'state' = 'sent'",
            "case when kind = 1 then true else false end",
            "issue_date >= date '2020-01-01' + interval '1 month'",
        ] {
            let condition = Condition::parse(text, Language::Postgres).unwrap();
            assert_eq!(condition.sql(), format!("({text}\n)"));
        }
        Condition::parse("deleted_at is null and status like 'a%'", Language::Sqlite).unwrap();
    }

    #[test]
    fn what_is_no_matter_of_the_row_is_named() {
        assert!(refused("id in (select id from other)").contains("has a query in it"));
        assert!(refused("exists (select 1)").contains("has a query in it"));
        assert!(refused("amount > (select 1)").contains("has a query in it"));
        assert!(refused("issue_date < now()").contains("uses now"));
        assert!(refused("issue_date < current_date").contains("uses current_date"));
        assert!(refused("random() < 0.5").contains("uses random"));
        assert!(refused("lower(pg_read_file('x')) = ''").contains("uses pg_read_file"));
        assert!(refused("id = $1").contains("the placeholder $1"));
        assert!(refused("a = 1; drop table x").contains("; follows it"));
        assert!(refused("a = 1) or (b = 2").contains(") follows it"));
        assert!(refused("a = 1 order by 1").contains("follows it"));
        assert!(refused("").contains("is not SQL"));
        assert!(refused("a = ").contains("is not SQL"));
        assert!(refused("a = 1 /* open").contains("is not SQL"));
    }
}
