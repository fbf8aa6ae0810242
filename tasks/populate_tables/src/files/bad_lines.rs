//! The lines that are refused, in one message.

use invoices::Error;

/// Most bad lines that one message lists.
const LISTED_MAX: usize = 10;

#[derive(Default)]
pub struct BadLines {
    count: u64,
    listed: Vec<String>,
}

impl BadLines {
    /// `reason` begins with the place.
    pub fn add(&mut self, reason: String) {
        self.count += 1;
        if self.listed.len() < LISTED_MAX {
            self.listed.push(reason);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// None when no line is refused.
    pub fn error(&self, file: &str) -> Option<Error> {
        let list = self.listed.join("; ");
        let more = match self.count - self.listed.len() as u64 {
            0 => String::new(),
            others => format!("; and {others} more"),
        };
        let lines = if self.count == 1 { "1 line" } else { &format!("{} lines", self.count) };
        let message = format!("{file}: {lines} refused, nothing was loaded: {list}{more}");
        (self.count > 0).then(|| Error::refused(message))
    }
}
