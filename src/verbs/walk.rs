//! Values that are walked (read to their ends, without output) before they are sent or written: a checksum proves that bytes are
//! unchanged, not that they are harmless.

use crate::error::{Error, ErrorKind, Result};
use crate::select::Selection;
use crate::snapshot::{Record, Snapshot};
use crate::value::Decoder;

use super::{Ticker, Watch};

/// What the user says of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trust {
    /// Send values unwalked where they should be walked first.
    pub trust_input: bool,
    /// The dump comes from somebody who may mean harm.
    pub untrusted: bool,
    /// Where values are walked and some are damaged: refuse these by name, instead of everything.
    pub skip_damaged: bool,
}

impl Trust {
    /// Why values are to be walked, if they are. `verified`: a checksum was there and held. `fragile`: the server that gets
    /// them can end on a bad one.
    #[must_use]
    pub fn why_walk(self, verified: bool, fragile: bool) -> Option<&'static str> {
        if self.trust_input {
            None
        } else if self.untrusted {
            Some("the input is not trusted")
        } else if !verified {
            Some("the dump has no checksum, so nothing else shows that its values are whole")
        } else if fragile {
            Some("the destination can end on a bad payload")
        } else {
            None
        }
    }
}

/// Walks every selected value. Gives the number of damaged ones, and what is wrong with the first.
///
/// # Errors
/// Those of the reader, of the selection and of `watch`; what cannot be read for another reason than damage.
pub(super) fn damaged(
    snapshot: &Snapshot<'_>,
    selection: &mut Selection,
    decoder: &mut Decoder,
    watch: &mut Watch<'_>,
) -> Result<Option<(u64, Error)>> {
    let mut records = snapshot.unverified_records();
    let (mut ticker, mut scratch) = (Ticker::default(), Vec::new());
    let (mut damaged, mut first) = (0u64, None);
    while let Some(record) = records.next_record()? {
        let Record::Entry(entry) = record else {
            continue;
        };
        ticker.tick(watch, entry.end(), records.entries_seen())?;
        if !selection.admits(&entry, &mut scratch)? {
            continue;
        }
        if let Err(error) = decoder.validate(&entry) {
            if error.kind() != ErrorKind::Corrupt {
                return Err(error);
            }
            damaged = damaged.saturating_add(1);
            first.get_or_insert(error);
        }
    }
    Ok(first.map(|first| (damaged, first)))
}
