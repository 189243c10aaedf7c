//! Whether the destination still holds what an earlier run restored: some keys are looked up before a load goes on.

use super::shrunk::MARGIN_MS;
use super::standing::Standing;
use super::{Load, Watcher, expires_in_parts};
use crate::error::{Error, ErrorKind, Result};
use crate::outcome::Outcome;
use crate::replay::{Decision, Ladder, Step};
use crate::resp::{Arg, Reply};
use crate::select::Selection;
use crate::snapshot::{Record, Snapshot};
use crate::units::keys;

/// Keys that are looked up of each input at the most.
const SAMPLE: u64 = 64;

/// Longer names are not looked up.
const LONGEST_NAME: u64 = 64 * 1024;

/// Keys that an earlier run restored and that were looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct LookedUp {
    /// How many were asked for.
    pub asked: u64,
    /// How many of them are there.
    pub there: u64,
}

impl Load {
    /// Looks up some of the keys of an input that an earlier run finished, spread evenly, without those that may have expired
    /// meanwhile.
    ///
    /// # Errors
    /// The input cannot be read, or the destination does not answer.
    pub fn look_up(
        &self,
        input: u32,
        snapshot: &Snapshot<'_>,
        selection: &mut Selection,
    ) -> Result<LookedUp> {
        selection.in_input(input);
        let range = self.positions(input);
        let finished = self.recorder.standing().0;
        let entries = range.end.saturating_sub(range.start);
        let step = (entries / SAMPLE).max(1);
        let mut connections = self.shards.connect_all()?;
        let (mut found, mut next) = (LookedUp::default(), 0u64);
        let soon_ms = self.now_there_ms().saturating_add(MARGIN_MS);
        let mut ladder = Ladder::new(Some(&self.options.spool_dir));
        let (mut records, mut scratch) = (snapshot.unverified_records(), Vec::new());
        while let Some(record) = records.next_record()? {
            let Record::Entry(entry) = record else {
                continue;
            };
            let policies = &self.options.policies;
            let names = &policies.transform.names;
            if entry.ordinal < next
                || expires_in_parts(entry.value_type, entry.dialect)
                || entry.key.len() > LONGEST_NAME
                || !finished.contains(range.start.saturating_add(entry.ordinal))
                || !selection.admits(&entry, &mut scratch)?
            {
                continue;
            }
            let decided = ladder.decide(&entry, &self.terms, policies, Step::RAW);
            let (db, expire_at_ms) = match decided {
                Decision::Send(restore) => (restore.db, restore.expire_at_ms),
                Decision::Commands(by) => (by.db, by.expire_at_ms),
                Decision::Skip(..) => continue,
            };
            if expire_at_ms.is_some_and(|at| at <= soon_ms) {
                continue;
            }
            next = entry.ordinal.saturating_add(step);
            let Ok(key) = names.of(entry.db, &entry.key, &mut scratch) else {
                continue;
            };
            let Some(connection) = connections.get_mut(self.shards.of_key(key)) else {
                continue;
            };
            connection.select(db)?;
            // Of one that is not ours to ask for, or whose slot is being moved, nothing is known.
            if let Reply::Integer(number) =
                connection.request(&[Arg::from("EXISTS"), Arg::Bytes(key)])?
            {
                found.asked = found.asked.saturating_add(1);
                found.there = found.there.saturating_add(u64::from(number > 0));
            }
        }
        Ok(found)
    }

    /// Takes in what was looked up in all inputs, and refuses to go on where most of what should be there is gone; a load that
    /// an earlier run finished is done only where all of it is. What was looked up are keys that were sent, so keys that the
    /// destination refused are among them in the proportion that the journal knows.
    ///
    /// # Errors
    /// `Destination`, with both numbers.
    pub fn demand_there(&mut self, found: LookedUp) -> Result<()> {
        let LookedUp { asked, there } = found;
        let progress = self.recorder.acknowledged();
        if progress.restored() == 0 && asked == 0 {
            return Ok(());
        }
        self.looked_up = Some(found);
        if asked == 0 && self.only_looks {
            return Err(Error::new(
                ErrorKind::Destination,
                format!(
                    "the journal says that {} were restored, and none of them could be looked up: they may have expired since, or the destination does not answer EXISTS",
                    keys(progress.restored())
                ),
            )
            .with_hint(WHAT_NOW));
        }
        let outcomes = progress.outcomes;
        let absent = outcomes.get(Outcome::Failed);
        let restored = outcomes
            .iter()
            .filter(|(outcome, _)| matches!(outcome, Outcome::Restored(_)))
            .map(|(_, keys)| keys);
        let sent = [
            Outcome::Conflict,
            Outcome::Existing,
            Outcome::AlreadyThere,
            Outcome::ReadBackDifferent,
        ]
        .into_iter()
        .map(|outcome| outcomes.get(outcome))
        .chain(restored)
        .fold(absent, u64::saturating_add);
        let expected = u128::from(asked) * u128::from(sent.saturating_sub(absent));
        let all = there == asked || absent > 0;
        if u128::from(there) * 2 * u128::from(sent.max(1)) >= expected && (all || !self.only_looks)
        {
            return Ok(());
        }
        if there > 0 {
            return Err(Error::new(
                ErrorKind::Destination,
                format!(
                    "the journal says that {} were restored, and of {asked} that were looked up the destination holds {there}",
                    keys(progress.restored())
                ),
            )
            .with_hint(WHAT_NOW));
        }
        Err(Error::new(
            ErrorKind::Destination,
            format!("the journal says that keys were restored, and of {asked} that were looked up the destination holds {there}: it was emptied, or is another one"),
        )
        .with_hint("if that is meant, begin anew with --restart"))
    }

    /// A load that an earlier run finished is done only as long as nothing tells that a part of it is gone: `same` is whether
    /// the destination is the process that it was.
    ///
    /// # Errors
    /// `Destination`, with what was restored and what there is.
    pub(super) fn demand_kept(
        &self,
        same: bool,
        finished_at: &str,
        watcher: &dyn Watcher,
    ) -> Result<()> {
        let (progress, held) = (self.recorder.acknowledged(), self.facts.held());
        if let Some(held) = held.filter(|held| self.lacks(&progress, *held)) {
            let numbers = self.both_numbers(&progress, held, "were restored");
            return Err(Error::new(
                ErrorKind::Destination,
                match held.keys {
                    0 => format!("{numbers}: it was emptied, or is another one"),
                    _ => numbers,
                },
            )
            .with_hint(WHAT_NOW));
        }
        if same || !self.tells_its_process()? {
            return Ok(());
        }
        let (restored, kept) = (progress.restored(), self.recorder.settled().restored());
        let since = format!(
            "this load was finished at {finished_at}, and the destination failed over or was started again since"
        );
        if kept == restored {
            watcher.note(&format!(
                "{since}: all {} that were restored had been kept by its replicas or its disk before",
                keys(kept)
            ));
            return Ok(());
        }
        let now = held.map_or(String::new(), |held| {
            format!(", and it holds {} now", keys(held.keys))
        });
        Err(Error::new(
            ErrorKind::Destination,
            format!(
                "{since}: of {} that were restored {kept} were known to be kept by its replicas or its disk{now}",
                keys(restored)
            ),
        )
        .with_hint(WHAT_NOW))
    }

    /// Whether the same process answers twice. Several may answer behind one address: then their names say nothing.
    fn tells_its_process(&self) -> Result<bool> {
        if self.shards.is_cluster() {
            return Ok(true);
        }
        for shard in self.shards.list() {
            let standing = Standing::ask(&mut shard.connector.connect()?)?;
            if standing.is_some_and(|standing| standing.run_id != shard.run_id) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What to do where a finished load may not be whole any more.
const WHAT_NOW: &str =
    "`rdbridge compare` finds out what is there; --restart forgets the journal and loads anew";
