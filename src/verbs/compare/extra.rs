//! Keys that only the destination has: its names, read by `SCAN`, asked for among the dump's.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::Watcher;
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::fingerprint::{FingerprintKey, Fingerprints, Members, Record, Sorter};
use crate::resp::{Connector, Talk, Token};
use crate::snapshot::Entry;
use crate::transform::Naming;
use crate::verbs::{Position, Watch};

/// Fingerprints in memory at most, of the dump's names and of those found.
const IN_MEMORY: usize = 500_000;

/// Extra keys that are told one by one.
const LISTED: usize = 10_000;

/// Names that are asked for in one step of a scan.
const STEP: u64 = 1000;

/// Bytes of a name that are shown.
const SHOWN: usize = 4096;

/// The names that a dump has, as 128 bits each under random keys: no two of them meet.
#[derive(Debug)]
pub(super) struct Names {
    keys: [FingerprintKey; 2],
    names: Fingerprints,
    dir: PathBuf,
    scratch: Vec<u8>,
}

impl Names {
    pub(super) fn new(dir: &Path) -> Self {
        let keys = [FingerprintKey::random(), FingerprintKey::random()];
        Self {
            names: Fingerprints::with_memory(dir, &keys[0], IN_MEMORY),
            keys,
            dir: dir.to_owned(),
            scratch: Vec::new(),
        }
    }

    /// Adds an entry in a database of the destination, as it is called there.
    pub(super) fn add(&mut self, db: u64, entry: &Entry<'_>, names: &Naming) -> Result<()> {
        let [a, b] = &self.keys;
        let (mut first, mut second) = (a.pieces(db), b.pieces(db));
        if !names.is_identity() {
            // One that is too long to be renamed did not arrive.
            if let Ok(name) = names.of(entry.db, &entry.key, &mut self.scratch) {
                first.push(name);
                second.push(name);
                self.names
                    .add_fingerprint(first.finish(), second.finish())?;
            }
            return Ok(());
        }
        let mut pieces = entry.key.pieces();
        while let Some(piece) = pieces.next_piece()? {
            first.push(piece);
            second.push(piece);
        }
        self.names.add_fingerprint(first.finish(), second.finish())
    }

    /// Reads all names of the destination's databases. Gives how many the dump does not have.
    pub(super) fn find_others(
        self,
        connectors: &[Connector],
        dbs: &[u64],
        watcher: &dyn Watcher,
        watch: &mut Watch<'_>,
    ) -> Result<u64> {
        let Self {
            keys, names, dir, ..
        } = self;
        let mut members = Members::build(names.finish()?, &keys[0], &dir)?;
        let mut others = Sorter::new(&dir, IN_MEMORY);
        let mut told: HashSet<(u64, u64)> = HashSet::new();
        let mut seen = 0u64;
        let all = connectors
            .iter()
            .flat_map(|connector| dbs.iter().map(move |db| (connector, *db)));
        for (connector, db) in all {
            let mut connection = connector.connect()?;
            connection.select(db)?;
            let mut talk = Talk::new(&mut connection)?;
            let mut cursor = b"0".to_vec();
            loop {
                let mut digits = itoa::Buffer::new();
                talk.command(&[b"SCAN", &cursor, b"COUNT", digits.format(STEP).as_bytes()])?;
                talk.flush()?;
                let names = step(&mut talk, &mut cursor)?;
                for _ in 0..names {
                    let Token::Text(_) = talk.token()? else {
                        return Err(talk.out_of_step("a name was expected"));
                    };
                    let [a, b] = &keys;
                    let (mut first, mut second) = (a.pieces(db), b.pieces(db));
                    let mut head = Vec::new();
                    while let Some(piece) = talk.piece()? {
                        first.push(piece);
                        second.push(piece);
                        let room = SHOWN.saturating_sub(head.len());
                        head.extend_from_slice(piece.get(..room).unwrap_or(piece));
                    }
                    seen = seen.saturating_add(1);
                    let (first, second) = (first.finish(), second.finish());
                    let known = members.find_fingerprint(first, |other| Ok(other == second))?;
                    if known.is_some() {
                        continue;
                    }
                    others.push(Record {
                        order: first,
                        payload: second,
                    })?;
                    // A scan may come upon a name twice.
                    if told.len() < LISTED && told.insert((first, second)) {
                        watcher.extra(db, &head);
                    }
                }
                watch(Position {
                    offset: 0,
                    entries: seen,
                })?;
                if cursor == b"0" {
                    break;
                }
            }
            talk.finish()?;
        }
        let (mut count, mut before) = (0u64, None);
        for record in &others.finish()? {
            if before != Some(record) {
                count = count.saturating_add(1);
            }
            before = Some(record);
        }
        Ok(count)
    }
}

/// The beginning of a reply to `SCAN`: the next cursor, and how many names follow.
fn step(talk: &mut Talk<'_>, cursor: &mut Vec<u8>) -> Result<u64> {
    match talk.token()? {
        Token::Array(2) => {}
        Token::Error(words) => {
            return Err(Error::new(
                ErrorKind::Destination,
                format!(
                    "the destination does not let us list its keys: {}",
                    Escaped(words)
                ),
            )
            .with_hint("give the user the right to SCAN, or leave --extra out"));
        }
        _ => return Err(talk.out_of_step("a step of a scan was expected")),
    }
    match talk.token()? {
        Token::Text(length) if length <= 32 => {
            let next = talk.whole()?;
            cursor.clear();
            cursor.extend_from_slice(next);
        }
        _ => return Err(talk.out_of_step("the cursor of a scan was expected")),
    }
    match talk.token()? {
        Token::Array(names) => Ok(names),
        _ => Err(talk.out_of_step("the names of a scan were expected")),
    }
}
