//! What a journal says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::lifetimes::Lifetimes;
use super::ranges::Ranges;
use crate::outcome::{Outcome, Tally};
use crate::units::ByteCount;
use crate::value::commands::LossCounts;
use crate::wire::crc64;

/// Finished entries and the outcomes that they had: always of the same entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Positions that are finished.
    pub finished: Ranges,
    /// Their outcomes.
    pub outcomes: Tally,
    /// How long those live that were restored.
    #[serde(default)]
    pub lifetimes: Lifetimes,
    /// What they lost on their way.
    #[serde(default, skip_serializing_if = "LossCounts::is_empty")]
    pub losses: LossCounts,
    /// How long the ledger was with the lines of these entries, bytes; zero without one.
    #[serde(default)]
    pub ledger: u64,
}

impl Progress {
    /// Adds entries with their outcomes.
    pub fn add(&mut self, finished: &Ranges, outcomes: &Tally, lifetimes: &Lifetimes) {
        self.finished.insert_all(finished);
        self.outcomes.merge(outcomes);
        self.lifetimes.merge(lifetimes);
    }

    /// How many of them were restored.
    #[must_use]
    pub fn restored(&self) -> u64 {
        let restored = self.outcomes.iter();
        restored
            .filter(|(outcome, _)| matches!(outcome, Outcome::Restored(_)))
            .fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    fn fault(&self, entries: u64) -> Option<&'static str> {
        if self.finished.end() > entries {
            Some("it calls entries finished that the inputs do not have")
        } else if self.finished.total() != self.outcomes.total() {
            Some("its outcomes are not as many as its finished entries")
        } else if self.lifetimes.total() > self.finished.total() {
            Some("it knows how long more keys live than are finished")
        } else {
            None
        }
    }
}

/// Where a load stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It works, or was killed while it did.
    Running,
    /// It ended early, in order: what is uncertain is known exactly.
    Stopped,
    /// Every entry has its outcome.
    Done,
}

/// Function libraries, as far as they went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// So many inputs' libraries were sent.
    pub inputs: u32,
    /// Libraries in these inputs.
    pub found: u64,
    /// Loaded.
    pub loaded: u64,
    /// Left out.
    pub skipped: u64,
    /// The same library again.
    pub repeated: u64,
    /// Not sent, since the destination knows none.
    pub refused: u64,
    /// Offset and words of each that the destination refused.
    pub failed: Vec<(u64, String)>,
}

/// By what an input is known again in a later run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputId {
    /// As it was named. A file that was moved is the same input.
    pub name: String,
    /// Bytes, unpacked.
    pub size: u64,
    /// Its first nine bytes: magic and version.
    pub header: String,
    /// Its last eight bytes: the checksum, where it has one.
    pub footer: String,
    /// CRC-64 over pages that are spread evenly over it.
    pub samples: String,
}

/// Pages that [`InputId::of`] reads.
const SAMPLES: u64 = 64;

/// Bytes of each.
const SAMPLE: usize = 4096;

impl InputId {
    /// Reads at most 64 pages of `bytes`.
    #[must_use]
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        let mut crc = 0;
        let last = bytes.len().saturating_sub(SAMPLE) as u64;
        for n in 0..SAMPLES {
            let start = u128::from(last) * u128::from(n) / u128::from(SAMPLES - 1);
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            let page = bytes.get(start..).unwrap_or_default();
            crc = crc64::update(crc, page.get(..SAMPLE).unwrap_or(page));
        }
        let footer = bytes.last_chunk::<8>().copied().unwrap_or_default();
        Self {
            name: name.to_owned(),
            size: bytes.len() as u64,
            header: bytes
                .get(..9)
                .unwrap_or(bytes)
                .iter()
                .map(|b| match b {
                    b'!'..=b'~' => char::from(*b),
                    _ => '.',
                })
                .collect(),
            footer: format!("{:016x}", u64::from_le_bytes(footer)),
            samples: format!("{crc:016x}"),
        }
    }

    /// How `other` is not the same input; the name does not count.
    #[must_use]
    pub fn difference(&self, other: &InputId) -> Option<String> {
        if self.size != other.size {
            return Some(format!(
                "had {} and has {}",
                ByteCount(self.size),
                ByteCount(other.size)
            ));
        }
        let pairs = [
            ("header", &self.header, &other.header),
            ("checksum at its end", &self.footer, &other.footer),
            ("content", &self.samples, &other.samples),
        ];
        pairs
            .into_iter()
            .find(|(_, a, b)| a != b)
            .map(|(what, a, b)| format!("has another {what} ({b}, was {a})"))
    }
}

/// One journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Where the load stands.
    pub phase: Phase,
    /// Why it stopped, in words.
    pub stopped: Option<String>,
    /// When this was written, RFC 3339.
    pub written: String,
    /// Runs that worked on it.
    pub runs: u32,
    /// Milliseconds that they took together.
    pub elapsed_ms: u64,
    /// The address as it was typed, without secrets.
    pub destination: String,
    /// Product and version, as the destination said when this was written.
    pub product: String,
    /// The servers' own names for their processes, by address; another one means that it was started again, or is another
    /// server. Those that do not tell are left out.
    pub run_ids: BTreeMap<String, String>,
    /// Keys that the destination held before the first write, where it said so.
    pub keys_before: Option<u64>,
    /// The inputs, in order.
    pub inputs: Vec<InputId>,
    /// Entries of each input.
    pub entries: Vec<u64>,
    /// Options that change the result, as they were typed.
    pub options: BTreeMap<String, String>,
    /// The run's one instant, milliseconds of Unix time: fixed at the first start, by the destination's clock.
    pub instant_ms: i64,
    /// So much of that instant is what the destination's clock was before ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_ms: Option<i64>,
    /// By how many milliseconds `--ttl-policy shift` moves expiries: fixed at the first start. `None` where that is not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_shift_ms: Option<i64>,
    /// What the names of its staging keys have behind `~rdbridge~`, before the position of their entry: values are built under
    /// such names where no `RESTORE` takes them. All that may be left of it are names of entries that are uncertain, and only
    /// those are ever removed.
    #[serde(default)]
    pub staging: String,
    /// Function libraries.
    pub functions: Counted,
    /// Bytes of the ledger that are durable and count; `None` without one.
    pub ledger: Option<u64>,
    /// Keys that the destination evicted meanwhile.
    pub evicted: u64,
    /// Nothing at or behind this position was given to a connection.
    pub sent: u64,
    /// Where the load ended in order: what was sent and is not known to be there. Else everything below `sent` that is not
    /// finished is.
    pub uncertain: Option<Ranges>,
    /// What the destination said.
    pub acknowledged: Progress,
    /// What it keeps even if it fails over: an earlier state of `acknowledged`.
    pub settled: Progress,
}

impl Record {
    /// All entries of all inputs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.entries
            .iter()
            .fold(0, |sum, entries| sum.saturating_add(*entries))
    }

    /// What was sent and is not known to be at the destination.
    #[must_use]
    pub fn uncertain(&self) -> Ranges {
        let mut doubtful = match &self.uncertain {
            Some(exact) => exact.clone(),
            None => Ranges::of(0..self.sent),
        };
        doubtful.remove_all(&self.acknowledged.finished);
        doubtful
    }

    /// Goes back to what is settled: everything that was acknowledged later is uncertain again.
    pub fn forget_unsettled(&mut self) {
        let mut doubtful = self.uncertain();
        doubtful.insert_all(&self.acknowledged.finished);
        doubtful.remove_all(&self.settled.finished);
        self.uncertain = Some(doubtful);
        self.acknowledged = self.settled.clone();
    }

    /// Why this is not the journal of a load of these `inputs` into this `destination`, however it was done.
    #[must_use]
    pub fn is_of_another(&self, destination: &str, inputs: &[InputId]) -> Option<String> {
        if self.destination != destination {
            return Some(format!(
                "it is of a load into {}, not into {destination}",
                self.destination
            ));
        }
        if self.inputs.len() != inputs.len() {
            return Some(format!(
                "it is of {} inputs, not of {}",
                self.inputs.len(),
                inputs.len()
            ));
        }
        self.inputs.iter().zip(inputs).find_map(|(was, is)| {
            let difference = was.difference(is)?;
            Some(format!("its input {} {difference}", was.name))
        })
    }

    /// Why this is not the journal of a load that would be described by `other`: what differs, with both values.
    #[must_use]
    pub fn mismatch(&self, other: &Record) -> Option<String> {
        if let Some(difference) = self.is_of_another(&other.destination, &other.inputs) {
            return Some(difference);
        }
        let entries = self.entries.iter().zip(&other.entries);
        for (was, (had, has)) in self.inputs.iter().zip(entries) {
            if had != has {
                return Some(format!(
                    "its input {} had {had} entries and has {has}",
                    was.name
                ));
            }
        }
        let mut text = String::new();
        let names = self.options.keys().chain(other.options.keys());
        for name in names {
            let (was, is) = (self.options.get(name), other.options.get(name));
            if was != is && !text.contains(name.as_str()) {
                let shown = |value: Option<&String>| {
                    value.map_or_else(|| "not given".to_owned(), Clone::clone)
                };
                let _ = write!(
                    text,
                    "{}{name} was {}, is {}",
                    if text.is_empty() { "" } else { ", " },
                    shown(was),
                    shown(is)
                );
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// What cannot be true of any load.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let total = self.total();
        if self.inputs.len() != self.entries.len() {
            return Some("it does not say how many entries each input has");
        }
        if self.sent > total {
            return Some("more was sent than the inputs have");
        }
        if self.uncertain.as_ref().is_some_and(|u| u.end() > total) {
            return Some("it calls entries uncertain that the inputs do not have");
        }
        self.acknowledged
            .fault(total)
            .or_else(|| self.settled.fault(total))
    }
}
