//! Lengths of time in microseconds.

pub const SECOND_US: i64 = 1_000_000;
pub const HOUR_US: i64 = 3_600 * SECOND_US;
pub const DAY_US: i64 = 24 * HOUR_US;
/// The three windows of counts and sums.
pub const WINDOWS_US: [i64; 3] = [HOUR_US, DAY_US, 30 * DAY_US];
/// How long a circle may take.
pub const CIRCLE_US: i64 = 7 * DAY_US;
/// How far behind the newest invoice of its business a late one still sees all of its windows.
pub const LATE_US: i64 = 7 * DAY_US;
/// How long single invoices are kept: the longest window, and what late ones need.
pub const KEPT_US: i64 = 30 * DAY_US + LATE_US;
/// How far after its commit an invoice may be dated and still count at its own date.
pub const FUTURE_US: i64 = DAY_US;
