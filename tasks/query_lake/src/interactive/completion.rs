//! The Tab key: names of tables, of the columns of those that the query names, and words of SQL.

use crate::session::Session;
use rustyline::completion::{Completer, Pair};
use rustyline::{Context, Helper, Highlighter, Hinter, Validator};
use std::cell::RefCell;
use std::collections::BTreeMap;

const WORDS: &[&str] = &[
    "AND",
    "AS",
    "ASC",
    "AVG",
    "BETWEEN",
    "CASE",
    "CAST",
    "COALESCE",
    "COUNT",
    "CROSS",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXISTS",
    "FILTER",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MAX",
    "MIN",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "QUALIFY",
    "RIGHT",
    "ROLLUP",
    "SELECT",
    "SUM",
    "THEN",
    "UNION",
    "UNNEST",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];

/// What the editor asks while a line is typed.
#[derive(Helper, Highlighter, Hinter, Validator)]
pub struct Completion<'a> {
    session: &'a Session,
    /// Columns of the tables that were named so far; what cannot be opened has none.
    columns: RefCell<BTreeMap<String, Vec<String>>>,
    /// The lines of the query before the one that is typed.
    pub before: String,
}

impl<'a> Completion<'a> {
    pub fn new(session: &'a Session) -> Self {
        Self { session, columns: RefCell::default(), before: String::new() }
    }

    fn candidates(&self, line: &str, word: &str) -> Vec<String> {
        let tables = self.session.table_names();
        if line.starts_with('\\') {
            return starting_with(word, tables);
        }
        let text = format!("{} {line}", self.before).to_lowercase();
        let mut names = Vec::new();
        for table in tables.iter().filter(|table| has_word(&text, &table.to_lowercase())) {
            let mut known = self.columns.borrow_mut();
            let columns = known
                .entry(table.clone())
                .or_insert_with(|| self.session.column_names(table).unwrap_or_default());
            names.extend(columns.iter().cloned());
        }
        names.extend(tables);
        names.sort();
        names.dedup();
        let mut found = starting_with(word, names);
        if !word.is_empty() {
            let cased = |keyword: &&str| {
                if word.starts_with(char::is_lowercase) {
                    keyword.to_lowercase()
                } else {
                    (*keyword).to_owned()
                }
            };
            found.extend(starting_with(word, WORDS.iter().map(cased).collect()));
        }
        found
    }
}

impl Completer for Completion<'_> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..position];
        let start = typed
            .rfind(|c: char| !is_of_word(c))
            .map_or(0, |at| at + typed[at..].chars().next().map_or(1, char::len_utf8));
        let pair = |name: String| Pair { display: name.clone(), replacement: name };
        Ok((start, self.candidates(line, &typed[start..]).into_iter().map(pair).collect()))
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !is_of_word(c)).any(|part| part == word)
}

fn starting_with(word: &str, names: Vec<String>) -> Vec<String> {
    let word = word.to_lowercase();
    names.into_iter().filter(|name| name.to_lowercase().starts_with(&word)).collect()
}
