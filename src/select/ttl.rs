//! Selection by expiry: `any`, `none`, or a time from A until before B.

use std::str::FromStr;

use crate::time::{Span, Timestamp};

/// Which expiries are meant, as typed. Times may be relative to the run's instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TtlFilter {
    /// Keys with an expiry, past or to come.
    Any,
    /// Keys without.
    None,
    /// Keys whose expiry is not before `from` and is before `to`.
    Between {
        /// From here on; open where `None`.
        from: Option<Moment>,
        /// Until before here; open where `None`.
        to: Option<Moment>,
    },
}

/// A time as typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// So long after the run's instant.
    Relative(Span),
    /// That instant.
    Absolute(Timestamp),
}

impl Moment {
    /// Milliseconds of Unix time, for a run at `now`.
    #[must_use]
    pub fn resolve(self, now: Timestamp) -> i64 {
        match self {
            Moment::Relative(span) => now.0.saturating_add(span.0),
            Moment::Absolute(at) => at.0,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Moment::Relative)
            .or_else(|_: String| text.parse().map(Moment::Absolute))
            .map_err(|_: String| {
                format!("{text:?} is neither a duration (1h30m, 7d) nor a time (2026-11-22T02:00:00Z, or seconds of Unix time)")
            })
    }
}

impl FromStr for TtlFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bound = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some),
        };
        match text {
            "any" => Ok(TtlFilter::Any),
            "none" => Ok(TtlFilter::None),
            range => match range.split_once("..") {
                Some((from, to)) => Ok(TtlFilter::Between {
                    from: bound(from)?,
                    to: bound(to)?,
                }),
                None => Err("write `any`, `none`, or A..B (`..0` is past, `1h..7d` is within the week, not within the hour)".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms() {
        let now = Timestamp(1_000_000_000_000);
        let ends = |text: &str| match text.parse() {
            Ok(TtlFilter::Between { from, to }) => {
                (from.map(|m| m.resolve(now)), to.map(|m| m.resolve(now)))
            }
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!("any".parse(), Ok(TtlFilter::Any));
        assert_eq!("none".parse(), Ok(TtlFilter::None));
        assert_eq!(ends("..0"), (None, Some(now.0)));
        assert_eq!(
            ends("1h..7d"),
            (Some(now.0 + 3_600_000), Some(now.0 + 604_800_000))
        );
        assert_eq!(ends("-5m.."), (Some(now.0 - 300_000), None));
        assert_eq!(
            ends("2026-11-22T02:00:00.5Z..1795312801"),
            (Some(1_795_312_800_500), Some(1_795_312_801_000))
        );
        assert_eq!(ends(".."), (None, None));
        for bad in ["", "some", "1h", "x..1h", "1h..x"] {
            assert!(bad.parse::<TtlFilter>().is_err(), "{bad}");
        }
    }
}
