//! Tables on stderr: stdout belongs to the result line.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle};
use std::io::Write;

/// A line below the header and nothing else, so that a table can be copied into a message.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// How facts are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Tables, for people.
    Text,
    /// A log line per fact, for whatever collects the logs.
    Json,
}

/// Colour of a word that judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Caution,
    Bad,
}

/// A table being filled. It takes the terminal's width; elsewhere lines are as long as they are, and
/// without colour.
pub struct Sheet {
    title: String,
    table: Table,
}

impl Sheet {
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        let mut table = Table::new();
        table.use_stderr().load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
        Self { title: title.into(), table }
    }

    pub fn add(&mut self, cells: Vec<Cell>) {
        self.table.add_row(cells);
    }

    /// Writes the table unless it is empty; that nobody reads stderr is no reason to fail.
    pub fn print(&self) {
        if self.table.is_empty() {
            return;
        }
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{}\n{}\n", self.title, self.table.trim_fmt());
    }
}

pub fn plain(text: impl ToString) -> Cell {
    Cell::new(text.to_string())
}

/// A number, aligned to the right.
pub fn number(text: impl ToString) -> Cell {
    plain(text).set_alignment(CellAlignment::Right)
}

pub fn judged(text: impl ToString, tone: Tone) -> Cell {
    let color = match tone {
        Tone::Good => Color::Green,
        Tone::Caution => Color::Yellow,
        Tone::Bad => Color::Red,
    };
    plain(text).fg(color)
}
