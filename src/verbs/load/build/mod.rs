//! Values that go by plain write commands: where `RESTORE` is closed, where it takes them in no form or not in one argument, or
//! where one would hold the destination for too long.
//!
//! A string goes by one `SET`, which is exact and atomic. Everything else is built under a name of its own ([`staging`]) and gets
//! the key's name at the end, so no reader sees half a value, and what stood there before stands until the whole is there:
//!
//! 1. Where nothing is to be replaced, `EXISTS` finds most conflicts before anything is built in vain.
//! 2. What an earlier pass may have left under the staging name is removed, where only the destination's words told this one that
//!    the value is to be built: what is doubtful was cleared before, as far as it was known to have been built.
//! 3. The commands of the value. The staging key has no expiry while it is built: one that expired half-built would be born
//!    again without it. `PEXPIREAT` is the last of them.
//! 4. Where it took several commands, its elements are counted: who empties the destination meanwhile, or evicts there, leaves
//!    a value of which the beginning is missing.
//! 5. Only when all of them were answered, and none with an error: `RENAMENX`, or `RENAME` where keys are replaced. An expiry
//!    goes along with the name. The other order, renamed first, would leave a key without its expiry behind where the connection
//!    dies in between; so it leaves a staging key, which expires or is removed. A staging key that is past its time is gone when
//!    it is to be renamed, and that answer is no fault.
//! 6. What did not get its name is removed, and a mark proves that all these answers were their own.
//!
//! A payload goes the same way where what exists is to be replaced and `RESTORE` knows no `REPLACE` (before 3.0): under the staging
//! name, with its expiry, then by `RENAME`.
//!
//! Many values go through these steps together, since each step waits for the destination once. What is unanswered when a
//! connection ends is doubtful; the next pass, of this process or another one, removes its staging key and compares before it
//! builds again. An entry that is finished has no staging key left.

mod site;
mod staging;

use std::path::Path;

use site::{Hears, Said, Site};

use super::stop::Why;
use super::worker::{Built, Replies, Shared, Ticket, advice, after};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::journal::Ranges;
use crate::name_room::NameRoom;
use crate::outcome::Outcome;
use crate::replay::{ByCommands, Carriage, Carried, Decision, Ladder, Step, carried};
use crate::resp::{Connection, Pipeline, Reply};
use crate::snapshot::{Entry, Kind};
use crate::target::{Asked, Reaction, Situation, react};
use crate::value::commands::{Arrival, Commands, Losses};
use crate::value::{Decoder, Element, Exact};

/// Values that go together at most.
const MANY: usize = 512;

/// Bytes of values, as they stand in the file, that go together at most; a larger one goes alone.
const BYTES: u64 = 4 << 20;

/// One value.
struct Job {
    ticket: Ticket,
    by: ByCommands,
    how: Carriage,
    begun_before: bool,
    /// Something was sent that changes the destination.
    touched: bool,
    /// Its staging key may be there.
    staged: bool,
    end: Option<Built>,
}

impl Job {
    fn new(ticket: Ticket, by: ByCommands, how: Carriage) -> Self {
        Self {
            ticket,
            by,
            how,
            begun_before: false,
            touched: false,
            staged: false,
            end: None,
        }
    }

    fn is_payload(&self) -> bool {
        self.ticket.step != Step::COMMANDS
    }

    /// Whether its staging key can be gone because of a time that has come.
    fn can_expire(&self) -> bool {
        self.by.expire_at_ms.is_some() || self.how.kind == Some(Kind::Hash)
    }
}

/// Which replies come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Asking,
    AskingAgain,
    Clearing,
    Building,
    Counting,
    Naming,
}

/// Values that go together, and what became of them.
struct Jobs {
    list: Vec<Job>,
    phase: Phase,
    /// Slots may be served elsewhere.
    cluster: bool,
    /// The destination said something that ends the pass: its words, what to do, and whether it may pass.
    halt: Option<(String, &'static str, Option<Why>)>,
}

impl Hears for Jobs {
    fn heard(&mut self, of: usize, said: Said) {
        let Some(job) = self.list.get_mut(of) else {
            return;
        };
        let words = match (self.phase, said) {
            (_, Said::Error(words)) => words,
            (Phase::Asking, Said::Number(1..)) => {
                job.end = Some(Built::Exists);
                return;
            }
            // It was another key's answer, or is gone since.
            (Phase::AskingAgain, Said::Number(..=0)) => {
                job.end = None;
                return;
            }
            (Phase::Counting, Said::Number(found)) => {
                if let Some((_, count)) = job.how.count
                    && u64::try_from(found).is_ok_and(|found| 0 < found && found != count)
                {
                    job.end = Some(Built::Failed(format!(
                        "something changed it while it was built, under another name: it holds {found} of {count} elements"
                    )));
                }
                return;
            }
            (Phase::Naming, Said::Nil | Said::Number(..=0)) => {
                job.end = Some(Built::Exists);
                return;
            }
            (Phase::Naming, _) => {
                job.staged = false;
                job.end = Some(Built::Stored);
                return;
            }
            _ => return,
        };
        let shown = || Escaped(&words).to_string();
        if self.phase == Phase::Naming && words.starts_with(b"ERR no such key") {
            job.staged = false;
            job.end = Some(match job.can_expire() {
                true => Built::Expired,
                false => Built::Failed(
                    "the destination lost it while it was built, under another name".to_owned(),
                ),
            });
            return;
        }
        let (asked, last_road) = match self.phase {
            Phase::Asking | Phase::AskingAgain | Phase::Clearing | Phase::Counting => {
                (Asked::Probe, false)
            }
            _ => (Asked::Write, true),
        };
        match react(&Reply::Error(&words), asked, Situation { last_road }) {
            // The destination does not say whether it has the key: it will when it is to be named.
            Reaction::NotKnown => {}
            Reaction::NextRoad(_) if job.is_payload() => {
                job.end.get_or_insert_with(|| Built::NextRoad(shown()));
            }
            Reaction::KeyFails
            | Reaction::OlderForm
            | Reaction::NextRoad(_)
            | Reaction::KeyExists
            | Reaction::Done => {
                job.end.get_or_insert_with(|| Built::Failed(shown()));
            }
            Reaction::KeyFailsStrangely => {
                job.end
                    .get_or_insert_with(|| Built::FailedStrangely(shown()));
            }
            // Nothing of it is there yet.
            Reaction::Moved(_) if self.cluster && !job.staged => {
                job.end.get_or_insert_with(|| Built::Moved(words.clone()));
            }
            reaction => {
                self.halt.get_or_insert_with(|| {
                    let advice = match reaction {
                        Reaction::Stop | Reaction::RoadClosed => {
                            "the user needs the right to RESTORE, or to the write commands of these types, EXISTS, PEXPIREAT, RENAME, RENAMENX and UNLINK"
                        }
                        other => advice(other),
                    };
                    let why = match reaction {
                        Reaction::Moved(_) if self.cluster => Some(Why::Moved),
                        // Both names are needed at one place: when the slot has arrived, they are.
                        Reaction::Ask(_) if self.cluster => Some(Why::Busy),
                        other => Why::of(other),
                    };
                    (shown(), advice, why)
                });
            }
        }
    }
}

impl Jobs {
    /// Nothing more is to be sent for any.
    fn is_over(&self, shared: &Shared<'_, '_>) -> bool {
        self.halt.is_some() || shared.stop.is_set()
    }

    fn is_open(&self, of: usize) -> bool {
        self.list.get(of).is_some_and(|job| job.end.is_none())
    }
}

/// A value that is to be written.
struct Waiting {
    ticket: Ticket,
    by: ByCommands,
    /// The destination's, where it refused to `RESTORE` it.
    words: String,
    /// It may have been begun in another pass, of which nobody knew when its place was doubtful.
    begun_before: bool,
}

/// Gathers values that are built under another name, or written by one plain command, and writes them.
#[derive(Default)]
pub(super) struct Builder {
    waiting: Vec<Waiting>,
    bytes: u64,
    decoder: Option<Box<Decoder<Exact>>>,
    ladder: Option<Box<Ladder>>,
    key: NameRoom,
    name: Vec<u8>,
}

/// What is to become of a value, before anything is sent.
enum Judged {
    Goes(Box<Job>),
    Ends(Outcome, String),
    /// By `RESTORE` after all.
    Whole,
}

impl Builder {
    /// Long names are spooled in `spool_dir`.
    pub(super) fn new(spool_dir: &Path) -> Self {
        Self {
            key: NameRoom::new(Some(spool_dir)),
            ..Self::default()
        }
    }

    /// One more value, of `bytes` bytes in the file. `words` are the destination's, where it refused to `RESTORE` it;
    /// `by_surprise` where only such words, or those to another key, told that it does not go by `RESTORE`.
    pub(super) fn push(
        &mut self,
        ticket: Ticket,
        by: ByCommands,
        (words, by_surprise): (String, bool),
        bytes: u64,
    ) {
        self.waiting.push(Waiting {
            ticket,
            by,
            words,
            begun_before: by_surprise,
        });
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// One more value whose payload, of the ticket's step, goes to database `db` under the staging name first.
    pub(super) fn push_payload(&mut self, ticket: Ticket, db: u64, bytes: u64) {
        let by = ByCommands {
            db,
            expire_at_ms: Some(ticket.expire_at_ms).filter(|at| *at != i64::MAX),
            why: "".into(),
            lost: Losses::default(),
            stall_ms: None,
        };
        self.push(ticket, by, (String::new(), false), bytes);
    }

    /// Whether it is time to write.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MANY || self.bytes >= BYTES
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes all values that wait. Gives those that are to go by `RESTORE` after all.
    ///
    /// # Errors
    /// What ends the pass. Values that were not begun, or whose beginnings were removed, are not finished; the others are
    /// doubtful.
    pub(super) fn run(
        &mut self,
        shared: &Shared<'_, '_>,
        pipeline: &mut Pipeline<Ticket>,
        replies: &mut Replies<'_, '_>,
    ) -> Result<Vec<Ticket>> {
        self.bytes = 0;
        let (mut list, mut whole) = (Vec::new(), Vec::new());
        for waiting in std::mem::take(&mut self.waiting) {
            let Waiting {
                ticket,
                by,
                words,
                begun_before,
            } = waiting;
            match self.judge(shared, &ticket, by)? {
                Judged::Goes(mut job) => {
                    job.begun_before = begun_before;
                    list.push(*job);
                }
                Judged::Ends(outcome, reason) => {
                    let (outcome, reason) = after(&words, outcome, &reason);
                    replies.decided(&ticket, outcome, &reason);
                }
                Judged::Whole => whole.push(ticket),
            }
        }
        if list.is_empty() {
            return Ok(whole);
        }
        let there_ms = replies.there_ms();
        let connection = pipeline.idle_connection(replies)?;
        let mut jobs = Jobs {
            list,
            phase: Phase::Asking,
            cluster: shared.shards.is_cluster(),
            halt: None,
        };
        let doubt = |job: &Job| {
            let position = shared.base.saturating_add(job.ticket.place.ordinal);
            shared
                .recorder
                .doubt(&Ranges::of(position..position.saturating_add(1)));
        };
        if let Err(error) = self.write(shared, connection, &mut jobs, there_ms) {
            jobs.list.iter().filter(|job| job.touched).for_each(doubt);
            return Err(too_large(connection, error));
        }
        let mut ended = Ok(());
        for job in jobs.list {
            if job.staged {
                // It could not be removed now, or went to another node half-built: the next pass looks for it.
                doubt(&job);
            } else if let Some(end) = job.end {
                let told = replies.built(&job.ticket, end);
                ended = ended.and(told);
            }
        }
        replies.built_all();
        if let Some((words, advice, why)) = jobs.halt {
            return Err(replies.stop(&words, advice, why));
        }
        ended.map(|()| whole)
    }

    /// What becomes of a value, before anything is sent.
    fn judge(
        &mut self,
        shared: &Shared<'_, '_>,
        ticket: &Ticket,
        by: ByCommands,
    ) -> Result<Judged> {
        if ticket.step != Step::COMMANDS {
            let how = Carriage {
                losses: ticket.losses,
                kind: None,
                at_once: false,
                count: None,
                commands: 1,
                bytes: ticket.bytes,
            };
            return Ok(Judged::Goes(Box::new(Job::new(*ticket, by, how))));
        }
        let entry = shared.snapshot.entry_at(&ticket.place)?;
        if let Err(error) = shared.policies.name_of(&entry, &mut self.key) {
            let words = format!("its name cannot be read: {error}");
            return Ok(Judged::Ends(Outcome::Refused, words));
        }
        let decoder = Self::decoder(&mut self.decoder, shared);
        Ok(
            match carried(decoder, &entry, &by, shared.terms, shared.policies)? {
                Carried::Goes(how) => {
                    let mut ticket = *ticket;
                    ticket.losses = how.losses;
                    ticket.tried = Some(ticket.step);
                    Judged::Goes(Box::new(Job::new(ticket, by, how)))
                }
                Carried::Refused(words) => Judged::Ends(Outcome::Refused, words),
                Carried::Empty => Judged::Ends(Outcome::Empty, String::new()),
                Carried::Whole(why) => {
                    if let (Some(why), Some(ms)) = (why, by.stall_ms) {
                        shared.watcher.note(&format!(
                        "offset {}: {} goes by one RESTORE, which will hold the destination for about {:.1} s: {why}",
                        entry.offset,
                        Escaped(&entry.key.preview(128)),
                        ms as f64 / 1000.0,
                    ));
                    }
                    Judged::Whole
                }
            },
        )
    }

    fn decoder<'b>(
        decoder: &'b mut Option<Box<Decoder<Exact>>>,
        shared: &Shared<'_, '_>,
    ) -> &'b mut Decoder<Exact> {
        decoder
            .get_or_insert_with(|| Box::new(Decoder::with_findings(Some(shared.spool_dir), Exact)))
    }

    /// All steps.
    fn write(
        &mut self,
        shared: &Shared<'_, '_>,
        connection: &mut Connection,
        jobs: &mut Jobs,
        there_ms: i64,
    ) -> Result<()> {
        let mut site = Site::new(connection, shared.pace.window())?;
        let count = jobs.list.len();
        if !shared.policies.replace {
            self.ask(shared, &mut site, jobs)?;
            // An answer of another key would leave this one out, and nothing else would show it: each is asked about twice.
            // One that seems free is built, and its naming tells.
            jobs.phase = Phase::AskingAgain;
            self.ask(shared, &mut site, jobs)?;
        }
        jobs.phase = Phase::Clearing;
        let unlink = shared.terms.commands.is_none_or(|terms| terms.unlink);
        let unlink: &[u8] = if unlink { b"UNLINK" } else { b"DEL" };
        for of in 0..count {
            if let Some(job) = jobs.list.get(of)
                && job.begun_before
                && !job.how.at_once
            {
                let entry = shared.snapshot.entry_at(&job.ticket.place)?;
                site.select(job.by.db, jobs)?;
                let name = self.staging_name(shared, &entry)?;
                site.command(of, &[unlink, &name], jobs)?;
            }
        }
        site.drain(jobs)?;
        jobs.phase = Phase::Building;
        for of in 0..count {
            match jobs.list.get(of).is_some_and(Job::is_payload) {
                true => self.stage_payload(shared, &mut site, jobs, of, there_ms)?,
                false => self.stage(shared, &mut site, jobs, of)?,
            }
        }
        site.drain(jobs)?;
        jobs.phase = Phase::Counting;
        for of in 0..count {
            // What was not built to its end lost nothing.
            if !jobs.is_over(shared)
                && let Some(job) = jobs.list.get(of)
                && job.end.is_none()
                && let Some((command, _)) = job.how.count
            {
                let entry = shared.snapshot.entry_at(&job.ticket.place)?;
                site.select(job.by.db, jobs)?;
                let name = self.staging_name(shared, &entry)?;
                site.command(of, &[command.as_bytes(), &name], jobs)?;
            }
        }
        site.drain(jobs)?;
        jobs.phase = Phase::Naming;
        for of in 0..count {
            if jobs.is_open(of) && !jobs.is_over(shared) {
                self.name(shared, &mut site, jobs, of)?;
            }
        }
        site.drain(jobs)?;
        let (mut names, mut whose) = (Vec::new(), Vec::new());
        for (of, job) in jobs.list.iter().enumerate().filter(|(_, job)| job.staged) {
            let entry = shared.snapshot.entry_at(&job.ticket.place)?;
            names.push((job.by.db, self.staging_name(shared, &entry)?));
            whose.push(of);
        }
        let left = remove(shared, &mut site, names)?;
        for (of, is_left) in whose.into_iter().zip(left) {
            if let Some(job) = jobs.list.get_mut(of) {
                job.staged = is_left;
            }
        }
        site.prove(jobs)
    }

    /// Asks whether keys exist: at first all of them, then those of which that was said.
    fn ask(&mut self, shared: &Shared<'_, '_>, site: &mut Site<'_>, jobs: &mut Jobs) -> Result<()> {
        for of in 0..jobs.list.len() {
            if let Some(job) = jobs.list.get(of)
                && !job.how.at_once
                && (jobs.phase == Phase::Asking || matches!(job.end, Some(Built::Exists)))
            {
                let entry = shared.snapshot.entry_at(&job.ticket.place)?;
                site.select(job.by.db, jobs)?;
                let key = shared.policies.name_of(&entry, &mut self.key)?;
                site.command(of, &[b"EXISTS", key], jobs)?;
            }
        }
        site.drain(jobs)
    }

    fn staging_name(&mut self, shared: &Shared<'_, '_>, entry: &Entry<'_>) -> Result<Vec<u8>> {
        let position = shared.base.saturating_add(entry.ordinal);
        let key = shared.policies.name_of(entry, &mut self.key)?;
        staging::name(
            key,
            shared.staging,
            position,
            shared.slotted(),
            &mut self.name,
        );
        Ok(self.name.clone())
    }

    /// Sends the commands of one value, under its staging name.
    fn stage(
        &mut self,
        shared: &Shared<'_, '_>,
        site: &mut Site<'_>,
        jobs: &mut Jobs,
        of: usize,
    ) -> Result<()> {
        let (Some(job), Some(terms)) = (jobs.list.get_mut(of), shared.terms.commands) else {
            return Ok(());
        };
        if job.how.at_once || job.end.is_some() || shared.stop.is_set() {
            return Ok(());
        }
        let entry = shared.snapshot.entry_at(&job.ticket.place)?;
        let (db, expire_at_ms) = (job.by.db, job.by.expire_at_ms);
        let name = self.staging_name(shared, &entry)?;
        site.select(db, jobs)?;
        let arrival = Arrival {
            key: Element::Bytes(&name),
            expire_at_ms,
            inside: shared.policies.transform.expiries,
        };
        let decoder = Self::decoder(&mut self.decoder, shared);
        let mut commands = Commands::new(
            decoder,
            &entry,
            arrival,
            terms.vocabulary,
            shared.terms.command_limits(),
        )?;
        while !jobs.is_over(shared) && jobs.is_open(of) {
            super::pacing::between_commands(shared, || site.drain(jobs))?;
            let Some(command) = commands.next_command()? else {
                break;
            };
            if let Some(job) = jobs.list.get_mut(of) {
                (job.touched, job.staged) = (true, true);
            }
            site.write(of, &command, &[], jobs)?;
        }
        Ok(())
    }

    /// Sends the payload of one value, under its staging name.
    fn stage_payload(
        &mut self,
        shared: &Shared<'_, '_>,
        site: &mut Site<'_>,
        jobs: &mut Jobs,
        of: usize,
        there_ms: i64,
    ) -> Result<()> {
        if jobs.is_over(shared) {
            return Ok(());
        }
        let Some(job) = jobs.list.get_mut(of) else {
            return Ok(());
        };
        let (db, step) = (job.by.db, job.ticket.step);
        let entry = shared.snapshot.entry_at(&job.ticket.place)?;
        let name = self.staging_name(shared, &entry)?;
        let ladder = self
            .ladder
            .get_or_insert_with(|| Box::new(Ladder::new(Some(shared.spool_dir))));
        // As it was decided when it was put here.
        let decided = ladder.decide(&entry, shared.terms, shared.policies, step);
        let Decision::Send(restore) = decided else {
            job.end = Some(Built::Failed("its payload cannot be made again".to_owned()));
            return Ok(());
        };
        (job.touched, job.staged) = (true, true);
        site.select(db, jobs)?;
        restore.with_args("RESTORE", &name, there_ms, |args| site.args(of, args, jobs))
    }

    /// Gives a value its own name: what was built, or a string at once.
    fn name(
        &mut self,
        shared: &Shared<'_, '_>,
        site: &mut Site<'_>,
        jobs: &mut Jobs,
        of: usize,
    ) -> Result<()> {
        let (Some(job), Some(terms)) = (jobs.list.get_mut(of), shared.terms.commands) else {
            return Ok(());
        };
        job.touched = true;
        let (db, expire_at_ms, at_once) = (job.by.db, job.by.expire_at_ms, job.how.at_once);
        let entry = shared.snapshot.entry_at(&job.ticket.place)?;
        let replace = shared.policies.replace;
        site.select(db, jobs)?;
        if !at_once {
            let name = self.staging_name(shared, &entry)?;
            let key = shared.policies.name_of(&entry, &mut self.key)?;
            let rename: &[u8] = if replace { b"RENAME" } else { b"RENAMENX" };
            return site.command(of, &[rename, &name, key], jobs);
        }
        let arrival = Arrival {
            key: Element::Bytes(shared.policies.name_of(&entry, &mut self.key)?),
            expire_at_ms: None,
            inside: shared.policies.transform.expiries,
        };
        let decoder = Self::decoder(&mut self.decoder, shared);
        let mut commands = Commands::new(
            decoder,
            &entry,
            arrival,
            terms.vocabulary,
            shared.terms.command_limits(),
        )?;
        let mut digits = itoa::Buffer::new();
        let mut more: Vec<&[u8]> = Vec::new();
        if let Some(at) = expire_at_ms {
            more.extend([b"PXAT", digits.format(at).as_bytes()]);
        }
        if !replace {
            more.push(b"NX");
        }
        match commands.next_command()? {
            Some(command) => site.write(of, &command, &more, jobs),
            None => Ok(()),
        }
    }
}

/// Removes the staging keys that `entries` may have from an earlier pass: all that this load ever removes.
///
/// # Errors
/// The connection fails.
pub(super) fn clear(
    shared: &Shared<'_, '_>,
    connection: &mut Connection,
    entries: &[(Entry<'_>, u64)],
) -> Result<()> {
    let mut builder = Builder::default();
    let mut names = Vec::with_capacity(entries.len());
    for (entry, db) in entries {
        names.push((*db, builder.staging_name(shared, entry)?));
    }
    // A name that lies elsewhere is met again there, with its entry.
    remove(shared, &mut Site::new(connection, None)?, names).map(drop)
}

/// Removes keys. Gives for each whether it may still be there: at another node, or because this one takes nothing now.
fn remove(
    shared: &Shared<'_, '_>,
    site: &mut Site<'_>,
    names: Vec<(u64, Vec<u8>)>,
) -> Result<Vec<bool>> {
    let unlink = shared.terms.commands.is_none_or(|terms| terms.unlink);
    let mut left = vec![false; names.len()];
    for (of, words) in staging::remove(&mut site.talk, &names, unlink)? {
        if words.starts_with(b"NOPERM") || words.starts_with(b"ERR") {
            if let Some((db, name)) = names.get(of) {
                shared.watcher.note(&format!(
                    "a half-built value could not be removed, do it by hand: {} in db {db}: the destination says {}",
                    Escaped(name),
                    Escaped(&words)
                ));
            }
        } else if let Some(left) = left.get_mut(of) {
            *left = true;
        }
    }
    Ok(left)
}

/// A server that is sent more than it takes says so and closes: that does not become better by trying again.
fn too_large(connection: &Connection, error: Error) -> Error {
    let received = connection.received();
    let line = received.split(|b| *b == b'\r').next().unwrap_or_default();
    if connection.end().is_none() || !line.starts_with(b"-ERR Protocol error") {
        return error;
    }
    Error::new(
        ErrorKind::Destination,
        format!(
            "the destination says {} to an element of a value",
            Escaped(line.get(1..).unwrap_or_default())
        ),
    )
    .with_hint("raise proto-max-bulk-len there, or leave large keys out with --max-size")
}
