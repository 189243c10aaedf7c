//! Encoders that know the format from its description alone: plain, slow, and without a line of the library's. Where the
//! format leaves a choice (a wider integer, a longer form of a length), one is drawn.

/// Draws choices: SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Draw(pub(super) u64);

impl Draw {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    /// True once in so many times.
    pub(super) fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one_of(&mut self, mut forms: Vec<Vec<u8>>) -> Vec<u8> {
        // Mostly the shortest, which is what servers write.
        let at = if self.once_in(3) {
            self.below(forms.len())
        } else {
            0
        };
        forms.swap_remove(at)
    }
}

/// A length of the container (2.1): any of its four forms that holds it.
pub(super) fn length(n: u64, draw: &mut Draw) -> Vec<u8> {
    let mut forms = Vec::new();
    if n < 64 {
        forms.push(vec![n as u8]);
    }
    if n < 16384 {
        forms.push(vec![0x40 | (n >> 8) as u8, n as u8]);
    }
    if n <= 0xffff_ffff {
        forms.push([&[0x80][..], &(n as u32).to_be_bytes()].concat());
    }
    forms.push([&[0x81][..], &n.to_be_bytes()].concat());
    draw.one_of(forms)
}

/// A string of the container (2.2): raw, an integer where it is one, or compressed.
pub(super) fn string(bytes: &[u8], draw: &mut Draw) -> Vec<u8> {
    if let Some(n) = integer(bytes)
        && let Ok(n) = i32::try_from(n)
        && draw.once_in(2)
    {
        let mut forms = Vec::new();
        if i8::try_from(n).is_ok() {
            forms.push(vec![0xc0, n as u8]);
        }
        if let Ok(n) = i16::try_from(n) {
            forms.push([&[0xc1][..], &n.to_le_bytes()].concat());
        }
        forms.push([&[0xc2][..], &n.to_le_bytes()].concat());
        return draw.one_of(forms);
    }
    if !bytes.is_empty() && draw.once_in(3) {
        let packed = lzf(bytes, draw);
        let mut out = vec![0xc3];
        out.extend(length(packed.len() as u64, draw));
        out.extend(length(bytes.len() as u64, draw));
        out.extend(packed);
        return out;
    }
    let mut out = length(bytes.len() as u64, draw);
    out.extend_from_slice(bytes);
    out
}

/// LZF (2.3): literal runs of 1 to 32 bytes, copies of 3 to 264 bytes from 1 to 8192 bytes back.
fn lzf(bytes: &[u8], draw: &mut Draw) -> Vec<u8> {
    let (mut out, mut at, mut literal) = (Vec::new(), 0, Vec::new());
    let flush = |literal: &mut Vec<u8>, out: &mut Vec<u8>| {
        if !literal.is_empty() {
            out.push(literal.len() as u8 - 1);
            out.append(literal);
        }
    };
    while at < bytes.len() {
        // A few distances, near ones (which overlap what they write) and far ones.
        let mut best = (0, 0);
        for _ in 0..6 {
            let reach = if draw.once_in(2) { 8 } else { 8192 };
            let distance = 1 + draw.below(at.min(reach));
            if distance > at {
                continue;
            }
            let same = (at..bytes.len().min(at + 264))
                .take_while(|here| bytes[*here] == bytes[*here - distance])
                .count();
            best = best.max((same, distance));
        }
        let (mut len, distance) = best;
        if len < 3 {
            literal.push(bytes[at]);
            at += 1;
            if literal.len() == 32 || draw.once_in(40) {
                flush(&mut literal, &mut out);
            }
            continue;
        }
        flush(&mut literal, &mut out);
        if draw.once_in(4) {
            len = 3 + draw.below(len - 2);
        }
        let (offset, code) = (distance - 1, len - 2);
        if code < 7 {
            out.push((code << 5 | offset >> 8) as u8);
        } else {
            out.push((7 << 5 | offset >> 8) as u8);
            out.push((code - 7) as u8);
        }
        out.push(offset as u8);
        at += len;
    }
    flush(&mut literal, &mut out);
    out
}

/// The number that `bytes` are in its only decimal form.
fn integer(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let n: i64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

/// Listpack (3.4).
pub(super) fn listpack(items: &[Vec<u8>], draw: &mut Draw) -> Vec<u8> {
    let mut body = Vec::new();
    for item in items {
        let mut forms: Vec<Vec<u8>> = Vec::new();
        if let Some(n) = integer(item)
            && !draw.once_in(8)
        {
            if (0..=127).contains(&n) {
                forms.push(vec![n as u8]);
            }
            if (-4096..=4095).contains(&n) {
                let bits = (n & 0x1fff) as u16;
                forms.push(vec![0xc0 | (bits >> 8) as u8, bits as u8]);
            }
            let le = n.to_le_bytes();
            for (first, size) in [(0xf1, 2), (0xf2, 3), (0xf3, 4), (0xf4, 8)] {
                let half = 1i128 << (size * 8 - 1);
                if (-half..half).contains(&i128::from(n)) {
                    forms.push([&[first][..], &le[..size]].concat());
                }
            }
        } else {
            let n = item.len();
            if n < 64 {
                forms.push([&[0x80 | n as u8][..], item].concat());
            }
            if n < 4096 {
                forms.push([&[0xe0 | (n >> 8) as u8, n as u8][..], item].concat());
            }
            forms.push([&[0xf0][..], &(n as u32).to_le_bytes(), item].concat());
        }
        let entry = draw.one_of(forms);
        let back = backlen(entry.len());
        body.extend(entry);
        body.extend(back);
    }
    let mut out = (body.len() as u32 + 7).to_le_bytes().to_vec();
    let count = match items.len() {
        unknown if unknown >= 65535 || draw.once_in(6) => 65535,
        known => known as u16,
    };
    out.extend(count.to_le_bytes());
    out.extend(body);
    out.push(0xff);
    out
}

/// Seven bits a byte, the highest first; all but the first byte have bit 7.
fn backlen(mut n: usize) -> Vec<u8> {
    let mut groups = vec![(n & 127) as u8];
    while n > 127 {
        n >>= 7;
        groups.push((n & 127) as u8);
    }
    groups.reverse();
    for later in groups.iter_mut().skip(1) {
        *later |= 0x80;
    }
    groups
}

/// Ziplist (3.3).
pub(super) fn ziplist(items: &[Vec<u8>], draw: &mut Draw) -> Vec<u8> {
    let (mut body, mut before, mut tail) = (Vec::new(), 0usize, 10);
    for item in items {
        tail = 10 + body.len();
        let mut entry = if before < 254 && !draw.once_in(10) {
            vec![before as u8]
        } else {
            [&[0xfe][..], &(before as u32).to_le_bytes()].concat()
        };
        let mut forms: Vec<Vec<u8>> = Vec::new();
        if let Some(n) = integer(item)
            && !draw.once_in(8)
        {
            if (0..=12).contains(&n) {
                forms.push(vec![0xf1 + n as u8]);
            }
            let le = n.to_le_bytes();
            for (first, size) in [(0xfe, 1), (0xc0, 2), (0xf0, 3), (0xd0, 4), (0xe0, 8)] {
                let half = 1i128 << (size * 8 - 1);
                if (-half..half).contains(&i128::from(n)) {
                    forms.push([&[first][..], &le[..size]].concat());
                }
            }
        } else {
            let n = item.len();
            if n < 64 {
                forms.push([&[n as u8][..], item].concat());
            }
            if n < 16384 {
                forms.push([&[0x40 | (n >> 8) as u8, n as u8][..], item].concat());
            }
            forms.push([&[0x80][..], &(n as u32).to_be_bytes(), item].concat());
        }
        entry.extend(draw.one_of(forms));
        before = entry.len();
        body.extend(entry);
    }
    let mut out = (body.len() as u32 + 11).to_le_bytes().to_vec();
    out.extend((tail as u32).to_le_bytes());
    let count = match items.len() {
        unknown if unknown >= 65535 || draw.once_in(6) => 65535,
        known => known as u16,
    };
    out.extend(count.to_le_bytes());
    out.extend(body);
    out.push(0xff);
    out
}

/// Intset (3.5) of numbers that rise: as wide as the widest needs, or wider.
pub(super) fn intset(numbers: &[i64], draw: &mut Draw) -> Vec<u8> {
    let fits = |width: usize| {
        let half = 1i128 << (width * 8 - 1);
        numbers
            .iter()
            .all(|n| (-half..half).contains(&i128::from(*n)))
    };
    let widths: Vec<usize> = [2, 4, 8].into_iter().filter(|w| fits(*w)).collect();
    let width = widths[draw.below(widths.len())];
    let mut out = (width as u32).to_le_bytes().to_vec();
    out.extend((numbers.len() as u32).to_le_bytes());
    for n in numbers {
        out.extend_from_slice(&n.to_le_bytes()[..width]);
    }
    out
}

/// Zipmap (3.5), with room left behind some values.
pub(super) fn zipmap(pairs: &[(Vec<u8>, Vec<u8>)], draw: &mut Draw) -> Vec<u8> {
    let mut out = vec![match pairs.len() {
        unknown if unknown >= 254 || draw.once_in(6) => 254,
        known => known as u8,
    }];
    for (key, value) in pairs {
        for (text, may_be_free) in [(key, false), (value, true)] {
            if text.len() < 254 && !draw.once_in(10) {
                out.push(text.len() as u8);
            } else {
                out.push(0xfe);
                out.extend((text.len() as u32).to_le_bytes());
            }
            let free = if may_be_free && draw.once_in(4) {
                draw.below(5)
            } else {
                0
            };
            if may_be_free {
                out.push(free as u8);
            }
            out.extend(text);
            out.extend(vec![0xaa; free]);
        }
    }
    out.push(0xff);
    out
}
