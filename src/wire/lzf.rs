//! LZF, the compression of RDB strings (`lzf_d.c`): two decoders, both bounded.
//!
//! # Bytes
//! A control byte below 32 begins a literal run of that many bytes plus one. Any other holds a length in its high 3 bits
//! (7: the next byte is added) and, with the byte behind, a distance of 13 bits: `length + 2` bytes are copied from
//! `distance + 1` before the end of the output, overlapping where they must.
//!
//! Three bytes make 264 at the most, so an honest `ulen` is at most 88 × `clen`: [`plausible`] refuses bombs before anything
//! is reserved. A copy reaches at most 8 KiB back, so [`Stream`] needs only that much of what it has written and walks a
//! string of any size in [`Stream::MEMORY`] bytes.
//!
//! # Offsets
//! Errors name the byte inside the compressed bytes (`lzf string`), and the input's offset where the string's record begins.

use crate::error::{Error, Place, Result};

/// The name of the blob in error places.
const BLOB: &str = "lzf string";

/// How far back a copy can reach.
const WINDOW: usize = 8192;

/// The most that one control byte can produce.
const LONGEST_COPY: usize = 264;

/// The room that any step has enough of.
const LONGEST_STEP: usize = LONGEST_COPY + SLACK;

/// Whether `clen` compressed bytes can make `ulen`.
#[must_use]
pub fn plausible(clen: u64, ulen: u64) -> bool {
    ulen <= clen.saturating_mul(88)
}

/// One step of a block.
enum Op<'data> {
    Literal(&'data [u8]),
    Copy { distance: usize, length: usize },
}

/// Splits compressed bytes into steps. `None` inside `Some` never occurs: a step that the bytes cut short is an error.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the body of a hot loop; a call costs a third of it"
)]
fn next_op<'data>(rest: &mut &'data [u8]) -> Option<Result<Op<'data>, ()>> {
    let (&control, after) = rest.split_first()?;
    if control < 32 {
        let Some((run, after)) = after.split_at_checked(usize::from(control).wrapping_add(1))
        else {
            return Some(Err(()));
        };
        *rest = after;
        return Some(Ok(Op::Literal(run)));
    }
    let mut length = usize::from(control >> 5);
    let mut after = after;
    if length == 7 {
        let Some((&more, behind)) = after.split_first() else {
            return Some(Err(()));
        };
        length = length.wrapping_add(usize::from(more));
        after = behind;
    }
    let Some((&low, behind)) = after.split_first() else {
        return Some(Err(()));
    };
    *rest = behind;
    let distance = (usize::from(control & 0x1f) << 8 | usize::from(low)).wrapping_add(1);
    Some(Ok(Op::Copy {
        distance,
        length: length.wrapping_add(2),
    }))
}

/// Room behind what is made, so that the last steps can be done in blocks like all others.
const SLACK: usize = 32;

/// Does the step that `rest` begins with at `out[at..]`, and takes it off; the new end, or `None` where the bytes cut it
/// short, or it goes over `most` or reaches before the start of `out`.
///
/// Most steps are short, so they are done in blocks of a fixed size where there is room: what a block writes too far is
/// written over by the next step. `out` must not be read behind the new end.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "the body of two hot loops; a call costs a third of it"
)]
fn step(rest: &mut &[u8], out: &mut [u8], at: usize, most: usize) -> Option<usize> {
    let (&control, after) = rest.split_first()?;
    if control < 32 {
        let length = usize::from(control).wrapping_add(1);
        let end = at.checked_add(length).filter(|end| *end <= most)?;
        let (run, behind) = after.split_at_checked(length)?;
        *rest = behind;
        let target = out.get_mut(at..)?;
        if length <= 16
            && let (Some(from), Some(to)) =
                (after.first_chunk::<16>(), target.first_chunk_mut::<16>())
        {
            *to = *from;
        } else if let (Some(from), Some(to)) =
            (after.first_chunk::<32>(), target.first_chunk_mut::<32>())
        {
            *to = *from;
        } else {
            target.get_mut(..length)?.copy_from_slice(run);
        }
        return Some(end);
    }
    let mut length = usize::from(control >> 5);
    let mut after = after;
    if length == 7 {
        let (&more, behind) = after.split_first()?;
        length = length.wrapping_add(usize::from(more));
        after = behind;
    }
    let (&low, behind) = after.split_first()?;
    *rest = behind;
    length = length.wrapping_add(2);
    let distance = (usize::from(control & 0x1f) << 8 | usize::from(low)).wrapping_add(1);
    let end = at.checked_add(length).filter(|end| *end <= most)?;
    let from = at.checked_sub(distance)?;
    if distance >= 16
        && let Some(window) = out.get_mut(from..end.saturating_add(16))
    {
        copy_blocks::<16>(window, distance, length)?;
    } else if distance >= 8
        && let Some(window) = out.get_mut(from..end.saturating_add(8))
    {
        copy_blocks::<8>(window, distance, length)?;
    } else {
        let (before, target) = out.get_mut(..end)?.split_at_mut_checked(at)?;
        let source = before.get(from..)?;
        if let Some(source) = source.get(..length) {
            target.copy_from_slice(source);
        } else if let [byte] = source {
            target.fill(*byte);
        } else {
            // The copy feeds on itself: what it repeats is the last `distance` bytes.
            for (to, byte) in target.iter_mut().zip(source.iter().cycle()) {
                *to = *byte;
            }
        }
    }
    Some(end)
}

/// Copies `length` bytes from the start of `window` to `distance` behind it, `N` at a time: a block never reaches into what
/// it writes, as `distance` is at least `N`.
#[inline]
fn copy_blocks<const N: usize>(window: &mut [u8], distance: usize, length: usize) -> Option<()> {
    let mut done = 0usize;
    loop {
        let block: [u8; N] = *window.get(done..)?.first_chunk()?;
        *window
            .get_mut(done.wrapping_add(distance)..)?
            .first_chunk_mut()? = block;
        done = done.wrapping_add(N);
        if done >= length {
            return Some(());
        }
    }
}

#[cold]
fn fault(compressed: &[u8], rest: &[u8], offset: u64, what: String) -> Error {
    let byte = (compressed.len() as u64).saturating_sub(rest.len() as u64);
    Error::corrupt(Place::inside(offset, BLOB, byte), what)
}

/// Decompresses `compressed` into exactly `out`. `offset` is where the string's record begins, for errors.
///
/// # Errors
/// `Corrupt` where the compressed bytes end inside a step, reach before the output's start, or make more or less than
/// `out.len()` bytes.
pub fn decompress(compressed: &[u8], out: &mut [u8], offset: u64) -> Result<()> {
    let most = out.len();
    decompress_to(compressed, out, most, offset)
}

/// As [`decompress`], into exactly `length` bytes of `out`, which is overwritten and faster than a slice.
///
/// # Errors
/// As [`decompress`].
pub fn decompress_into(
    compressed: &[u8],
    out: &mut Vec<u8>,
    length: usize,
    offset: u64,
) -> Result<()> {
    // What stands there already need not be zero: every byte is written, or this fails.
    out.resize(length.saturating_add(SLACK), 0);
    let made = decompress_to(compressed, out, length, offset);
    out.truncate(length);
    made
}

#[inline]
fn decompress_to(compressed: &[u8], out: &mut [u8], length: usize, offset: u64) -> Result<()> {
    let mut rest = compressed;
    let mut at = 0usize;
    while !rest.is_empty() {
        let before = rest;
        match step(&mut rest, out, at, length) {
            Some(end) => at = end,
            None => {
                return Err(explain(
                    compressed,
                    before,
                    at as u64,
                    length as u64,
                    offset,
                ));
            }
        }
    }
    if at == length {
        Ok(())
    } else {
        Err(too_short(compressed, at as u64, length as u64, offset))
    }
}

/// Whether [`decompress`] would make exactly `ulen` bytes: nothing is written.
#[must_use]
pub fn is_sound(compressed: &[u8], ulen: u64) -> bool {
    let mut rest = compressed;
    let mut made = 0usize;
    while let Some(op) = next_op(&mut rest) {
        let length = match op {
            Ok(Op::Literal(run)) => run.len(),
            Ok(Op::Copy { distance, length }) if distance <= made => length,
            _ => return false,
        };
        made = made.saturating_add(length);
    }
    made as u64 == ulen
}

/// The first bytes that `compressed` makes, as many as `out` has room for: what they say may be believed or not, so a step that
/// cannot be done ends them without a word.
#[must_use]
pub fn head<'o>(compressed: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    let mut rest = compressed;
    let mut made = 0usize;
    while made < out.len()
        && let Some(Ok(op)) = next_op(&mut rest)
    {
        match op {
            Op::Literal(run) => {
                for (to, from) in out.iter_mut().skip(made).zip(run) {
                    *to = *from;
                    made = made.wrapping_add(1);
                }
            }
            Op::Copy { distance, length } => {
                let Some(from) = made.checked_sub(distance) else {
                    break;
                };
                for at in from..from.wrapping_add(length) {
                    let byte = out.get(at).copied();
                    let (Some(byte), Some(to)) = (byte, out.get_mut(made)) else {
                        break;
                    };
                    *to = byte;
                    made = made.wrapping_add(1);
                }
            }
        }
    }
    out.get(..made).unwrap_or_default()
}

/// Says which of the three ways to fail it was. `made` is how many bytes were written before the step at `rest`.
#[cold]
fn explain(compressed: &[u8], rest: &[u8], made: u64, claimed: u64, offset: u64) -> Error {
    let mut probe = rest;
    let what = match next_op(&mut probe) {
        Some(Ok(Op::Copy { distance, .. })) if distance as u64 > made => {
            format!("copy from {distance} bytes back, only {made} were written")
        }
        Some(Ok(_)) => format!("makes more than the {claimed} bytes it claims"),
        _ => "ends inside a step".to_owned(),
    };
    fault(compressed, rest, offset, what)
}

#[cold]
fn too_short(compressed: &[u8], made: u64, claimed: u64, offset: u64) -> Error {
    fault(
        compressed,
        &[],
        offset,
        format!("makes {made} bytes, {claimed} claimed"),
    )
}

/// Walks a compressed string of any length in flat memory, piece by piece. Fused after an error and at the end.
#[derive(Clone)]
pub struct Stream<'data> {
    compressed: &'data [u8],
    rest: &'data [u8],
    offset: u64,
    claimed: u64,
    made: u64,
    /// What was written last: at most `WINDOW` old bytes in front, then the newest piece.
    buffer: Vec<u8>,
    filled: usize,
    done: bool,
}

impl<'data> Stream<'data> {
    /// Bytes of memory that a stream holds.
    pub const MEMORY: usize = 64 * 1024;

    /// Walks `compressed`, which claims to make `ulen` bytes and whose record begins at `offset` of the input.
    #[must_use]
    pub fn new(compressed: &'data [u8], ulen: u64, offset: u64) -> Self {
        Self {
            compressed,
            rest: compressed,
            offset,
            claimed: ulen,
            made: 0,
            buffer: Vec::new(),
            filled: 0,
            done: false,
        }
    }

    /// How many bytes the whole string claims to have.
    #[must_use]
    pub fn claimed(&self) -> u64 {
        self.claimed
    }

    /// The next piece: never empty, at most [`Stream::MEMORY`] bytes; `None` at the end, when exactly the claimed length was
    /// made.
    ///
    /// # Errors
    /// As [`decompress`].
    pub fn next_piece(&mut self) -> Result<Option<&[u8]>> {
        if self.done {
            return Ok(None);
        }
        match self.fill() {
            Ok(Some(start)) => Ok(self.buffer.get(start..self.filled)),
            Ok(None) => {
                self.done = true;
                Ok(None)
            }
            Err(error) => {
                self.done = true;
                Err(error)
            }
        }
    }

    /// Decodes until the buffer is nearly full; where the new bytes start.
    fn fill(&mut self) -> Result<Option<usize>> {
        if self.buffer.is_empty() {
            // A short string gets a short buffer: many small values must not cost 64 KiB each.
            let needed = usize::try_from(self.claimed)
                .unwrap_or(usize::MAX)
                .saturating_add(LONGEST_STEP);
            self.buffer.resize(needed.min(Self::MEMORY), 0);
        }
        let keep = self.filled.min(WINDOW);
        self.buffer
            .copy_within(self.filled.wrapping_sub(keep)..self.filled, 0);
        let start = keep;
        let mut at = start;
        let limit = self.buffer.len().saturating_sub(LONGEST_STEP);
        let mut before = self.rest;
        while at <= limit {
            if self.rest.is_empty() {
                break;
            }
            // Before the first `WINDOW` bytes are made, the buffer holds all of them, so its start is the output's start.
            let most = self.buffer.len();
            let end = step(&mut self.rest, &mut self.buffer, at, most);
            let made = self.made.saturating_add((at.saturating_sub(start)) as u64);
            let room = self.claimed.saturating_sub(made);
            match end {
                Some(end) if (end.saturating_sub(at)) as u64 <= room => at = end,
                _ => {
                    return Err(explain(
                        self.compressed,
                        before,
                        made,
                        self.claimed,
                        self.offset,
                    ));
                }
            }
            before = self.rest;
        }
        self.made = self.made.saturating_add((at.saturating_sub(start)) as u64);
        self.filled = at;
        if at > start {
            return Ok(Some(start));
        }
        if self.made == self.claimed {
            Ok(None)
        } else {
            Err(too_short(
                self.compressed,
                self.made,
                self.claimed,
                self.offset,
            ))
        }
    }
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "lzf::Stream({} of {} bytes made)",
            self.made, self.claimed
        )
    }
}

/// Compresses `bytes`, or `None` where that would not save at least 4 bytes, as the server decides (`rdbSaveLzfStringObject`).
#[must_use]
pub fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= 20 {
        return None;
    }
    let packed = ::lzf::compress(bytes).ok()?;
    (packed.len().saturating_add(4) <= bytes.len()).then_some(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streamed(compressed: &[u8], ulen: u64) -> Result<Vec<u8>> {
        let mut stream = Stream::new(compressed, ulen, 0);
        let mut out = Vec::new();
        while let Some(piece) = stream.next_piece()? {
            assert!(!piece.is_empty() && piece.len() <= Stream::MEMORY);
            out.extend_from_slice(piece);
        }
        assert!(stream.next_piece().unwrap().is_none(), "fused at the end");
        Ok(out)
    }

    #[test]
    fn the_head_is_the_beginning_of_the_whole() {
        let texts = [
            b"a".repeat(300),
            b"\x0b\0\0\0\x0a\0\0\0\0\0\xff".repeat(20),
            (0..500u16).flat_map(|n| (n / 8).to_le_bytes()).collect(),
        ];
        for text in texts {
            let compressed = ::lzf::compress(&text).unwrap();
            for most in [0, 1, 2, 11, 40, 299, 5000] {
                let mut room = vec![7; most];
                assert_eq!(head(&compressed, &mut room), &text[..most.min(text.len())]);
            }
        }
        // What cannot be done ends it: a copy from before the start, a run that is cut short.
        for (bad, made) in [
            (&b"\x00a\x20\x05"[..], &b"a"[..]),
            (b"\x00a\x09bc", b"a"),
            (b"", b""),
        ] {
            assert_eq!(head(bad, &mut [0; 11]), made);
        }
    }

    fn both(compressed: &[u8], ulen: usize) -> Option<Vec<u8>> {
        let mut out = vec![0; ulen];
        let plain = decompress(compressed, &mut out, 0).map(|()| out);
        let mut used_before = vec![7; 40];
        let roomy = decompress_into(compressed, &mut used_before, ulen, 0).map(|()| used_before);
        match (&plain, &roomy) {
            (Ok(a), Ok(b)) => assert!(a == b, "room behind the end makes a difference"),
            (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
            _ => panic!("{plain:?} {roomy:?}"),
        }
        let stream = streamed(compressed, ulen as u64);
        assert_eq!(plain.is_ok(), stream.is_ok(), "{plain:?} {stream:?}");
        assert_eq!(plain.is_ok(), is_sound(compressed, ulen as u64));
        if let (Ok(a), Ok(b)) = (&plain, &stream) {
            assert!(a == b, "the two decoders differ");
        }
        if let (Err(a), Err(b)) = (&plain, &stream) {
            assert_eq!(a.to_string(), b.to_string());
        }
        plain.ok()
    }

    /// Bytes that a server wrote (`docs` of the format: "a" × 30 and "abc" × 9).
    #[test]
    fn what_servers_write() {
        assert_eq!(
            both(&[0x00, 0x61, 0xe0, 0x14, 0x00], 30).unwrap(),
            [b'a'; 30]
        );
        assert_eq!(
            both(
                &[
                    0x03, 0x61, 0x62, 0x63, 0x61, 0xe0, 0x0c, 0x02, 0x01, 0x62, 0x63
                ],
                27
            )
            .unwrap(),
            b"abc".repeat(9)
        );
        assert_eq!(both(&[], 0).unwrap(), b"");
    }

    #[test]
    fn lies_in_both_directions_and_every_cut_are_errors() {
        let good = [
            0x03u8, 0x61, 0x62, 0x63, 0x61, 0xe0, 0x0c, 0x02, 0x01, 0x62, 0x63,
        ];
        for ulen in (0..27).chain(28..60) {
            assert!(both(&good, ulen).is_none(), "{ulen}");
        }
        for cut in 0..good.len() {
            assert!(both(&good[..cut], 27).is_none(), "cut at {cut}");
        }
        assert!(
            both(&[0x20, 0x00], 3).is_none(),
            "a copy before anything was written"
        );
        assert!(
            both(&[0x00, 0x61, 0x20, 0x01], 4).is_none(),
            "a copy from before the start"
        );
        let error = streamed(&[0x00, 0x61, 0x20, 0x01], 4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "offset 0 (0x0), byte 2 of lzf string: copy from 2 bytes back, only 1 were written"
        );
    }

    #[test]
    fn agrees_with_the_lzf_crate_on_all_sizes_and_shapes() {
        let mut seed = 1u64;
        let mut random = move || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize
        };
        for case in 0..400 {
            let length = 21 + random() % if case % 20 == 0 { 300_000 } else { 3000 };
            let alphabet = 1 + random() % 9;
            let mut bytes: Vec<u8> = Vec::with_capacity(length);
            while bytes.len() < length {
                if random() % 3 == 0 && bytes.len() > 10 {
                    let from = bytes.len() - 1 - random() % bytes.len().min(9000);
                    let n = (1 + random() % 500).min(bytes.len() - from);
                    bytes.extend_from_within(from..from + n);
                } else {
                    bytes.push((random() % alphabet) as u8);
                }
            }
            let Ok(packed) = ::lzf::compress(&bytes) else {
                continue;
            };
            assert!(plausible(packed.len() as u64, bytes.len() as u64));
            assert!(both(&packed, bytes.len()).unwrap() == bytes, "case {case}");
        }
    }

    #[test]
    fn random_bytes_never_panic_and_both_decoders_agree() {
        let mut seed = 7u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..(seed >> 40) % 40)
                .map(|_| {
                    seed = seed
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (seed >> 56) as u8 & if seed & 1 << 40 == 0 { 0x3f } else { 0xff }
                })
                .collect();
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            both(&bytes, (seed >> 50) as usize % 600);
        }
    }
}
