//! `export --format resp`: plain write commands, for servers that take no `RESTORE`: text for `redis-cli --pipe`.
//!
//! A key is written whole or not at all: one that is damaged, of which nothing can be carried, or of which commands would
//! make another value (a field that stands twice), leaves no command behind.
//! What commands cannot carry of the others is told. The text is made for servers that do not hold these keys: what a list
//! holds there already would stay in front. With `replace` each key begins with a `DEL`.
//!
//! One pass: commands are written as entries are found, and the checksum is known only at the end. A wrong one is the error
//! that this ends with; what was written then must not be used.

use std::io::Write;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::json::{PIECE, Spill};
use crate::outcome::{Outcome, Tally};
use crate::replay::{self, ExpiredPolicy, Policies};
use crate::resp::{Arg, pack};
use crate::select::Selection;
use crate::snapshot::{Entry, Function, Producer, Record, Snapshot};
use crate::target::{Assumed, Product, Version};
use crate::value::commands::{Arrival, Command, Commands, Limits, Loss, Losses, Vocabulary};
use crate::value::{Decoder, Element, Exact};
use crate::verbs::ordered::{self, Ends};
use crate::verbs::{Ending, Ticker, Watch};

/// How to export.
#[derive(Debug, Clone)]
pub struct Options {
    /// For this server; else for the newest of the product that wrote the input.
    pub target: Option<Assumed>,
    /// Expiry, databases, whether keys that exist are deleted first, and the run's instant.
    pub policies: Policies,
    /// Threads that decode values and make commands, besides the caller's; less than 2: the caller's does everything.
    pub threads: usize,
    /// Where blobs of more than 1 MiB are decompressed.
    pub spool_dir: PathBuf,
}

/// What was exported.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Report {
    /// Entries that the scanner read.
    pub entries: u64,
    /// Entries whose commands were written.
    pub written: u64,
    /// The outcomes of all others.
    pub not_written: Tally,
    /// Keys, of those written, without something that changes their meaning.
    pub without_meaning: u64,
    /// Keys, of those written, by what their commands do not carry, in the order of [`Loss::ALL`].
    pub losses: Vec<(&'static str, u64)>,
    /// Function libraries written.
    pub functions: u64,
    /// Function libraries that the target does not know.
    pub functions_left_out: u64,
    /// Function libraries that are not written, since their source cannot be read: `check` says what is wrong with them.
    pub functions_damaged: u64,
    /// The end of the file.
    pub ending: Ending,
}

impl Report {
    /// Whether every entry that was read is either written or has an outcome.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.written.saturating_add(self.not_written.total()) == self.entries
    }

    fn lose(&mut self, losses: Losses) {
        for loss in losses.iter() {
            match self
                .losses
                .iter_mut()
                .find(|(name, _)| *name == loss.name())
            {
                Some((_, count)) => *count = count.saturating_add(1),
                None => self.losses.push((loss.name(), 1)),
            }
        }
    }
}

/// What is told of a key.
#[derive(Debug)]
pub enum Told {
    /// It is not written: its outcome, and the reason in words.
    LeftOut(Outcome, String),
    /// It is written without these.
    Without(Losses),
}

/// What becomes text.
#[derive(Debug, Clone, Copy)]
enum Item<'data> {
    Select(u64),
    Key(Entry<'data>),
    Function(Function<'data>),
}

/// Writes the commands for all selected entries of `snapshot` to `out`. `tell` hears of each selected key that is not written,
/// or not whole. `db` is the database that the text is in: 0 at its beginning, and what the input before left.
///
/// # Errors
/// Those of the reader (a wrong checksum comes last), of the selection, of `watch` and `tell`, and `Io` of the writer.
pub fn export<'data>(
    snapshot: &Snapshot<'data>,
    selection: &mut Selection,
    options: &Options,
    db: &mut u64,
    out: &mut dyn Write,
    tell: &mut dyn FnMut(&Entry<'_>, &Told) -> Result<()>,
    watch: &mut Watch<'_>,
) -> Result<Report> {
    let producer = snapshot.producer()?;
    let vocabulary = vocabulary(options.target, &producer);
    let takes_functions = takes_functions(options.target);
    let mut report = Report::default();
    let mut told = Report::default();
    let policies = &options.policies;
    let (mut scratch, mut ticker) = (Vec::new(), Ticker::default());
    let mut records = snapshot.records();
    let next = |items: &mut Vec<Item<'data>>| {
        loop {
            ticker.tick(watch, records.offset(), records.entries_seen())?;
            match records.next_record()? {
                Some(Record::Entry(entry)) => {
                    report.entries = report.entries.saturating_add(1);
                    if !selection.admits(&entry, &mut scratch)? {
                        report.not_written.add(Outcome::NotSelected);
                        continue;
                    }
                    if arrives_at(&entry, policies).is_err() {
                        report.not_written.add(Outcome::Expired);
                        continue;
                    }
                    report.written = report.written.saturating_add(1);
                    let to = policies.db_map.get(entry.db);
                    if to != *db {
                        *db = to;
                        items.push(Item::Select(to));
                    }
                    items.push(Item::Key(entry));
                    return Ok(true);
                }
                Some(Record::Function(_)) if !takes_functions => {
                    report.functions_left_out = report.functions_left_out.saturating_add(1);
                }
                Some(Record::Function(library)) => {
                    report.functions = report.functions.saturating_add(1);
                    items.push(Item::Function(library));
                    return Ok(true);
                }
                Some(Record::End(end)) => report.ending = Ending::of(&end),
                Some(_) => {}
                None => return Ok(false),
            }
        }
    };
    ordered::run(
        options.threads,
        next,
        |item| match item {
            Item::Key(entry) => entry.record_len(),
            _ => 0,
        },
        || {
            let mut maker = Maker::new(vocabulary, options);
            move |item: &Item<'_>, text: &mut Vec<u8>, spill: &mut Spill<'_>| {
                maker.push(item, text, spill)
            }
        },
        Ends {
            out,
            note: &mut |item, note: Told| {
                if let Item::Function(_) = item {
                    told.functions_damaged = told.functions_damaged.saturating_add(1);
                    return Ok(());
                }
                match &note {
                    Told::LeftOut(outcome, _) => told.not_written.add(*outcome),
                    Told::Without(losses) => {
                        told.lose(*losses);
                        if losses.any_meaning() {
                            told.without_meaning = told.without_meaning.saturating_add(1);
                        }
                    }
                }
                match item {
                    Item::Key(entry) => tell(entry, &note),
                    Item::Select(_) | Item::Function(_) => Ok(()),
                }
            },
        },
    )?;
    out.flush()
        .map_err(|error| Error::io("the output cannot be written", error))?;
    report.written = report.written.saturating_sub(told.not_written.total());
    report.not_written.merge(&told.not_written);
    report.without_meaning = told.without_meaning;
    report.functions = report.functions.saturating_sub(told.functions_damaged);
    report.functions_damaged = told.functions_damaged;
    report.losses = told.losses;
    Ok(report)
}

/// The commands that a server knows; without a target, the newest of the product that wrote the file.
#[must_use]
pub fn vocabulary(target: Option<Assumed>, producer: &Producer) -> Vocabulary {
    const NEWEST: u16 = u16::MAX;
    match (target, producer.product) {
        (Some(Assumed { product, version }), _) => match product {
            Product::Valkey => Vocabulary::valkey(version.major, version.minor),
            Product::KeyDb => Vocabulary::keydb(),
            Product::Dragonfly => Vocabulary::dragonfly(),
            _ => Vocabulary::redis(version.major, version.minor),
        },
        (None, "valkey") => Vocabulary::valkey(NEWEST, 0),
        (None, "keydb") => Vocabulary::keydb(),
        (None, "dragonfly") => Vocabulary::dragonfly(),
        (None, _) => Vocabulary::redis(NEWEST, 0),
    }
}

/// Function libraries came with Redis 7.0.
fn takes_functions(target: Option<Assumed>) -> bool {
    match target {
        None => true,
        Some(Assumed { product, version }) => match product {
            Product::Valkey => true,
            Product::Redis => version >= Version::new(7, 0, 0),
            _ => false,
        },
    }
}

/// The expiry with which an entry arrives; an error where it is dropped as expired.
fn arrives_at(entry: &Entry<'_>, policies: &Policies) -> Result<Option<i64>, ()> {
    let expire_at_ms = match entry.expire_at_ms {
        Some(at) => policies.transform.expiries.arrives(at),
        None => None,
    };
    match expire_at_ms {
        Some(at) if at <= policies.now_ms => match policies.expired {
            ExpiredPolicy::Drop => Err(()),
            ExpiredPolicy::Persist => Ok(None),
            ExpiredPolicy::Ttl(ms) => Ok(Some(policies.now_ms.saturating_add(ms.max(1)))),
        },
        at => Ok(at),
    }
}

/// What one thread works with.
struct Maker {
    decoder: Decoder<Exact>,
    vocabulary: Vocabulary,
    policies: Policies,
    name: Vec<u8>,
}

impl Maker {
    fn new(vocabulary: Vocabulary, options: &Options) -> Self {
        Self {
            decoder: Decoder::with_findings(Some(&options.spool_dir), Exact),
            vocabulary,
            policies: options.policies.clone(),
            name: Vec::new(),
        }
    }

    fn push(
        &mut self,
        item: &Item<'_>,
        text: &mut Vec<u8>,
        spill: &mut Spill<'_>,
    ) -> Result<Option<Told>> {
        match item {
            Item::Select(db) => {
                let mut digits = itoa::Buffer::new();
                let words = [Arg::from("SELECT"), Arg::from(digits.format(*db))];
                pack::command(text, &words).map(|()| None)
            }
            Item::Function(library) => {
                let source = match replay::library_source(library) {
                    Ok(source) => source,
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        let told = Told::LeftOut(Outcome::Refused, error.to_string());
                        return Ok(Some(told));
                    }
                    Err(error) => return Err(error),
                };
                let mut words = vec![Arg::from("FUNCTION"), Arg::from("LOAD")];
                if self.policies.replace {
                    words.push(Arg::from("REPLACE"));
                }
                words.push(Arg::Bytes(&source));
                pack::command(text, &words).map(|()| None)
            }
            Item::Key(entry) => self.push_key(entry, text, spill),
        }
    }

    fn push_key(
        &mut self,
        entry: &Entry<'_>,
        text: &mut Vec<u8>,
        spill: &mut Spill<'_>,
    ) -> Result<Option<Told>> {
        let start = text.len();
        // As long as nothing was spilled, everything can be taken back.
        let sound = self.decoder.demand_distinct(entry);
        let mut written = sound.and_then(|()| self.write(entry, &mut Sink::Kept { text, start }));
        if let Ok(Written::TooLong) = written {
            text.truncate(start);
            // It must be known to be sound before its first command leaves.
            written = self.write(entry, &mut Sink::Nowhere);
            if let Ok(Written::Whole(losses)) = written
                && !losses.iter().any(Loss::is_whole)
            {
                let again = self.write(entry, &mut Sink::Passed { text, spill })?;
                return Ok(again.told());
            }
        }
        let told = match written {
            Ok(written) => written.told(),
            Err(error) if error.kind() == ErrorKind::Limit && self.is_too_long(entry) => {
                Some(Told::LeftOut(Outcome::Refused, without_entry(&error)))
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => Some(Told::LeftOut(
                Outcome::Refused,
                format!("it is damaged: {}", without_entry(&error)),
            )),
            // What commands cannot write.
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                Some(Told::LeftOut(Outcome::Refused, without_entry(&error)))
            }
            Err(error) => return Err(error),
        };
        if matches!(told, Some(Told::LeftOut(..))) {
            text.truncate(start);
        }
        Ok(told)
    }

    /// Whether its name cannot be changed.
    fn is_too_long(&mut self, entry: &Entry<'_>) -> bool {
        let names = &self.policies.transform.names;
        !names.is_identity()
            && names
                .of(entry.db, &entry.key, &mut self.name)
                .is_err_and(|error| error.kind() == ErrorKind::Limit)
    }

    /// Writes the commands of one key, as far as the sink takes them.
    fn write(&mut self, entry: &Entry<'_>, sink: &mut Sink<'_, '_>) -> Result<Written> {
        let key = match self.policies.transform.names.is_identity() {
            true => Element::of(entry.key, &mut self.name),
            false => {
                let names = &self.policies.transform.names;
                let name = names.of(entry.db, &entry.key, &mut self.name);
                name.map(Element::Bytes)
            }
        };
        let key = key.map_err(|error| error.or_entry(|| entry.context()))?;
        if self.policies.replace {
            sink.begin(2)?;
            sink.arg(&Element::Bytes(b"DEL"))?;
            sink.arg(&key)?;
        }
        let arrival = Arrival {
            key,
            expire_at_ms: arrives_at(entry, &self.policies).unwrap_or(None),
            inside: self.policies.transform.expiries,
        };
        let mut commands = Commands::new(
            &mut self.decoder,
            entry,
            arrival,
            self.vocabulary,
            Limits::default(),
        )?;
        let mut any = false;
        while let Some(command) = commands.next_command()? {
            any |= command.name() != "PEXPIREAT";
            sink.command(&command)?;
            if sink.is_full() {
                return Ok(Written::TooLong);
            }
        }
        Ok(match commands.losses() {
            losses if any || losses.iter().any(Loss::is_whole) => Written::Whole(losses),
            _ => Written::Empty,
        })
    }
}

/// An error's text without the entry, which is shown beside it.
fn without_entry(error: &Error) -> String {
    match error.place() {
        Some(place) => format!("{place}: {}", error.what()),
        None => error.what().to_owned(),
    }
}

/// What came of writing a key.
#[derive(Debug, Clone, Copy)]
enum Written {
    Whole(Losses),
    /// A collection without elements.
    Empty,
    /// The sink is full; nothing is known of what follows.
    TooLong,
}

impl Written {
    fn told(self) -> Option<Told> {
        match self {
            Written::Whole(losses) if losses.is_empty() => None,
            Written::Whole(losses) => match losses.iter().find(|loss| loss.is_whole()) {
                Some(loss) => Some(Told::LeftOut(
                    Outcome::Refused,
                    format!("no command of the target writes it ({loss})"),
                )),
                None => Some(Told::Without(losses)),
            },
            Written::Empty => Some(Told::LeftOut(Outcome::Empty, String::new())),
            Written::TooLong => None,
        }
    }
}

/// Where commands go.
enum Sink<'o, 's> {
    /// Into the buffer, from `start` on, as long as they are few.
    Kept { text: &'o mut Vec<u8>, start: usize },
    /// Nowhere: to see whether they all can be made.
    Nowhere,
    /// Into the buffer, and out of it.
    Passed {
        text: &'o mut Vec<u8>,
        spill: &'o mut Spill<'s>,
    },
}

impl Sink<'_, '_> {
    /// What a key may take of the buffer.
    const KEPT: usize = 2 * PIECE;

    fn is_full(&self) -> bool {
        match self {
            Sink::Kept { text, start } => text.len().saturating_sub(*start) > Self::KEPT,
            Sink::Nowhere | Sink::Passed { .. } => false,
        }
    }

    fn command(&mut self, command: &Command<'_>) -> Result<()> {
        self.begin(command.argc())?;
        for arg in command.args() {
            self.arg(&arg)?;
        }
        Ok(())
    }

    fn begin(&mut self, argc: u64) -> Result<()> {
        self.number(b'*', argc);
        self.pass()
    }

    fn number(&mut self, mark: u8, number: u64) {
        match self {
            Sink::Kept { text, .. } | Sink::Passed { text, .. } => {
                text.push(mark);
                text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
                text.extend_from_slice(b"\r\n");
            }
            Sink::Nowhere => {}
        }
    }

    fn arg(&mut self, arg: &Element<'_>) -> Result<()> {
        if self.is_full() {
            return Ok(());
        }
        self.number(b'$', arg.len());
        match (&mut *self, arg) {
            // Only what is decompressed on the way can still turn out to lie.
            (Sink::Nowhere, Element::Long(_)) => arg.write_to(|_| Ok(()))?,
            (Sink::Nowhere, _) => {}
            (Sink::Kept { text, start }, arg) => {
                let room = Self::KEPT.saturating_sub(text.len().saturating_sub(*start));
                if arg.len() > room as u64 {
                    // Full is full: what follows is not looked at.
                    text.resize(start.saturating_add(Self::KEPT).saturating_add(1), 0);
                } else {
                    arg.append_to(text)?;
                    text.extend_from_slice(b"\r\n");
                }
            }
            (Sink::Passed { text, spill }, arg) => {
                arg.write_to(|bytes| {
                    for piece in bytes.chunks(PIECE) {
                        text.extend_from_slice(piece);
                        if text.len() >= PIECE {
                            spill(text)?;
                        }
                    }
                    Ok(())
                })?;
                text.extend_from_slice(b"\r\n");
            }
        }
        self.pass()
    }

    fn pass(&mut self) -> Result<()> {
        match self {
            Sink::Passed { text, spill } if text.len() >= PIECE => spill(text),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::DbMap;
    use crate::wire::length;

    fn policies() -> Policies {
        Policies {
            now_ms: 1000,
            ..Policies::default()
        }
    }

    fn run(file: &[u8], threads: usize, policies: Policies) -> (String, Vec<String>, Report) {
        let (mut out, mut told, mut db) = (Vec::new(), Vec::new(), 0);
        let options = Options {
            target: None,
            policies,
            threads,
            spool_dir: std::env::temp_dir(),
        };
        let report = export(
            &Snapshot::parse(file).unwrap(),
            &mut Selection::all(),
            &options,
            &mut db,
            &mut out,
            &mut |entry, note| {
                told.push(match note {
                    Told::LeftOut(outcome, why) => {
                        format!("{}: {}: {why}", entry.context(), outcome.label())
                    }
                    Told::Without(losses) => {
                        let names: Vec<_> = losses.iter().map(Loss::name).collect();
                        format!("{}: without {}", entry.context(), names.join(","))
                    }
                });
                Ok(())
            },
            &mut |_| Ok(()),
        )
        .unwrap();
        assert!(report.adds_up(), "{report:?}");
        (
            String::from_utf8_lossy(&out).replace("\r\n", " "),
            told,
            report,
        )
    }

    fn file(body: &[u8]) -> Vec<u8> {
        [b"REDIS0011", body, b"\xff\0\0\0\0\0\0\0\0"].concat()
    }

    #[test]
    fn a_key_is_written_whole_or_not_at_all() {
        let body = [
            &b"\xfe\x03\x00\x01a\x01v"[..],
            // A list whose second element is compressed and lies, an empty set, a module.
            b"\x01\x01l\x02\x01x\xc3\x02\x05\x00a",
            b"\x02\x01s\x00",
            b"\x07\x01m\x05\x00",
            // Expired, and with an expiry and an idle time.
            b"\xfc\x05\0\0\0\0\0\0\0\x00\x01e\x01v",
            b"\xfc\xd0\x07\0\0\0\0\0\0\xf8\x07\x00\x01f\x01w",
        ]
        .concat();
        for threads in [1, 2] {
            let (text, told, report) = run(&file(&body), threads, policies());
            assert_eq!(
                text,
                "*2 $6 SELECT $1 3 *3 $3 SET $1 a $1 v \
                 *3 $3 SET $1 f $1 w *3 $9 PEXPIREAT $1 f $4 2000 "
            );
            assert_eq!(told.len(), 4, "{told:?}");
            assert!(told[0].starts_with("list \"l\" in db 3: refused: it is damaged: offset"));
            assert_eq!(told[1], "set \"s\" in db 3: empty collection: ");
            assert!(told[2].contains("no command of the target writes it (module-value)"));
            assert_eq!(told[3], "string \"f\" in db 3: without access-times");
            assert_eq!((report.entries, report.written), (6, 2));
            assert_eq!(report.not_written.get(Outcome::Refused), 2);
            assert_eq!(report.not_written.get(Outcome::Expired), 1);
            assert_eq!(report.losses, [("access-times", 1)]);
            assert_eq!(report.without_meaning, 0);
        }
    }

    #[test]
    fn policies_are_followed() {
        let body = b"\xfe\x03\xfc\x05\0\0\0\0\0\0\0\x00\x01e\x01v";
        let mut policies = policies();
        policies.expired = ExpiredPolicy::Ttl(500);
        policies.replace = true;
        policies.db_map = DbMap::new([(3, 0)]);
        let (text, ..) = run(&file(body), 1, policies);
        assert_eq!(
            text,
            "*2 $3 DEL $1 e *3 $3 SET $1 e $1 v *3 $9 PEXPIREAT $1 e $4 1500 "
        );
    }

    /// A list of that many elements of a kilobyte; the last one is damaged if asked.
    fn long_list(elements: u64, damaged: bool) -> Vec<u8> {
        let mut body = b"\x01\x01l".to_vec();
        length::write(&mut body, elements);
        for n in 1..=elements {
            if damaged && n == elements {
                body.extend_from_slice(b"\xc3\x02\x05\x00a");
            } else {
                length::write(&mut body, 1000);
                body.extend_from_slice(&vec![b'x'; 1000]);
            }
        }
        body
    }

    #[test]
    fn a_large_key_is_known_to_be_sound_before_it_is_written() {
        for elements in [10, 130, 131, 132, 2000] {
            let (text, told, _) = run(&file(&long_list(elements, false)), 1, policies());
            assert_eq!(text.matches("$1000 ").count() as u64, elements);
            assert!(told.is_empty());
            // Whatever was begun was ended: the commands can be read back.
            let mut rest = text.as_bytes();
            while let Some(end) = rest.iter().position(|byte| *byte == b' ') {
                let number: usize = std::str::from_utf8(&rest[1..end]).unwrap().parse().unwrap();
                match rest[0] {
                    b'*' => rest = &rest[end + 1..],
                    b'$' => rest = &rest[end + 1 + number + 1..],
                    other => panic!("{other}"),
                }
            }
            assert!(rest.is_empty());
            let (text, told, _) = run(&file(&long_list(elements, true)), 1, policies());
            assert_eq!((text.as_str(), told.len()), ("", 1), "{elements}");
        }
    }

    #[test]
    fn who_knows_what() {
        let snapshot = file(b"");
        let producer = Snapshot::parse(&snapshot).unwrap().producer().unwrap();
        let of = |target: &str| vocabulary(Some(target.parse().unwrap()), &producer);
        assert!(!of("redis-6.0").field_expiry && of("redis-8.0").field_expiry);
        assert!(of("valkey-9.0").field_expiry && of("keydb-6.3").member_expiry.is_some());
        assert!(of("dragonfly-1.20").json && vocabulary(None, &producer).arrays);
        for (target, takes) in [
            ("redis-6.2", false),
            ("redis-7.0", true),
            ("valkey-8.0", true),
        ] {
            assert_eq!(takes_functions(Some(target.parse().unwrap())), takes);
        }
    }
}
