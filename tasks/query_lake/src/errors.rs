//! What DataFusion says, as one sentence with an exit code and, where names are wrong, the nearest one.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use invoices::Error;

/// What is known when a query fails: the tables and columns that it could have meant.
pub struct Known {
    pub tables: Vec<String>,
    pub columns: Vec<String>,
}

/// # Errors
/// Usage for SQL that cannot be run, refused for data that cannot be read, configuration for what does not fit.
pub fn of_datafusion(error: &DataFusionError, known: &Known) -> Error {
    let root = root(error);
    let text = one_line(&root.message());
    match root {
        DataFusionError::SQL(parser, _) => {
            let text = one_line(&parser.to_string());
            let text = text.strip_prefix("sql parser error: ").unwrap_or(&text);
            Error::usage(format!("the query is not SQL that can be run: {text}"))
        }
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, .. } => unknown_column(&field.name, known),
            _ => Error::usage(format!("the query cannot be run: {text}")),
        },
        DataFusionError::ResourcesExhausted(_) => Error::config(format!(
            "the query does not fit --memory-budget, or its --spill-folder is full; raise the budget, select fewer columns, or group and filter earlier: {text}"
        )),
        DataFusionError::Plan(_) => match quoted_after(&text, "table '") {
            Some(table) if text.contains("not found") => {
                let table = table.rsplit('.').next().unwrap_or(&table).to_owned();
                unknown_table(&table, known)
            }
            _ => Error::usage(format!("the query cannot be run: {text}")),
        },
        DataFusionError::NotImplemented(_) => Error::usage(format!("the query cannot be run here: {text}")),
        DataFusionError::Configuration(_) => Error::usage(format!("the query cannot be run: {text}")),
        // What DataFusion has not thought of; the rest of its text asks to report it there.
        DataFusionError::Internal(_) => {
            let text = text.split(". This issue was likely caused").next().unwrap_or(&text);
            Error::usage(format!("the query cannot be run here, write it in another way: {text}"))
        }
        DataFusionError::ArrowError(arrow, _) => of_arrow(arrow),
        _ => Error::refused(format!("the query failed: {text}")),
    }
}

fn of_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::InvalidArgumentError(text) => Error::usage(format!(
            "the types of columns do not fit together: {}; CAST one of them",
            one_line(text)
        )),
        ArrowError::DivideByZero => Error::refused(
            "the query divides by zero; NULLIF(divisor, 0) makes it NULL, and WHERE leaves it out",
        ),
        ArrowError::ArithmeticOverflow(text) => Error::refused(format!(
            "a result has more digits than its type; CAST to one with more digits: {}",
            one_line(text)
        )),
        ArrowError::CastError(text) | ArrowError::ParseError(text) => {
            Error::refused(format!("a value cannot be CAST; TRY_CAST makes it NULL: {}", one_line(text)))
        }
        other => Error::refused(format!("the query failed: {}", one_line(&other.to_string()))),
    }
}

fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, error) | DataFusionError::Diagnostic(_, error) => root(error),
        DataFusionError::Shared(error) => root(error),
        DataFusionError::Collection(errors) => errors.first().map_or(error, root),
        other => other,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn quoted_after(text: &str, start: &str) -> Option<String> {
    let rest = &text[text.find(start)? + start.len()..];
    Some(rest[..rest.find(['\'', '"'])?].to_owned())
}

/// The sentence for a table that nobody knows.
pub fn unknown_table(table: &str, known: &Known) -> Error {
    let list = known.tables.join(", ");
    let guess =
        nearest(table, &known.tables).map(|name| format!(" Did you mean {name}?")).unwrap_or_default();
    Error::usage(format!("there is no table {table}.{guess} Known are {list}; --with adds others"))
}

fn unknown_column(column: &str, known: &Known) -> Error {
    let guess =
        nearest(column, &known.columns).map(|name| format!(". Did you mean {name}?")).unwrap_or_default();
    Error::usage(format!("there is no column {column}{guess}"))
}

/// The most similar name, if it is similar at all.
fn nearest<'a>(name: &str, names: &'a [String]) -> Option<&'a str> {
    let lowercase = name.to_lowercase();
    let scored = names.iter().map(|known| (strsim::jaro_winkler(&lowercase, &known.to_lowercase()), known));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.7).then_some(best.1.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::Kind;

    #[test]
    fn wrong_names_are_answered_with_the_nearest() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let known = Known { tables: names(&["invoices", "rates"]), columns: names(&["amount_usd"]) };
        let error = DataFusionError::Plan("table 'datafusion.public.invoice' not found".to_owned());
        let error = of_datafusion(&error, &known);
        assert_eq!(error.kind(), Kind::Usage);
        let expected =
            "there is no table invoice. Did you mean invoices? Known are invoices, rates; --with adds others";
        assert_eq!(error.to_string(), expected);
        assert_eq!(nearest("zzz", &known.tables), None);
    }
}
