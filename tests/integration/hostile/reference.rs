//! A second reader of the container, written from the description of the format and sharing nothing with the library: slow,
//! plain, without any check but "do the bytes go on?". For whatever bytes, it and the library must find the same keys with
//! the same values, or both fail.

use std::collections::HashMap;

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) offset: usize,
    pub(crate) db: u64,
    pub(crate) value_type: u8,
    pub(crate) value: std::ops::Range<usize>,
    pub(crate) expire_at_ms: Option<i64>,
    pub(crate) idle: Option<u64>,
    pub(crate) freq: Option<u8>,
    /// Bytes of key metadata, and of KeyDB's expiries behind the value.
    pub(crate) extra: (usize, usize),
}

/// What a file holds up to its end or its first fault.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) keys: Vec<Key>,
    /// How many bytes stand behind the end; `None` for a fault.
    pub(crate) trailing: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Redis,
    Valkey,
    Dragonfly,
}

/// Reads the file; `None` where its first nine bytes are no header.
pub(crate) fn read(file: &[u8]) -> Option<Read> {
    let (who, digits) = match (file.get(..9)?.strip_prefix(b"REDIS"), &file[..6]) {
        (Some(digits), _) => (Who::Redis, digits),
        (None, b"VALKEY") => (Who::Valkey, &file[6..9]),
        _ => return None,
    };
    let version: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if digits[0] == b'+' || version == 0 || who == Who::Valkey && version < 80 {
        return None;
    }
    let mut reader = Reader {
        file,
        at: 9,
        who,
        version,
        templates: HashMap::new(),
    };
    let mut keys = Vec::new();
    let trailing = reader.records(&mut keys);
    Some(Read { keys, trailing })
}

struct Reader<'f> {
    file: &'f [u8],
    at: usize,
    who: Who,
    version: u32,
    /// The number of fields by template.
    templates: HashMap<u64, u64>,
}

/// A string as it stands in the file.
enum Text<'f> {
    Plain(&'f [u8]),
    Number(i32),
    Packed(&'f [u8], u64),
}

impl Text<'_> {
    /// As many of its bytes as can be made.
    fn start(&self) -> Vec<u8> {
        match self {
            Text::Plain(bytes) => bytes.to_vec(),
            Text::Number(n) => n.to_string().into_bytes(),
            Text::Packed(packed, claimed) => match unpack(packed, *claimed) {
                Ok(bytes) | Err(bytes) => bytes,
            },
        }
    }
}

/// LZF, one byte at a time: exactly `claimed` bytes, or as many as could be made before the fault.
pub(crate) fn unpack(packed: &[u8], claimed: u64) -> Result<Vec<u8>, Vec<u8>> {
    let mut out: Vec<u8> = Vec::new();
    let mut input = packed.iter().copied();
    while let Some(control) = input.next() {
        let before = out.len();
        let mut step = || -> Option<()> {
            if control < 0x20 {
                for _ in 0..=control {
                    out.push(input.next()?);
                }
                return Some(());
            }
            let mut length = usize::from(control >> 5) + 2;
            if length == 9 {
                length += usize::from(input.next()?);
            }
            let distance = (usize::from(control & 0x1f) << 8) + usize::from(input.next()?) + 1;
            for _ in 0..length {
                out.push(*out.get(out.len().checked_sub(distance)?)?);
            }
            Some(())
        };
        if step().is_none() || out.len() as u64 > claimed {
            out.truncate(before);
            return Err(out);
        }
    }
    if out.len() as u64 == claimed {
        Ok(out)
    } else {
        Err(out)
    }
}

impl<'f> Reader<'f> {
    fn take(&mut self, count: u64) -> Option<&'f [u8]> {
        let end = self.at.checked_add(usize::try_from(count).ok()?)?;
        let bytes = self.file.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn big_endian(&mut self, width: u64) -> Option<u64> {
        Some(
            self.take(width)?
                .iter()
                .fold(0, |n, byte| n << 8 | u64::from(*byte)),
        )
    }

    /// `Ok` for a length, `Err` for a special form.
    fn prefix(&mut self) -> Option<Result<u64, u8>> {
        let first = self.byte()?;
        Some(match first >> 6 {
            0 => Ok(u64::from(first)),
            1 => Ok(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Ok(self.big_endian(4)?),
            2 if first == 0x81 => Ok(self.big_endian(8)?),
            2 => return None,
            _ => Err(first & 0x3f),
        })
    }

    fn len(&mut self) -> Option<u64> {
        self.prefix()?.ok()
    }

    fn lens(&mut self, count: u64) -> Option<()> {
        (0..count).try_for_each(|_| self.len().map(drop))
    }

    fn text(&mut self) -> Option<Text<'f>> {
        Some(match self.prefix()? {
            Ok(length) => Text::Plain(self.take(length)?),
            Err(0) => Text::Number(self.byte()?.cast_signed().into()),
            Err(1) => Text::Number(i16::from_le_bytes(self.take(2)?.try_into().ok()?).into()),
            Err(2) => Text::Number(i32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            Err(3) => {
                let (packed, claimed) = (self.len()?, self.len()?);
                Text::Packed(self.take(packed)?, claimed)
            }
            Err(_) => return None,
        })
    }

    fn texts(&mut self, count: u64) -> Option<()> {
        (0..count).try_for_each(|_| self.text().map(drop))
    }

    /// A count, and that many items.
    fn items(&mut self, item: impl Fn(&mut Self) -> Option<()>) -> Option<u64> {
        self.items_of(1, item)
    }

    /// A count, and that many items, of which each has at least `least` bytes in a sound file.
    fn items_of(&mut self, least: u128, item: impl Fn(&mut Self) -> Option<()>) -> Option<u64> {
        let count = self.len()?;
        if u128::from(count) * least > (self.file.len() - self.at) as u128 {
            return None;
        }
        for _ in 0..count {
            item(self)?;
        }
        Some(count)
    }

    fn records(&mut self, keys: &mut Vec<Key>) -> Option<usize> {
        let mut db = 0;
        let mut pending = Pending::default();
        loop {
            let offset = self.at;
            let code = self.byte()?;
            let mut attribute = true;
            match (code, self.who) {
                (0..=100, _) => {
                    self.text()?;
                    let from = self.at;
                    self.value(code)?;
                    let to = self.at;
                    let behind = self.sub_expiries();
                    let taken = std::mem::take(&mut pending);
                    keys.push(Key {
                        offset: taken.offset.unwrap_or(offset),
                        db,
                        value_type: code,
                        value: from..to,
                        expire_at_ms: taken.expire_at_ms.filter(|at| *at != -1),
                        idle: taken.idle,
                        freq: taken.freq,
                        extra: (taken.meta, behind),
                    });
                    attribute = false;
                }
                (252, _) => {
                    let at = i64::from_le_bytes(self.take(8)?.try_into().ok()?);
                    pending.expire_at_ms = Some(self.of_old_big_endian_writers(at));
                }
                (253, _) => {
                    let at = i32::from_le_bytes(self.take(4)?.try_into().ok()?);
                    pending.expire_at_ms = Some(i64::from(at) * 1000);
                }
                (249, _) => pending.freq = Some(self.byte()?),
                (248, _) => pending.idle = Some(self.len()?),
                (107 | 121, _) => self.lens(1)?,
                (243, Who::Redis) => {
                    let classes = self.len()?;
                    if classes > 7 {
                        return None;
                    }
                    for _ in 0..classes {
                        self.take(4)?;
                        self.module()?;
                    }
                    pending.meta = self.at - offset;
                }
                (220, Who::Dragonfly) => {
                    let flags = self.take(4)?[0];
                    self.take(if flags & 2 == 0 { 0 } else { 4 })?;
                }
                _ => {
                    attribute = false;
                    if code == 255 {
                        if self.version >= 5 {
                            self.take(8)?;
                        }
                        return Some(self.file.len() - self.at);
                    }
                    self.other(code, &mut db)?;
                }
            }
            if attribute {
                pending.offset.get_or_insert(offset);
            }
        }
    }

    fn other(&mut self, code: u8, db: &mut u64) -> Option<()> {
        match (code, self.who) {
            (254, _) => *db = self.len()?,
            (251, _) => self.lens(2)?,
            (250, _) => {
                let name = self.text()?.start();
                self.text()?;
                if name == b"df-ver" {
                    self.who = Who::Dragonfly;
                }
            }
            (244, _) => self.lens(3)?,
            (243, Who::Valkey) => {
                self.text()?;
                self.items(|r| r.lens(2))?;
            }
            (245, _) => self.texts(1)?,
            (246, _) => {
                self.texts(2)?;
                let described = self.len()? != 0;
                self.texts(1 + u64::from(described))?;
            }
            (247, _) => {
                self.len()?;
                if self.len()? != 2 {
                    return None;
                }
                self.len()?;
                self.module()?;
            }
            (242, Who::Redis) => {
                let id = self.len()?;
                let fields = self.items(|r| r.texts(1))?;
                let full = self.templates.len() >= 65_536;
                if fields == 0 || full || self.templates.insert(id, fields).is_some() {
                    return None;
                }
            }
            (200 | 211, Who::Dragonfly) => self.take(8).map(drop)?,
            (210, Who::Dragonfly) => {
                self.len()?;
                self.texts(1)?;
            }
            (203, Who::Dragonfly) => {}
            _ => return None,
        }
        Some(())
    }

    fn value(&mut self, code: u8) -> Option<()> {
        use Who::{Dragonfly, Redis, Valkey};
        match (code, self.who) {
            (0 | 9..=13 | 16 | 17 | 20, _) => self.texts(1)?,
            (1 | 2 | 14, _) => drop(self.items(|r| r.texts(1))?),
            (4, _) => drop(self.items(|r| r.texts(2))?),
            (3, _) => drop(self.items(|r| {
                r.texts(1)?;
                let length = r.byte()?;
                r.take(if length >= 253 { 0 } else { length.into() })?;
                Some(())
            })?),
            (5, _) => drop(self.items(|r| {
                r.texts(1)?;
                r.take(8).map(drop)
            })?),
            (7, _) => {
                self.len()?;
                self.module()?;
            }
            (18, _) => drop(self.items(|r| {
                r.len()?;
                r.texts(1)
            })?),
            (15, _) => self.stream(1)?,
            (19, _) => self.stream(2)?,
            (21, _) => self.stream(3)?,
            (26, Redis) => self.stream(4)?,
            (27, Redis) => self.stream(5)?,
            (22, Redis) => self.hash_with_times()?,
            (24, Redis) => {
                self.take(8)?;
                self.hash_with_times()?;
            }
            (23, Redis) => self.texts(1)?,
            (25, Redis) => {
                self.take(8)?;
                self.texts(1)?;
            }
            (22, Valkey) => drop(self.items(|r| {
                r.texts(2)?;
                r.take(8).map(drop)
            })?),
            // A path has at least one field, which nobody checks here.
            (23, Valkey) => drop(self.items_of(4, |r| {
                r.texts(1)?;
                r.items(|r| r.texts(2)).map(drop)
            })?),
            (28, Redis) => {
                let count = self.len()?;
                if self.len()? != 0 {
                    self.len()?;
                }
                for _ in 0..count {
                    self.len()?;
                    match self.len()? {
                        0 | 3 => self.texts(1)?,
                        1 | 2 => self.take(8).map(drop)?,
                        _ => return None,
                    }
                }
            }
            (29, Redis) => {
                match self.len()? {
                    0 => self.texts(1)?,
                    1 => drop(self.items(|r| r.texts(1))?),
                    _ => return None,
                }
                self.texts(1)?;
            }
            (31, Redis) => {
                let fields = match self.len()? {
                    0 => {
                        let names = self.text()?.start();
                        let count = u16::from_le_bytes(names.get(4..6)?.try_into().ok()?);
                        if count == u16::MAX {
                            return None;
                        }
                        count.into()
                    }
                    1 => self.items(|r| r.texts(1))?,
                    _ => return None,
                };
                self.texts(fields)?;
            }
            (30, Redis) => self.texts(1)?,
            (32, Redis) => {
                let id = self.len()?;
                let fields = *self.templates.get(&id)?;
                self.texts(fields)?;
            }
            (30, Dragonfly) => self.texts(1)?,
            (31, Dragonfly) => drop(self.items(|r| r.texts(3))?),
            (32, Dragonfly) => drop(self.items(|r| r.texts(2))?),
            _ => return None,
        }
        Some(())
    }

    fn hash_with_times(&mut self) -> Option<()> {
        self.items(|r| {
            r.len()?;
            r.texts(2)
        })
        .map(drop)
    }

    fn stream(&mut self, form: u32) -> Option<()> {
        // The ID of a node has 16 bytes, which nobody checks here.
        self.items_of(18, |r| r.texts(2))?;
        self.lens(if form == 1 { 3 } else { 8 })?;
        self.items(|r| {
            r.texts(1)?;
            r.lens(if form == 1 { 2 } else { 3 })?;
            r.items(|r| {
                r.take(24)?;
                r.lens(1)
            })?;
            r.items(|r| {
                r.texts(1)?;
                r.take(if form < 3 { 8 } else { 16 })?;
                r.items(|r| r.take(16).map(drop)).map(drop)
            })?;
            if form == 5 {
                r.items(|r| r.take(16).map(drop))?;
            }
            Some(())
        })?;
        if form >= 4 {
            self.lens(2)?;
            self.items(|r| {
                r.texts(1)?;
                r.items(|r| {
                    r.texts(1)?;
                    r.lens(2)
                })
                .map(drop)
            })?;
            self.lens(2)?;
        }
        Some(())
    }

    fn module(&mut self) -> Option<()> {
        loop {
            match self.len()? {
                0 => return Some(()),
                1 | 2 => self.lens(1)?,
                3 => self.take(4).map(drop)?,
                4 => self.take(8).map(drop)?,
                5 => self.texts(1)?,
                _ => return None,
            }
        }
    }

    /// KeyDB's aux fields behind a key; how many bytes they take.
    fn sub_expiries(&mut self) -> usize {
        let start = self.at;
        loop {
            let before = self.at;
            let one = (|| {
                let aux = self.byte()? == 250;
                let ours = matches!(
                    self.text()?,
                    Text::Plain(b"keydb-subexpire-key" | b"keydb-subexpire-when")
                );
                self.text()?;
                (aux && ours).then_some(())
            })();
            if one.is_none() {
                self.at = before;
                return before - start;
            }
        }
    }

    fn of_old_big_endian_writers(&self, at: i64) -> i64 {
        let year_10000 = 253_402_300_800_000;
        let year_2009 = 1_230_768_000_000;
        let turned = at.swap_bytes();
        let absurd = at < -year_10000 || at >= year_10000;
        if self.version < 9 && absurd && turned >= year_2009 && turned < year_10000 {
            turned
        } else {
            at
        }
    }
}

#[derive(Default)]
struct Pending {
    offset: Option<usize>,
    expire_at_ms: Option<i64>,
    idle: Option<u64>,
    freq: Option<u8>,
    meta: usize,
}
