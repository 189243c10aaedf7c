//! Writes RDB files byte by byte, valid ones and deliberately broken ones. It shares no code with the library: what it
//! knows of the format it knows by itself, the checksum included.

/// What stands in the last eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crc {
    /// The checksum of all bytes before.
    Right,
    /// The checksum with one bit flipped.
    Wrong,
    /// Zeros: the server ran with `rdbchecksum no`.
    Zero,
    /// Nothing: files before version 5, or a cut.
    Absent,
}

/// Opcodes that stand where a type byte could.
pub(crate) mod opcode {
    pub(crate) const FUNCTION2: u8 = 245;
    pub(crate) const MODULE_AUX: u8 = 247;
    pub(crate) const IDLE: u8 = 248;
    pub(crate) const FREQ: u8 = 249;
    pub(crate) const AUX: u8 = 250;
    pub(crate) const RESIZEDB: u8 = 251;
    pub(crate) const EXPIRETIME_MS: u8 = 252;
    pub(crate) const EXPIRETIME: u8 = 253;
    pub(crate) const SELECTDB: u8 = 254;
    pub(crate) const EOF: u8 = 255;
}

/// A file being written. Every method appends; [`Dump::finish`] ends it.
#[derive(Debug, Clone)]
pub(crate) struct Dump {
    bytes: Vec<u8>,
}

impl Dump {
    /// `REDIS` and four digits.
    pub(crate) fn redis(version: u32) -> Self {
        Self::with_magic(format!("REDIS{version:04}"))
    }

    /// `VALKEY` and three digits.
    pub(crate) fn valkey(version: u32) -> Self {
        Self::with_magic(format!("VALKEY{version:03}"))
    }

    /// Any first bytes.
    pub(crate) fn with_magic(magic: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: magic.into(),
        }
    }

    /// Any bytes as they are.
    #[must_use]
    pub(crate) fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self
    }

    /// An aux field.
    #[must_use]
    pub(crate) fn aux(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.raw([opcode::AUX]).raw(string(name)).raw(string(value))
    }

    #[must_use]
    pub(crate) fn select_db(self, db: u64) -> Self {
        self.raw([opcode::SELECTDB]).raw(length(db))
    }

    /// The size hints of a db: keys, and keys with an expiry.
    #[must_use]
    pub(crate) fn resize_db(self, keys: u64, expires: u64) -> Self {
        self.raw([opcode::RESIZEDB])
            .raw(length(keys))
            .raw(length(expires))
    }

    /// Expiry of the key that follows, in milliseconds since 1970.
    #[must_use]
    pub(crate) fn expire_ms(self, at: i64) -> Self {
        self.raw([opcode::EXPIRETIME_MS]).raw(at.to_le_bytes())
    }

    /// Expiry of the key that follows, in seconds since 1970: the form of versions 1 and 2.
    #[must_use]
    pub(crate) fn expire_s(self, at: i32) -> Self {
        self.raw([opcode::EXPIRETIME]).raw(at.to_le_bytes())
    }

    /// Seconds since the key that follows was used.
    #[must_use]
    pub(crate) fn idle(self, seconds: u64) -> Self {
        self.raw([opcode::IDLE]).raw(length(seconds))
    }

    /// The logarithmic use counter of the key that follows.
    #[must_use]
    pub(crate) fn freq(self, counter: u8) -> Self {
        self.raw([opcode::FREQ, counter])
    }

    /// A function library.
    #[must_use]
    pub(crate) fn function(self, code: impl AsRef<[u8]>) -> Self {
        self.raw([opcode::FUNCTION2]).raw(string(code))
    }

    /// A key of any type, with the value's bytes as they are to stand in the file.
    #[must_use]
    pub(crate) fn key(self, rdb_type: u8, name: impl AsRef<[u8]>, body: impl AsRef<[u8]>) -> Self {
        self.raw([rdb_type]).raw(string(name)).raw(body)
    }

    /// A key of type string (0), stored raw.
    #[must_use]
    pub(crate) fn string_key(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.key(0, name, string(value))
    }

    /// How many bytes stand so far: the offset of what comes next.
    pub(crate) fn offset(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the file: EOF opcode and checksum.
    #[must_use]
    pub(crate) fn finish(self, crc: Crc) -> Vec<u8> {
        let mut bytes = self.raw([opcode::EOF]).bytes;
        let right = crc64(&bytes);
        match crc {
            Crc::Right => bytes.extend_from_slice(&right.to_le_bytes()),
            Crc::Wrong => bytes.extend_from_slice(&(right ^ 1).to_le_bytes()),
            Crc::Zero => bytes.extend_from_slice(&[0; 8]),
            Crc::Absent => {}
        }
        bytes
    }

    /// The bytes so far, cut off here: no EOF, no checksum.
    #[must_use]
    pub(crate) fn cut(self) -> Vec<u8> {
        self.bytes
    }
}

/// Puts the right checksum (or zeros, or a wrong one) into the last eight bytes of a whole file that was changed.
pub(crate) fn reseal(file: &mut [u8], crc: Crc) {
    let Some((covered, sum)) = file.split_last_chunk_mut::<8>() else {
        return;
    };
    let right = crc64(covered);
    match crc {
        Crc::Right => *sum = right.to_le_bytes(),
        Crc::Wrong => *sum = (right ^ 1).to_le_bytes(),
        Crc::Zero => *sum = [0; 8],
        Crc::Absent => {}
    }
}

/// A DUMP payload: type byte, body, footer version, checksum.
pub(crate) fn payload(rdb_type: u8, body: impl AsRef<[u8]>, version: u16) -> Vec<u8> {
    let mut bytes = vec![rdb_type];
    bytes.extend_from_slice(body.as_ref());
    bytes.extend_from_slice(&version.to_le_bytes());
    let crc = crc64(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// A length in its shortest form: 6, 14, 32 or 64 bits.
pub(crate) fn length(n: u64) -> Vec<u8> {
    match n {
        0..0x40 => vec![n as u8],
        0x40..0x4000 => vec![0x40 | (n >> 8) as u8, n as u8],
        0x4000..=0xffff_ffff => [&[0x80][..], &(n as u32).to_be_bytes()].concat(),
        _ => [&[0x81][..], &n.to_be_bytes()].concat(),
    }
}

/// A string stored raw, with its length in front.
pub(crate) fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&length(bytes.len() as u64), bytes].concat()
}

/// A string stored as an integer of 8, 16 or 32 bits, whichever is the shortest.
pub(crate) fn int_string(n: i32) -> Vec<u8> {
    if let Ok(n) = i8::try_from(n) {
        [&[0xc0][..], &n.to_le_bytes()].concat()
    } else if let Ok(n) = i16::try_from(n) {
        [&[0xc1][..], &n.to_le_bytes()].concat()
    } else {
        [&[0xc2][..], &n.to_le_bytes()].concat()
    }
}

/// A string stored as an LZF blob whose header claims `claimed` bytes.
pub(crate) fn lzf_string(blob: impl AsRef<[u8]>, claimed: u64) -> Vec<u8> {
    let blob = blob.as_ref();
    [
        &[0xc3][..],
        &length(blob.len() as u64),
        &length(claimed),
        blob,
    ]
    .concat()
}

/// CRC-64 with Redis' polynomial, reflected, start 0, no final xor; one byte at a time by a table made at compile time.
pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    const TABLE: [u64; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u64;
            let mut bit = 0;
            while bit < 8 {
                crc = (crc >> 1) ^ (0x95ac_9329_ac4b_c9b5 * (crc & 1));
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    bytes.iter().fold(0, |crc, &byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::super::server::Server;
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
    }

    #[test]
    fn a_built_file_loads_into_a_real_server() {
        let dump = Dump::redis(10)
            .aux("redis-ver", "7.0.15")
            .function("#!lua name=lib\nredis.register_function('f', function() return 7 end)")
            .select_db(3)
            .resize_db(7, 2)
            .string_key("plain", "text")
            .expire_ms(2_000_000_000_123)
            .idle(70)
            .key(0, "int", int_string(-70_000))
            .expire_s(2_000_000_000)
            .freq(9)
            .key(0, "small", int_string(7))
            .key(0, "medium", int_string(300))
            .key(0, "lzf", lzf_string(b"\x00a\xe0\x59\x00", 99))
            .key(
                1,
                "list",
                [length(2), string("a"), string(vec![b'b'; 20_000])].concat(),
            );
        let at = dump.offset();
        let file = dump.string_key("long", vec![b'x'; 300]).finish(Crc::Right);
        assert_eq!(&file[at..at + 6], b"\x00\x04long");

        let written = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(written.path(), &file).expect("written");
        let server = Server::setup("redis-7.0").with_rdb(written.path()).start();
        let mut c = server.connect();
        redis::cmd("SELECT").arg(3).exec(&mut c).expect("SELECT");
        let mut ask = |line: &str| -> redis::Value {
            let mut words = line.split(' ');
            let mut cmd = redis::cmd(words.next().expect("a command"));
            cmd.arg(words.collect::<Vec<_>>())
                .query(&mut c)
                .expect("an answer")
        };
        let bulk = |text: &str| redis::Value::BulkString(text.into());
        assert_eq!(ask("DBSIZE"), redis::Value::Int(7));
        assert_eq!(ask("GET plain"), bulk("text"));
        assert_eq!(ask("GET int"), bulk("-70000"));
        assert_eq!(ask("GET medium"), bulk("300"));
        assert_eq!(ask("PEXPIRETIME int"), redis::Value::Int(2_000_000_000_123));
        assert_eq!(ask("EXPIRETIME small"), redis::Value::Int(2_000_000_000));
        assert_eq!(ask("GET lzf"), bulk(&"a".repeat(99)));
        assert_eq!(ask("LLEN list"), redis::Value::Int(2));
        assert_eq!(ask("STRLEN long"), redis::Value::Int(300));
        assert_eq!(ask("FCALL f 0"), redis::Value::Int(7));

        let restored: redis::RedisResult<()> = redis::cmd("RESTORE")
            .arg("restored")
            .arg(0)
            .arg(payload(0, string("value"), 6))
            .exec(&mut c);
        assert_eq!(restored, Ok(()));
    }

    #[test]
    fn checksums_can_be_wrong_zero_or_absent() {
        let dump = Dump::valkey(80).string_key("k", "v");
        let right = dump.clone().finish(Crc::Right);
        let absent = dump.clone().finish(Crc::Absent);
        assert_eq!(right.len(), absent.len() + 8);
        assert_eq!(absent, [dump.clone().cut(), vec![opcode::EOF]].concat());
        for kind in [Crc::Wrong, Crc::Zero] {
            let mut other = dump.clone().finish(kind);
            assert_ne!(other, right);
            reseal(&mut other, Crc::Right);
            assert_eq!(other, right);
            reseal(&mut other, kind);
            assert_eq!(other, dump.clone().finish(kind));
        }
        let mut short = vec![1, 2, 3];
        reseal(&mut short, Crc::Right);
        assert_eq!(short, [1, 2, 3]);
    }

    #[test]
    fn lengths_take_their_shortest_form() {
        assert_eq!(length(63), [0x3f]);
        assert_eq!(length(64), [0x40, 64]);
        assert_eq!(length(16_383), [0x7f, 0xff]);
        assert_eq!(length(16_384), [0x80, 0, 0, 0x40, 0]);
        assert_eq!(length(u64::from(u32::MAX)), [0x80, 255, 255, 255, 255]);
        assert_eq!(length(1 << 32), [0x81, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(
            Dump::redis(1)
                .raw(length(opcode::MODULE_AUX.into()))
                .offset(),
            11
        );
    }
}
