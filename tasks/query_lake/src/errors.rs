//! What Polars says, as one sentence with an exit code and, where names are wrong, the nearest one.

use invoices::{Error, Kind};
use polars::prelude::PolarsError;

/// What is known when a query fails: the tables and columns that it could have meant.
pub struct Known {
    pub tables: Vec<String>,
    pub columns: Vec<String>,
}

/// # Errors
/// Usage for SQL that cannot be run, refused for data that cannot be read.
pub fn of_polars(error: &PolarsError, known: &Known) -> Error {
    let text = first_line(&error.to_string());
    match root(error) {
        PolarsError::SQLSyntax(_) => Error::usage(format!("the query is not SQL that can be run: {text}")),
        PolarsError::SQLInterface(_) if text.contains("sql parser error") => {
            Error::usage(format!("the query is not SQL that can be run: {text}"))
        }
        PolarsError::SQLInterface(_) => match quoted_after(&text, "relation '") {
            Some(table) => unknown_table(&table, known),
            None => Error::usage(format!("the query cannot be run: {text}")),
        },
        PolarsError::ColumnNotFound(_) | PolarsError::SchemaFieldNotFound(_) => unknown_column(&text, known),
        PolarsError::StructFieldNotFound(_) => Error::usage(format!("the query cannot be run: {text}")),
        PolarsError::SchemaMismatch(_) | PolarsError::InvalidOperation(_) => {
            let is_data = text.contains("encountered") || text.contains("in file");
            let kind = if is_data { Kind::Refused } else { Kind::Usage };
            Error::new(kind, format!("the types of columns do not fit together: {text}; CAST one of them"))
        }
        PolarsError::ComputeError(_) if text.contains("datatypes of join keys") => {
            Error::usage(format!("the types of columns do not fit together: {text}; CAST one of them"))
        }
        PolarsError::ComputeError(_) if text.contains("cannot compare") => {
            Error::usage(format!("the types of columns do not fit together: {text}; CAST one of them"))
        }
        _ => Error::refused(format!("the query failed: {text}")),
    }
}

fn root(error: &PolarsError) -> &PolarsError {
    match error {
        PolarsError::Context { error, .. } | PolarsError::ExprContext { error, .. } => root(error),
        other => other,
    }
}

/// Polars explains where in its plan it was on further lines.
fn first_line(text: &str) -> String {
    let end = text.find("\n\n").unwrap_or(text.len());
    let line: Vec<&str> = text[..end].split_whitespace().collect();
    line.join(" ")
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

fn unknown_column(text: &str, known: &Known) -> Error {
    let column = quoted_after(text, "\"").or_else(|| quoted_after(text, "'")).unwrap_or_else(|| {
        text.rsplit(' ').next().unwrap_or_default().trim_matches(['\'', '"', '.']).to_owned()
    });
    match nearest(&column, &known.columns) {
        Some(name) => Error::usage(format!("there is no column {column}. Did you mean {name}?")),
        None => Error::usage(format!("there is no column {column}: {text}")),
    }
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

    fn known() -> Known {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Known { tables: names(&["invoices", "rates"]), columns: names(&["amount_usd", "invoice_id"]) }
    }

    #[test]
    fn wrong_names_are_answered_with_the_nearest() {
        let error =
            of_polars(&PolarsError::SQLInterface("relation 'invoice' was not found".into()), &known());
        assert_eq!(error.kind(), Kind::Usage);
        let expected =
            "there is no table invoice. Did you mean invoices? Known are invoices, rates; --with adds others";
        assert_eq!(error.to_string(), expected);
        let text = "unable to find column \"amount\"; valid columns: [\"amount_usd\"]";
        let error = of_polars(&PolarsError::ColumnNotFound(text.into()), &known());
        assert_eq!(error.to_string(), "there is no column amount. Did you mean amount_usd?");
        assert_eq!(nearest("zzz", &known().tables), None);
    }
}
