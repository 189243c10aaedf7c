//! Packed dumps: every packing in its forms, by file and by pipe, cut at every byte, with every byte changed, and bombs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use rdbridge::error::ErrorKind;
use rdbridge::input::{Fact, Input, Inputs, Options, Packing, Source, Why};
use rdbridge::{Error, Result};

use crate::support::dump::{Crc, Dump};

fn options() -> Options {
    let mut options = Options::new(std::env::temp_dir());
    options.command = "rdbridge check".into();
    options
}

/// A dump of about `size` bytes, half of them noise.
fn dump(size: usize) -> Vec<u8> {
    let mut dump = Dump::redis(11).select_db(0);
    let mut noise = 1u32;
    let mut i = 0;
    while dump.offset() < size {
        let value: Vec<u8> = (0..64)
            .map(|at| match at % 2 {
                0 => b'a',
                _ => {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (noise >> 24) as u8
                }
            })
            .collect();
        dump = dump.string_key(format!("key:{i}"), value);
        i += 1;
    }
    dump.finish(Crc::Right)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::default());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// As `zstd -c` writes: with a checksum, without the size, since it comes through a pipe.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut frame = zstd::Encoder::new(Vec::new(), 3).unwrap();
    frame.include_checksum(true).unwrap();
    frame.write_all(bytes).unwrap();
    frame.finish().unwrap()
}

/// As `zstd FILE` writes: with the size.
fn zstd_sized(bytes: &[u8]) -> Vec<u8> {
    let mut frame = zstd::Encoder::new(Vec::new(), 3).unwrap();
    frame.include_checksum(true).unwrap();
    frame
        .set_pledged_src_size(Some(bytes.len() as u64))
        .unwrap();
    frame.write_all(bytes).unwrap();
    frame.finish().unwrap()
}

fn lz4_with(info: FrameInfo, bytes: &[u8]) -> Vec<u8> {
    let mut frame = FrameEncoder::with_frame_info(info, Vec::new());
    frame.write_all(bytes).unwrap();
    frame.finish().unwrap()
}

fn lz4_info() -> FrameInfo {
    FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .content_checksum(true)
}

/// As `lz4` writes: a content checksum, blocks that stand alone.
fn lz4(bytes: &[u8]) -> Vec<u8> {
    lz4_with(lz4_info(), bytes)
}

/// Valkey's envelope: codec 1 is LZ4, 2 is zstd.
fn vcs(codec: u8, frame: &[u8]) -> Vec<u8> {
    [&b"VCS\x01"[..], &[codec, 0, 1], frame].concat()
}

/// A frame without content, which zstd and LZ4 tools put in front for their own use.
const SKIPPABLE: &[u8] = b"\x5a\x2a\x4d\x18\x05\x00\x00\x00notes";

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn open(&self, bytes: impl AsRef<[u8]>) -> Result<Input> {
        Input::open(self.file("packed", bytes), &options())
    }
}

/// What a pipe gives, without the program at its other end.
fn open_as_stream(path: &Path) -> Result<Input> {
    let fifo = path.with_extension("fifo");
    let _ = fs::remove_file(&fifo);
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let bytes = fs::read(path).unwrap();
    let to = fifo.clone();
    let writer = std::thread::spawn(move || {
        let _ = fs::File::options()
            .write(true)
            .open(to)
            .and_then(|mut fifo| fifo.write_all(&bytes));
    });
    let opened = Input::open(&fifo, &options());
    writer.join().unwrap();
    opened
}

#[test]
fn every_form_of_every_packing_gives_the_same_bytes() {
    let dir = Dir::new();
    let bytes = dump(700_000);
    let (first, second) = bytes.split_at(300_001);
    let linked = lz4_info()
        .block_mode(BlockMode::Linked)
        .block_checksums(true);
    let sized = lz4_info()
        .block_size(BlockSize::Max4MB)
        .content_size(Some(bytes.len() as u64));
    for (packed, packing) in [
        (gzip(&bytes), Packing::Gzip),
        (
            [gzip(first), gzip(b""), gzip(second)].concat(),
            Packing::Gzip,
        ),
        (zstd(&bytes), Packing::Zstd),
        (zstd_sized(&bytes), Packing::Zstd),
        (
            [
                SKIPPABLE,
                &zstd(first),
                SKIPPABLE,
                &zstd_sized(second),
                SKIPPABLE,
            ]
            .concat(),
            Packing::Zstd,
        ),
        ([zstd(b""), zstd(&bytes)].concat(), Packing::Zstd),
        (lz4(&bytes), Packing::Lz4),
        (lz4_with(linked, &bytes), Packing::Lz4),
        (lz4_with(sized, &bytes), Packing::Lz4),
        (lz4_with(FrameInfo::new(), &bytes), Packing::Lz4),
        (
            [&lz4(first), SKIPPABLE, &lz4(b""), &lz4(second), SKIPPABLE].concat(),
            Packing::Lz4,
        ),
        (vcs(1, &lz4(&bytes)), Packing::VcsLz4),
        (vcs(2, &zstd(&bytes)), Packing::VcsZstd),
        (
            vcs(2, &[SKIPPABLE, &zstd(&bytes)].concat()),
            Packing::VcsZstd,
        ),
    ] {
        let path = dir.file("packed", &packed);
        for opened in [Input::open(&path, &options()), open_as_stream(&path)] {
            let input = opened.unwrap_or_else(|error| panic!("{packing}: {error}"));
            assert!(
                input.bytes() == bytes,
                "{packing}: {} bytes for {}",
                input.bytes().len(),
                bytes.len()
            );
            assert_eq!(input.packing(), packing);
            assert!(
                matches!(input.facts(), [Fact::Spooled { why: Why::Packed(why), .. }] if *why == packing),
                "{packing}: {:?}",
                input.facts()
            );
        }
    }
}

#[test]
fn bytes_behind_the_packed_data_are_said() {
    let dir = Dir::new();
    let bytes = dump(5000);
    for packed in [
        gzip(&bytes),
        zstd(&bytes),
        lz4(&bytes),
        vcs(1, &lz4(&bytes)),
        vcs(2, &zstd(&bytes)),
    ] {
        let end = packed.len() as u64;
        let path = dir.file("packed", [&packed[..], b"\0\0\0rest"].concat());
        for (opened, rest) in [
            (Input::open(&path, &options()), Some(7)),
            (open_as_stream(&path), None),
        ] {
            let input = opened.unwrap();
            assert!(input.bytes() == bytes);
            let behind = Fact::BehindPacked {
                offset: end,
                bytes: rest,
            };
            assert_eq!(input.facts().last(), Some(&behind), "{}", input.packing());
        }
    }
    // In Valkey's envelope stands one frame; another one behind it is not part of the dump.
    let input = dir
        .open(vcs(1, &[lz4(&bytes), lz4(&bytes)].concat()))
        .unwrap();
    assert!(input.bytes() == bytes && input.facts().len() == 2);
    let input = dir
        .open(vcs(2, &[zstd(&bytes), zstd(&bytes)].concat()))
        .unwrap();
    assert!(input.bytes() == bytes && input.facts().len() == 2);
}

/// Bytes of the small dump.
const SMALL: usize = 500;

/// All packings of a small dump, in forms that prove the whole content.
fn small() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = dump(SMALL);
    let linked = lz4_info()
        .block_mode(BlockMode::Linked)
        .block_checksums(true);
    vec![
        ("gzip", gzip(&bytes)),
        ("zstd", zstd(&bytes)),
        ("zstd with size", zstd_sized(&bytes)),
        ("LZ4", lz4(&bytes)),
        ("LZ4 linked", lz4_with(linked, &bytes)),
        ("LZ4 without checksums", lz4_with(FrameInfo::new(), &bytes)),
        ("VCS LZ4", vcs(1, &lz4(&bytes))),
        ("VCS zstd", vcs(2, &zstd(&bytes))),
    ]
}

#[test]
fn a_cut_at_any_byte_is_an_error_with_the_compressed_offset() {
    let dir = Dir::new();
    let mut cases = 0;
    for (name, packed) in small() {
        for len in 0..packed.len() {
            let error = match dir.open(&packed[..len]) {
                Err(error) => error,
                Ok(input) => panic!(
                    "{name} cut at {len} of {} gave {} bytes",
                    packed.len(),
                    input.bytes().len()
                ),
            };
            let text = error.to_string();
            assert!(text.contains("packed: "), "names the file: {text}");
            // Below that the magic itself is cut.
            if len >= 7 {
                assert_eq!(
                    error.kind(),
                    ErrorKind::Corrupt,
                    "{name} cut at {len}: {text}"
                );
                assert!(
                    text.contains(&format!("end too early, at compressed offset {len};")),
                    "{name} cut at {len}: {text}"
                );
            }
            cases += 1;
        }
    }
    assert!(cases > 2500, "only {cases} cuts");
}

#[test]
fn a_cut_between_two_blocks_is_seen() {
    // Blocks of 64 KiB: lz4_flex's own decoder ends here without an error.
    let dir = Dir::new();
    let bytes = dump(200_000);
    let packed = lz4(&bytes);
    let mut at = 7;
    let mut cuts = 0;
    loop {
        let size = u32::from_le_bytes(packed[at..at + 4].try_into().unwrap());
        let error = match dir.open(&packed[..at]) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("cut at {at}"),
        };
        assert!(
            error.contains(&format!("end too early, at compressed offset {at}")),
            "{error}"
        );
        if size == 0 {
            break;
        }
        at += 4 + (size & 0x7fff_ffff) as usize;
        cuts += 1;
    }
    assert!(cuts >= 3, "{cuts} cuts");
}

#[test]
fn one_changed_byte_is_an_error_or_changes_nothing() {
    let dir = Dir::new();
    let bytes = dump(SMALL);
    let (mut errors, mut harmless) = (0, 0);
    for (name, packed) in small() {
        let checked = name != "LZ4 without checksums";
        for at in 0..packed.len() {
            for flip in [0x01, 0x80] {
                let mut changed = packed.clone();
                changed[at] ^= flip;
                match dir.open(&changed) {
                    Err(error) => {
                        assert!(!error.to_string().contains('\n'), "{error}");
                        errors += 1;
                    }
                    Ok(input) => {
                        assert!(
                            !checked || input.bytes() == bytes,
                            "{name}: byte {at} changed by {flip:#x} gave other bytes"
                        );
                        harmless += 1;
                    }
                }
            }
        }
    }
    // A changed time stamp in a gzip header is harmless; a changed body is not.
    assert!(
        errors > 4_000 && harmless > 10,
        "{errors} errors, {harmless} harmless"
    );
}

#[test]
fn what_is_packed_twice_or_is_no_dump_is_refused() {
    let dir = Dir::new();
    let bytes = dump(5000);
    for (packed, kind, words) in [
        (
            gzip(&gzip(&bytes)),
            ErrorKind::Unsupported,
            "is gzip that holds gzip: only one packing is taken off; gzip -dc",
        ),
        (
            zstd(&lz4(&bytes)),
            ErrorKind::Unsupported,
            "is zstd that holds LZ4: only one packing is taken off; zstd -dc",
        ),
        (
            vcs(1, &lz4(&zstd(&bytes))),
            ErrorKind::Unsupported,
            "holds zstd",
        ),
        (
            gzip(b"hello"),
            ErrorKind::Corrupt,
            "is gzip, but holds no RDB file: it begins with \"hello\", a text",
        ),
        (gzip(b""), ErrorKind::Corrupt, "it is empty"),
        (
            zstd(b"*1\r\n$4\r\nPING\r\n"),
            ErrorKind::Corrupt,
            "append-only file",
        ),
        (SKIPPABLE.to_vec(), ErrorKind::Corrupt, "it is empty"),
    ] {
        let error = dir.open(&packed).expect_err("refused");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
    let dictionary = [&b"\x04\x22\x4d\x18\x61\x40"[..], &[1, 0, 0, 0, 0], &[0; 20]].concat();
    let error = dir.open(dictionary).expect_err("refused");
    assert!(error.to_string().contains("dictionary"), "{error}");
}

#[test]
fn a_window_that_would_take_too_much_memory_is_refused() {
    let dir = Dir::new();
    let mut frame = zstd::Encoder::new(Vec::new(), 1).unwrap();
    frame.long_distance_matching(true).unwrap();
    frame.window_log(28).unwrap();
    frame.write_all(&dump(5000)).unwrap();
    let error = dir.open(frame.finish().unwrap()).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Limit);
    let text = error.to_string();
    assert!(
        text.contains("compressed offset 0 wants a window of 268.4 MB (268435456 bytes), and the limit is 134.2 MB"),
        "{text}"
    );
    assert!(
        text.contains("zstd -dc --long=31 ") && text.ends_with("| rdbridge check - …"),
        "{text}"
    );
    // The widest that is taken.
    let mut frame = zstd::Encoder::new(Vec::new(), 1).unwrap();
    frame.window_log(27).unwrap();
    frame.write_all(&dump(5000)).unwrap();
    assert!(dir.open(frame.finish().unwrap()).unwrap().bytes() == dump(5000));
}

#[test]
fn a_bomb_that_holds_no_dump_is_refused_at_its_first_bytes() {
    let dir = Dir::new();
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..32 {
        gz.write_all(&[0; 1 << 20]).unwrap();
    }
    let path = dir.file("bomb", gz.finish().unwrap());
    let mut told = 0;
    let opened = Source::file(path).open(&options(), &mut |_| {
        told += 1;
        Ok(())
    });
    let error = opened.expect_err("refused");
    assert!(error.to_string().contains("zero bytes"), "{error}");
    assert_eq!(told, 0, "not 4 MiB were unpacked");
}

#[test]
fn a_need_over_the_free_space_is_said_with_both_numbers() {
    let dir = Dir::new();
    // A frame that says it holds 2^62 bytes: magic, 8 bytes of size, a window of 1 MiB.
    let mut claim = b"\x28\xb5\x2f\xfd\xc0\x50".to_vec();
    claim.extend_from_slice(&(1u64 << 62).to_le_bytes());
    claim.extend_from_slice(&[0; 64]);
    let path = dir.file("claim.zst", claim);
    let inputs = Inputs::find(&[&path], options()).unwrap();
    assert_eq!(
        (inputs.need().at_least, inputs.need().keeps_all),
        (1 << 62, false)
    );
    for opened in [Input::open(&path, &options()), open_as_stream(&path)] {
        let error = opened.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Limit);
        let text = error.to_string();
        assert!(
            text.contains("needs at least 4.6 EB (4611686018427387904 bytes), and ")
                && text.contains("free"),
            "{text}"
        );
    }
}

#[test]
fn the_need_of_several_inputs_is_said_first() {
    let dir = Dir::new();
    let bytes = dump(50_000);
    let size = bytes.len() as u64;
    let paths = [
        dir.file("a.rdb", &bytes),
        dir.file("b.rdb.gz", gzip(&bytes)),
        dir.file("c.rdb.zst", zstd_sized(&bytes)),
        dir.file("d.rdb.zst", zstd(&bytes)),
        dir.file(
            "e.rdb.lz4",
            lz4_with(FrameInfo::new().content_size(Some(size)), &bytes),
        ),
        dir.file("f.rdb", vcs(2, &zstd_sized(&bytes))),
        dir.file("g.rdb", b"no dump"),
    ];
    let mut inputs = Inputs::find(&paths, options()).unwrap();
    let need = inputs.need();
    assert_eq!((need.inputs, need.spooled, need.unknown), (7, 5, 1));
    assert_eq!(
        (need.at_least, need.largest, need.keeps_all),
        (4 * size, size, true)
    );
    let said = need.to_string();
    assert!(
        said.starts_with("5 of 7 inputs go through a spool in /"),
        "{said}"
    );
    assert!(
        said.contains("and 1 of unknown size, all at a time ("),
        "{said}"
    );
    for index in 0..6 {
        assert!(inputs.open(index, &mut |_| Ok(())).unwrap().bytes() == bytes);
    }
    assert!(inputs.open(6, &mut |_| Ok(())).is_err());

    // A size behind the last member is no size.
    let path = dir.file("h.gz", [&gzip(&bytes)[..], b"\xff\xff\xff\xff"].concat());
    let inputs = Inputs::find(&[path], options()).unwrap();
    assert_eq!((inputs.need().unknown, inputs.need().at_least), (1, 0));
}

#[test]
fn packed_dumps_in_a_directory_are_known_by_what_is_inside() {
    let dir = Dir::new();
    dir.file("1.gz", gzip(&dump(5000)));
    dir.file("2.zst", zstd(&dump(5000)));
    dir.file("3", lz4(&dump(100)));
    dir.file("4", vcs(2, &zstd(&dump(100))));
    dir.file("access.log.gz", gzip(&b"GET / HTTP/1.1\n".repeat(1000)));
    dir.file("readme.gz", gzip(b"short"));
    // Damaged: perhaps a shard, so it is taken, and opening it says what is wrong.
    dir.file("5.gz", &gzip(&dump(5000))[..300]);
    let mut inputs = Inputs::find(&[dir.0.path()], options()).unwrap();
    let names: Vec<_> = inputs
        .sources()
        .iter()
        .map(|source| source.path().unwrap().file_name().unwrap())
        .collect();
    assert_eq!(names, ["1.gz", "2.zst", "3", "4", "5.gz"]);
    assert!(
        matches!(inputs.facts(), [Fact::Ignored { others: 2, .. }]),
        "{:?}",
        inputs.facts()
    );
    let error: Error = inputs.open(4, &mut |_| Ok(())).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("5.gz: the gzip data end too early, at compressed offset 300"),
        "{error}"
    );
}
