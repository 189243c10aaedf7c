//! Expiries: kept, removed, moved by one distance, and held between bounds.
//!
//! All of it is arithmetic on absolute times, milliseconds of Unix time. What "now" is, and how far everything moves, is fixed
//! once for a load ([`TtlRules::at`]), so that the same key gets the same time in every run of it, and in a comparison.

use std::fmt;
use std::str::FromStr;

use crate::time::Span;

/// By how much expiries move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shift {
    /// By as much as lies between the taking of the dump and the start of the load: what was left is left again.
    FromSnapshot,
    /// By so many milliseconds.
    By(i64),
}

/// What a user wants to become of expiries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TtlRules {
    strip: bool,
    shift: Option<Shift>,
    /// What is left at the load's instant is at least, and at most, so many milliseconds.
    min_ms: Option<i64>,
    max_ms: Option<i64>,
}

impl TtlRules {
    /// How expiries move, if they do.
    #[must_use]
    pub fn shift(&self) -> Option<Shift> {
        self.shift
    }

    /// Whether what is left is held between bounds, which count from the load's instant.
    #[must_use]
    pub fn bounds(&self) -> bool {
        self.min_ms.is_some() || self.max_ms.is_some()
    }

    /// Whether all expiries stay as they are.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        *self == Self::default()
    }

    /// The rules at the load's instant `now_ms`; `from_snapshot_ms` is how far [`Shift::FromSnapshot`] moves.
    #[must_use]
    pub fn at(&self, now_ms: i64, from_snapshot_ms: i64) -> Expiries {
        Expiries {
            strip: self.strip,
            shift_ms: match self.shift {
                None => 0,
                Some(Shift::By(ms)) => ms,
                Some(Shift::FromSnapshot) => from_snapshot_ms,
            },
            least: self.min_ms.map(|ms| now_ms.saturating_add(ms)),
            most: self.max_ms.map(|ms| now_ms.saturating_add(ms)),
        }
    }
}

/// `keep`, `strip`, or a list of `shift`, `shift=SPAN`, `min=SPAN` and `max=SPAN`, with commas.
impl FromStr for TtlRules {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rules = Self::default();
        match text {
            "keep" => return Ok(rules),
            "strip" => {
                rules.strip = true;
                return Ok(rules);
            }
            _ => {}
        }
        for rule in text.split(',') {
            let (name, value) = match rule.split_once('=') {
                Some((name, value)) => (name, Some(value.parse::<Span>()?.0)),
                None => (rule, None),
            };
            let twice = match (name, value) {
                ("shift", None) => rules.shift.replace(Shift::FromSnapshot).is_some(),
                ("shift", Some(ms)) => rules.shift.replace(Shift::By(ms)).is_some(),
                ("min" | "max", Some(..=0)) => {
                    return Err(format!("{name} is a length of time, more than none"));
                }
                ("min", Some(ms)) => rules.min_ms.replace(ms).is_some(),
                ("max", Some(ms)) => rules.max_ms.replace(ms).is_some(),
                ("keep" | "strip", None) => {
                    return Err(format!("{name} stands alone"));
                }
                _ => {
                    return Err(
                        "write keep, strip, or some of shift, shift=7d, min=1h, max=30d with commas between"
                            .to_owned(),
                    );
                }
            };
            if twice {
                return Err(format!("{name} stands twice"));
            }
        }
        match (rules.min_ms, rules.max_ms) {
            (Some(min), Some(max)) if min > max => {
                Err("min is more than max: nothing lies between them".to_owned())
            }
            _ => Ok(rules),
        }
    }
}

/// In the form that is read back.
impl fmt::Display for TtlRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rules = Vec::new();
        if self.strip {
            rules.push("strip".to_owned());
        }
        rules.extend(self.shift.map(|shift| match shift {
            Shift::FromSnapshot => "shift".to_owned(),
            Shift::By(ms) => format!("shift={ms}ms"),
        }));
        rules.extend(self.min_ms.map(|ms| format!("min={ms}ms")));
        rules.extend(self.max_ms.map(|ms| format!("max={ms}ms")));
        match rules.is_empty() {
            true => f.write_str("keep"),
            false => f.write_str(&rules.join(",")),
        }
    }
}

/// What becomes of each expiry of one load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expiries {
    strip: bool,
    shift_ms: i64,
    least: Option<i64>,
    most: Option<i64>,
}

impl Expiries {
    /// Whether all expiries stay as they are.
    #[must_use]
    #[inline]
    pub fn is_keep(self) -> bool {
        !self.strip && self.shift_ms == 0 && self.least.is_none() && self.most.is_none()
    }

    /// Whether no expiry is left.
    #[must_use]
    pub fn strips(self) -> bool {
        self.strip
    }

    /// What becomes of the expiry `at`; `None`: it has none any more. What has no expiry gets none by this.
    #[must_use]
    #[inline]
    pub fn arrives(self, at: i64) -> Option<i64> {
        if self.is_keep() {
            return Some(at);
        }
        self.changed(at)
    }

    fn changed(self, at: i64) -> Option<i64> {
        if self.strip {
            return None;
        }
        let mut to = at.saturating_add(self.shift_ms);
        if let Some(least) = self.least {
            to = to.max(least);
        }
        if let Some(most) = self.most {
            to = to.min(most);
        }
        // Times before 1970 are past like all others, and −1 means none where servers write it.
        Some(if to == at { at } else { to.max(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn arrives(rules: &str, at: i64) -> Option<i64> {
        let rules: TtlRules = rules.parse().unwrap();
        rules.at(NOW, 5000).arrives(at)
    }

    #[test]
    fn rules_are_read_and_written_back() {
        for (text, shown) in [
            ("keep", "keep"),
            ("strip", "strip"),
            ("shift", "shift"),
            ("shift=-1h", "shift=-3600000ms"),
            ("min=1h", "min=3600000ms"),
            ("max=1d,shift", "shift,max=86400000ms"),
            ("min=1s,max=1s", "min=1000ms,max=1000ms"),
            ("shift=0,min=250ms", "shift=0ms,min=250ms"),
        ] {
            let rules: TtlRules = text.parse().unwrap();
            assert_eq!(rules.to_string(), shown);
            assert_eq!(shown.parse(), Ok(rules));
        }
        for bad in [
            "",
            "kept",
            "keep,shift",
            "strip,max=1h",
            "shift,shift=1h",
            "min",
            "max=",
            "min=0",
            "max=-1h",
            "min=2h,max=1h",
            "min=1h,min=1h",
            "shift=9999999999999w",
            "shift, max=1h",
            "keep=1h",
        ] {
            assert!(bad.parse::<TtlRules>().is_err(), "{bad}");
        }
    }

    #[test]
    fn expiries_are_kept_removed_moved_and_bounded() {
        for at in [i64::MIN, -2, 0, 1, NOW, i64::MAX] {
            assert_eq!(arrives("keep", at), Some(at));
            assert_eq!(arrives("strip", at), None);
            assert_eq!(arrives("shift=0", at), Some(at));
        }
        assert_eq!(arrives("shift", NOW), Some(NOW + 5000));
        assert_eq!(arrives("shift=-1s", NOW), Some(NOW - 1000));
        assert_eq!(arrives("min=1s", NOW - 9), Some(NOW + 1000));
        assert_eq!(arrives("min=1s", NOW + 2000), Some(NOW + 2000));
        assert_eq!(arrives("max=1s", NOW + 2000), Some(NOW + 1000));
        assert_eq!(arrives("max=1s", NOW - 9), Some(NOW - 9), "past stays past");
        assert_eq!(
            arrives("shift,min=6s,max=7s", NOW),
            Some(NOW + 6000),
            "moved first, then bounded"
        );
        assert_eq!(arrives("shift,min=6s,max=7s", NOW + 1500), Some(NOW + 6500));
    }

    #[test]
    fn nothing_overflows_and_no_time_becomes_none() {
        let far = |shift: &str, at| {
            let rules: TtlRules = shift.parse().unwrap();
            [i64::MIN, -1, 0, i64::MAX].map(|now| rules.at(now, 0).arrives(at))
        };
        let most = format!("shift={}ms", i64::MAX);
        let least = format!("shift=-{}ms", i64::MAX);
        assert_eq!(far(&most, i64::MAX), [Some(i64::MAX); 4]);
        assert_eq!(far(&most, 7), [Some(i64::MAX); 4]);
        assert_eq!(far(&least, i64::MIN), [Some(i64::MIN); 4]);
        assert_eq!(far(&least, 7), [Some(1); 4]);
        assert_eq!(far("shift=-8ms", 7), [Some(1); 4], "never −1");
        let bound = format!("max={}ms", i64::MAX);
        assert_eq!(far(&bound, i64::MAX)[3], Some(i64::MAX));
        let rules: TtlRules = "shift".parse().unwrap();
        assert_eq!(rules.at(0, i64::MIN).arrives(5), Some(1));
        assert_eq!(rules.at(0, i64::MAX).arrives(5), Some(i64::MAX));
    }
}
