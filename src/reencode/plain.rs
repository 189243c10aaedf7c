//! Plain lists, sets and sorted sets: a count, and the elements as strings (types 1, 2, 3, 5).

use super::Writing;
use crate::error::Result;
use crate::value::commands::{Loss, write_score};
use crate::value::{List, Set, Zset};

/// The elements of a list, from head to tail.
pub(super) fn list(mut list: List<'_>, writing: &mut Writing<'_>) -> Result<u64> {
    let mut count = 0u64;
    while let Some(element) = list.next_element()? {
        writing.body.element(&element)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// The members of a set.
pub(super) fn set(mut set: Set<'_>, writing: &mut Writing<'_>) -> Result<u64> {
    let mut count = 0u64;
    while let Some(found) = set.next_member()? {
        if let Some(at) = found.expire_at_ms {
            if writing.is_past(at) {
                continue;
            }
            writing.losses.add(Loss::MemberExpiry);
            if !writing.may_go_on() {
                return Ok(count);
            }
        }
        writing.body.element(&found.member)?;
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// The members of a sorted set with their scores, as text (type 3) or in binary (5).
pub(super) fn zset(mut zset: Zset<'_>, as_text: bool, writing: &mut Writing<'_>) -> Result<u64> {
    let mut count = 0u64;
    let mut text = Vec::new();
    while let Some(found) = zset.next_scored()? {
        writing.body.element(&found.member)?;
        if as_text {
            score_text(&mut text, found.score);
            writing.body.bytes(&text)?;
        } else {
            writing.body.bytes(&found.score.to_le_bytes())?;
        }
        count = count.saturating_add(1);
    }
    Ok(count)
}

/// One byte of length and the text; the infinities have bytes of their own. NaN never comes here: it is a fault of the value.
fn score_text(out: &mut Vec<u8>, score: f64) {
    out.clear();
    if score.is_infinite() {
        out.push(if score > 0.0 { 254 } else { 255 });
        return;
    }
    out.push(0);
    write_score(out, score);
    let length = u8::try_from(out.len().saturating_sub(1)).unwrap_or(252);
    if let Some(first) = out.first_mut() {
        *first = length;
    }
}
