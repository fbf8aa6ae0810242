//! Stands where Spark's client is in a build without the feature `spark`.

use crate::args::EngineArgs;
use invoices::money::MoneyType;
use invoices::{Error, KeyKind, Result};
use polars::prelude::DataFrame;

pub enum Spark {}

impl Spark {
    pub async fn open(_: &EngineArgs, _: &str) -> Result<Self> {
        Err(Error::config(
            "this build has no Spark client; build all_tasks with its default features, or take the image",
        ))
    }

    pub async fn month(&self, _: &str, _: MoneyType, _: KeyKind) -> Result<DataFrame> {
        match *self {}
    }

    pub async fn close(self) {
        match self {}
    }
}
