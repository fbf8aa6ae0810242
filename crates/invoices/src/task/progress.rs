//! Progress of a known amount of work: a bar with rate and remaining time on a terminal, a log line
//! every few seconds elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LOG_EVERY: Duration = Duration::from_secs(5);

/// Shared by the threads that do the work.
pub struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    started: Instant,
    bar: ProgressBar,
    last_log: Mutex<Instant>,
}

impl Progress {
    /// `total` units called `what` ("rows", "partitions").
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let template = "{bar:30.cyan/dim} {human_pos}/{human_len} {msg}  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        let now = Instant::now();
        Self { what, total, done: AtomicU64::new(0), started: now, bar, last_log: Mutex::new(now) }
    }

    pub fn add(&self, units: u64) {
        let done = self.done.fetch_add(units, Ordering::Relaxed) + units;
        self.bar.inc(units);
        if !self.bar.is_hidden() {
            return;
        }
        if let Ok(mut last) = self.last_log.try_lock()
            && last.elapsed() >= LOG_EVERY
        {
            *last = Instant::now();
            let per_second = (done as f64 / self.started.elapsed().as_secs_f64()) as u64;
            tracing::info!(done, total = self.total, per_second, "{} so far", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
