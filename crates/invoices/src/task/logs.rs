//! Logs on stderr: lines for people on a terminal, JSON lines elsewhere.

use clap::ValueEnum;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Auto,
    Text,
    Json,
}

impl Format {
    pub fn is_json(self) -> bool {
        match self {
            Format::Auto => !std::io::stderr().is_terminal(),
            Format::Text => false,
            Format::Json => true,
        }
    }
}

/// Starts logging for the process; `RUST_LOG` chooses levels, `info` by default.
pub fn start(task: &'static str, format: Format) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(
            "info,r2d2=off,postgres=warn,tokio_postgres=warn,object_store=warn,polars=warn,volo_thrift=off",
        )
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if format.is_json() {
        let json = builder.json().flatten_event(true).with_current_span(false).with_target(false);
        json.init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).compact().with_target(false).without_time().init();
    }
    tracing::debug!(task, "started");
}
