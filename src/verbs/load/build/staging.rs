//! The names that values are built under, and how they are removed.
//!
//! A name is the key's own (of a long one the beginning, so that it is never too long), `~rdbridge~`, what the journal has for
//! this load, and the position of the entry: so it can be made again from the journal and the input, two entries of one key
//! never share one, and a permission for names that begin like the key covers it. In a cluster digits are put behind it that
//! bring it into the key's slot.

use std::collections::VecDeque;

use crate::error::Result;
use crate::resp::{Talk, Token};
use crate::select::{slot_of, steer};

/// So many bytes of a key stand in front of its staging name.
const BEGINNING: usize = 1024;

/// Removals under way at a time.
const UNDER_WAY: usize = 512;

/// Writes the name under which the value of `key` is built to `out`.
pub(super) fn name(key: &[u8], staging: &str, position: u64, slotted: bool, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(key.get(..BEGINNING).unwrap_or(key));
    out.extend_from_slice(b"~rdbridge~");
    out.extend_from_slice(staging.as_bytes());
    out.push(b'~');
    out.extend_from_slice(itoa::Buffer::new().format(position).as_bytes());
    if slotted {
        // A tag in the beginning of a key is the key's own: nothing is to be found then.
        let _ = steer(out, slot_of(key));
    }
}

/// Removes keys; all replies that were due must have been taken. Gives the numbers of those that the destination does not
/// remove, each with its words.
pub(super) fn remove(
    talk: &mut Talk<'_>,
    names: &[(u64, Vec<u8>)],
    unlink: bool,
) -> Result<Vec<(usize, Vec<u8>)>> {
    let all = 0..names.len();
    if !unlink {
        return each(talk, b"DEL", names, all);
    }
    // A user may have the right to the one and not to the other.
    let left = each(talk, b"UNLINK", names, all)?;
    each(talk, b"DEL", names, left.into_iter().map(|(of, _)| of))
}

/// Sends one command for each of these names. Gives those that it was refused for.
fn each(
    talk: &mut Talk<'_>,
    command: &[u8],
    names: &[(u64, Vec<u8>)],
    which: impl Iterator<Item = usize>,
) -> Result<Vec<(usize, Vec<u8>)>> {
    let mut refused = Vec::new();
    let mut due = VecDeque::new();
    let mut take = |talk: &mut Talk<'_>, due: &mut VecDeque<usize>| -> Result<()> {
        if let Some(of) = due.pop_front()
            && let Token::Error(words) = talk.token()?
        {
            refused.push((of, words.to_vec()));
        }
        Ok(())
    };
    for of in which {
        let Some((db, name)) = names.get(of) else {
            continue;
        };
        if *db != talk.db() {
            talk.flush()?;
            while !due.is_empty() {
                take(talk, &mut due)?;
            }
            talk.select(*db)?;
        }
        talk.command(&[command, name])?;
        due.push_back(of);
        if due.len() >= UNDER_WAY {
            talk.flush()?;
            take(talk, &mut due)?;
        }
    }
    talk.flush()?;
    while !due.is_empty() {
        take(talk, &mut due)?;
    }
    talk.finish()?;
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_like_their_keys_and_stand_in_their_slots() {
        let mut out = Vec::new();
        name(b"cart:7", "0123456789ab", 42, false, &mut out);
        assert_eq!(out, b"cart:7~rdbridge~0123456789ab~42");
        let long = vec![b'{'; 1 << 20];
        let tagged = [&long[..], b"tag}"].concat();
        for key in [
            &b""[..],
            b"k",
            b"{",
            b"{}",
            b"}{a}",
            b"{a}{b}",
            &long,
            &tagged,
        ] {
            name(key, "0123456789ab", u64::MAX, true, &mut out);
            assert_eq!(slot_of(&out), slot_of(key));
            assert!(out.len() < 1200 && out.starts_with(&key[..key.len().min(1024)]));
        }
    }
}
