//! From seeds to cases: every case has a number, and its bytes can be made again from that number alone.

use super::super::support::dump::{self, Crc};
use super::super::support::random::Random;
use super::packed::{Field, FieldKind};
use super::seeds::Seed;

/// One way to change a seed. The number says how many cases it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// The seed itself.
    AsItIs,
    /// Every prefix.
    Prefixes,
    /// Every byte becomes each of [`BYTES`], and has its lowest and its highest bit flipped.
    Bytes,
    /// Every number of a built file becomes each lie of its kind.
    Lies,
    /// Up to eight changes at random places: see [`at_random`].
    Random(usize),
}

/// What every byte is turned into, besides its two flipped forms.
const BYTES: [u8; 6] = [0x00, 0x01, 0x7f, 0x80, 0x81, 0xff];

/// RDB lengths that are false, not minimal, or no lengths.
const LENGTHS: &[&[u8]] = &[
    &[0x00],
    &[0x01],
    &[0x02],
    &[0x3f],
    &[0x7f, 0xff],
    &[0x80, 0x00, 0x00, 0x00, 0x00],
    &[0x80, 0x00, 0x00, 0x00, 0x01],
    &[0x80, 0x00, 0x10, 0x00, 0x00],
    &[0x80, 0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0xff, 0xff, 0xff, 0xff],
    &[0x81, 0, 0, 0, 0, 0, 0, 0, 2],
    &[0x81, 0, 0, 0, 1, 0, 0, 0, 0],
    &[0x81, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x81, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x81, 0x80, 0, 0, 0, 0, 0, 0, 0],
    &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf8],
    &[0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x82],
    &[0xbf],
    &[0xc0],
    &[0xc1],
    &[0xc2],
    &[0xc3],
    &[0xc4],
    &[0xff],
];

const WORDS: &[u16] = &[0, 1, 2, 0x7fff, 0x8000, 0xfffe, 0xffff];

const DOUBLE_WORDS: &[u32] = &[
    0,
    1,
    2,
    3,
    5,
    6,
    7,
    8,
    10,
    11,
    12,
    0x7f,
    0xff,
    0x7fff_fffe,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fff0,
    0xffff_fffe,
    0xffff_ffff,
];

const QUAD_WORDS: &[u64] = &[
    0,
    1,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_ffff_ffff,
    // As doubles: infinities, a NaN, the smallest subnormal, minus zero.
    0x7ff0_0000_0000_0000,
    0xfff0_0000_0000_0000,
    0x7ff8_0000_0000_0001,
];

/// The field's own value, moved a little: off by one is the commonest lie.
const OFFSETS: [i64; 4] = [-2, -1, 1, 2];

/// What a group of cases is made of.
#[derive(Debug, Clone, Copy)]
struct Group {
    seed: usize,
    family: Family,
    cases: usize,
}

/// All cases.
#[derive(Debug)]
pub(crate) struct Plan {
    seeds: Vec<Seed>,
    groups: Vec<Group>,
    cases: usize,
    base: u64,
}

/// The file of one case, before it is sealed.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) what: String,
    pub(crate) bytes: Vec<u8>,
    /// The end was cut off: sealing adds one.
    pub(crate) cut: bool,
}

/// How the end of a mutated file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// As the mutation left it.
    AsItIs,
    /// The checksum is right.
    Right,
    /// The checksum is switched off.
    Zero,
}

impl Seal {
    pub(crate) const ALL: [Self; 3] = [Self::AsItIs, Self::Right, Self::Zero];
}

impl Plan {
    /// `base` is the seed of everything random.
    pub(crate) fn new(base: u64) -> Self {
        Self {
            seeds: Vec::new(),
            groups: Vec::new(),
            cases: 0,
            base,
        }
    }

    /// Adds seeds, each with these families.
    pub(crate) fn add(&mut self, seeds: Vec<Seed>, families: &[Family]) {
        for seed in seeds {
            for family in families {
                let cases = match family {
                    Family::AsItIs => 1,
                    Family::Prefixes => seed.bytes.len(),
                    Family::Bytes => seed.bytes.len() * (BYTES.len() + 2),
                    Family::Lies => seed.fields.iter().map(lies_of).sum(),
                    Family::Random(cases) => *cases,
                };
                self.groups.push(Group {
                    seed: self.seeds.len(),
                    family: *family,
                    cases,
                });
                self.cases += cases;
            }
            self.seeds.push(seed);
        }
    }

    /// How many numbered cases there are. Numbers from here on are random ones without end.
    pub(crate) fn cases(&self) -> usize {
        self.cases
    }

    pub(crate) fn seeds(&self) -> usize {
        self.seeds.len()
    }

    /// How many cases the families of this kind make.
    pub(crate) fn cases_of(&self, of: impl Fn(&Family) -> bool) -> usize {
        self.groups
            .iter()
            .filter(|g| of(&g.family))
            .map(|g| g.cases)
            .sum()
    }

    /// Case `number`.
    pub(crate) fn case(&self, number: usize) -> Case {
        let mut left = number;
        for group in &self.groups {
            if left < group.cases {
                return self.case_of(&self.seeds[group.seed], group.family, left);
            }
            left -= group.cases;
        }
        let seed = &self.seeds[left % self.seeds.len()];
        self.case_of(seed, Family::Random(usize::MAX), left / self.seeds.len())
    }

    fn case_of(&self, seed: &Seed, family: Family, index: usize) -> Case {
        let mut bytes = seed.bytes.clone();
        let name = &seed.name;
        let mut cut = false;
        let what = match family {
            Family::AsItIs => name.clone(),
            Family::Prefixes => {
                bytes.truncate(index);
                cut = true;
                format!("{name}, its first {index} bytes")
            }
            Family::Bytes => {
                let (at, form) = (index / (BYTES.len() + 2), index % (BYTES.len() + 2));
                bytes[at] = match BYTES.get(form) {
                    Some(byte) => *byte,
                    None if form == BYTES.len() => bytes[at] ^ 1,
                    None => bytes[at] ^ 0x80,
                };
                format!("{name}, byte {at} is {:#04x}", bytes[at])
            }
            Family::Lies => {
                let mut left = index;
                let field = seed
                    .fields
                    .iter()
                    .find(|field| {
                        let here = left < lies_of(field);
                        if !here {
                            left -= lies_of(field);
                        }
                        here
                    })
                    .expect("a field for every lie");
                let lie = lie(field, &bytes, left);
                let what = format!("{name}, the {:?} at {} is {lie:02x?}", field.kind, field.at);
                bytes.splice(field.at..field.at + field.len, lie);
                what
            }
            Family::Random(_) => {
                let mut random = Random::new(self.base, name, index as u64);
                at_random(&mut bytes, &mut random, &self.seeds);
                format!(
                    "{name}, changed at random, seed {} number {index}",
                    self.base
                )
            }
        };
        Case { what, bytes, cut }
    }
}

impl Case {
    /// The file with its end made so.
    pub(crate) fn sealed(&self, seal: Seal) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let crc = match seal {
            Seal::AsItIs => return bytes,
            Seal::Right => Crc::Right,
            Seal::Zero => Crc::Zero,
        };
        if self.cut {
            bytes.push(dump::opcode::EOF);
            bytes.extend_from_slice(&[0; 8]);
        }
        dump::reseal(&mut bytes, crc);
        bytes
    }
}

fn lies_of(field: &Field) -> usize {
    match field.kind {
        FieldKind::Length => LENGTHS.len() + OFFSETS.len(),
        FieldKind::U16 => WORDS.len() + OFFSETS.len(),
        FieldKind::U32 => DOUBLE_WORDS.len() + OFFSETS.len(),
        FieldKind::Wide => QUAD_WORDS.len() + OFFSETS.len(),
        FieldKind::Byte => 256,
    }
}

fn lie(field: &Field, bytes: &[u8], index: usize) -> Vec<u8> {
    let now = &bytes[field.at..field.at + field.len];
    let little = now
        .iter()
        .rev()
        .fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    let moved = |count: usize| little.wrapping_add_signed(OFFSETS[index - count]);
    match field.kind {
        FieldKind::Length => match LENGTHS.get(index) {
            Some(lie) => lie.to_vec(),
            None => {
                let value = match now {
                    [n @ 0..0x40] => u64::from(*n),
                    [a, b] => u64::from(a & 0x3f) << 8 | u64::from(*b),
                    [_, wide @ ..] => wide.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)),
                    [] => 0,
                };
                dump::length(value.wrapping_add_signed(OFFSETS[index - LENGTHS.len()]))
            }
        },
        FieldKind::U16 => match WORDS.get(index) {
            Some(lie) => lie.to_le_bytes().to_vec(),
            None => (moved(WORDS.len()) as u16).to_le_bytes().to_vec(),
        },
        FieldKind::U32 => match DOUBLE_WORDS.get(index) {
            Some(lie) => lie.to_le_bytes().to_vec(),
            None => (moved(DOUBLE_WORDS.len()) as u32).to_le_bytes().to_vec(),
        },
        FieldKind::Wide => match QUAD_WORDS.get(index) {
            Some(lie) => lie.to_le_bytes().to_vec(),
            None => moved(QUAD_WORDS.len()).to_le_bytes().to_vec(),
        },
        FieldKind::Byte => vec![index as u8],
    }
}

/// One to eight changes: bytes set, numbers written over others, false lengths put in, ranges cut out, doubled, moved here
/// from another seed. The magic stays, so that what follows is read.
fn at_random(bytes: &mut Vec<u8>, random: &mut Random, seeds: &[Seed]) {
    const MAGIC: usize = 9;
    for _ in 0..=random.below(8) {
        let room = bytes.len().saturating_sub(MAGIC);
        if room == 0 {
            return;
        }
        let at = MAGIC + random.below(room);
        let length = 1 + random.below(40).min(bytes.len() - at - 1);
        match random.below(10) {
            0 => bytes[at] = random.byte(),
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = *random.one_of(&BYTES),
            3 => {
                let lie = random.one_of(LENGTHS);
                bytes.splice(at..at + 1, lie.iter().copied());
            }
            4 => {
                let word = *random.one_of(DOUBLE_WORDS);
                let word = match random.below(4) {
                    0 => word.to_le_bytes()[..2].to_vec(),
                    1 => word.to_be_bytes().to_vec(),
                    2 => random.one_of(QUAD_WORDS).to_le_bytes().to_vec(),
                    _ => word.to_le_bytes().to_vec(),
                };
                for (to, from) in bytes[at..].iter_mut().zip(word) {
                    *to = from;
                }
            }
            5 => {
                bytes.drain(at..at + length);
            }
            6 => {
                let range = bytes[at..at + length].to_vec();
                bytes.splice(at..at, range);
            }
            7 => {
                let filler = vec![random.byte(); length];
                bytes.splice(at..at, filler);
            }
            8 => {
                // Moved about inside: structures meet structures.
                let from = MAGIC + random.below(room);
                let range = bytes[from..(from + length).min(bytes.len())].to_vec();
                for (to, byte) in bytes[at..].iter_mut().zip(range) {
                    *to = byte;
                }
            }
            _ => {
                let other = &random.one_of(seeds).bytes;
                let from = random.below(other.len());
                let range = other[from..(from + 4 * length).min(other.len())].to_vec();
                bytes.splice(at..at, range);
            }
        }
    }
}
