//! Differences of one key, bounded in number, in words.

use std::fmt;

use crate::error::Escaped;
use crate::value::{Element, StreamId};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// The type.
    Type,
    /// A value, member, field, score or entry.
    Value,
    /// The number of elements.
    Count,
    /// The key's expiry.
    Expiry,
    /// The expiry of a field.
    FieldExpiry,
    /// A stream's last ID.
    LastId,
    /// A consumer group.
    Group,
    /// A consumer.
    Consumer,
    /// A pending entry.
    Pending,
    /// Key metadata (Redis 8.6).
    Metadata,
}

impl What {
    /// A stable name for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            What::Type => "type",
            What::Value => "value",
            What::Count => "count",
            What::Expiry => "expiry",
            What::FieldExpiry => "field-expiry",
            What::LastId => "last-id",
            What::Group => "group",
            What::Consumer => "consumer",
            What::Pending => "pending",
            What::Metadata => "metadata",
        }
    }
}

/// Where in the value. Names are cut after [`Spot::SHOWN`] bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spot {
    /// The key as a whole.
    Key,
    /// A byte of a string, from 0.
    Byte(u64),
    /// An element of a list or array, from 0.
    Index(u64),
    /// A member of a set or sorted set.
    Member(Vec<u8>),
    /// A field of a hash.
    Field(Vec<u8>),
    /// An entry of a stream.
    Entry(StreamId),
    /// A group of a stream.
    Group(Vec<u8>),
    /// A consumer of a group.
    Consumer(Vec<u8>, Vec<u8>),
    /// A pending entry of a group.
    Pending(Vec<u8>, StreamId),
}

impl Spot {
    /// Bytes of a name that are kept.
    pub const SHOWN: usize = 256;

    /// The beginning of an element.
    pub(super) fn name(element: &Element<'_>) -> Vec<u8> {
        let mut name = Vec::new();
        let mut pieces = element.pieces();
        while name.len() < Self::SHOWN
            && let Ok(Some(piece)) = pieces.next_piece()
        {
            let room = Self::SHOWN.saturating_sub(name.len());
            name.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        name
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Key => f.write_str("key"),
            Spot::Byte(at) => write!(f, "byte {at}"),
            Spot::Index(at) => write!(f, "element {at}"),
            Spot::Member(name) => write!(f, "member {}", Escaped(name)),
            Spot::Field(name) => write!(f, "field {}", Escaped(name)),
            Spot::Entry(id) => write!(f, "entry {id}"),
            Spot::Group(name) => write!(f, "group {}", Escaped(name)),
            Spot::Consumer(group, name) => {
                write!(f, "group {}, consumer {}", Escaped(group), Escaped(name))
            }
            Spot::Pending(group, id) => write!(f, "group {}, pending {id}", Escaped(group)),
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What differs.
    pub what: What,
    /// Where.
    pub at: Spot,
    /// How, in words. Values themselves are not shown.
    pub how: String,
}

/// The differences of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// The first ones, at most [`Differences::MOST`].
    pub listed: Vec<Difference>,
    /// There are more, or may be: the comparison of this value ended early.
    pub more: bool,
}

impl Differences {
    /// How many are listed; behind that many the rest of the value is not read.
    pub const MOST: usize = 16;

    /// Notes a difference.
    pub(super) fn add(&mut self, what: What, at: Spot, how: impl Into<String>) {
        if self.is_full() {
            self.more = true;
        } else {
            self.listed.push(Difference {
                what,
                at,
                how: how.into(),
            });
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.listed.len() >= Self::MOST
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }
}

/// The first three, in one line.
impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, one) in self.listed.iter().take(3).enumerate() {
            let between = if n > 0 { "; " } else { "" };
            match one.at {
                Spot::Key => write!(f, "{between}{}: {}", one.what.name(), one.how)?,
                _ => write!(f, "{between}{} of {}: {}", one.what.name(), one.at, one.how)?,
            }
        }
        match self.more || self.listed.len() > 3 {
            true => f.write_str("; and more"),
            false => Ok(()),
        }
    }
}
