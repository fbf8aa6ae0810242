//! Flags that several tasks share: the lake and the window of months.

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::month::Window;
use chrono::{DateTime, Datelike, NaiveDate};
use clap::Args;

/// Most months of one window.
pub const MONTHS_MAX: u32 = 1200;
/// Smallest memory budget that leaves room for one month.
const BUDGET_MIN: u64 = 32 << 20;

/// Where the lake is.
#[derive(Debug, Clone, Args)]
pub struct LakeArgs {
    /// Lake: s3://bucket/prefix (standard AWS_* environment variables) or file:///absolute/folder
    #[arg(long, env = "LAKE_URL", value_name = "URL")]
    pub lake: String,
}

impl LakeArgs {
    pub fn open(&self) -> Result<Lake> {
        Lake::open(&self.lake)
    }
}

/// Which months: the last N that end with the month of a date. Never "now".
#[derive(Debug, Clone, Args)]
pub struct WindowArgs {
    /// The window ends with the month of this date, that month included
    #[arg(long, env = "AS_OF", value_parser = parse_date, value_name = "YYYY-MM-DD")]
    pub as_of: NaiveDate,

    /// Number of calendar months, 1 to 1200
    #[arg(long, env = "MONTHS", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=i64::from(MONTHS_MAX)), value_name = "N")]
    pub months: u32,
}

impl WindowArgs {
    /// The months as a window.
    ///
    /// # Errors
    /// Usage when it would begin before the year 1, which the databases have no dates for.
    pub fn window(&self) -> Result<Window> {
        // Months from January of the year 1 to the last one.
        let available = self.as_of.year() * 12 + self.as_of.month0() as i32 - 11;
        if i64::from(self.months) > i64::from(available) {
            let (months, as_of) = (self.months, self.as_of);
            return Err(Error::usage(format!(
                "{months} months that end with {as_of} begin before the year 1; ask for fewer --months"
            )));
        }
        Ok(Window::ending(self.as_of, self.months))
    }
}

/// Airflow's `{{ ds }}` and ISO timestamps both name a day; so does `cronjob:NAME-29404560`.
pub fn parse_date(text: &str) -> Result<NaiveDate> {
    if let Some(job) = text.strip_prefix("cronjob:") {
        return scheduled_day(job);
    }
    let day = text.get(..10).unwrap_or(text);
    NaiveDate::parse_from_str(day, "%Y-%m-%d")
        .ok()
        .filter(|date| (1..=9999).contains(&date.year()))
        .ok_or_else(|| Error::usage(format!("{text:?} is not a date of the calendar; use YYYY-MM-DD")))
}

/// The UTC day that a job of a Kubernetes CronJob was scheduled for, however late it runs: the controller ends
/// its name with the scheduled time in minutes since 1970. No other place tells a pod which run it is.
fn scheduled_day(job: &str) -> Result<NaiveDate> {
    job.rsplit_once('-')
        .filter(|(_, minutes)| minutes.len() == 8 && minutes.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|(_, minutes)| minutes.parse::<u32>().ok())
        .and_then(|minutes| DateTime::from_timestamp(i64::from(minutes) * 60, 0))
        .map(|time| time.date_naive())
        .ok_or_else(|| {
            Error::usage(format!(
                "{job:?} is not a job that a CronJob has scheduled; for one of your own set AS_OF to YYYY-MM-DD"
            ))
        })
}

/// `256MiB`, `1GiB`, `300MB` or plain bytes.
pub fn parse_budget(text: &str) -> std::result::Result<u64, String> {
    let units = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("B", 1),
    ];
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
        .unwrap_or((text, 1_u64));
    let bytes = number.trim().parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    match bytes {
        Some(bytes) if bytes >= BUDGET_MIN => Ok(bytes),
        Some(_) => Err("at least 32MiB are needed".to_owned()),
        None => Err("use a size such as 256MiB or 1GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_they_say() {
        assert_eq!(parse_budget("256MiB"), Ok(256 << 20));
        assert_eq!(parse_budget("300MB"), Ok(300_000_000));
        assert!(parse_budget("1MiB").is_err());
        assert!(parse_budget("many").is_err());
    }

    #[test]
    fn a_window_begins_in_the_year_1_at_the_earliest() {
        let window = |as_of: &str, months| WindowArgs { as_of: parse_date(as_of).unwrap(), months }.window();
        assert_eq!(window("0001-12-31", 12).unwrap().first.to_string(), "0001-01-01");
        let error = window("0001-12-31", 13).unwrap_err();
        assert!(error.to_string().starts_with("13 months that end with 0001-12-31 begin before"), "{error}");
    }

    #[test]
    fn only_days_of_the_calendar_are_dates() {
        assert!(parse_date("2024-02-29").is_ok());
        assert!(parse_date("2024-02-29T00:00:00+00:00").is_ok());
        for text in ["2023-02-29", "2024-13-01", "yesterday", "", "294276-01-01"] {
            assert!(parse_date(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_cron_job_says_its_day_by_its_name() {
        let day = |text: &str| parse_date(text).map(|date| date.to_string());
        assert_eq!(day("cronjob:invoice-batch-29404560").unwrap(), "2025-11-27");
        assert_eq!(day("cronjob:invoice-batch-29404799").unwrap(), "2025-11-27");
        assert_eq!(day("cronjob:invoice-batch-29404800").unwrap(), "2025-11-28");
        for text in
            ["cronjob:", "cronjob:invoice-batch", "cronjob:invoice-batch-1", "cronjob:by-hand-+2940456"]
        {
            assert!(day(text).is_err(), "{text:?}");
        }
    }
}
