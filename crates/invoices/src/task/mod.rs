//! The contract of every task: flags and environment, logs on stderr, one JSON line on stdout, an
//! exit code that means something, a clean end on SIGTERM.

pub mod args;
mod logs;
pub mod progress;
mod stop;

pub use args::{LakeArgs, WindowArgs};
pub use progress::Progress;

use crate::error::{Error, Result};
use clap::parser::ValueSource;
use clap::{Args, Parser};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Flags that all tasks have.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Also write the result line to this file
    #[arg(long, env = "RESULT_FILE", value_name = "FILE", global = true)]
    pub result_file: Option<PathBuf>,

    /// How to write logs to stderr: text on a terminal and JSON lines elsewhere, or always one of them
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = logs::Format::Auto, global = true)]
    pub log_format: logs::Format,

    /// Print shell completions and exit
    #[arg(long, value_enum, value_name = "SHELL", exclusive = true)]
    pub completions: Option<clap_complete::Shell>,
}

/// What a running task is given.
pub struct Task {
    pub name: &'static str,
    pub runtime: tokio::runtime::Runtime,
    started: Instant,
}

impl Task {
    /// Runs a future to its end on the task's runtime.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Ends the task when SIGTERM or SIGINT has arrived; called wherever work can stop.
    ///
    /// # Errors
    /// Retry: nothing is half-done, the same command continues.
    pub fn check_stop(&self) -> Result<()> {
        check_stop()
    }

    pub fn seconds(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0
    }

    /// Name and version, for commit records.
    pub fn program(&self) -> String {
        format!("{} {}", self.name, env!("CARGO_PKG_VERSION"))
    }
}

pub use stop::{keep_on_interrupt, take_interrupt};

/// Writes lines to stdout. Who has closed the pipe, as `head` does, wants no more of them, which is no error.
///
/// # Errors
/// Retry when stdout cannot be written, as on a full disk.
pub fn print(lines: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{lines}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::retry("cannot write to stdout").because(error))
        }
        _ => Ok(()),
    }
}

/// See [`Task::check_stop`]; for code that has no task at hand.
pub fn check_stop() -> Result<()> {
    if stop::requested() {
        return Err(Error::retry("stopped by a signal; nothing is half-done, run again to continue"));
    }
    Ok(())
}

/// A task's arguments.
pub trait TaskArgs: Parser {
    fn common(&self) -> &CommonArgs;

    /// Whether stdout carries data, so that the result line is the last line of stderr instead.
    fn data_on_stdout(&self) -> bool {
        false
    }

    /// Whether a person is asked line by line, so that Ctrl-C is not the end: see [`keep_on_interrupt`].
    fn is_interactive(&self) -> bool {
        false
    }
}

/// Runs a task from `main`: parses, logs, runs, prints the result line, returns the exit code.
///
/// The result is a JSON object to which `task`, `status` and `seconds` are added.
pub fn run<A: TaskArgs>(name: &'static str, body: impl FnOnce(&A, &Task) -> Result<Value>) -> ExitCode {
    let mut command = A::command();
    if let Some(shell) = completions_wanted() {
        clap_complete::generate(shell, &mut command, name, &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let matches = command.get_matches();
    let args = match A::from_arg_matches(&matches) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    let common = args.common().clone();
    let data_on_stdout = args.data_on_stdout();
    logs::start(name, common.log_format);
    let outcome = refuse_secrets_in_flags(&matches).and_then(|()| {
        stop::listen(args.is_interactive())?;
        #[cfg(feature = "failpoints")]
        let _scenario = fail::FailScenario::setup();
        let task = Task { name, runtime: runtime()?, started: Instant::now() };
        let done = body(&args, &task).map(|fields| (fields, task.seconds()));
        // What never gives its thread back, a query that was told to end say, does not keep the task from ending.
        task.runtime.shutdown_timeout(Duration::from_secs(1));
        done
    });
    report(name, &common, data_on_stdout, outcome)
}

fn completions_wanted() -> Option<clap_complete::Shell> {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--completions")?;
    arguments.get(at + 1)?.parse().ok()
}

/// A password in a flag is readable in the process list by every user of the machine.
fn refuse_secrets_in_flags(matches: &clap::ArgMatches) -> Result<()> {
    for id in matches.ids() {
        let from_flag = matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
        let Ok(Some(values)) = matches.try_get_raw(id.as_str()) else { continue };
        let flag = id.as_str().replace('_', "-");
        for value in values.filter(|_| from_flag).map(|value| value.to_string_lossy()) {
            if crate::source::url::has_password(&value) {
                return Err(Error::usage(format!(
                    "--{flag} holds a password that every user of this machine could read; put it into PGPASSWORD, or the whole URL into the environment"
                )));
            }
            if crate::source::url::has_token(&value) {
                return Err(Error::usage(format!(
                    "--{flag} holds a token that every user of this machine could read; put the whole URL into the environment"
                )));
            }
        }
    }
    match matches.subcommand() {
        Some((_, flags_of_subcommand)) => refuse_secrets_in_flags(flags_of_subcommand),
        None => Ok(()),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    built.map_err(|error| Error::retry("cannot start the I/O threads").because(error))
}

fn report(name: &str, common: &CommonArgs, data_on_stdout: bool, outcome: Result<(Value, f64)>) -> ExitCode {
    let (mut line, code) = match outcome {
        Ok((fields, seconds)) => {
            let mut line = json!({ "task": name, "status": "done" });
            merge(&mut line, fields);
            merge(&mut line, json!({ "seconds": seconds }));
            tracing::info!("{}", summary(&line));
            (line, 0)
        }
        Err(error) => {
            let code = error.kind().exit_code();
            tracing::error!(exit_code = code, "{error}");
            let mut line =
                json!({ "task": name, "status": "failed", "exit_code": code, "error": error.to_string() });
            merge(&mut line, error.facts().cloned().unwrap_or_default());
            (line, code)
        }
    };
    let mut code = code;
    if let Some(path) = &common.result_file
        && let Err(error) = std::fs::write(path, format!("{line}\n"))
    {
        tracing::error!("cannot write the result file {}: {error}", path.display());
        line["status"] = json!("failed");
        code = crate::Kind::Config.exit_code();
    }
    // stderr first: Airflow takes the last line of either stream for the result.
    let _ = std::io::Write::flush(&mut std::io::stderr());
    if data_on_stdout {
        eprintln!("{line}");
    } else {
        if let Err(error) = print(&line.to_string()) {
            eprintln!("{error}");
            return ExitCode::from(error.kind().exit_code());
        }
    }
    ExitCode::from(code)
}

/// The result as a sentence for people: its plain fields, large numbers grouped.
fn summary(line: &Value) -> String {
    let mut parts = Vec::new();
    for (key, value) in line.as_object().into_iter().flatten() {
        let text = match value {
            Value::Number(number) => grouped(number),
            Value::String(text) if text.parse::<f64>().is_ok() => grouped(text),
            Value::String(text) if !text.is_empty() => text.clone(),
            _ => continue,
        };
        if !matches!(key.as_str(), "task" | "status" | "snapshot" | "lsn" | "seconds") {
            parts.push(format!("{} {text}", key.replace('_', " ")));
        }
    }
    format!("done in {} s: {}", line["seconds"], parts.join(", "))
}

/// Groups the digits before the point by thousands: `-1234567.50` is `-1,234,567.50`.
pub fn grouped(number: impl ToString) -> String {
    let text = number.to_string();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

fn merge(line: &mut Value, fields: Value) {
    if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
        line.extend::<Map<String, Value>>(fields);
    }
}

/// See [`crate::failpoint!`]. The action `return` aborts the process as a crash would; `sleep(ms)`,
/// `pause` and the others are those of the `fail` crate.
pub fn failpoint(name: &str) {
    if is_failpoint_set(name) {
        std::process::abort();
    }
}

/// Whether a failpoint's action is `return`, for faults that are not the end of the process.
pub fn is_failpoint_set(name: &str) -> bool {
    #[cfg(feature = "failpoints")]
    return fail::eval(name, |_| ()).is_some();
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = name;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_for_people() {
        assert_eq!(grouped("-1234567.50"), "-1,234,567.50");
        assert_eq!(grouped("999"), "999");
        let line = json!({"task": "t", "rows": 12000, "amount_usd": "-9747747.93", "seconds": 1.5});
        assert_eq!(summary(&line), "done in 1.5 s: rows 12,000, amount usd -9,747,747.93");
    }
}
