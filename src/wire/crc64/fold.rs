//! Carry-less multiplication for inputs of some ten to some hundred bytes, which nearly all payloads are.
//!
//! `crc-fast` folds too, but takes 40 to 70 ns before the first byte, whatever comes then; the tables take 0.5 ns a byte. On
//! the payloads of the bench's *medium* (half of them have 130 to 210 bytes) the better of the two needed 228 ns on average,
//! this needs 69; at 180 bytes it is 66 against 14.
//!
//! # How
//! A block of 16 bytes is a polynomial; moved by the length of what follows it is the same as its two halves, each
//! multiplied by a constant ([`power`]), so any number of blocks folds into one. Since the state before the first byte is
//! xored into the first bytes, and zero bytes in front leave no trace, the bytes that make no whole block stand in front
//! instead of behind. What is left of the last block is reduced by Barrett's way, [`reduced`]: the tables would need 8 lines of
//! the 16 KiB that they take from the first cache.

use std::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x,
    _mm_srli_si128, _mm_xor_si128,
};

use super::REFLECTED_POLYNOMIAL;

/// Up to so many bytes this is faster than `crc-fast`, which sets out for longer ones.
pub(super) const LONGEST: usize = 640;

/// Goes on from `crc`. `None` where there is not a whole block, or the processor cannot multiply so.
#[inline]
pub(super) fn update(crc: u64, bytes: &[u8]) -> Option<u64> {
    if bytes.len() < 16
        || !std::arch::is_x86_feature_detected!("pclmulqdq")
        || !std::arch::is_x86_feature_detected!("sse4.1")
    {
        return None;
    }
    #[expect(
        unsafe_code,
        reason = "a function for some processors only can be called in no other way; what it gains is said above"
    )]
    // SAFETY: the processor has what `fold` is compiled for, as was asked right above. It is safe code otherwise.
    unsafe {
        fold(crc, bytes)
    }
}

/// x^n modulo the polynomial, reflected.
#[expect(clippy::arithmetic_side_effects, reason = "evaluated by the compiler")]
const fn power(n: u32) -> u64 {
    let mut value = 1u64 << 63;
    let mut i = 0;
    while i < n {
        value = if value & 1 == 1 {
            value >> 1 ^ REFLECTED_POLYNOMIAL
        } else {
            value >> 1
        };
        i += 1;
    }
    value
}

/// Moves a block by one block. A product of reflected numbers lies one bit off, hence one power less than the distance.
const BY_ONE: [u64; 2] = [power(191), power(127)];

/// Moves a block by two.
const BY_TWO: [u64; 2] = [power(319), power(255)];

/// At least one block of `bytes`, in two lanes that do not wait for each other.
#[target_feature(enable = "pclmulqdq,sse4.1")]
fn fold(crc: u64, bytes: &[u8]) -> Option<u64> {
    let crc = u128::from(crc);
    let in_front = bytes.len() % 16;
    let (blocks, _) = bytes.get(in_front..)?.as_chunks::<16>();
    let (first, mut blocks) = blocks.split_first()?;
    let first = u128::from_le_bytes(*first);
    let mut state = match in_front {
        0 => vector(first ^ crc),
        // At least 16 bytes follow `in_front`, so these are all there.
        bytes_in_front => {
            let bits = bytes_in_front.wrapping_mul(8);
            let head = u128::from_le_bytes(*bytes.first_chunk()?) ^ crc;
            let head = vector(head << 128usize.wrapping_sub(bits));
            moved(head, BY_ONE, vector(first ^ crc >> bits))
        }
    };
    if let Some((second, more)) = blocks.split_first()
        && more.len() >= 2
    {
        let (pairs, last) = more.as_chunks::<2>();
        let mut other = load(second);
        for [a, b] in pairs {
            state = moved(state, BY_TWO, load(a));
            other = moved(other, BY_TWO, load(b));
        }
        state = moved(state, BY_ONE, other);
        blocks = last;
    }
    for block in blocks {
        state = moved(state, BY_ONE, load(block));
    }
    // 128 bits, and the 64 zeros behind them that a checksum stands for.
    let in_front = _mm_clmulepi64_si128(state, constants(BY_ONE), 0x10);
    Some(reduced(_mm_xor_si128(in_front, _mm_srli_si128(state, 8))))
}

/// The polynomial with its term of the highest power, which is the lowest bit of a reflected number; one bit more than fits.
const WHOLE: u64 = REFLECTED_POLYNOMIAL << 1 | 1;

/// The number whose carry-less product with [`WHOLE`] ends in 63 zeros and a one.
const INVERSE: u64 = {
    let (mut inverse, mut left) = (0u64, 1u64);
    let mut bit = 0;
    while bit < 64 {
        if left >> bit & 1 == 1 {
            inverse |= 1 << bit;
            left ^= WHOLE << bit;
        }
        bit += 1;
    }
    inverse
};

/// The lower half of `rest` stands in front of the upper one: that multiple of the polynomial is added which makes it zero.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
fn reduced(rest: __m128i) -> u64 {
    let by = constants([INVERSE, WHOLE]);
    let times = _mm_clmulepi64_si128(rest, by, 0x00);
    let multiple = _mm_clmulepi64_si128(times, by, 0x10);
    let half = _mm_extract_epi64(_mm_xor_si128(multiple, rest), 1);
    // The bit of the polynomial that is not in `WHOLE`.
    half.cast_unsigned() ^ _mm_cvtsi128_si64(times).cast_unsigned()
}

/// `block` moved by the distance of `constants`, and what stands there.
#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
fn moved(block: __m128i, by: [u64; 2], there: __m128i) -> __m128i {
    let by = constants(by);
    let (low, high) = (
        _mm_clmulepi64_si128(block, by, 0x00),
        _mm_clmulepi64_si128(block, by, 0x11),
    );
    _mm_xor_si128(_mm_xor_si128(low, high), there)
}

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
fn constants([low, high]: [u64; 2]) -> __m128i {
    _mm_set_epi64x(high.cast_signed(), low.cast_signed())
}

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
fn load(block: &[u8; 16]) -> __m128i {
    vector(u128::from_le_bytes(*block))
}

#[inline]
#[target_feature(enable = "pclmulqdq,sse4.1")]
fn vector(block: u128) -> __m128i {
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    constants([block as u64, (block >> 64) as u64])
}

#[cfg(test)]
mod tests {
    use super::super::{update_by_folding, update_by_table};
    use super::*;

    #[test]
    fn agrees_with_the_tables_at_every_length_from_every_state() {
        let bytes: Vec<u8> = (0..2000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        for length in 0..700 {
            for (start, crc) in [(0, 0), (3, 1), (8, u64::MAX), (13, 0x0123_4567_89ab_cdef)] {
                let piece = &bytes[start..start + length];
                let expected = update_by_table(crc, piece);
                match update(crc, piece) {
                    Some(folded) => assert_eq!(folded, expected, "{length} bytes from {crc:x}"),
                    None => assert!(length < 16 || !has_instructions()),
                }
                assert_eq!(update_by_folding(crc, piece), expected);
            }
        }
    }

    fn has_instructions() -> bool {
        std::arch::is_x86_feature_detected!("pclmulqdq")
            && std::arch::is_x86_feature_detected!("sse4.1")
    }
}
