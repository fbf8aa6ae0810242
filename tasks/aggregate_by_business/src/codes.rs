//! Businesses whose ids are texts, as numbers in the order of their texts: what groups numbers then groups them too, and
//! every row has the text once instead of at each invoice. No I/O.

use crate::engine::failed;
use invoices::statistics::BUSINESS_ID;
use invoices::{Error, Result};
use polars::prelude::*;
use rustc_hash::FxHashMap;
use std::ops::RangeInclusive;

/// Columns of invoices that name a business.
pub const PARTIES: [&str; 2] = ["issuer_id", "receiver_id"];

/// The businesses of a month.
#[derive(Default)]
pub struct Codes {
    /// Sorted by bytes; the first one's code is 1.
    texts: Vec<PlSmallStr>,
    codes: FxHashMap<PlSmallStr, i64>,
}

impl Codes {
    /// Takes note of the businesses that invoices name.
    ///
    /// # Errors
    /// Refused when they are not texts.
    pub fn add(&mut self, invoices: &DataFrame) -> Result<()> {
        for name in PARTIES {
            for text in texts(invoices, name)?.iter().flatten() {
                if !self.codes.contains_key(text) {
                    self.codes.insert(text.into(), 0);
                }
            }
        }
        Ok(())
    }

    /// Gives every business its number; none is added afterwards.
    pub fn number(mut self) -> Self {
        self.texts = self.codes.keys().cloned().collect();
        self.texts.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        self.codes = self.texts.iter().cloned().zip(1..).collect();
        self
    }

    /// All numbers; none when no invoice names a business.
    pub fn range(&self) -> Option<RangeInclusive<i64>> {
        (!self.texts.is_empty()).then_some(1..=self.texts.len() as i64)
    }

    /// Invoices with numbers instead of texts.
    ///
    /// # Errors
    /// Refused for a text that was not there before.
    pub fn encode(&self, invoices: &DataFrame) -> Result<DataFrame> {
        let code = |text: Option<&str>| text.map(|text| self.codes.get(text).copied().ok_or_else(changed));
        let encode = |column: &Column| {
            if !PARTIES.contains(&column.name().as_str()) {
                return Ok(column.clone());
            }
            let codes = texts(invoices, column.name())?.iter().map(|text| code(text).transpose());
            let codes = codes.collect::<Result<Vec<Option<i64>>>>()?;
            Ok(Column::new(column.name().clone(), codes))
        };
        let columns = invoices.columns().iter().map(encode).collect::<Result<Vec<_>>>()?;
        DataFrame::new_infer_height(columns).map_err(failed)
    }

    /// Statistics with texts instead of numbers.
    ///
    /// # Errors
    /// Bug for a number that stands for none.
    pub fn decode(&self, statistics: &DataFrame) -> Result<DataFrame> {
        let text = |code: i64| usize::try_from(code - 1).ok().and_then(|at| self.texts.get(at));
        let decode = |column: &Column| {
            if column.name() != BUSINESS_ID {
                return Ok(column.clone());
            }
            let codes = column.i64().map_err(failed)?.iter();
            let texts = codes.map(|code| code.map(|code| text(code).ok_or_else(unknown)).transpose());
            let texts = texts.collect::<Result<Vec<Option<&PlSmallStr>>>>()?;
            let texts = texts.into_iter().map(|text| text.map(PlSmallStr::as_str));
            Ok(StringChunked::from_iter_options(BUSINESS_ID.into(), texts).into_series().into_column())
        };
        let columns = statistics.columns().iter().map(decode).collect::<Result<Vec<_>>>()?;
        DataFrame::new_infer_height(columns).map_err(failed)
    }
}

fn texts<'a>(invoices: &'a DataFrame, name: &str) -> Result<&'a StringChunked> {
    invoices.column(name).and_then(|column| column.str()).map_err(failed)
}

fn changed() -> Error {
    Error::bug("an object names other businesses when it is read again")
}

fn unknown() -> Error {
    Error::bug("a business has a number that stands for no text")
}
