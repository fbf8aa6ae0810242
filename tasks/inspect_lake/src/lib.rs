//! `inspect_lake`: what works (`doctor`), what is true (`verify`), what ran last (`status`).
//!
//! # Layout
//! * [`args`]: flags and help.
//! * [`init`]: which table looks like the invoices, and the settings that read it.
//! * [`doctor`]: every check of the source and the lake, each with what to do.
//! * [`verify`]: reads source, `invoices` and `invoice_by_business` back and compares them.
//! * [`status`]: the last commit record of every partition.
//! * [`top`]: the largest businesses of a window.
//! * [`text`], [`table`]: how facts are written for people.
//!
//! Architecture invariant: nothing here changes a table of the lake or the source. The one thing
//! written is the doctor's probe below `_tmp/`, which no reader sees and which is deleted again.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod args;
mod doctor;
mod init;
mod status;
mod table;
#[cfg(test)]
mod testing;
mod text;
mod top;
mod verify;

pub use args::Args;

use args::Command;
use invoices::lake::Lake;
use invoices::task::{LakeArgs, Task};
use invoices::{Error, Result};

/// Runs the subcommand; see the crate documentation.
///
/// # Errors
/// `doctor`: configuration when a check fails, retry when all that failed was a service that is
/// down. `verify`: refused when source and lake differ. Both carry the facts for the result line.
pub fn run(args: &Args, task: &Task) -> Result<serde_json::Value> {
    let form = if args.common.log_format.is_json() { table::Form::Json } else { table::Form::Text };
    match &args.command {
        Command::Init(args) => init::run(args, form),
        Command::Doctor(args) => doctor::run(args, form, &task.runtime),
        Command::Verify(args) => verify::run(args, form, &task.runtime),
        Command::Status(args) => status::run(args, form, &task.runtime),
        Command::Top(args) => top::run(args, form, &task.runtime),
    }
}

/// Opens a lake to be read. A local one must be there: opening makes the folder, and a misspelt path
/// would then be a new and empty lake.
fn open_existing(args: &LakeArgs) -> Result<Lake> {
    let url = url::Url::parse(&args.lake).ok().filter(|url| url.scheme() == "file");
    match url.and_then(|url| url.to_file_path().ok()) {
        Some(folder) if !folder.is_dir() => Err(Error::config(format!(
            "there is no lake at {}; correct LAKE_URL, or run query_source to make one",
            args.lake
        ))),
        _ => args.open(),
    }
}
