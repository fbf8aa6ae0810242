//! When invoices are issued: mostly on working days during office hours.

use chrono::{Datelike, NaiveDate};
use invoices::month::DAY_US;

const HOUR_US: u64 = 3_600_000_000;
/// Weight of each hour of a day, in UTC.
const HOUR_WEIGHTS: [u64; 24] =
    [1, 1, 1, 1, 1, 1, 2, 4, 10, 16, 18, 18, 14, 16, 18, 17, 14, 8, 5, 4, 3, 2, 1, 1];
/// Weight of each day of a week, Monday first.
const DAY_WEIGHTS: [u64; 7] = [20, 20, 20, 20, 20, 6, 3];

/// Days in a row, as a line of weighted microseconds: an hour with twice the weight is twice as long
/// on it. Evenly spread points of that line are invoices at realistic times.
pub struct Calendar {
    first_us: i64,
    /// Weight of a day's microsecond, see [`DAY_WEIGHTS`].
    weights: Vec<u64>,
    /// Length of the line up to and including each day.
    cumulative: Vec<u64>,
}

impl Calendar {
    /// The days from `first` to `last`, both included.
    pub fn new(first: NaiveDate, last: NaiveDate) -> Self {
        let days = first.iter_days().take_while(|day| *day <= last);
        let weights: Vec<u64> =
            days.map(|day| DAY_WEIGHTS[day.weekday().num_days_from_monday() as usize]).collect();
        let day_length = HOUR_WEIGHTS.iter().sum::<u64>() * HOUR_US;
        let cumulative = weights.iter().scan(0, |sum, weight| {
            *sum += weight * day_length;
            Some(*sum)
        });
        let first_us = first.signed_duration_since(NaiveDate::default()).num_days() * DAY_US;
        Self { first_us, cumulative: cumulative.collect(), weights }
    }

    /// Length of the whole line.
    pub fn length(&self) -> u64 {
        self.cumulative.last().copied().unwrap_or(0)
    }

    /// Microseconds since 1970 of a point of the line; a later point is never an earlier time.
    pub fn timestamp_us(&self, point: u64) -> i64 {
        let day = self.cumulative.partition_point(|&end| end <= point).min(self.weights.len() - 1);
        let start = if day == 0 { 0 } else { self.cumulative[day - 1] };
        let mut rest = (point - start) / self.weights[day];
        let mut time_us = 0;
        for weight in HOUR_WEIGHTS {
            if rest < weight * HOUR_US {
                time_us += rest / weight;
                break;
            }
            rest -= weight * HOUR_US;
            time_us += HOUR_US;
        }
        self.first_us + day as i64 * DAY_US + time_us as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Timelike};

    fn day(text: &str) -> NaiveDate {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap()
    }

    /// 2024-02-26 is a Monday.
    fn week() -> Calendar {
        Calendar::new(day("2024-02-26"), day("2024-03-03"))
    }

    #[test]
    fn the_line_begins_with_the_first_and_ends_with_the_last_microsecond() {
        let calendar = week();
        let text = |point| DateTime::from_timestamp_micros(calendar.timestamp_us(point)).unwrap().to_string();
        assert_eq!(text(0), "2024-02-26 00:00:00 UTC");
        assert_eq!(text(calendar.length() - 1), "2024-03-03 23:59:59.999999 UTC");
    }

    #[test]
    fn times_grow_along_the_line() {
        let calendar = Calendar::new(day("1969-12-30"), day("1970-01-03"));
        let times: Vec<i64> =
            (0..10_000).map(|i| calendar.timestamp_us(calendar.length() / 10_000 * i)).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn most_invoices_fall_into_office_hours_of_working_days() {
        let calendar = week();
        let points = (0..10_000).map(|i| calendar.length() / 10_000 * i);
        let office = points.filter(|&point| {
            let time = DateTime::from_timestamp_micros(calendar.timestamp_us(point)).unwrap();
            time.weekday().num_days_from_monday() < 5 && (8..18).contains(&time.hour())
        });
        let share = office.count() as f64 / 10_000.0;
        assert!((0.75..0.85).contains(&share), "{share}");
    }
}
