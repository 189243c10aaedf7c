//! What the headers of packed data say about themselves: the size of the content, the window, which checksums there are.
//! Pure functions over the first bytes; what they say is a claim that only unpacking proves.

/// Length of Valkey's envelope: `VCS`, version 1, codec, reserved 0, kind 1 (an RDB stream).
pub(super) const ENVELOPE: usize = 7;

/// The longest header of a zstd or LZ4 frame, magic included.
#[cfg(any(feature = "compression", test))]
pub(super) const LONGEST_HEADER: usize = 19;

pub(super) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
pub(super) const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// A frame without content, which zstd and LZ4 share: magic `50..5f 2a 4d 18`, then the length of what is to be skipped.
#[cfg(feature = "compression")]
pub(super) fn skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// The header of a zstd frame (RFC 8878, 3.1.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ZstdHeader {
    /// Bytes of the frame's content, where the header says so.
    pub(super) content: Option<u64>,
    /// Bytes that a decoder must keep.
    pub(super) window: u64,
}

/// Reads the header of a zstd frame; `None` where `head` is none or ends inside it.
pub(super) fn zstd_header(head: &[u8]) -> Option<ZstdHeader> {
    let rest = head.strip_prefix(&ZSTD_MAGIC)?;
    let (&descriptor, mut rest) = rest.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    let mut window = 0;
    if !single_segment {
        let (&byte, behind) = rest.split_first()?;
        let base = 1u64 << (10 + (byte >> 3));
        window = base + base / 8 * u64::from(byte & 7);
        rest = behind;
    }
    let dictionary_id = [0, 1, 2, 4][usize::from(descriptor & 3)];
    rest = rest.get(dictionary_id..)?;
    let width = match descriptor >> 6 {
        0 => usize::from(single_segment),
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let mut content = None;
    if width > 0 {
        let mut le = [0; 8];
        le[..width].copy_from_slice(rest.get(..width)?);
        // The two-byte form begins where the one-byte form ends.
        let offset = if width == 2 { 256 } else { 0 };
        content = Some(u64::from_le_bytes(le).saturating_add(offset));
    }
    if single_segment {
        window = content.unwrap_or(0);
    }
    Some(ZstdHeader { content, window })
}

/// The header of an LZ4 frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lz4Header {
    /// Bytes of the header, magic included.
    pub(super) len: usize,
    /// Bytes of the frame's content, where the header says so.
    pub(super) content: Option<u64>,
    pub(super) block_checksums: bool,
    pub(super) content_checksum: bool,
    /// Whether it was packed with a dictionary that stands elsewhere.
    pub(super) dictionary: bool,
}

/// Reads the header of an LZ4 frame; `None` where `head` is none or ends inside it.
pub(super) fn lz4_header(head: &[u8]) -> Option<Lz4Header> {
    let rest = head.strip_prefix(&LZ4_MAGIC)?;
    let (&flags, rest) = rest.split_first()?;
    let has_content = flags & 0x08 != 0;
    let dictionary = flags & 0x01 != 0;
    // Magic, flags, block descriptor, content size, dictionary id, header checksum.
    let len = 4 + 1 + 1 + 8 * usize::from(has_content) + 4 * usize::from(dictionary) + 1;
    head.get(..len)?;
    let content = match has_content {
        true => rest
            .get(1..)?
            .first_chunk()
            .map(|le| u64::from_le_bytes(*le)),
        false => None,
    };
    Some(Lz4Header {
        len,
        content,
        block_checksums: flags & 0x10 != 0,
        content_checksum: flags & 0x04 != 0,
        dictionary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_headers_of_every_width() {
        let header = |bytes: &[u8]| zstd_header(&[&ZSTD_MAGIC[..], bytes].concat());
        let is = |content, window| Some(ZstdHeader { content, window });
        assert_eq!(header(&[0x20, 200]), is(Some(200), 200));
        assert_eq!(header(&[0x60, 0, 1]), is(Some(512), 512));
        assert_eq!(
            header(&[0x80, 0x58, 1, 0, 0, 1]),
            is(Some(0x0100_0001), 2 << 20)
        );
        assert_eq!(
            header(&[0xc2, 0x51, 9, 9, 1, 0, 0, 0, 1, 0, 0, 0]),
            is(Some(0x1_0000_0001), 1_179_648)
        );
        assert_eq!(
            header(&[0x00, 0xff]),
            is(None, (1 << 41) + (1 << 41) / 8 * 7)
        );
        assert_eq!(
            header(&[0xe0, 255, 255, 255, 255, 255, 255, 255, 255]),
            is(Some(u64::MAX), u64::MAX)
        );
        for cut in [&[][..], &[0x80], &[0x80, 0x58, 1, 0, 0]] {
            assert_eq!(header(cut), None);
        }
        assert_eq!(zstd_header(b"REDIS0011"), None);
    }

    #[test]
    fn lz4_headers_of_every_form() {
        let header = |bytes: &[u8]| lz4_header(&[&LZ4_MAGIC[..], bytes].concat());
        let plain = header(&[0x60, 0x40, 0x82]).unwrap();
        assert_eq!((plain.len, plain.content), (7, None));
        assert!(!plain.block_checksums && !plain.content_checksum && !plain.dictionary);
        let full = header(&[0x7d, 0x40, 1, 2, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 0x82]).unwrap();
        assert_eq!((full.len, full.content), (LONGEST_HEADER, Some(0x201)));
        assert!(full.block_checksums && full.content_checksum && full.dictionary);
        assert_eq!(
            header(&[0x7d, 0x40, 1, 2, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]),
            None
        );
        assert_eq!(header(&[]), None);
    }
}
