//! What a person sees while a query runs: on a terminal, after a second, a line that is wiped off at the end.

use crate::pinned::Pinned;
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Queries that are faster show nothing.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

pub struct Running {
    bar: ProgressBar,
}

impl Running {
    pub fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// How long the query runs and how much of its objects was read.
    pub fn show(&self, started: Instant, pinned: &Pinned) {
        if started.elapsed() < SHOWN_AFTER || self.bar.is_hidden() {
            return;
        }
        let (mut files, mut bytes, mut all_files) = (0, 0, 0);
        for (read, all) in pinned.usage().values() {
            files += read.files;
            bytes += read.bytes;
            all_files += all.files;
        }
        let seconds = started.elapsed().as_secs();
        self.bar
            .set_message(format!("{seconds} s, {} of {files} of {all_files} files read", HumanBytes(bytes)));
        self.bar.tick();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
