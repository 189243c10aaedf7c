//! The zipmap: small hashes as Redis up to 2.4 wrote them (`zipmap.c`).
//!
//! # Bytes
//! One byte count (254: unknown), pairs, `ff`. A pair is the key's length, the key, the value's length, one byte of how many
//! bytes behind the value are free, the value, the free bytes. A length is one byte below 254, or `fe` and `u32LE`.
//! Everything is text: no integers.
//!
//! # Offsets
//! From the count byte.

use super::packed::{Broken, Item};

/// The name of the blob in places.
pub const NAME: &str = "zipmap";

/// Bytes before the first pair.
pub const HEADER: usize = 1;

/// Counts from here on mean: walk and count.
pub const COUNT_UNKNOWN: u8 = 254;

/// One string, and where what follows it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The key's or value's bytes.
    pub item: Item,
    /// Offset of what follows: behind a key its value, behind a value (and its free bytes) the next key.
    pub next: usize,
}

/// The pair count, or `None` where it is not written or there is no byte.
#[must_use]
pub fn count(bytes: &[u8]) -> Option<u8> {
    bytes
        .first()
        .copied()
        .filter(|count| *count < COUNT_UNKNOWN)
}

/// Reads the key at `at`; `None` at the end byte.
///
/// # Errors
/// Where it leaves `bytes`.
#[inline]
pub fn key(bytes: &[u8], at: usize) -> Result<Option<Step>, Broken> {
    let Some((length, from)) = length(bytes, at)? else {
        return Ok(None);
    };
    text(bytes, at, from, length, 0).map(Some)
}

/// Reads the value at `at`.
///
/// # Errors
/// Where it leaves `bytes`, or the end byte stands in its place.
#[inline]
pub fn value(bytes: &[u8], at: usize) -> Result<Step, Broken> {
    let Some((length, from)) = length(bytes, at)? else {
        return Err(Broken::new(at, "the zipmap ends behind a key"));
    };
    let Some(&free) = bytes.get(from) else {
        return Err(cut(bytes, at, from.saturating_sub(at).saturating_add(1)));
    };
    text(bytes, at, from.saturating_add(1), length, usize::from(free))
}

/// Reads a length; `None` at the end byte.
#[inline]
fn length(bytes: &[u8], at: usize) -> Result<Option<(usize, usize)>, Broken> {
    match bytes.get(at) {
        Some(0xff) => Ok(None),
        Some(0xfe) => match bytes
            .get(at.saturating_add(1)..)
            .and_then(<[u8]>::first_chunk)
        {
            Some(length) => Ok(Some((
                u32::from_le_bytes(*length) as usize,
                at.saturating_add(5),
            ))),
            None => Err(cut(bytes, at, 5)),
        },
        Some(&small) => Ok(Some((usize::from(small), at.saturating_add(1)))),
        None => Err(Broken::new(
            at.min(bytes.len()),
            "the bytes end where a string or the end byte ff must stand",
        )),
    }
}

#[inline]
fn text(bytes: &[u8], at: usize, from: usize, length: usize, free: usize) -> Result<Step, Broken> {
    let next = from.saturating_add(length).saturating_add(free);
    if next > bytes.len() {
        return Err(cut(bytes, at, next.saturating_sub(at)));
    }
    Ok(Step {
        item: Item::text(from, length),
        next,
    })
}

#[cold]
fn cut(bytes: &[u8], at: usize, wanted: usize) -> Broken {
    Broken::new(
        at,
        format!(
            "string needs {wanted} bytes, {} remain",
            bytes.len().saturating_sub(at)
        ),
    )
}

/// Writes pairs without free bytes.
#[must_use]
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    fn push_length(out: &mut Vec<u8>, length: usize) {
        match u8::try_from(length) {
            Ok(small) if small < 254 => out.push(small),
            _ => {
                out.push(0xfe);
                let length = u32::try_from(length).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_le_bytes());
            }
        }
    }
    let (mut out, mut count) = (vec![0u8], 0u8);
    for (key, value) in pairs {
        push_length(&mut out, key.len());
        out.extend_from_slice(key);
        push_length(&mut out, value.len());
        out.push(0);
        out.extend_from_slice(value);
        count = count.saturating_add(1).min(COUNT_UNKNOWN);
    }
    if let Some(first) = out.first_mut() {
        *first = count;
    }
    out.push(0xff);
    out
}

#[cfg(test)]
mod tests {
    use super::super::packed::test_support::hex;
    use super::*;
    use proptest::prelude::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    fn walk(bytes: &[u8]) -> Result<Pairs, Broken> {
        let (mut at, mut pairs) = (HEADER, Vec::new());
        while let Some(k) = key(bytes, at)? {
            let v = value(bytes, k.next)?;
            assert!(v.next > at);
            pairs.push((k.item.bytes(bytes).to_vec(), v.item.bytes(bytes).to_vec()));
            at = v.next;
        }
        assert_eq!(at + 1, bytes.len());
        if let Some(count) = count(bytes) {
            assert_eq!(usize::from(count), pairs.len());
        }
        Ok(pairs)
    }

    fn encoded(pairs: &Pairs) -> Vec<u8> {
        encode(pairs.iter().map(|(k, v)| (&k[..], &v[..])))
    }

    /// Taken by five servers.
    #[test]
    fn what_servers_read() {
        let bytes = hex("02 0161 01 00 78 026262 00 00 ff");
        let pairs = vec![(b"a".to_vec(), b"x".to_vec()), (b"bb".to_vec(), vec![])];
        assert_eq!(walk(&bytes).unwrap(), pairs);
        assert_eq!(encoded(&pairs), bytes);
        assert_eq!(walk(&hex("00ff")).unwrap(), []);
    }

    #[test]
    fn free_bytes_and_long_lengths() {
        assert_eq!(
            walk(&hex("01 0161 01 03 78 aabbcc ff")).unwrap(),
            [(b"a".to_vec(), b"x".to_vec())]
        );
        assert_eq!(
            walk(&hex("01 fe01000000 61 fe01000000 00 78 ff")).unwrap(),
            [(b"a".to_vec(), b"x".to_vec())]
        );
        for length in [252, 253, 254, 255, 70_000] {
            let pairs = vec![(vec![b'k'; length], vec![b'v'; length])];
            assert_eq!(walk(&encoded(&pairs)).unwrap(), pairs);
        }
        for count in [253usize, 254, 300] {
            let pairs: Pairs = (0..count)
                .map(|i| (i.to_string().into_bytes(), vec![]))
                .collect();
            let bytes = encoded(&pairs);
            assert_eq!(bytes[0], count.min(254) as u8);
            assert_eq!(walk(&bytes).unwrap(), pairs);
        }
    }

    #[test]
    fn what_leaves_the_bytes_is_an_error_with_its_place() {
        for (bytes, at, what) in [
            ("", 0, "the bytes end"),
            ("01", 1, "the bytes end"),
            ("01 02 61", 1, "string needs 3 bytes, 2 remain"),
            ("01 fe0000", 1, "string needs 5 bytes, 3 remain"),
            (
                "01 feffffffff 61",
                1,
                "string needs 4294967300 bytes, 6 remain",
            ),
            ("01 0161", 3, "the bytes end"),
            ("01 0161 ff", 3, "ends behind a key"),
            ("01 0161 01", 3, "string needs 2 bytes, 1 remain"),
            ("01 0161 01 00", 3, "string needs 3 bytes, 2 remain"),
            ("01 0161 01 02 78 00", 3, "string needs 5 bytes, 4 remain"),
            ("01 0161 01 00 78", 6, "the bytes end"),
        ] {
            let broken = walk(&hex(bytes)).unwrap_err();
            assert_eq!(broken.at(), at, "{bytes}");
            assert!(
                broken.what().contains(what),
                "{} for {bytes}",
                broken.what()
            );
        }
        assert!(key(b"abc", usize::MAX).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(pairs in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..300)), 0..20)) {
            prop_assert_eq!(walk(&encoded(&pairs)).unwrap(), pairs);
        }

        #[test]
        fn any_bytes_are_walked_or_refused(bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            let mut at = HEADER;
            while let Ok(Some(k)) = key(&bytes, at) {
                let Ok(v) = value(&bytes, k.next) else { break };
                prop_assert!(v.next > at && v.next <= bytes.len());
                at = v.next;
            }
        }
    }
}
