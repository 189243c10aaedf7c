//! Keys that only the destination has: its names, read by `SCAN`, asked for among the dump's.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Watcher;
use super::worker::{passes, pause};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::fingerprint::{FingerprintKey, Fingerprints, Members, Record, Sorter};
use crate::pace::{Cost, Pace};
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

/// A connection on which nothing was asked for so long is used once: providers cut idle ones.
const IDLE: Duration = Duration::from_secs(25);

/// How often the caller is asked whether to go on.
const NAP: Duration = Duration::from_millis(50);

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
        how: &How<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<u64> {
        let Self {
            keys, names, dir, ..
        } = self;
        let mut search = Search {
            members: Members::build(names.finish()?, &keys[0], &dir)?,
            keys,
            others: Sorter::new(&dir, IN_MEMORY),
            told: HashSet::new(),
            seen: 0,
        };
        let all = connectors
            .iter()
            .flat_map(|connector| dbs.iter().map(move |db| (connector, *db)));
        for (connector, db) in all {
            search.whole(connector, db, how, watch)?;
        }
        let (mut count, mut before) = (0u64, None);
        for record in &search.others.finish()? {
            if before != Some(record) {
                count = count.saturating_add(1);
            }
            before = Some(record);
        }
        Ok(count)
    }
}

/// How names are read.
pub(super) struct How<'run> {
    pub(super) pace: &'run Pace,
    /// How long a destination is asked again without getting further.
    pub(super) retry_for: Duration,
    pub(super) watcher: &'run dyn Watcher,
}

/// The search for names that the dump does not have.
struct Search {
    keys: [FingerprintKey; 2],
    members: Members,
    others: Sorter,
    told: HashSet<(u64, u64)>,
    seen: u64,
}

impl Search {
    /// All names of one database of one server. A scan that breaks off begins anew: the cursor of one process means nothing
    /// to another, and what is seen twice counts once.
    fn whole(
        &mut self,
        connector: &Connector,
        db: u64,
        how: &How<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let (mut furthest, mut failures) = (0u64, 0u32);
        let mut since = Instant::now();
        loop {
            let before = self.seen;
            let Err(error) = self.scan(connector, db, how, watch) else {
                return Ok(());
            };
            let came = self.seen.saturating_sub(before);
            if came > furthest {
                // Getting there counts, not being answered: else this might go on for ever.
                (furthest, failures, since) = (came, 0, Instant::now());
            }
            failures = failures.saturating_add(1);
            let left = how.retry_for.saturating_sub(since.elapsed());
            if error.kind() != ErrorKind::Destination || !passes(&error) || left.is_zero() {
                return Err(error);
            }
            self.wait(pause(failures).min(left), watch)?;
        }
    }

    /// Waits, and lets the caller end it.
    fn wait(&self, long: Duration, watch: &mut Watch<'_>) -> Result<()> {
        let until = Instant::now() + long;
        loop {
            watch(Position {
                offset: 0,
                entries: self.seen,
            })?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }

    fn scan(
        &mut self,
        connector: &Connector,
        db: u64,
        how: &How<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let mut connection = connector.connect()?;
        connection.select(db)?;
        let mut talk = Talk::new(&mut connection)?;
        let mut cursor = b"0".to_vec();
        loop {
            let mut digits = itoa::Buffer::new();
            talk.command(&[b"SCAN", &cursor, b"COUNT", digits.format(STEP).as_bytes()])?;
            talk.flush()?;
            let names = step(&mut talk, &mut cursor)?;
            let mut bytes = 0u64;
            for _ in 0..names {
                bytes = bytes.saturating_add(self.name(&mut talk, db, how.watcher)?);
            }
            let debt = how.pace.book(Cost {
                keys: names,
                bytes,
                commands: 1,
            });
            let mut debt = debt.unwrap_or_default();
            while debt > IDLE {
                self.wait(IDLE, watch)?;
                debt = debt.saturating_sub(IDLE);
                talk.command(&[b"PING"])?;
                talk.flush()?;
                talk.token()?;
            }
            self.wait(debt, watch)?;
            if cursor == b"0" {
                return talk.finish();
            }
        }
    }

    /// Reads one name. Gives its length.
    fn name(&mut self, talk: &mut Talk<'_>, db: u64, watcher: &dyn Watcher) -> Result<u64> {
        let Token::Text(_) = talk.token()? else {
            return Err(talk.out_of_step("a name was expected"));
        };
        let [a, b] = &self.keys;
        let (mut first, mut second) = (a.pieces(db), b.pieces(db));
        let (mut head, mut length) = (Vec::new(), 0u64);
        while let Some(piece) = talk.piece()? {
            first.push(piece);
            second.push(piece);
            length = length.saturating_add(piece.len() as u64);
            let room = SHOWN.saturating_sub(head.len());
            head.extend_from_slice(piece.get(..room).unwrap_or(piece));
        }
        self.seen = self.seen.saturating_add(1);
        let (first, second) = (first.finish(), second.finish());
        let known = self
            .members
            .find_fingerprint(first, |other| Ok(other == second))?;
        if known.is_some() {
            return Ok(length);
        }
        self.others.push(Record {
            order: first,
            payload: second,
        })?;
        // A scan may come upon a name twice.
        if self.told.len() < LISTED && self.told.insert((first, second)) {
            watcher.extra(db, &head);
        }
        Ok(length)
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
