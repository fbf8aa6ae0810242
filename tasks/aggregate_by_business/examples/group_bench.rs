#![allow(clippy::unwrap_used, clippy::expect_used)]
use polars::prelude::*;

fn main() {}
