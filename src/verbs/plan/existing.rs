//! Which keys the destination has already: `EXISTS` for each that would be sent, many under way. Of a user who may write some
//! names only, a `RESTORE` of nothing tells that and more: whether the key may be written at all.

use serde::Serialize;

use crate::error::{Escaped, Result};
use crate::resp::{Answer, Arg, Connection, Pipeline, Reply, WindowOptions};
use crate::select::slot_of;
use crate::target::{Asked, NO_PAYLOAD, Reaction, Situation, Topology, react};
use crate::verbs::sample::{Sample, most_that_differ};

/// Errors in a row after which it is no longer asked.
const ERRORS_IN_A_ROW: u64 = 100;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Existing {
    /// Keys that would be sent.
    pub keys: u64,
    /// Keys that were asked about.
    pub asked: u64,
    /// Keys of these that are there.
    pub there: u64,
    /// Keys of these that the user may not write (an ACL key pattern): they fail.
    pub closed: u64,
    /// Keys of these about which the destination says nothing.
    pub not_known: u64,
    /// Every key that would be sent was asked about and answered, or there is none at all.
    pub exact: bool,
    /// Of a sample: how many of all are there at the most, with 95 % confidence.
    pub at_most: Option<u64>,
    /// The destination's words where it does not answer.
    pub words: Option<String>,
}

/// Asks, on a connection of its own.
#[derive(Debug)]
pub(super) struct Asker {
    /// One for each node; none: nothing is asked.
    pipelines: Vec<Pipeline<()>>,
    topology: Option<Topology>,
    sample: Option<Sample>,
    replies: Replies,
    keys: u64,
    asked: u64,
    /// It has no keys at all.
    empty: bool,
    /// Asked with a `RESTORE` that stores nothing, since that tells whose keys the user may write.
    by_restore: bool,
}

#[derive(Debug, Default)]
struct Replies {
    by_restore: bool,
    there: u64,
    closed: u64,
    not_known: u64,
    in_a_row: u64,
    words: Option<String>,
}

impl Replies {
    fn take(&mut self, answer: Answer<'_>) {
        if self.by_restore {
            let known = match react(&answer.reply(), Asked::Restore, Situation::default()) {
                Reaction::KeyExists => Some(&mut self.there),
                Reaction::KeyFails => Some(&mut self.closed),
                Reaction::NextRoad(_) => {
                    self.in_a_row = 0;
                    return;
                }
                _ => None,
            };
            if let Some(count) = known {
                *count = count.saturating_add(1);
                self.in_a_row = 0;
                return;
            }
        }
        match answer.reply() {
            Reply::Integer(number) => {
                self.in_a_row = 0;
                self.there = self.there.saturating_add(u64::from(number > 0));
            }
            other => {
                self.not_known = self.not_known.saturating_add(1);
                self.in_a_row = self.in_a_row.saturating_add(1);
                if self.words.is_none()
                    && let Reply::Error(words) = other
                {
                    self.words = Some(Escaped(words).to_string());
                }
            }
        }
    }
}

impl Asker {
    /// One that asks about every key, or about a share of them.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn new(
        connections: Vec<Connection>,
        topology: Option<Topology>,
        sample: Option<f64>,
        empty: bool,
        by_restore: bool,
    ) -> Result<Self> {
        let pipelines = connections
            .into_iter()
            .map(|connection| Pipeline::new(connection, WindowOptions::default()))
            .collect::<Result<_>>()?;
        Ok(Self {
            pipelines,
            topology,
            sample: sample.map(Sample::new),
            replies: Replies {
                by_restore,
                ..Replies::default()
            },
            keys: 0,
            asked: 0,
            empty,
            by_restore,
        })
    }

    /// Asks about a key that would be sent.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn ask(&mut self, input: u32, ordinal: u64, db: u64, key: &[u8]) -> Result<()> {
        self.keys = self.keys.saturating_add(1);
        let node = self.topology.as_ref().map_or(0, |topology| {
            topology.owner(slot_of(key)).map_or(0, usize::from)
        });
        let Some(pipeline) = self.pipelines.get_mut(node) else {
            return Ok(());
        };
        let drawn = self
            .sample
            .as_ref()
            .is_none_or(|sample| sample.has(input, ordinal));
        if !drawn || self.replies.in_a_row >= ERRORS_IN_A_ROW {
            return Ok(());
        }
        let replies = &mut self.replies;
        let mut sink = |(), answer: Answer<'_>| {
            replies.take(answer);
            Ok(())
        };
        pipeline.select(db, &mut sink)?;
        let restore = [
            Arg::from("RESTORE"),
            Arg::Bytes(key),
            Arg::from("0"),
            Arg::Bytes(NO_PAYLOAD),
        ];
        let exists = [Arg::from("EXISTS"), Arg::Bytes(key)];
        let command = if self.by_restore {
            &restore[..]
        } else {
            &exists
        };
        pipeline.push((), command, &mut sink)?;
        self.asked = self.asked.saturating_add(1);
        Ok(())
    }

    /// Waits for all answers.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn finish(mut self) -> Result<Existing> {
        for pipeline in &mut self.pipelines {
            let replies = &mut self.replies;
            pipeline.drain(&mut |(), answer: Answer<'_>| {
                replies.take(answer);
                Ok(())
            })?;
        }
        let answered = self.asked.saturating_sub(self.replies.not_known);
        let exact = self.empty && !self.by_restore || answered == self.keys;
        let at_most = (self.sample.is_some() && !exact)
            .then(|| most_that_differ(self.keys, answered, self.replies.there));
        Ok(Existing {
            keys: self.keys,
            asked: self.asked,
            there: self.replies.there,
            closed: self.replies.closed,
            not_known: match exact {
                true => 0,
                false => self.replies.not_known,
            },
            exact,
            at_most,
            words: self.replies.words,
        })
    }
}
