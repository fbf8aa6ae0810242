//! The book's pages of flags and variables, written from the tasks' own definitions so that they can't differ.

use clap::{Arg, Command};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Page by file name, of the tasks given.
pub fn pages(tasks: &[(&str, Command)]) -> BTreeMap<String, String> {
    let mut pages: BTreeMap<String, String> =
        tasks.iter().map(|(name, command)| (format!("{name}.md"), page(name, command))).collect();
    pages.insert("variables.md".to_owned(), variables(tasks));
    pages
}

/// One task: what it does, its flags, its examples, and the same of its subcommands.
fn page(name: &str, command: &Command) -> String {
    let mut text = format!("# {name}\n");
    section(&mut text, name, command);
    text
}

fn section(text: &mut String, name: &str, command: &Command) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(text, "\n{}\n", prose(&about));
    let flags: Vec<&Arg> = command.get_arguments().filter(|arg| !arg.is_hide_set()).collect();
    if !flags.is_empty() {
        text.push_str("| flag | variable | default | meaning |\n|---|---|---|---|\n");
        for flag in &flags {
            let (variable, default) = (code(variable(flag)), default(flag));
            let _ = writeln!(text, "| `{}` | {variable} | {default} | {} |", usage(flag), meaning(flag));
        }
        text.push('\n');
    }
    for flag in flags.iter().filter(|flag| is_layout(&help(flag))) {
        let _ = writeln!(text, "`{}`:\n```text\n{}\n```\n", usage(flag), help(flag));
    }
    if let Some(examples) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = writeln!(text, "```text\n{}\n```", examples.to_string().trim_end());
    }
    for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("{name} {}", subcommand.get_name());
        let _ = writeln!(text, "\n## {name}");
        section(text, &name, subcommand);
    }
    // A section ends with one line break, whatever came last in it.
    text.truncate(text.trim_end().len());
    text.push('\n');
}

/// Every environment variable and the tasks that read it.
fn variables(tasks: &[(&str, Command)]) -> String {
    let mut found: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for (task, command) in tasks {
        collect(command, task, &mut found);
    }
    let mut text = "# Environment variables\n\n\
        Every flag of a task can be given as an environment variable; the flag wins where both are given. A flag\n\
        without a value, such as `--dry-run`, is switched on by `true`.\n\n\
        | variable | flag | tasks |\n|---|---|---|\n"
        .to_owned();
    for (variable, flags) in &found {
        for (flag, tasks) in flags {
            let links: Vec<String> = tasks.iter().map(|task| format!("[{task}]({task}.md)")).collect();
            let _ = writeln!(text, "| `{variable}` | `{flag}` | {} |", links.join(", "));
        }
    }
    text
}

fn collect(command: &Command, task: &str, found: &mut BTreeMap<String, BTreeMap<String, Vec<String>>>) {
    for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()) {
        if let Some(variable) = variable(flag) {
            let tasks = found.entry(variable).or_default().entry(usage(flag)).or_default();
            if tasks.last().is_none_or(|last| last != task) {
                tasks.push(task.to_owned());
            }
        }
    }
    command.get_subcommands().for_each(|subcommand| collect(subcommand, task, found));
}

/// `-q, --quiet` or `--lake <URL>` or `<FILE>`.
fn usage(flag: &Arg) -> String {
    let value =
        if flag.get_action().takes_values() { format!("<{}>", value_name(flag)) } else { String::new() };
    let short = flag.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    match flag.get_long() {
        Some(long) => format!("{short}--{long} {value}").trim_end().to_owned(),
        None => value,
    }
}

fn value_name(flag: &Arg) -> String {
    match flag.get_value_names() {
        Some([name, ..]) => name.to_string(),
        _ => flag.get_id().as_str().to_uppercase(),
    }
}

fn variable(flag: &Arg) -> Option<String> {
    flag.get_env().map(|name| name.to_string_lossy().into_owned())
}

fn default(flag: &Arg) -> String {
    if flag.is_required_set() {
        return "required".to_owned();
    }
    let values = flag.get_default_values();
    if values.is_empty() || flag.is_hide_default_value_set() || !flag.get_action().takes_values() {
        return String::new();
    }
    let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
    code(Some(values.join(",")))
}

fn code(text: Option<String>) -> String {
    text.map(|text| format!("`{text}`")).unwrap_or_default()
}

fn help(flag: &Arg) -> String {
    flag.get_long_help().or(flag.get_help()).map(ToString::to_string).unwrap_or_default()
}

/// Whether a help text is laid out in columns, which a cell of a table would destroy.
fn is_layout(help: &str) -> bool {
    help.contains("\n  ")
}

fn meaning(flag: &Arg) -> String {
    let whole = help(flag);
    let help = if is_layout(&whole) { whole.lines().next().unwrap_or_default() } else { &whole };
    let mut text = prose(help).replace("\n\n", "<br>").replace('\n', " ");
    // A flag without a value has the values true and false, of its variable.
    let values = if flag.get_action().takes_values() { flag.get_possible_values() } else { Vec::new() };
    for value in values.iter().filter(|value| !value.is_hide_set()) {
        let help = value.get_help().map(|help| format!(": {}", prose(&help.to_string()))).unwrap_or_default();
        let _ = write!(text, "<br>`{}`{help}", value.get_name());
    }
    text
}

/// Text in which Markdown finds nothing to format.
fn prose(text: &str) -> String {
    text.replace('*', "\\*").replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_flag_variable_default_values_and_subcommands() {
        let level =
            Arg::new("level").long("level").env("LEVEL").default_value("low").value_parser(["low", "high"]);
        let file = Arg::new("file").required(true).value_name("FILE").help("one | two *");
        let hidden = Arg::new("secret").long("secret").hide(true);
        let list = Command::new("list")
            .about("Lists")
            .arg(Arg::new("all").long("all").short('a').action(clap::ArgAction::SetTrue));
        let command = Command::new("t").about("Does").arg(level).arg(hidden).subcommand(list.arg(file));
        let text = page("t", &command);
        for line in [
            "# t\n\nDoes\n",
            "| `--level <LEVEL>` | `LEVEL` | `low` | <br>`low`<br>`high` |\n",
            "\n## t list\n\nLists\n",
            "| `-a, --all` |  |  |  |\n",
            "| `<FILE>` |  | required | one \\| two \\* |\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in {text}");
        }
        assert!(!text.contains("secret"));
        assert!(variables(&[("t", command)]).contains("| `LEVEL` | `--level <LEVEL>` | [t](t.md) |\n"));
    }

    #[test]
    fn help_in_columns_is_printed_below_the_table() {
        let with = Arg::new("with").long("with").help("short").long_help("More\n\n  a=b.csv   CSV");
        let text = page("t", &Command::new("t").arg(with));
        assert!(
            text.contains("| More |\n\n`--with <WITH>`:\n```text\nMore\n\n  a=b.csv   CSV\n```\n"),
            "{text}"
        );
    }
}
