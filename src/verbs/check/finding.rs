//! What a check finds, as data.

use std::borrow::Cow;
use std::fmt;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::error::{EntryContext, Error, Escaped, Place};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is allowed to be like that, but some servers refuse it or stumble over it, or data is not what it seems.
    Warning,
    /// Something is damaged, but what follows can still be read.
    Fault,
    /// The file cannot be read on from here.
    Fatal,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Fault => "fault",
            Severity::Fatal => "fatal",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The rule: a stable name for machines.
    pub code: Cow<'static, str>,
    /// In words; for a warning with the versions of servers that mind.
    pub what: Cow<'static, str>,
    /// What to do next, where that is known.
    pub hint: Option<String>,
    /// Where; of several alike, the first one.
    pub place: Option<Place>,
    /// The key, if one is concerned; of several alike, the first one.
    pub entry: Option<EntryContext>,
    /// How often it was found. Faults are told one by one, but for those of one value above [`Finding::MOST_OF_ONE_VALUE`]:
    /// the finding behind them counts the rest.
    pub times: u64,
}

impl Finding {
    /// How many faults of one value are told one by one.
    pub const MOST_OF_ONE_VALUE: u64 = 100;

    /// The code of a finding that counts the other faults of a value.
    const REST: &'static str = "more-in-value";

    /// So many more faults of one value, which are not told one by one.
    #[must_use]
    pub(super) fn rest(times: u64) -> Self {
        let what = format!("and {times} more in this value");
        Self {
            times,
            ..Self::new(Severity::Fault, Self::REST, what)
        }
    }

    /// A finding without place or key.
    pub fn new(
        severity: Severity,
        code: impl Into<Cow<'static, str>>,
        what: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            severity,
            code: code.into(),
            what: what.into(),
            hint: None,
            place: None,
            entry: None,
            times: 1,
        }
    }

    /// From an error of the reader.
    #[must_use]
    pub fn from_error(severity: Severity, code: &'static str, error: &Error) -> Self {
        let mut what = error.what().to_owned();
        if let Some(reading) = error.reading() {
            what.push_str("; while reading ");
            what.push_str(reading);
        }
        Self {
            hint: error.hint().map(str::to_owned),
            place: error.place(),
            entry: error.entry().cloned(),
            ..Self::new(severity, code, what)
        }
    }

    /// Says where.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.place = Some(Place::at(offset));
        self
    }

    /// Says which key.
    #[must_use]
    pub fn of(mut self, entry: EntryContext) -> Self {
        self.entry = Some(entry);
        self
    }
}

/// One line, without the severity.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.what)?;
        if let Some(entry) = &self.entry {
            write!(f, "; {entry}")?;
        }
        if self.times > 1 && self.code != Self::REST {
            write!(f, "; and {} more like it", self.times.saturating_sub(1))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Absent parts are left out. `key` is escaped as in texts, without the quotes.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("severity", &self.severity)?;
        map.serialize_entry("code", &self.code)?;
        map.serialize_entry("what", &self.what)?;
        if let Some(hint) = &self.hint {
            map.serialize_entry("hint", hint)?;
        }
        if let Some(place) = &self.place {
            map.serialize_entry("offset", &place.offset)?;
            if let Some((blob, byte)) = place.inside {
                map.serialize_entry("blob", blob)?;
                map.serialize_entry("byte", &byte)?;
            }
        }
        if let Some(entry) = &self.entry {
            let quoted = Escaped(&entry.key).to_string();
            let bare = quoted
                .strip_prefix('"')
                .and_then(|q| q.strip_suffix('"'))
                .unwrap_or(&quoted);
            map.serialize_entry("db", &entry.db)?;
            map.serialize_entry("key", bare)?;
            map.serialize_entry("type", &entry.type_name)?;
        }
        map.serialize_entry("times", &self.times)?;
        map.end()
    }
}

/// Warnings by code: the first of each, and how many there were.
#[derive(Debug, Clone, Default)]
pub(super) struct Warnings {
    list: Vec<Finding>,
}

impl Warnings {
    /// More different warnings than this are not told apart (module names of a hostile file).
    const MOST: usize = 256;

    /// Counts a warning of this code; `first` is asked for the first one only.
    pub(super) fn add(&mut self, code: &str, first: impl FnOnce() -> Finding) {
        self.add_times(code, 1, first);
    }

    /// The same for so many of them.
    pub(super) fn add_times(&mut self, code: &str, times: u64, first: impl FnOnce() -> Finding) {
        if let Some(known) = self.list.iter_mut().find(|known| known.code == code) {
            known.times = known.times.saturating_add(times);
        } else if self.list.len() < Self::MOST {
            self.list.push(Finding {
                code: code.to_owned().into(),
                times,
                ..first()
            });
        }
    }

    /// Adds those of another thread. Of two first ones the one that stands first in the file is kept.
    pub(super) fn merge(&mut self, other: Warnings) {
        for more in other.list {
            match self.list.iter_mut().find(|known| known.code == more.code) {
                Some(known) => {
                    let times = known.times.saturating_add(more.times);
                    let offset = |finding: &Finding| finding.place.map(|place| place.offset);
                    if offset(&more) < offset(known) {
                        *known = more;
                    }
                    known.times = times;
                }
                None => self.list.push(more),
            }
        }
    }

    pub(super) fn into_list(self) -> Vec<Finding> {
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_one_object() {
        let mut finding = Finding::new(Severity::Warning, "zset-order", "out of order")
            .at(17)
            .of(EntryContext {
                db: 2,
                key: b"a\"\xff".to_vec(),
                type_name: "zset-listpack".into(),
            });
        finding.times = 3;
        finding.place = Some(Place::inside(17, "listpack", 5));
        assert_eq!(
            finding.to_string(),
            "offset 17 (0x11), byte 5 of listpack: out of order; zset-listpack \"a\\\"\\xff\" in db 2; and 2 more like it"
        );
        assert_eq!(
            serde_json::to_string(&finding).unwrap(),
            r#"{"severity":"warning","code":"zset-order","what":"out of order","offset":17,"blob":"listpack","byte":5,"db":2,"key":"a\\\"\\xff","type":"zset-listpack","times":3}"#
        );
    }

    #[test]
    fn the_rest_of_a_value_is_one_line_and_one_object() {
        let rest = Finding::rest(17);
        assert_eq!(rest.to_string(), "and 17 more in this value");
        assert_eq!(
            serde_json::to_string(&rest).unwrap(),
            r#"{"severity":"fault","code":"more-in-value","what":"and 17 more in this value","times":17}"#
        );
    }

    #[test]
    fn warnings_of_one_code_are_counted() {
        let mut warnings = Warnings::default();
        for offset in 0..1000u64 {
            warnings.add("often", || {
                Finding::new(Severity::Warning, "", "again").at(offset)
            });
            warnings.add(&format!("module-{offset}"), || {
                Finding::new(Severity::Warning, "", "module")
            });
        }
        let list = warnings.into_list();
        assert_eq!(list.len(), Warnings::MOST);
        assert_eq!((list[0].times, list[0].place), (1000, Some(Place::at(0))));
        assert_eq!(list[0].code, "often");
    }
}
