//! Hashes: plain (type 4), Redis' with field expiries (24), Valkey's with field expiries (22).

use super::{Terms, Writing};
use crate::error::Result;
use crate::snapshot::Entry;
use crate::value::{Decoder, Hash, Value};

/// What a first walk finds of field expiries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiries {
    /// Whether any field has one.
    pub(super) any: bool,
    /// Whether any field has one that is not past at the run's instant.
    pub(super) any_ahead: bool,
    /// The smallest, milliseconds of Unix time; 0 where there is none.
    pub(super) smallest: i64,
}

/// Walks a hash for the expiries of its fields.
pub(super) fn field_expiries(
    decoder: &mut Decoder,
    entry: &Entry<'_>,
    terms: &Terms,
) -> Result<Expiries> {
    let mut found = Expiries {
        any: false,
        any_ahead: false,
        smallest: 0,
    };
    let Value::Hash(mut hash) = decoder.decode(entry)? else {
        return Ok(found);
    };
    while let Some(field) = hash.next_field()? {
        let Some(at) = field.expire_at_ms else {
            continue;
        };
        if terms.leaves_out(at) {
            continue;
        }
        found.smallest = if found.any {
            found.smallest.min(at)
        } else {
            at
        };
        found.any = true;
        found.any_ahead |= at > terms.now_ms;
    }
    Ok(found)
}

/// Fields and values. Fields that are past their time are left out: no server would show them.
pub(super) fn plain(mut hash: Hash<'_>, writing: &mut Writing<'_>) -> Result<u64> {
    let mut count = 0u64;
    while let Some(found) = hash.next_field()? {
        if found.expire_at_ms.is_some_and(|at| writing.is_past(at)) {
            continue;
        }
        writing.body.element(&found.field)?;
        writing.body.element(&found.value)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Redis' form: in front of each field how far behind `smallest` it expires, plus 1; 0 for never.
pub(super) fn times_before(
    mut hash: Hash<'_>,
    smallest: i64,
    writing: &mut Writing<'_>,
) -> Result<u64> {
    let mut count = 0u64;
    while let Some(found) = hash.next_field()? {
        if writing.leaves_out(found.expire_at_ms) {
            continue;
        }
        let distance = match found.expire_at_ms {
            None => 0,
            Some(at) => u64::try_from(at.saturating_sub(smallest))
                .unwrap_or(0)
                .saturating_add(1),
        };
        writing.body.length(distance)?;
        writing.body.element(&found.field)?;
        writing.body.element(&found.value)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// Valkey's form: behind each field its absolute time; −1 for never.
pub(super) fn times_behind(mut hash: Hash<'_>, writing: &mut Writing<'_>) -> Result<u64> {
    let mut count = 0u64;
    while let Some(found) = hash.next_field()? {
        if writing.leaves_out(found.expire_at_ms) {
            continue;
        }
        writing.body.element(&found.field)?;
        writing.body.element(&found.value)?;
        let at = found.expire_at_ms.unwrap_or(-1);
        writing.body.bytes(&at.to_le_bytes())?;
        count = count.saturating_add(1);
    }
    Ok(count)
}
