//! Rules for what DataFusion would do in silence: text is not compared with numbers unless it is written as a literal,
//! whole numbers that do not fit their type are errors instead of other numbers, and constructs that it answers
//! wrongly are refused.

use crate::membership;
use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{
    BinaryExpr, Case, InList, InSubquery, ScalarFunction, SetComparison, SetQuantifier as CompareWith,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_expr_common::datum::apply;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, SetExpr, SetOperator, SetQuantifier, Visit, Visitor};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Refuses what DataFusion reads and answers wrongly.
///
/// # Errors
/// For INTERSECT ALL and EXCEPT ALL, and for what [`membership`] says, wherever they stand.
pub fn check_statement(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Statement(statement) => refuse_in(statement.as_ref()),
        Statement::Explain(explain) => check_statement(&explain.statement),
        _ => Ok(()),
    }
}

fn refuse_in(statement: &impl Visit) -> Result<()> {
    match statement.visit(&mut Refusals::default()) {
        ControlFlow::Break(text) => Err(DataFusionError::NotImplemented(text)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

#[derive(Default)]
struct Refusals {
    /// Common tables of one row, of all queries so far.
    sums: Vec<String>,
}

impl Visitor for Refusals {
    type Break = String;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<String> {
        self.sums.extend(membership::sums_of(query));
        if let Some(sentence) = membership::refusal(query, &self.sums) {
            return ControlFlow::Break(sentence.to_owned());
        }
        uncounted(&query.body)
    }
}

/// Operands that are queries of their own are visited by themselves.
fn uncounted(body: &SetExpr) -> ControlFlow<String> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else {
        return ControlFlow::Continue(());
    };
    if *op != SetOperator::Union && *set_quantifier == SetQuantifier::All {
        return ControlFlow::Break(format!(
            "{op} ALL is not supported; use {op}, or count rows with GROUP BY"
        ));
    }
    uncounted(left)?;
    uncounted(right)
}

/// DataFusion's own rules between ours.
pub fn rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![Arc::new(TextIsNoNumber)];
    rules.extend(Analyzer::new().rules);
    rules.push(Arc::new(WholeNumbersFit));
    rules
}

/// Refuses comparisons of text with numbers, before DataFusion would cast the text: `007` would be 7.
#[derive(Debug)]
struct TextIsNoNumber;

impl AnalyzerRule for TextIsNoNumber {
    fn name(&self) -> &str {
        "text_is_no_number"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| {
            let schema = schema_of(node);
            if let LogicalPlan::Join(join) = node {
                join.on.iter().try_for_each(|(left, right)| check_pair(left, right, &schema))?;
            }
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    check(part, &schema)?;
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(plan)
    }
}

fn schema_of(node: &LogicalPlan) -> DFSchema {
    merge_schema(&node.inputs())
}

fn check(expr: &Expr, schema: &DFSchema) -> Result<()> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            check_pair(left, right, schema)
        }
        Expr::Case(Case { expr: Some(expr), when_then_expr, .. }) => {
            when_then_expr.iter().try_for_each(|(value, _)| check_pair(expr, value, schema))
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            check_pair(expr, low, schema)?;
            check_pair(expr, high, schema)
        }
        Expr::InList(InList { expr, list, .. }) => {
            list.iter().try_for_each(|item| check_pair(expr, item, schema))
        }
        Expr::InSubquery(InSubquery { expr, subquery, .. }) => {
            let found = subquery.subquery.schema();
            let types =
                (expr.get_type(schema), found.fields().first().map(|field| field.data_type().clone()));
            match types {
                (Ok(left), Some(right)) if is_mixed(&left, &right) => {
                    Err(mixed(expr, &left, "the subquery", &right))
                }
                _ => Ok(()),
            }
        }
        // What it makes of these is wrong where a value is NULL.
        Expr::SetComparison(SetComparison { op, quantifier, .. })
            if (*op, quantifier) != (Operator::Eq, &CompareWith::Any) =>
        {
            Err(DataFusionError::NotImplemented(format!(
                "{op} {quantifier} of a subquery is not supported; compare with its MIN or MAX"
            )))
        }
        _ => Ok(()),
    }
}

fn check_pair(left: &Expr, right: &Expr, schema: &DFSchema) -> Result<()> {
    let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema)) else {
        return Ok(());
    };
    // A text that somebody typed is read as the number it is, or refused.
    let is_typed = |expr: &Expr, data_type: &DataType| data_type.is_string() && is_literal(expr);
    if is_mixed(&left_type, &right_type) && !is_typed(left, &left_type) && !is_typed(right, &right_type) {
        return Err(mixed(left, &left_type, &right.to_string(), &right_type));
    }
    Ok(())
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..))
}

fn is_mixed(left: &DataType, right: &DataType) -> bool {
    (left.is_string() && right.is_numeric()) || (left.is_numeric() && right.is_string())
}

fn mixed(left: &Expr, left_type: &DataType, right: &str, right_type: &DataType) -> DataFusionError {
    let kind = |data_type: &DataType| if data_type.is_string() { "text" } else { "a number" };
    DataFusionError::Plan(format!(
        "the types of {left}, which is {}, and of {right}, which is {}, do not fit together; CAST one of them",
        kind(left_type),
        kind(right_type)
    ))
}

/// Gives `+`, `-` and `*` of whole numbers to functions that check each result.
#[derive(Debug)]
struct WholeNumbersFit;

impl AnalyzerRule for WholeNumbersFit {
    fn name(&self) -> &str {
        "whole_numbers_fit"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let checked = plan.transform_up_with_subqueries(|node| {
            let schema = schema_of(&node);
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let rewritten = expr.transform_up(|part| Ok(with_check(part, &schema)))?;
                Ok(rewritten.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        })?;
        Ok(checked.data)
    }
}

fn with_check(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let is_whole = |expr: &Expr| expr.get_type(schema).ok().filter(DataType::is_integer);
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let types = (is_whole(&left), is_whole(&right));
            match (Checked::of(op), types) {
                (Some(checked), (Some(a), Some(b))) if a == b => {
                    Transformed::yes(call(checked, *left, *right))
                }
                _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            }
        }
        Expr::Negative(inner) => match is_whole(&inner).map(|data_type| ScalarValue::new_zero(&data_type)) {
            Some(Ok(zero)) if !is_literal(&inner) => {
                Transformed::yes(call(Checked::Sub, Expr::Literal(zero, None), *inner))
            }
            _ => Transformed::no(Expr::Negative(inner)),
        },
        other => Transformed::no(other),
    }
}

fn call(checked: Checked, left: Expr, right: Expr) -> Expr {
    let function = ScalarUDF::from(CheckedFunction {
        operation: checked,
        signature: Signature::any(2, Volatility::Immutable),
    });
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![left, right]))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Checked {
    Add,
    Sub,
    Mul,
}

impl Checked {
    fn of(op: Operator) -> Option<Self> {
        match op {
            Operator::Plus => Some(Self::Add),
            Operator::Minus => Some(Self::Sub),
            Operator::Multiply => Some(Self::Mul),
            _ => None,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedFunction {
    operation: Checked,
    signature: Signature,
}

impl ScalarUDFImpl for CheckedFunction {
    fn name(&self) -> &str {
        match self.operation {
            Checked::Add => "checked_add",
            Checked::Sub => "checked_sub",
            Checked::Mul => "checked_mul",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(DataFusionError::Internal(format!("{} wants two numbers", self.name())));
        };
        match self.operation {
            Checked::Add => apply(left, right, add),
            Checked::Sub => apply(left, right, sub),
            Checked::Mul => apply(left, right, mul),
        }
    }
}
