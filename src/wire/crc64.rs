//! CRC-64/REDIS: polynomial `ad93d23594c935a9`, reflected, initial value and final xor 0 (`crc64.c`). The checksum of
//! `123456789` is `e9c6d914c4b8d9ca`, and that of nothing is 0.
//!
//! Since the initial value is 0, leading zero bytes leave no trace, and the checksum of a concatenation follows from those of
//! its pieces ([`combine`]).

#[cfg(target_arch = "x86_64")]
mod fold;

use crc_fast::{CrcAlgorithm, Digest};

/// Slicing tables for short inputs, where setting up carry-less multiplication costs more than it saves.
static TABLES: [[u64; 256]; 8] = tables();

/// Below this many bytes the tables are faster than `crc-fast` (measured in `benches/wire.rs`), where the processor cannot
/// fold (`crc64/fold.rs`).
const SHORT: usize = 128;

const REFLECTED_POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

#[expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "evaluated by the compiler"
)]
const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ REFLECTED_POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][i] = crc;
        i += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut i = 0;
        while i < 256 {
            let previous = tables[k - 1][i];
            tables[k][i] = tables[0][(previous & 0xff) as usize] ^ previous >> 8;
            i += 1;
        }
        k += 1;
    }
    tables
}

/// The checksum of `bytes`.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u64 {
    update(0, bytes)
}

/// Goes on from `crc`, the checksum of what stands before `bytes`.
#[must_use]
#[inline]
pub fn update(crc: u64, bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() <= fold::LONGEST
        && let Some(folded) = fold::update(crc, bytes)
    {
        return folded;
    }
    if bytes.len() < SHORT {
        update_by_table(crc, bytes)
    } else {
        update_by_folding(crc, bytes)
    }
}

#[inline(never)]
fn update_by_folding(crc: u64, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, crc);
    digest.update(bytes);
    digest.finalize()
}

fn update_by_table(mut crc: u64, bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    for bytes in words {
        crc = word(crc ^ u64::from_le_bytes(*bytes));
    }
    for &byte in tail {
        crc = update_byte(crc, byte);
    }
    crc
}

/// The checksum of one byte behind `crc`.
#[must_use]
#[inline]
#[expect(
    clippy::indexing_slicing,
    reason = "every index is one byte into 256 entries"
)]
pub fn update_byte(crc: u64, byte: u8) -> u64 {
    TABLES[0][usize::from(crc.to_le_bytes()[0] ^ byte)] ^ crc >> 8
}

/// The checksum of 8 bytes, from the xor of them and the state before.
#[inline]
#[expect(
    clippy::indexing_slicing,
    reason = "every index is one byte into 256 entries"
)]
fn word(mixed: u64) -> u64 {
    let x = mixed.to_le_bytes();
    TABLES[7][usize::from(x[0])]
        ^ TABLES[6][usize::from(x[1])]
        ^ TABLES[5][usize::from(x[2])]
        ^ TABLES[4][usize::from(x[3])]
        ^ TABLES[3][usize::from(x[4])]
        ^ TABLES[2][usize::from(x[5])]
        ^ TABLES[1][usize::from(x[6])]
        ^ TABLES[0][usize::from(x[7])]
}

/// The checksum of two pieces behind each other, from the checksum of each and the length of the second.
#[must_use]
pub fn combine(first: u64, second: u64, second_length: u64) -> u64 {
    crc_fast::checksum_combine(CrcAlgorithm::Crc64Redis, first, second, second_length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One bit at a time: the definition.
    fn plain(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |crc: u64, &b| {
            (0..8).fold(crc ^ u64::from(b), |crc, _| {
                if crc & 1 == 1 {
                    crc >> 1 ^ REFLECTED_POLYNOMIAL
                } else {
                    crc >> 1
                }
            })
        })
    }

    #[test]
    fn the_catalogue_check_value() {
        assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(checksum(b""), 0);
        assert_eq!(update_by_folding(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn both_ways_agree_with_the_definition_at_every_length_and_cut() {
        let bytes: Vec<u8> = (0..700u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for length in (0..300).chain([511, 512, 513, 700]) {
            let piece = &bytes[..length];
            let expected = plain(piece);
            assert_eq!(update_by_table(0, piece), expected, "table, {length} bytes");
            assert_eq!(
                update_by_folding(0, piece),
                expected,
                "folding, {length} bytes"
            );
            let cut = length / 3;
            assert_eq!(
                update(update(0, &piece[..cut]), &piece[cut..]),
                expected,
                "in two pieces, {length} bytes"
            );
            assert_eq!(
                combine(
                    plain(&piece[..cut]),
                    plain(&piece[cut..]),
                    (length - cut) as u64
                ),
                expected
            );
        }
    }
}
