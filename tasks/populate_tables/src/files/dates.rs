//! Dates of one form. Others, such as 05/01/2026 or 5.1.26, are read differently from one country to the next.

use chrono::{NaiveDate, NaiveDateTime};

const SHAPE: &str = "is not a date; write YYYY-MM-DD or YYYY-MM-DD HH:MM:SS, in UTC and 24 hours";
const OFFSET: &str = "has an offset from UTC; write the time in UTC, as in 2026-01-05 10:00:00";
const TOO_FINE: &str = "is finer than a microsecond; write at most 6 digits of a second's fraction";

/// Microseconds since 1970-01-01 UTC of `2026-01-05`, `2026-01-05 10:00:00`, with `T` instead of the space, with a
/// fraction of the second, and with `Z`, `+00` or `+00:00` at its end.
///
/// # Errors
/// What is wrong and what to write.
pub fn timestamp_us(text: &str) -> Result<i64, &'static str> {
    let bytes = text.as_bytes();
    if !matches(bytes.get(..10).unwrap_or_default(), "0000-00-00") {
        return Err(SHAPE);
    }
    let date = NaiveDate::parse_from_str(&text[..10], "%Y-%m-%d").map_err(|_| SHAPE)?;
    let midnight = date.and_hms_opt(0, 0, 0).ok_or(SHAPE)?;
    let Some((b' ' | b'T', time)) = bytes[10..].split_first() else {
        return if bytes.len() == 10 { Ok(microseconds(midnight)) } else { Err(SHAPE) };
    };
    let (clock, rest) = time.split_at_checked(8).ok_or(SHAPE)?;
    if !matches(clock, "00:00:00") {
        return Err(SHAPE);
    }
    let two = |at: usize| u32::from(clock[at] - b'0') * 10 + u32::from(clock[at + 1] - b'0');
    let moment = date.and_hms_opt(two(0), two(3), two(6)).ok_or(SHAPE)?;
    let (fraction_us, rest) = fraction(rest)?;
    match rest {
        b"" | b"Z" | b"+00" | b"+00:00" => Ok(microseconds(moment) + fraction_us),
        [b'+' | b'-', b'0'..=b'9', ..] => Err(OFFSET),
        _ => Err(SHAPE),
    }
}

fn microseconds(moment: NaiveDateTime) -> i64 {
    moment.and_utc().timestamp_micros()
}

/// Whether a text has digits where the form has zeros, and is the form elsewhere.
fn matches(text: &[u8], form: &str) -> bool {
    let fits = |(byte, form): (&u8, u8)| if form == b'0' { byte.is_ascii_digit() } else { *byte == form };
    text.len() == form.len() && text.iter().zip(form.bytes()).all(fits)
}

/// Microseconds of `.5`, when there is such a thing, and what follows it. Only zeros may be beyond the sixth digit.
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), &'static str> {
    let Some((b'.', rest)) = text.split_first() else { return Ok((0, text)) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err(SHAPE);
    }
    let (digits, rest) = rest.split_at(digits);
    if digits.iter().skip(6).any(|digit| *digit != b'0') {
        return Err(TOO_FINE);
    }
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    Ok((padded.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_form_is_read() {
        let second = |text| timestamp_us(text);
        assert_eq!(second("1970-01-02"), Ok(86_400_000_000));
        for text in [
            "1970-01-01 00:00:01",
            "1970-01-01T00:00:01Z",
            "1970-01-01 00:00:01+00",
            "1970-01-01T00:00:01.000000000+00:00",
        ] {
            assert_eq!(second(text), Ok(1_000_000), "{text:?}");
        }
        assert_eq!(second("1970-01-01 00:00:01.5"), Ok(1_500_000));
        assert_eq!(second("1970-01-01 00:00:00.000001"), Ok(1));
        assert_eq!(second("9999-12-31 23:59:59.999999"), Ok(253_402_300_799_999_999));
    }

    #[test]
    fn others_are_named() {
        for text in [
            "",
            "yesterday",
            "2023-02-29",
            "2026-1-5",
            "2026-01-5",
            "26-01-05",
            "05/01/2026",
            "01/05/26",
            "05.01.2026",
            "2026-01-05 10:00",
            "2026-01-05 1:00:00",
            "2026-01-05 10:00:00 PM",
            "2026-01-05 10:00:00PM",
            "2026-01-05  10:00:00",
            "2026-01-05 24:00:00",
            "2026-01-05 10:00:60",
            "2026-01-05 10:00:00.",
            "2026-01-05 10:00:00,5",
            "2026-01-05Z",
            "2026-01-05 10:00:00 UTC",
            "2026-01-05t10:00:00",
            "20260105",
            "+2026-01-05",
            "-2026-01-05",
            "12026-01-05",
            "2026-01-05é",
            "２０２６-01-05",
            "infinity",
            "1767571200",
            "2026-W01-1",
            "2026-005",
        ] {
            assert_eq!(timestamp_us(text), Err(SHAPE), "{text:?}");
        }
        for text in ["2026-01-05 10:00:00+02:00", "2026-01-05T10:00:00-0500", "2026-01-05 10:00:00.5+01"] {
            assert_eq!(timestamp_us(text), Err(OFFSET), "{text:?}");
        }
        assert_eq!(timestamp_us("2026-01-05 10:00:00.0000001"), Err(TOO_FINE));
    }

    proptest! {
        #[test]
        fn every_moment_comes_back(us in -62_135_596_800_000_000_i64..=253_402_300_799_999_999) {
            let moment = chrono::DateTime::from_timestamp_micros(us).unwrap();
            for form in ["%Y-%m-%d %H:%M:%S%.6f", "%Y-%m-%dT%H:%M:%S%.9fZ"] {
                prop_assert_eq!(timestamp_us(&moment.format(form).to_string()), Ok(us));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9T :.Z+-]{0,32}|.*") {
            let _ = timestamp_us(&text);
        }
    }
}
