//! Whether the destination still holds what an earlier run restored: some keys are looked up before a load goes on.

use super::Load;
use crate::error::{Error, ErrorKind, Result};
use crate::outcome::Outcome;
use crate::replay::{Decision, Ladder, Step};
use crate::resp::{Arg, Reply};
use crate::select::Selection;
use crate::snapshot::{Record, Snapshot};

/// Keys that are looked up of each input at the most.
const SAMPLE: u64 = 64;

/// Longer names are not looked up.
const LONGEST_NAME: u64 = 64 * 1024;

impl Load {
    /// Looks up some of the keys of an input that an earlier run finished, spread evenly, without those that expire. Gives
    /// how many were asked for, and how many are there.
    ///
    /// # Errors
    /// The input cannot be read, or the destination does not answer.
    pub fn look_up(
        &self,
        input: u32,
        snapshot: &Snapshot<'_>,
        selection: &mut Selection,
    ) -> Result<(u64, u64)> {
        selection.in_input(input);
        let range = self.positions(input);
        let finished = self.recorder.standing().0;
        let entries = range.end.saturating_sub(range.start);
        let step = (entries / SAMPLE).max(1);
        let mut connections = self.shards.connect_all()?;
        let (mut asked, mut there, mut next) = (0u64, 0u64, 0u64);
        let mut ladder = Ladder::new(Some(&self.options.spool_dir));
        let (mut records, mut scratch) = (snapshot.unverified_records(), Vec::new());
        while let Some(record) = records.next_record()? {
            let Record::Entry(entry) = record else {
                continue;
            };
            if entry.ordinal < next
                || entry.expire_at_ms.is_some()
                || entry.key.len() > LONGEST_NAME
                || !finished.contains(range.start.saturating_add(entry.ordinal))
                || !selection.admits(&entry, &mut scratch)?
            {
                continue;
            }
            let policies = &self.options.policies;
            let decided = ladder.decide(&entry, &self.terms, policies, Step::RAW);
            let db = match decided {
                Decision::Send(restore) => restore.db,
                Decision::Commands(by) => by.db,
                Decision::Skip(..) => continue,
            };
            next = entry.ordinal.saturating_add(step);
            let key = entry.key.bytes(&mut scratch)?;
            let Some(connection) = connections.get_mut(self.shards.of_key(key)) else {
                continue;
            };
            connection.select(db)?;
            match connection.request(&[Arg::from("EXISTS"), Arg::Bytes(key)])? {
                Reply::Integer(number) => {
                    asked = asked.saturating_add(1);
                    there = there.saturating_add(u64::from(number > 0));
                }
                // Not ours to ask: nothing is known.
                _ => return Ok((0, 0)),
            }
        }
        Ok((asked, there))
    }

    /// Refuses to go on where most of what should be there is gone. What was looked up are keys that were sent, so keys that
    /// the destination refused are among them in the proportion that the journal knows.
    ///
    /// # Errors
    /// `Destination`, with both numbers.
    pub fn demand_there(&self, asked: u64, there: u64) -> Result<()> {
        let outcomes = self.recorder.outcomes();
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
        if u128::from(there) * 2 * u128::from(sent.max(1)) >= expected {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Destination,
            format!("the journal says that keys were restored, and of {asked} that were looked up the destination holds {there}: it was emptied, or is another one"),
        )
        .with_hint("if that is meant, begin anew with --restart"))
    }
}
