//! Rule conditions: the Common Expression Language, parsed by the `cel` crate and compiled to a small
//! tree over the features. CEL itself finds out while evaluating that a name or a type is wrong;
//! compiling finds it at load, with its place, and evaluates some hundred times faster.
//!
//! Supported of CEL: `int` and `bool` literals, the features (flags are `bool`, all others `int`),
//! `+ - * / %`, comparisons, `&& || !`, `? :` and `in [ … ]` over literals. As in CEL, overflow and
//! division by zero are errors, and `&&` and `||` absorb an error of one side if the other decides.

use crate::model::features::{MEANINGS, Unit, nearest, position};
use crate::model::{Feature, Features};
use cel::Program;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use std::cell::Cell;

/// Type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Bool,
}

/// Why a condition is not accepted, and the byte of its text where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub offset: usize,
    pub message: String,
}

/// Overflow or division by zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotComputable;

#[derive(Debug, Clone, Copy)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Truth values are 0 and 1, so one kind of number is enough.
#[derive(Debug, Clone)]
enum Node {
    Constant(i64),
    Feature(usize),
    Negate(Box<Node>),
    Not(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Choose(Box<[Node; 3]>),
    Compute(Arithmetic, Box<[Node; 2]>),
    Compare(Comparison, Box<[Node; 2]>),
    OneOf(Box<Node>, Vec<i64>),
}

/// A compiled condition.
#[derive(Debug, Clone)]
pub struct Condition {
    root: Node,
    /// Where the score of an ONNX model is used, in bytes.
    pub score_at: Option<usize>,
}

impl Condition {
    /// Parses and checks a condition, which must be of type `bool`.
    ///
    /// # Errors
    /// The first mistake and where it is.
    pub fn compile(text: &str) -> Result<Self, Mistake> {
        let program = Program::compile(text).map_err(|errors| syntax_mistake(text, &errors))?;
        let compiler = Compiler { program: &program, score_at: Cell::new(None) };
        let (root, kind) = compiler.compile(program.expression())?;
        if kind != Type::Bool {
            return Err(
                compiler.mistake(program.expression(), "a condition must be true or false, this is a number")
            );
        }
        Ok(Self { root, score_at: compiler.score_at.get() })
    }

    /// Whether the condition holds.
    ///
    /// # Errors
    /// An overflow or a division by zero that decides the outcome.
    pub fn holds(&self, features: &Features) -> Result<bool, NotComputable> {
        self.root.value(features).map(|value| value != 0)
    }
}

fn syntax_mistake(text: &str, errors: &cel::ParseErrors) -> Mistake {
    let Some(first) = errors.errors.first() else {
        return Mistake { offset: 0, message: "the condition cannot be parsed".to_owned() };
    };
    let (line, column) = (first.pos.0.max(1) as usize, first.pos.1.max(1) as usize);
    let line_start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    Mistake { offset: (line_start + column - 1).min(text.len()), message: first.msg.replace('\n', " ") }
}

struct Compiler<'a> {
    program: &'a Program,
    score_at: Cell<Option<usize>>,
}

impl Compiler<'_> {
    fn mistake(&self, at: &IdedExpr, message: impl Into<String>) -> Mistake {
        Mistake { offset: self.offset(at), message: message.into() }
    }

    fn offset(&self, at: &IdedExpr) -> usize {
        self.program.source_info().offset_for(at.id).map_or(0, |(start, _)| start as usize)
    }

    fn compile(&self, node: &IdedExpr) -> Result<(Node, Type), Mistake> {
        match &node.expr {
            Expr::Literal(LiteralValue::Int(value)) => Ok((Node::Constant(value.into_inner()), Type::Int)),
            Expr::Literal(LiteralValue::Boolean(value)) => {
                Ok((Node::Constant(i64::from(value.into_inner())), Type::Bool))
            }
            Expr::Literal(LiteralValue::Double(_)) => {
                Err(self
                    .mistake(node, "there are no decimals here; amounts are in cents, ratios in hundredths"))
            }
            Expr::Ident(name) => match position(name) {
                Some(index) => {
                    if index == Feature::OnnxScore as usize && self.score_at.get().is_none() {
                        self.score_at.set(Some(self.offset(node)));
                    }
                    let is_flag = MEANINGS[index].unit == Unit::Flag;
                    Ok((Node::Feature(index), if is_flag { Type::Bool } else { Type::Int }))
                }
                None => Err(self.mistake(node, format!("there is no feature {name}{}", nearest(name)))),
            },
            Expr::Call(call) if call.target.is_none() => self.call(node, call),
            _ => Err(self
                .mistake(node, "only features, whole numbers, operators and `in [numbers]` are supported")),
        }
    }

    fn call(&self, node: &IdedExpr, call: &CallExpr) -> Result<(Node, Type), Mistake> {
        let args = call.args.as_slice();
        match (call.func_name.as_str(), args) {
            ("!_", [inner]) => Ok((Node::Not(Box::new(self.typed(inner, Type::Bool)?)), Type::Bool)),
            ("-_", [inner]) => Ok((Node::Negate(Box::new(self.typed(inner, Type::Int)?)), Type::Int)),
            ("_&&_", [left, right]) => Ok((Node::And(self.pair(left, right, Type::Bool)?), Type::Bool)),
            ("_||_", [left, right]) => Ok((Node::Or(self.pair(left, right, Type::Bool)?), Type::Bool)),
            ("_?_:_", [condition, yes, no]) => {
                let condition = self.typed(condition, Type::Bool)?;
                let (yes, kind) = self.compile(yes)?;
                Ok((Node::Choose(Box::new([condition, yes, self.typed(no, kind)?])), kind))
            }
            ("@in", [value, list]) => {
                let value = self.typed(value, Type::Int)?;
                Ok((Node::OneOf(Box::new(value), self.numbers(list)?), Type::Bool))
            }
            (operator @ ("_==_" | "_!=_"), [left, right]) => {
                let (left, kind) = self.compile(left)?;
                let sides = Box::new([left, self.typed(right, kind)?]);
                let comparison = if operator == "_==_" { Comparison::Equal } else { Comparison::NotEqual };
                Ok((Node::Compare(comparison, sides), Type::Bool))
            }
            (operator, [left, right]) => match (comparison(operator), arithmetic(operator)) {
                (Some(comparison), _) => {
                    Ok((Node::Compare(comparison, self.pair(left, right, Type::Int)?), Type::Bool))
                }
                (_, Some(arithmetic)) => {
                    Ok((Node::Compute(arithmetic, self.pair(left, right, Type::Int)?), Type::Int))
                }
                _ => Err(self.unknown(node, operator)),
            },
            (name, _) => Err(self.unknown(node, name)),
        }
    }

    fn unknown(&self, node: &IdedExpr, function: &str) -> Mistake {
        self.mistake(node, format!("there is no function {}", function.trim_matches(['_', '@'])))
    }

    fn pair(&self, left: &IdedExpr, right: &IdedExpr, kind: Type) -> Result<Box<[Node; 2]>, Mistake> {
        Ok(Box::new([self.typed(left, kind)?, self.typed(right, kind)?]))
    }

    fn typed(&self, node: &IdedExpr, wanted: Type) -> Result<Node, Mistake> {
        let (compiled, kind) = self.compile(node)?;
        let expected = match wanted {
            Type::Int => "a number is expected here, this is true or false",
            Type::Bool => "true or false is expected here, this is a number",
        };
        if kind == wanted { Ok(compiled) } else { Err(self.mistake(node, expected)) }
    }

    fn numbers(&self, list: &IdedExpr) -> Result<Vec<i64>, Mistake> {
        let Expr::List(elements) = &list.expr else {
            return Err(self.mistake(list, "a list of numbers is expected after `in`"));
        };
        elements
            .elements
            .iter()
            .map(|element| match &element.expr {
                Expr::Literal(LiteralValue::Int(value)) => Ok(value.into_inner()),
                _ => Err(self.mistake(element, "a list may hold whole numbers only")),
            })
            .collect()
    }
}

fn comparison(operator: &str) -> Option<Comparison> {
    match operator {
        "_<_" => Some(Comparison::Less),
        "_<=_" => Some(Comparison::LessEqual),
        "_>_" => Some(Comparison::Greater),
        "_>=_" => Some(Comparison::GreaterEqual),
        _ => None,
    }
}

fn arithmetic(operator: &str) -> Option<Arithmetic> {
    match operator {
        "_+_" => Some(Arithmetic::Add),
        "_-_" => Some(Arithmetic::Subtract),
        "_*_" => Some(Arithmetic::Multiply),
        "_/_" => Some(Arithmetic::Divide),
        "_%_" => Some(Arithmetic::Remainder),
        _ => None,
    }
}

impl Node {
    fn value(&self, features: &Features) -> Result<i64, NotComputable> {
        match self {
            Node::Constant(value) => Ok(*value),
            Node::Feature(index) => Ok(features[*index]),
            Node::Negate(inner) => inner.value(features)?.checked_neg().ok_or(NotComputable),
            Node::Not(inner) => Ok(1 - inner.value(features)?),
            Node::And(sides) => absorb(&sides[0], &sides[1], features, 0),
            Node::Or(sides) => absorb(&sides[0], &sides[1], features, 1),
            Node::Choose(parts) => {
                let [condition, yes, no] = parts.as_ref();
                if condition.value(features)? != 0 { yes.value(features) } else { no.value(features) }
            }
            Node::Compute(operator, sides) => {
                compute(*operator, sides[0].value(features)?, sides[1].value(features)?)
            }
            Node::Compare(operator, sides) => {
                let (left, right) = (sides[0].value(features)?, sides[1].value(features)?);
                Ok(i64::from(match operator {
                    Comparison::Equal => left == right,
                    Comparison::NotEqual => left != right,
                    Comparison::Less => left < right,
                    Comparison::LessEqual => left <= right,
                    Comparison::Greater => left > right,
                    Comparison::GreaterEqual => left >= right,
                }))
            }
            Node::OneOf(value, list) => {
                let value = value.value(features)?;
                Ok(i64::from(list.contains(&value)))
            }
        }
    }
}

/// `&&` (decided by 0) and `||` (decided by 1): one side that decides makes up for an error of the other.
fn absorb(left: &Node, right: &Node, features: &Features, decides: i64) -> Result<i64, NotComputable> {
    match left.value(features) {
        Ok(value) if value == decides => Ok(decides),
        Ok(_) => right.value(features),
        Err(error) => match right.value(features) {
            Ok(value) if value == decides => Ok(decides),
            _ => Err(error),
        },
    }
}

fn compute(operator: Arithmetic, left: i64, right: i64) -> Result<i64, NotComputable> {
    let value = match operator {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder => left.checked_rem(right),
    };
    value.ok_or(NotComputable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::features::FEATURE_COUNT;
    use cel::{Context, Value};
    use proptest::prelude::*;

    fn holds(text: &str, amount: i64) -> Result<bool, NotComputable> {
        let mut features = [0; FEATURE_COUNT];
        features[Feature::Amount as usize] = amount;
        Condition::compile(text).unwrap().holds(&features)
    }

    #[test]
    fn conditions_are_those_of_cel() {
        assert_eq!(holds("amount >= 100 && !self_invoice", 100), Ok(true));
        assert_eq!(holds("(amount > 5 ? amount % 7 : -1) in [2, 3]", 9), Ok(true));
        assert_eq!(holds("1 / issuer_mean == 0 || amount > 3", 4), Ok(true));
        assert_eq!(holds("1 / issuer_mean == 0 || amount > 3", 3), Err(NotComputable));
        assert_eq!(holds("amount * 3 > 0", i64::MAX), Err(NotComputable));
    }

    #[test]
    fn mistakes_have_a_place() {
        let mistake = |text: &str| Condition::compile(text).unwrap_err();
        let unknown = mistake("amount > 3 &&\n  issuer_cont_1h > 2");
        assert_eq!(&"amount > 3 &&\n  issuer_cont_1h > 2"[unknown.offset..][..14], "issuer_cont_1h");
        assert!(unknown.message.contains("did you mean issuer_count_1h"), "{}", unknown.message);
        assert_eq!(mistake("amount + 1").message, "a condition must be true or false, this is a number");
        assert_eq!(mistake("amount && self_invoice").offset, 0);
        assert!(mistake("amount > 1.5").message.contains("cents"));
        assert_eq!(mistake("amount > > 1").offset, 9);
        assert!(mistake("size('a') > 0").message.contains("no function size"));
        assert!(!mistake("").message.is_empty());
    }

    fn number() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            (-9_i64..1000).prop_map(|n| if n < 0 { format!("(-{})", -n) } else { n.to_string() }),
            Just("9223372036854775807".to_owned()),
            Just("amount".to_owned()),
            Just("issuer_mean".to_owned()),
            Just("pair_idle".to_owned()),
        ];
        leaf.prop_recursive(3, 12, 2, |inner| {
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "%"]), inner)
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})"))
        })
    }

    fn truth() -> impl Strategy<Value = String> {
        let operators = vec!["==", "!=", "<", "<=", ">", ">="];
        let comparison = (number(), prop::sample::select(operators), number())
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})"));
        let leaf = prop_oneof![comparison, Just("self_invoice".to_owned()), Just("true".to_owned())];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                (inner.clone(), prop::sample::select(vec!["&&", "||"]), inner.clone())
                    .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
                inner.clone().prop_map(|inner| format!("!{inner}")),
                (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        /// The interpreter of the `cel` crate is the oracle: same truth, and errors where it has errors.
        #[test]
        fn compiled_conditions_agree_with_the_interpreter(
            text in truth(), amount: i64, mean in -5_i64..5, idle in -1_i64..100, itself: bool,
        ) {
            let mut features = [0; FEATURE_COUNT];
            let mut context = Context::default();
            for (feature, value) in
                [(Feature::Amount, amount), (Feature::IssuerMean, mean), (Feature::PairIdle, idle)]
            {
                features[feature as usize] = value;
                context.add_variable_from_value(MEANINGS[feature as usize].name, value);
            }
            features[Feature::SelfInvoice as usize] = i64::from(itself);
            context.add_variable_from_value("self_invoice", itself);
            let expected = match Program::compile(&text).unwrap().execute(&context) {
                Ok(Value::Bool(value)) => Ok(value),
                Ok(other) => panic!("{text} is {other:?}"),
                Err(_) => Err(NotComputable),
            };
            prop_assert_eq!(Condition::compile(&text).unwrap().holds(&features), expected, "{}", text);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,60}") {
            let _ = Condition::compile(&text);
        }
    }
}
