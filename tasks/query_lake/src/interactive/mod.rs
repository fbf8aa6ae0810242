//! Questions one after the other: lines end with a semicolon, history stays between sessions.

mod completion;

use crate::session::{Output, Session};
use completion::Completion;
use invoices::task::{check_stop, grouped, keep_on_interrupt, take_interrupt};
use invoices::{Error, Result};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

const HISTORY_LINES_MAX: usize = 1_000;
const HELP: &str = "\
A query ends with ; and may span lines.
\\d          tables        \\d NAME     columns of a table
\\timing     show times    Tab         complete names
Ctrl-C      end the query that runs, or begin the line again
\\q, Ctrl-D  leave         \\?          this help";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request<'a> {
    Nothing,
    Help,
    Tables,
    Describe(&'a str),
    Timing,
    Leave,
    More,
    Query(&'a str),
}

impl<'a> Request<'a> {
    fn of(text: &'a str) -> Self {
        let text = text.trim();
        match text {
            "" => Self::Nothing,
            "\\?" | "\\h" | "help" => Self::Help,
            "\\d" | "\\dt" => Self::Tables,
            "\\timing" => Self::Timing,
            "\\q" | "exit" | "quit" => Self::Leave,
            _ => match (text.strip_prefix("\\d "), text.strip_suffix(';')) {
                (Some(name), _) => Self::Describe(name.trim()),
                (None, Some(query)) => Self::Query(query.trim()),
                (None, None) => Self::More,
            },
        }
    }
}

/// Reads and answers until the end of the input.
///
/// # Errors
/// Retry for a terminal that cannot be read; a query's error is printed and the next may be asked.
pub fn run(session: &Session, output: &Output, history: Option<&Path>) -> Result<Value> {
    let config = Config::builder().completion_type(CompletionType::List);
    let config = config.max_history_size(HISTORY_LINES_MAX).map_err(unreadable)?.build();
    let mut editor: Questions = Editor::with_config(config).map_err(unreadable)?;
    editor.set_helper(Some(Completion::new(session)));
    keep_on_interrupt()?;
    let history = history.map(Path::to_owned).or_else(default_history);
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    let (mut answered, mut failed, mut is_timed) = (0, 0, false);
    let mut text = String::new();
    loop {
        if let Some(completion) = editor.helper_mut() {
            completion.before.clone_from(&text);
        }
        let line = match editor.readline(if text.is_empty() { "lake> " } else { "   -> " }) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => {
                text.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(unreadable(error)),
        };
        text.push_str(&line);
        match Request::of(&text) {
            Request::More => {
                text.push('\n');
                continue;
            }
            Request::Nothing => {}
            Request::Help => println!("{HELP}"),
            Request::Tables => println!("{}", session.table_names().join("\n")),
            Request::Describe(name) => match session.describe(name) {
                Ok(lines) => println!("{}", lines.join("\n")),
                Err(error) => eprintln!("{error}"),
            },
            Request::Timing => {
                is_timed = !is_timed;
                println!("Timing is {}.", if is_timed { "on" } else { "off" });
            }
            Request::Leave => break,
            Request::Query(query) => {
                // One that was pressed when nothing ran.
                take_interrupt();
                let started = Instant::now();
                match session.answer(query, output) {
                    Ok(facts) => {
                        answered += 1;
                        let count = |name: &str| grouped(facts[name].as_u64().unwrap_or_default());
                        let (rows, bytes, files) = (count("rows"), count("bytes_read"), count("files_read"));
                        eprintln!("{rows} rows, {bytes} bytes of {files} files read");
                    }
                    Err(error) => {
                        check_stop()?;
                        failed += 1;
                        eprintln!("{error}");
                    }
                }
                if is_timed {
                    eprintln!("Time: {:.3} s", started.elapsed().as_secs_f64());
                }
            }
        }
        let _ = editor.add_history_entry(text.trim());
        text.clear();
        if let Some(path) = &history {
            remember(&mut editor, path);
        }
    }
    Ok(json!({ "queries": answered, "queries_failed": failed }))
}

type Questions<'a> = Editor<Completion<'a>, FileHistory>;

/// A history that cannot be written is no reason to end.
fn remember(editor: &mut Questions, path: &Path) {
    let folder = path.parent().map(std::fs::create_dir_all);
    let saved = editor.save_history(path);
    if folder.is_some_and(|made| made.is_err()) || saved.is_err() {
        tracing::debug!("cannot write the history to {}", path.display());
    }
}

fn default_history() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    Some(state.or_else(home)?.join("query_lake/history"))
}

fn unreadable(error: ReadlineError) -> Error {
    Error::retry("cannot read from the terminal").because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_ends_with_a_semicolon() {
        assert_eq!(Request::of("SELECT 1"), Request::More);
        assert_eq!(Request::of("SELECT\n1;"), Request::Query("SELECT\n1"));
        assert_eq!(Request::of("\\d invoices"), Request::Describe("invoices"));
        assert_eq!(Request::of("\\timing"), Request::Timing);
        assert_eq!(Request::of("\\q"), Request::Leave);
    }
}
