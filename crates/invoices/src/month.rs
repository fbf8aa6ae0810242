//! Calendar months in UTC as half-open intervals, and the window of the last n of them.

use chrono::{DateTime, Datelike, NaiveDate};
use std::fmt;
use std::str::FromStr;

/// Microseconds of one day; timestamps are counted in microseconds since 1970-01-01 UTC.
pub const DAY_US: i64 = 86_400_000_000;

/// One calendar month, from its first instant (included) to the next month's (excluded).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month {
    /// Months since year 0, January.
    index: i32,
}

impl Month {
    pub fn of_date(date: NaiveDate) -> Self {
        Self { index: date.year() * 12 + date.month0() as i32 }
    }

    /// The month that a timestamp lies in; none for a timestamp outside chrono's calendar.
    pub fn of_timestamp_us(timestamp_us: i64) -> Option<Self> {
        DateTime::from_timestamp_micros(timestamp_us).map(|t| Self::of_date(t.date_naive()))
    }

    pub fn first_day(self) -> NaiveDate {
        let (year, month0) = (self.index.div_euclid(12), self.index.rem_euclid(12));
        NaiveDate::from_ymd_opt(year, month0 as u32 + 1, 1).unwrap_or_default()
    }

    /// First microsecond of the month.
    pub fn start_us(self) -> i64 {
        self.first_day().signed_duration_since(NaiveDate::default()).num_days() * DAY_US
    }

    /// First microsecond after the month.
    pub fn end_us(self) -> i64 {
        self.plus(1).start_us()
    }

    pub fn plus(self, months: i32) -> Self {
        Self { index: self.index + months }
    }
}

impl fmt::Display for Month {
    /// The partition value: the month's first day, `2026-01-01`. The month after 9999-12 bounds it in SQL, where
    /// a year has no plus.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.first_day().format("%Y-%m-%d").to_string();
        f.write_str(day.trim_start_matches('+'))
    }
}

impl FromStr for Month {
    type Err = chrono::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").map(Self::of_date)
    }
}

impl serde::Serialize for Month {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Month {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Consecutive months, oldest first; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub first: Month,
    pub last: Month,
}

impl Window {
    /// The `months` calendar months that end with the month of `as_of`, that month included.
    pub fn ending(as_of: NaiveDate, months: u32) -> Self {
        let last = Month::of_date(as_of);
        Self { first: last.plus(1 - months.max(1) as i32), last }
    }

    pub fn months(self) -> impl DoubleEndedIterator<Item = Month> + Clone {
        (self.first.index..=self.last.index).map(|index| Month { index })
    }

    pub fn len(self) -> usize {
        (self.last.index - self.first.index + 1) as usize
    }

    pub fn is_empty(self) -> bool {
        false
    }

    pub fn contains(self, month: Month) -> bool {
        self.first <= month && month <= self.last
    }

    /// Position of the month in the window, oldest is 0.
    pub fn position(self, month: Month) -> Option<usize> {
        self.contains(month).then(|| (month.index - self.first.index) as usize)
    }

    /// The month starts and the end of the last month: `len + 1` timestamps in microseconds.
    pub fn bounds_us(self) -> Vec<i64> {
        self.months().map(Month::start_us).chain([self.last.end_us()]).collect()
    }
}

/// Consecutive months as pairs of the first and the last.
pub fn runs(months: &[Month]) -> Vec<(Month, Month)> {
    let mut runs: Vec<(Month, Month)> = Vec::new();
    for &month in months {
        match runs.last_mut() {
            Some((_, last)) if last.plus(1) == month => *last = month,
            _ => runs.push((month, month)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn month(text: &str) -> Month {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_ends_with_the_month_of_its_date() {
        let date = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
        let window = Window::ending(date, 3);
        let months: Vec<String> = window.months().map(|m| m.to_string()).collect();
        assert_eq!(months, ["2023-12-01", "2024-01-01", "2024-02-01"]);
        assert_eq!(window.len(), 3);
        assert_eq!(window.position(month("2024-02-10")), Some(2));
        assert_eq!(window.position(month("2024-03-01")), None);
    }

    #[test]
    fn consecutive_months_are_one_run() {
        let months = ["2025-11-01", "2025-12-01", "2026-02-01"].map(month);
        assert_eq!(runs(&months), [(months[0], months[1]), (months[2], months[2])]);
    }

    #[test]
    fn february_has_the_days_it_has() {
        assert_eq!(month("2024-02-01").end_us() - month("2024-02-01").start_us(), 29 * DAY_US);
        assert_eq!(month("2100-02-01").end_us() - month("2100-02-01").start_us(), 28 * DAY_US);
    }

    #[test]
    fn the_month_after_the_last_one_is_written_as_databases_read_it() {
        assert_eq!(month("9999-12-01").plus(1).to_string(), "10000-01-01");
        assert_eq!(month("0001-01-01").to_string(), "0001-01-01");
    }

    #[test]
    fn the_last_microsecond_belongs_to_the_month_and_the_next_does_not() {
        let december = month("2025-12-01");
        assert_eq!(Month::of_timestamp_us(december.end_us() - 1), Some(december));
        assert_eq!(Month::of_timestamp_us(december.end_us()), Some(december.plus(1)));
        assert_eq!(Month::of_timestamp_us(-1), Some(month("1969-12-01")));
    }

    proptest! {
        #[test]
        fn every_timestamp_lies_in_its_month(us in -60_000_000_000_000_000_i64..200_000_000_000_000_000) {
            let month = Month::of_timestamp_us(us).unwrap();
            prop_assert!(month.start_us() <= us && us < month.end_us());
        }
    }
}
