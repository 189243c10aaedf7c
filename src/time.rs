//! Instants and durations as people write them. L0: knows nothing of the crate and never asks the clock.
//!
//! A run has one stated instant, which is passed in: all that depends on "now" (expiries, ages) is then the same for every
//! key, and tests are deterministic. Dates are those of the proleptic Gregorian calendar in UTC, without leap seconds, as
//! Unix time counts.

use std::fmt;
use std::str::FromStr;

const MS_PER_DAY: i64 = 86_400_000;

/// An instant: milliseconds of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// From seconds of Unix time; what does not fit becomes the nearest instant that does.
    #[must_use]
    pub fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// How far `then` lies before this instant, in words: `9 h ago`, or `in 9 h` where it lies after it.
    #[must_use]
    pub fn age_of(self, then: Timestamp) -> String {
        let ms = i128::from(self.0) - i128::from(then.0);
        if ms < 0 {
            format!("in {}", rough(ms.unsigned_abs()))
        } else {
            format!("{} ago", rough(ms.unsigned_abs()))
        }
    }

    /// As RFC 3339 has it, with milliseconds where there are any: `2026-11-22T02:00:00Z`. A year of more than four digits
    /// is written with them all.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (date, ms) = self.date();
        let mut text = format!(
            "{}T{:02}:{:02}:{:02}",
            date,
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1000 % 60
        );
        if ms % 1000 != 0 {
            text.push_str(&format!(".{:03}", ms % 1000));
        }
        text.push('Z');
        text
    }

    /// The day, and the milliseconds in it.
    fn date(self) -> (Date, i64) {
        (
            Date::of_day(self.0.div_euclid(MS_PER_DAY)),
            self.0.rem_euclid(MS_PER_DAY),
        )
    }
}

/// To the minute: `2026-11-22 02:00 UTC`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, ms) = self.date();
        write!(
            f,
            "{date} {:02}:{:02} UTC",
            ms / 3_600_000,
            ms / 60_000 % 60
        )
    }
}

/// Reads `2026-11-22`, `2026-11-22T02:00:00Z` (RFC 3339; a blank instead of the `T`, a missing second, a fraction and a
/// zone offset are taken), or a number: seconds of Unix time, milliseconds from twelve digits on.
impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
            let number: i64 = text.parse().map_err(|_| bad_time(text))?;
            return Ok(if digits.len() >= 12 {
                Self(number)
            } else {
                Self::from_secs(number)
            });
        }
        parse_rfc3339(text.as_bytes())
            .map(Self)
            .ok_or_else(|| bad_time(text))
    }
}

fn bad_time(text: &str) -> String {
    format!("{text:?} is no time: write it as 2026-11-22T02:00:00Z or as seconds of Unix time")
}

/// A day of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The date of a day counted from 1970-01-01. The year begins in March here, so that the leap day is its last.
    fn of_day(day: i64) -> Self {
        let day = day + 719_468;
        let era = day.div_euclid(146_097);
        let day_of_era = day.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
        }
    }

    /// Days from 1970-01-01, for a date with a year of four digits.
    fn to_day(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let shifted_month = (self.month + 9) % 12;
        let day_of_year = (153 * shifted_month + 2) / 5 + self.day - 1;
        let year_of_era = year.rem_euclid(400);
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        year.div_euclid(400) * 146_097 + day_of_era - 719_468
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Milliseconds of Unix time.
fn parse_rfc3339(text: &[u8]) -> Option<i64> {
    let (year, rest) = number(text, 4)?;
    let (month, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let (day, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let date = Date { year, month, day };
    // Whatever day is written must be the one that the calendar gives back.
    if !(1..=12).contains(&month) || Date::of_day(date.to_day()) != date {
        return None;
    }
    let midnight = date.to_day() * MS_PER_DAY;
    let Some(rest) = rest
        .strip_prefix(b"T")
        .or_else(|| rest.strip_prefix(b"t"))
        .or_else(|| rest.strip_prefix(b" "))
    else {
        return rest.is_empty().then_some(midnight);
    };
    let (hour, rest) = number(rest, 2)?;
    let (minute, mut rest) = number(rest.strip_prefix(b":")?, 2)?;
    let mut seconds = 0;
    let mut ms = 0;
    if let Some(more) = rest.strip_prefix(b":") {
        (seconds, rest) = number(more, 2)?;
        if let Some(more) = rest.strip_prefix(b".") {
            let digits = more.iter().take_while(|b| b.is_ascii_digit()).count();
            let (fraction, behind) = more.split_at(digits);
            // Finer than milliseconds is cut off.
            for place in 0..3 {
                ms = ms * 10 + fraction.get(place).map_or(0, |b| i64::from(b - b'0'));
            }
            if digits == 0 {
                return None;
            }
            rest = behind;
        }
    }
    // A leap second is taken for the one before it.
    if hour > 23 || minute > 59 || seconds > 60 {
        return None;
    }
    let offset_minutes = match rest {
        b"" | b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), rest @ ..] => {
            let (hours, rest) = number(rest, 2)?;
            let (minutes, rest) = number(rest.strip_prefix(b":").unwrap_or(rest), 2)?;
            if !rest.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 60 + minutes;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    Some(
        midnight + (hour * 3600 + minute * 60 + seconds.min(59)) * 1000 + ms
            - offset_minutes * 60_000,
    )
}

/// Exactly `digits` decimal digits, and what follows them.
fn number(text: &[u8], digits: usize) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_at_checked(digits)?;
    let mut value = 0;
    for byte in head {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some((value, rest))
}

/// A length of time in milliseconds, possibly negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub i64);

/// Reads `90s`, `1h30m`, `7d`, `-5m`, `250ms`, `0`. Units: `ms`, `s`, `m`, `h`, `d`, `w`.
impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_span(text).map(Self).ok_or_else(|| {
            format!(
                "{text:?} is no duration: write it as 90s, 1h30m or 7d (units ms, s, m, h, d, w)"
            )
        })
    }
}

fn parse_span(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut sum: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let value: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => MS_PER_DAY,
            "w" => 7 * MS_PER_DAY,
            _ => return None,
        };
        rest = &rest[letters..];
        sum = sum.checked_add(value.checked_mul(unit)?)?;
    }
    (!text.is_empty() && text != "-").then_some(sum * sign)
}

/// One number and one unit, rounded down: `40 s`, `12 min`, `9 h`, `3 d`, `2 y`.
fn rough(ms: u128) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        172_800..63_072_000 => format!("{} d", seconds / 86_400),
        _ => format!("{} y", seconds / 31_557_600),
    }
}

/// One number and one unit for a length of time: `40 s`, `12 min`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        f.write_str(&rough(u128::from(self.0.unsigned_abs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written_back() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59Z", -1000),
            ("2000-02-29T12:34:56Z", 951_827_696_000),
            ("2026-11-22T02:00:00Z", 1_795_312_800_000),
            ("2026-11-22T02:00:00.125Z", 1_795_312_800_125),
            ("0001-01-01T00:00:00Z", -62_135_596_800_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(ms)), "{text}");
            assert_eq!(Timestamp(ms).rfc3339(), text);
        }
        for (text, ms) in [
            ("2026-11-22", 1_795_305_600_000),
            ("2026-11-22 02:00Z", 1_795_312_800_000),
            ("2026-11-22t02:00:00.1259z", 1_795_312_800_125),
            ("2026-11-22T03:30:00+01:30", 1_795_312_800_000),
            ("2026-11-21T21:00:00-0500", 1_795_312_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            ("1795312800", 1_795_312_800_000),
            ("1795312800125", 1_795_312_800_125),
            ("-1", -1000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(ms)), "{text}");
        }
        for bad in [
            "",
            "-",
            "x",
            "2026",
            "2026-13-01x",
            "2026-00-10",
            "2026-02-29",
            "2026-11-31",
            "2026-11-22T24:00Z",
            "2026-11-22T02",
            "2026-11-22T02:60Z",
            "2026-11-22T02:00:61Z",
            "2026-11-22T02:00:00.Z",
            "2026-11-22T02:00:00+1",
            "2026-11-22T02:00:00Q",
            "99999999999999999999",
            "+5",
        ] {
            if bad != "2026" {
                assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn every_day_of_eight_centuries_goes_there_and_back() {
        let mut before = None;
        for day in -150_000..150_000 {
            let date = Date::of_day(day);
            assert_eq!(date.to_day(), day);
            let key = (date.year, date.month, date.day);
            assert!(before < Some(key), "days rise");
            before = Some(key);
        }
        // The extremes of the type have some text.
        for ms in [i64::MIN, i64::MAX] {
            assert!(!Timestamp(ms).to_string().is_empty() && !Timestamp(ms).rfc3339().is_empty());
        }
    }

    #[test]
    fn ages_and_spans_in_words() {
        let now = Timestamp(1_795_312_800_000);
        for (seconds, text) in [
            (0, "0 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (9 * 3600 + 59, "9 h ago"),
            (3 * 86_400, "3 d ago"),
            (900 * 86_400, "2 y ago"),
            (-60, "in 60 s"),
        ] {
            assert_eq!(now.age_of(Timestamp(now.0 - seconds * 1000)), text);
        }
        assert_eq!(now.to_string(), "2026-11-22 02:00 UTC");
        assert!(
            Timestamp(i64::MIN)
                .age_of(Timestamp(i64::MAX))
                .starts_with("in ")
        );
        for (text, ms) in [
            ("0", 0),
            ("90s", 90_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("-5m", -300_000),
            ("2w1d", 15 * MS_PER_DAY),
        ] {
            assert_eq!(text.parse(), Ok(Span(ms)), "{text}");
        }
        for bad in ["", "-", "5", "5x", "h", "1h30", "9999999999999w", "1 h"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        assert_eq!(Span(-90_000).to_string(), "-90 s");
    }
}
