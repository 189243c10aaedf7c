//! The intset: sorted integers of one width (`intset.c`).
//!
//! # Bytes
//! `u32LE` width (2, 4 or 8), `u32LE` count, that many little-endian integers of that width, strictly ascending. A width larger
//! than needed is legal, as an intset never shrinks.
//!
//! # Offsets
//! From the first byte of the header.

use super::packed::Broken;

/// The name of the blob in places.
pub const NAME: &str = "intset";

/// Bytes of the header.
pub const HEADER: usize = 8;

/// The two numbers in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of one integer: 2, 4 or 8.
    pub width: u32,
    /// Number of integers.
    pub count: u32,
}

impl Header {
    /// Bytes of the whole intset.
    #[must_use]
    pub fn total(&self) -> u64 {
        u64::from(self.width)
            .saturating_mul(u64::from(self.count))
            .saturating_add(HEADER as u64)
    }
}

/// Reads the header.
///
/// # Errors
/// Where there are fewer bytes than a header has, or the width is unknown.
pub fn header(bytes: &[u8]) -> Result<Header, Broken> {
    let Some(&[w0, w1, w2, w3, c0, c1, c2, c3]) = bytes.first_chunk::<HEADER>() else {
        return Err(Broken::new(
            0,
            format!("{} bytes, the smallest intset has {HEADER}", bytes.len()),
        ));
    };
    let header = Header {
        width: u32::from_le_bytes([w0, w1, w2, w3]),
        count: u32::from_le_bytes([c0, c1, c2, c3]),
    };
    match header.width {
        2 | 4 | 8 => Ok(header),
        other => Err(Broken::new(
            0,
            format!("integers of {other} bytes; an intset has 2, 4 or 8"),
        )),
    }
}

/// Reads the integer of `width` bytes at `at`.
///
/// # Errors
/// Where it leaves `bytes`.
#[inline]
pub fn step(bytes: &[u8], at: usize, width: u32) -> Result<i64, Broken> {
    let rest = bytes.get(at..).unwrap_or_default();
    let value = match width {
        2 => rest
            .first_chunk()
            .map(|v| i64::from(i16::from_le_bytes(*v))),
        4 => rest
            .first_chunk()
            .map(|v| i64::from(i32::from_le_bytes(*v))),
        _ => rest.first_chunk().map(|v| i64::from_le_bytes(*v)),
    };
    value.ok_or_else(|| {
        Broken::new(
            at,
            format!("integer needs {width} bytes, {} remain", rest.len()),
        )
    })
}

/// Writes the integers, which must be strictly ascending, in the smallest width that holds them all. `None` where there are
/// more than a header can say.
#[must_use]
pub fn encode(values: &[i64]) -> Option<Vec<u8>> {
    let count = u32::try_from(values.len()).ok()?;
    let holds = |low: i64, high: i64| {
        values.first().is_none_or(|first| *first >= low)
            && values.last().is_none_or(|last| *last <= high)
    };
    let width: u32 = if holds(i64::from(i16::MIN), i64::from(i16::MAX)) {
        2
    } else if holds(i64::from(i32::MIN), i64::from(i32::MAX)) {
        4
    } else {
        8
    };
    let mut out = Vec::with_capacity(HEADER.saturating_add(values.len().saturating_mul(8)));
    out.extend_from_slice(&width.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    for value in values {
        out.extend_from_slice(
            value
                .to_le_bytes()
                .get(..width as usize)
                .unwrap_or_default(),
        );
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::packed::test_support::hex;
    use super::*;
    use proptest::prelude::*;

    fn walk(bytes: &[u8]) -> Result<Vec<i64>, Broken> {
        let header = header(bytes)?;
        assert_eq!(header.total(), bytes.len() as u64);
        (0..header.count as usize)
            .map(|i| step(bytes, HEADER + i * header.width as usize, header.width))
            .collect()
    }

    #[test]
    fn what_servers_write() {
        let bytes = hex("02000000 03000000 ffff 0500 2c01");
        assert_eq!(walk(&bytes).unwrap(), [-1, 5, 300]);
        assert_eq!(encode(&[-1, 5, 300]).unwrap(), bytes);
        assert_eq!(walk(&hex("0200000000000000")).unwrap(), [0i64; 0]);
    }

    #[test]
    fn widths_and_boundaries() {
        for (values, width) in [
            (&[i64::from(i16::MIN), i64::from(i16::MAX)][..], 2),
            (&[-32769], 4),
            (&[32768], 4),
            (&[i64::from(i32::MIN), i64::from(i32::MAX)], 4),
            (&[-2_147_483_649], 8),
            (&[2_147_483_648], 8),
            (&[i64::MIN, i64::MAX], 8),
        ] {
            let bytes = encode(values).unwrap();
            assert_eq!(header(&bytes).unwrap().width, width);
            assert_eq!(walk(&bytes).unwrap(), values);
        }
        assert_eq!(
            walk(&hex("08000000 01000000 0500000000000000")).unwrap(),
            [5],
            "wider than needed"
        );
    }

    #[test]
    fn lies_are_errors() {
        assert!(header(&hex("02000000030000")).is_err());
        for width in [0u8, 1, 3, 5, 16, 255] {
            let broken = header(&[width, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
            assert!(broken.what().contains("2, 4 or 8"));
        }
        let broken = step(&hex("0200000001000000ff"), HEADER, 2).unwrap_err();
        assert_eq!(
            (broken.at(), broken.what()),
            (8, "integer needs 2 bytes, 1 remain")
        );
        assert!(step(b"", usize::MAX, 8).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(mut values in prop::collection::vec(any::<i64>(), 0..50), shift in 0u32..60) {
            for value in &mut values {
                *value >>= shift;
            }
            values.sort_unstable();
            values.dedup();
            prop_assert_eq!(walk(&encode(&values).unwrap()).unwrap(), values);
        }
    }
}
