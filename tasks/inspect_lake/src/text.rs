//! Numbers, sizes and times as people read them. Pure.

use chrono::{DateTime, SecondsFormat};
pub use invoices::task::grouped;

/// `512 B`, `1.5 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut amount = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if amount < 1023.95 {
            break;
        }
        amount /= 1024.0;
        unit = next;
    }
    format!("{amount:.1} {unit}")
}

/// `just now`, `3 min`, `5 h`, `12 d`.
pub fn age(seconds: i64) -> String {
    match seconds {
        // Clocks of two machines may differ a little.
        ..60 => "just now".to_owned(),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", grouped(seconds / 86_400)),
    }
}

/// A write-ahead log position as Postgres writes it: `16/B374D848`.
pub fn lsn(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xFFFF_FFFF)
}

/// RFC 3339 in UTC, to the second; empty for a time outside the calendar.
pub fn time(timestamp_us: i64) -> String {
    DateTime::from_timestamp_micros(timestamp_us)
        .map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// `2026-01-31 09:05` in UTC, for tables.
pub fn minute(timestamp_us: i64) -> String {
    DateTime::from_timestamp_micros(timestamp_us)
        .map_or_else(String::new, |time| time.format("%Y-%m-%d %H:%M").to_string())
}

/// `1 month`, `3 months`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped_before_the_point_only() {
        for (number, text) in
            [("0", "0"), ("999", "999"), ("1000", "1,000"), ("-123456.7890", "-123,456.7890")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn sizes_never_show_1024_of_a_unit() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size((1 << 20) - 1), "1.0 MiB");
        assert_eq!(size(u64::MAX), "16384.0 PiB");
    }

    #[test]
    fn ages_are_rounded_down_and_never_negative() {
        assert_eq!(age(-5), "just now");
        assert_eq!(age(3599), "59 min");
        assert_eq!(age(86_400 * 1500), "1,500 d");
    }

    #[test]
    fn positions_are_written_as_postgres_does() {
        assert_eq!(lsn(0x16_B374_D848), "16/B374D848");
    }
}
