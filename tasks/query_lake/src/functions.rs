//! SQL functions beside DataFusion's own: what free text needs.

use arrow::array::{Array, ArrayRef, ListBuilder, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::Regex;
use std::collections::HashMap;
use std::sync::Arc;

/// `regexp_extract(text, pattern [, group])` is the first match, `regexp_extract_all` a list of all;
/// of the first group, or of the whole where the pattern has none, or of the group that is asked for.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extract {
    all: bool,
    signature: Signature,
}

/// The functions to register.
pub fn all() -> [ScalarUDF; 2] {
    [false, true].map(|all| {
        ScalarUDF::from(Extract { all, signature: Signature::variadic_any(Volatility::Immutable) })
    })
}

impl ScalarUDFImpl for Extract {
    fn name(&self) -> &str {
        if self.all { "regexp_extract_all" } else { "regexp_extract" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        let item = || Arc::new(Field::new_list_field(DataType::Utf8, true));
        Ok(if self.all { DataType::List(item()) } else { DataType::Utf8 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let wrong = || {
            DataFusionError::Plan(format!(
                "{} takes a text, a pattern and optionally the number of a group",
                self.name()
            ))
        };
        if !(2..=3).contains(&args.args.len()) {
            return Err(wrong());
        }
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let texts = as_text(&columns[0])?;
        let patterns = as_text(&columns[1])?;
        let groups = columns.get(2).map(as_text).transpose()?;
        let mut known: HashMap<String, Regex> = HashMap::new();
        let mut firsts = StringBuilder::new();
        let mut lists = ListBuilder::new(StringBuilder::new());
        for row in 0..texts.len() {
            let is_null = texts.is_null(row) || patterns.is_null(row);
            if !is_null && !known.contains_key(patterns.value(row)) {
                let pattern = patterns.value(row);
                let regex = Regex::new(pattern)
                    .map_err(|_| DataFusionError::Plan(format!("{pattern:?} is not a regular expression")))?;
                known.insert(pattern.to_owned(), regex);
            }
            let regex = if is_null { None } else { known.get(patterns.value(row)) };
            let asked =
                groups.as_ref().filter(|groups| groups.is_valid(row)).map(|groups| groups.value(row).parse());
            let asked: Option<usize> = asked.transpose().map_err(|_| wrong())?;
            let group = |regex: &Regex| asked.unwrap_or(usize::from(regex.captures_len() > 1));
            if self.all {
                for captures in regex
                    .into_iter()
                    .flat_map(|regex| regex.captures_iter(texts.value(row)).map(|c| c.get(group(regex))))
                {
                    lists.values().append_option(captures.map(|found| found.as_str()));
                }
                lists.append(regex.is_some());
            } else {
                let found = regex.and_then(|regex| regex.captures(texts.value(row))?.get(group(regex)));
                firsts.append_option(found.map(|found| found.as_str()));
            }
        }
        let column: ArrayRef = if self.all { Arc::new(lists.finish()) } else { Arc::new(firsts.finish()) };
        Ok(ColumnarValue::Array(column))
    }
}

fn as_text(column: &ArrayRef) -> Result<StringArray> {
    let texts = cast(column, &DataType::Utf8)?;
    let texts = texts.as_any().downcast_ref::<StringArray>().cloned();
    texts.ok_or_else(|| DataFusionError::Internal("a text is no text".to_owned()))
}
