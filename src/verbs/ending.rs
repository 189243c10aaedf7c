//! What stands at the end of a file that a verb has read: whether a checksum held, and what follows it unread.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::input::{Tail, classify_tail};
use crate::snapshot::{ChecksumState, End};
use crate::survey::Survey;
use crate::units::ByteCount;

use super::{tail_name, tail_words};

/// The end of a file, after it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// A checksum was there, and the bytes have it.
    pub checksum_verified: bool,
    /// Bytes behind the end, which were not read.
    pub trailing_bytes: u64,
    /// What they are.
    #[serde(serialize_with = "as_name")]
    pub trailing: Tail,
}

fn as_name<S: Serializer>(tail: &Tail, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(tail_name(*tail))
}

impl Default for Ending {
    /// Of a file that was not read to its end.
    fn default() -> Self {
        Self {
            checksum_verified: false,
            trailing_bytes: 0,
            trailing: Tail::None,
        }
    }
}

impl Ending {
    /// What the reader found.
    #[must_use]
    pub fn of(end: &End<'_>) -> Self {
        Self {
            checksum_verified: matches!(end.checksum, ChecksumState::Verified(_)),
            trailing_bytes: end.trailing.len() as u64,
            trailing: classify_tail(end.trailing),
        }
    }

    /// The same of a dump that was surveyed: `data` are its bytes.
    #[must_use]
    pub fn surveyed(survey: &Survey, data: &[u8]) -> Self {
        let trailing = usize::try_from(survey.trailing).unwrap_or(usize::MAX);
        let begin = data.len().saturating_sub(trailing);
        Self {
            checksum_verified: survey.is_verified(),
            trailing_bytes: survey.trailing,
            trailing: classify_tail(data.get(begin..).unwrap_or_default()),
        }
    }

    /// What a person should know of it, one line each.
    pub fn notes(self) -> impl Iterator<Item = String> {
        let no_checksum = (!self.checksum_verified).then(|| {
            "no checksum: nothing shows that its bytes are those that were written".to_owned()
        });
        let trailing = (self.trailing_bytes > 0).then(|| self.to_string());
        no_checksum.into_iter().chain(trailing)
    }
}

/// What stands behind the end.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} behind the end: {}; not read",
            ByteCount(self.trailing_bytes),
            tail_words(self.trailing)
        )
    }
}
