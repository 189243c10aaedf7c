//! What a walk finds wrong with a value, and who decides what becomes of it.
//!
//! There is one walker for all purposes. Where it meets a broken rule it tells its [`Findings`]: [`Strict`] makes the first
//! fault an error, [`Lenient`] reads on over everything that still can be read, and a list of one's own collects them.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Place, Result};

/// A rule of the format, or a habit of servers, that a value breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// The bytes cannot be read on: an entry leaves its blob, a length byte is none, compressed bytes lie.
    Unreadable,
    /// Bytes are left behind the end of the value or of a blob.
    TrailingBytes,
    /// The total length in a packed encoding's header is not the blob's.
    PackedTotal,
    /// The element count in a packed encoding's header is not the number of elements.
    PackedCount,
    /// A listpack entry's length written behind it is not its length.
    ListpackBacklen,
    /// A ziplist entry's note of the length of the entry before it is wrong.
    ZiplistPrevlen,
    /// A ziplist's offset of its last entry is wrong.
    ZiplistTail,
    /// A field without a value, a member without a score, or a triple with a part missing.
    OddItems,
    /// The integers of an intset are not strictly ascending.
    IntsetOrder,
    /// A score that is no number.
    ScoreNan,
    /// A collection without elements.
    Empty,
    /// The same member or field twice.
    Duplicate,
    /// The same field twice in a small hash, in an encoding that some servers take as it is.
    DuplicateInSmallHash,
    /// A packed sorted set whose elements are not in the order of their scores.
    ZsetOrder,
    /// A quicklist node that holds nothing.
    EmptyNode,
    /// A quicklist-2 node with an unknown container, or a plain one that is empty.
    QuicklistContainer,
    /// A field's expiry that no server takes.
    FieldExpiry,
    /// Fields with expiries that do not stand in the order of these.
    FieldExpiryOrder,
    /// A reference to a hash template, or its fields, that does not fit.
    Template,
    /// A stream node's key that is no ID of 16 bytes.
    StreamNodeKey,
    /// Stream IDs that do not rise.
    StreamOrder,
    /// A stream node whose counts of live and deleted entries are not what it holds.
    StreamNodeCount,
    /// A stream entry whose item count behind it is wrong.
    StreamItemCount,
    /// A stream whose length is not the number of its live entries.
    StreamLength,
    /// A stream whose last ID is smaller than one of its entries.
    StreamLastId,
    /// A stream that says it ever had fewer entries than it has now.
    StreamEntriesAdded,
    /// A group that says it has read more entries than were ever added.
    StreamEntriesRead,
    /// A group or consumer name that stands twice.
    StreamDuplicateName,
    /// Pending IDs that do not rise.
    PendingOrder,
    /// A pending ID in a consumer (or among the nacked ones) that its group does not have.
    PendingUnknown,
    /// A pending ID that two consumers own.
    PendingOwnedTwice,
    /// A pending ID of a group that no consumer owns.
    PendingOrphan,
    /// Settings of idempotent producers out of their range.
    IdmpRange,
    /// An array whose indices do not rise, or an element of an unknown kind.
    ArrayItem,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The format allows it, but servers of some versions refuse it or stumble over it.
    Warning,
    /// The value breaks the format.
    Fault,
}

impl Rule {
    /// Every rule, in the order of their documentation.
    pub const ALL: &'static [Rule] = &[
        Rule::Unreadable,
        Rule::TrailingBytes,
        Rule::PackedTotal,
        Rule::PackedCount,
        Rule::ListpackBacklen,
        Rule::ZiplistPrevlen,
        Rule::ZiplistTail,
        Rule::OddItems,
        Rule::IntsetOrder,
        Rule::ScoreNan,
        Rule::Empty,
        Rule::Duplicate,
        Rule::DuplicateInSmallHash,
        Rule::ZsetOrder,
        Rule::EmptyNode,
        Rule::QuicklistContainer,
        Rule::FieldExpiry,
        Rule::FieldExpiryOrder,
        Rule::Template,
        Rule::StreamNodeKey,
        Rule::StreamOrder,
        Rule::StreamNodeCount,
        Rule::StreamItemCount,
        Rule::StreamLength,
        Rule::StreamLastId,
        Rule::StreamEntriesAdded,
        Rule::StreamEntriesRead,
        Rule::StreamDuplicateName,
        Rule::PendingOrder,
        Rule::PendingUnknown,
        Rule::PendingOwnedTwice,
        Rule::PendingOrphan,
        Rule::IdmpRange,
        Rule::ArrayItem,
    ];

    /// The rule's name in reports: stable, lower case, with hyphens.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Rule::Unreadable => "unreadable",
            Rule::TrailingBytes => "trailing-bytes",
            Rule::PackedTotal => "packed-total",
            Rule::PackedCount => "packed-count",
            Rule::ListpackBacklen => "listpack-backlen",
            Rule::ZiplistPrevlen => "ziplist-prevlen",
            Rule::ZiplistTail => "ziplist-tail",
            Rule::OddItems => "odd-items",
            Rule::IntsetOrder => "intset-order",
            Rule::ScoreNan => "score-nan",
            Rule::Empty => "empty",
            Rule::Duplicate => "duplicate",
            Rule::DuplicateInSmallHash => "duplicate-in-small-hash",
            Rule::ZsetOrder => "zset-order",
            Rule::EmptyNode => "empty-node",
            Rule::QuicklistContainer => "quicklist-container",
            Rule::FieldExpiry => "field-expiry",
            Rule::FieldExpiryOrder => "field-expiry-order",
            Rule::Template => "template",
            Rule::StreamNodeKey => "stream-node-key",
            Rule::StreamOrder => "stream-order",
            Rule::StreamNodeCount => "stream-node-count",
            Rule::StreamItemCount => "stream-item-count",
            Rule::StreamLength => "stream-length",
            Rule::StreamLastId => "stream-last-id",
            Rule::StreamEntriesAdded => "stream-entries-added",
            Rule::StreamEntriesRead => "stream-entries-read",
            Rule::StreamDuplicateName => "stream-duplicate-name",
            Rule::PendingOrder => "pending-order",
            Rule::PendingUnknown => "pending-unknown",
            Rule::PendingOwnedTwice => "pending-owned-twice",
            Rule::PendingOrphan => "pending-orphan",
            Rule::IdmpRange => "idmp-range",
            Rule::ArrayItem => "array-item",
        }
    }

    /// For a warning: what servers of which versions do with such a value, as measured. `None`: the rule is the format's
    /// own, and breaking it is a fault.
    #[must_use]
    pub fn servers(self) -> Option<&'static str> {
        match self {
            Rule::DuplicateInSmallHash => Some(
                "redis up to 8.10 and valkey up to 9.0 keep both pairs of a small hash, valkey 9.1 refuses the key",
            ),
            Rule::ZsetOrder => {
                Some("every server takes it and then answers ranges in the wrong order")
            }
            Rule::EmptyNode => Some(
                "redis from 6.2 and valkey skip the node, redis 3.2 to 6.0 keep it, empty as it is",
            ),
            Rule::FieldExpiryOrder => Some(
                "redis 8.0 to 8.10 take it, and fields that stand behind one that expires later stay when their time is over",
            ),
            Rule::StreamLength => Some(
                "redis 8.10 and valkey 9.1 refuse the key, redis up to 8.6 and valkey up to 9.0 trust the wrong length",
            ),
            Rule::StreamLastId => {
                Some("every server takes it and may then give out IDs below existing ones")
            }
            Rule::StreamEntriesAdded | Rule::StreamEntriesRead => Some(
                "redis 8.10 refuses the key, redis up to 8.6 and valkey up to 9.1 take it and answer wrong numbers",
            ),
            Rule::PendingOrphan => Some(
                "valkey 9.1 refuses the key, redis up to 8.6 and valkey up to 9.0 take it and die when the entry is acknowledged",
            ),
            _ => None,
        }
    }

    /// Fault or warning.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self.servers() {
            Some(_) => Severity::Warning,
            None => Severity::Fault,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// Where: offset in the input, and the byte inside a packed blob where it lies in one.
    pub place: Place,
    /// What was expected and what was found, in one line.
    pub what: Cow<'static, str>,
}

impl Finding {
    /// Fault or warning.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.rule.severity()
    }

    /// The finding as an error.
    #[must_use]
    pub fn into_error(self) -> Error {
        Error::corrupt(self.place, self.what)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        match self.rule.servers() {
            Some(servers) => write!(f, " ({servers})"),
            None => Ok(()),
        }
    }
}

/// Who hears of broken rules during a walk.
pub trait Findings {
    /// A rule is broken, and the walk can go on.
    ///
    /// # Errors
    /// Whatever stops the walk.
    fn found(&mut self, finding: Finding) -> Result<()>;

    /// The same rule is broken `times` times, of which this is the last one that is told by itself.
    ///
    /// # Errors
    /// By default, what [`Findings::found`] answers, who hears of it once.
    fn found_times(&mut self, finding: Finding, times: u64) -> Result<()> {
        let _ = times;
        self.found(finding)
    }

    /// A part of the value (a blob, a compressed string) cannot be read. The walk goes on behind that part if this answers
    /// `Ok`.
    ///
    /// # Errors
    /// By default, the error itself.
    fn unreadable(&mut self, error: Error) -> Result<()> {
        Err(error)
    }
}

impl<F: Findings + ?Sized> Findings for &mut F {
    fn found(&mut self, finding: Finding) -> Result<()> {
        (**self).found(finding)
    }

    fn found_times(&mut self, finding: Finding, times: u64) -> Result<()> {
        (**self).found_times(finding, times)
    }

    fn unreadable(&mut self, error: Error) -> Result<()> {
        (**self).unreadable(error)
    }
}

/// The first fault is an error; warnings pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct Strict;

impl Findings for Strict {
    #[cold]
    fn found(&mut self, finding: Finding) -> Result<()> {
        match finding.severity() {
            Severity::Fault => Err(finding.into_error()),
            Severity::Warning => Ok(()),
        }
    }
}

/// For plain commands: as [`Strict`], and a field that stands twice in a small hash is an error, too, since commands would keep
/// one of the two. A collection without elements has no commands, which is no fault.
#[derive(Debug, Clone, Copy, Default)]
pub struct Exact;

impl Findings for Exact {
    #[cold]
    fn found(&mut self, finding: Finding) -> Result<()> {
        match finding.rule {
            Rule::Empty => Ok(()),
            Rule::DuplicateInSmallHash => Err(Error::unsupported(
                finding.place,
                format!("{}: commands would keep one of the two", finding.what),
            )),
            _ => Strict.found(finding),
        }
    }
}

/// Reads on over every broken rule; only what cannot be read is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lenient;

impl Findings for Lenient {
    #[cold]
    fn found(&mut self, _: Finding) -> Result<()> {
        Ok(())
    }
}

/// Collects everything. Meant for single values: a hostile value can break as many rules as it has elements.
impl Findings for Vec<Finding> {
    #[cold]
    fn found(&mut self, finding: Finding) -> Result<()> {
        self.push(finding);
        Ok(())
    }

    #[cold]
    fn unreadable(&mut self, error: Error) -> Result<()> {
        self.push(unreadable(error)?);
        Ok(())
    }
}

/// The finding that damage makes; an error that is none (a full disk, an interrupt) stays an error.
///
/// # Errors
/// The error itself, unless it is `Corrupt` and has a place.
pub fn unreadable(error: Error) -> Result<Finding> {
    match (error.kind(), error.place()) {
        (crate::ErrorKind::Corrupt, Some(place)) => Ok(Finding {
            rule: Rule::Unreadable,
            place,
            what: error.what().to_owned().into(),
        }),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_rule_is_listed() {
        let mut names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Rule::ALL.len());
        for pair in Rule::ALL.windows(2) {
            assert!(pair[0] < pair[1], "the order of the declaration");
        }
        assert_eq!(Rule::ALL.len(), Rule::ArrayItem as usize + 1);
    }

    #[test]
    fn strict_stops_at_faults_only() {
        let finding = |rule| Finding {
            rule,
            place: Place::at(5),
            what: "x".into(),
        };
        assert!(Strict.found(finding(Rule::ZsetOrder)).is_ok());
        let error = Strict.found(finding(Rule::PackedCount)).unwrap_err();
        assert_eq!(error.to_string(), "offset 5 (0x5): x");
        assert!(Lenient.found(finding(Rule::PackedCount)).is_ok());
        assert!(Exact.found(finding(Rule::Empty)).is_ok());
        assert!(Exact.found(finding(Rule::ZsetOrder)).is_ok());
        assert!(Exact.found(finding(Rule::Duplicate)).is_err());
        let twice = Exact.found(finding(Rule::DuplicateInSmallHash));
        assert_eq!(twice.unwrap_err().kind(), crate::ErrorKind::Unsupported);
        assert!(
            finding(Rule::ZsetOrder)
                .to_string()
                .contains("every server takes it")
        );
    }
}
