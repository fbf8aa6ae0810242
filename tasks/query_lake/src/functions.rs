//! SQL functions beside Polars' own: what free text needs.

use polars::prelude::*;
use polars::sql::{FunctionOptions, FunctionRegistry};
use regex::Regex;
use std::sync::Arc;

/// The functions by name.
pub struct Functions;

/// `regexp_extract(text, pattern [, group])` is the first match, `regexp_extract_all` a list of all;
/// of the first group, or of the whole where the pattern has none, or of the group that is asked for.
#[derive(Clone, Copy)]
enum Extract {
    First,
    All,
}

impl Extract {
    fn of_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "regexp_extract" => Some(Extract::First),
            "regexp_extract_all" => Some(Extract::All),
            _ => None,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Extract::First => DataType::String,
            Extract::All => DataType::List(Box::new(DataType::String)),
        }
    }
}

/// Whether a text may call one of them.
pub fn are_in(sql: &str) -> bool {
    sql.to_ascii_lowercase().contains("regexp_extract")
}

impl FunctionRegistry for Functions {
    fn register(&mut self, name: &str, _: UserDefinedFunction) -> PolarsResult<()> {
        polars_bail!(ComputeError: "function {name} cannot be added")
    }

    fn get_udf(&self, name: &str) -> PolarsResult<Option<UserDefinedFunction>> {
        Ok(Extract::of_name(name).map(|extract| {
            let mut function = UserDefinedFunction::new(name.into(), extract);
            function.options = FunctionOptions::elementwise();
            function
        }))
    }

    fn contains(&self, name: &str) -> bool {
        Extract::of_name(name).is_some()
    }
}

impl AnonymousColumnsUdf for Extract {
    fn as_column_udf(self: Arc<Self>) -> Arc<dyn ColumnsUdf> {
        self
    }

    fn deep_clone(self: Arc<Self>) -> Arc<dyn AnonymousColumnsUdf> {
        self
    }

    fn get_field(&self, _: &Schema, fields: &[Field]) -> PolarsResult<Field> {
        let name = fields.first().map_or(PlSmallStr::EMPTY, |field| field.name().clone());
        Ok(Field::new(name, self.data_type()))
    }
}

impl ColumnsUdf for Extract {
    fn call_udf(&self, columns: &mut [Column]) -> PolarsResult<Column> {
        let [text, pattern, group @ ..] = columns else {
            polars_bail!(InvalidOperation: "regexp_extract wants a text, a pattern and maybe a group");
        };
        let pattern = pattern.str()?.get(0).unwrap_or_default();
        let regex = Regex::new(pattern)
            .map_err(|_| polars_err!(InvalidOperation: "{pattern:?} is not a regular expression"))?;
        let asked = group.first().and_then(|group| group.get(0).ok()?.extract::<usize>());
        let group = asked.unwrap_or(usize::from(regex.captures_len() > 1));
        let found = |text: &str| -> Vec<String> {
            let captures = regex.captures_iter(text).filter_map(|captures| captures.get(group));
            captures.map(|found| found.as_str().to_owned()).collect()
        };
        let name = text.name().clone();
        let texts = text.str()?;
        Ok(match self {
            Extract::First => {
                let first = |text: &str| Some(regex.captures(text)?.get(group)?.as_str().to_owned());
                let values: Vec<Option<String>> = texts.iter().map(|text| first(text?)).collect();
                Series::new(name, values).into_column()
            }
            Extract::All => {
                let values = texts.iter().map(|text| match text {
                    Some(text) => AnyValue::List(Series::new(PlSmallStr::EMPTY, found(text))),
                    None => AnyValue::Null,
                });
                let values: Vec<AnyValue> = values.collect();
                Series::from_any_values_and_dtype(name, &values, &self.data_type(), true)?.into_column()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(extract: Extract, text: &str, pattern: &str) -> String {
        let column = |text: &str| Series::new("x".into(), [text]).into_column();
        let result = extract.call_udf(&mut [column(text), column(pattern)]).unwrap();
        result.get(0).unwrap().to_string()
    }

    #[test]
    fn the_first_group_is_what_is_wanted() {
        assert_eq!(call(Extract::First, "see INV-42 and INV-7", r"INV-(\d+)"), "\"42\"");
        assert_eq!(call(Extract::First, "see INV-42", r"INV-\d+"), "\"INV-42\"");
        assert_eq!(call(Extract::First, "nothing", r"INV-\d+"), "null");
        assert!(call(Extract::All, "INV-42, INV-7", r"INV-(\d+)").contains("\"7\""));
    }
}
