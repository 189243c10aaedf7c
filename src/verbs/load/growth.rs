//! Whether what is still to come can fit: how the destination's memory grew over the first part of the work, held against what
//! is left of its limit.
//!
//! An estimate, so it is taken for wrong by much where little was seen, and a load is stopped only where it does not fit even
//! then. Where it is near, the destination's own refusal tells.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::{Error, ErrorKind, Result};
use crate::resp::{Arg, Connection};
use crate::survey::Survey;
use crate::units::ByteCount;

/// After so many percent of the work it is judged; the rest may need so many percent of what the estimate says.
const CHECKS: [(u64, u64); 3] = [(1, 50), (5, 67), (10, 80)];

/// Bytes by which memory moves without any key: tables that grow, buffers, what an allocator keeps.
const NOISE: u64 = 2 << 20;

/// What an entry weighs beside the bytes of its value.
const ENTRY: u64 = 64;

/// The memory of one server, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Memory {
    /// What the limit is held against.
    counted: u64,
    /// The same without connections and the backlog for replicas.
    data: u64,
    limit: u64,
}

impl Memory {
    /// Asks. `None` where the server does not tell (before 3.2), or has no limit.
    fn ask(connection: &mut Connection) -> Result<Option<Self>> {
        let reply = connection.request(&["INFO", "memory"].map(Arg::from))?;
        let text = reply
            .text()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        Ok(text.and_then(|text| Self::read(&text)))
    }

    fn read(text: &str) -> Option<Self> {
        let field = |name: &str| {
            text.lines().find_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix(':')?;
                value.trim_end().parse::<u64>().ok()
            })
        };
        let beside = |name: &str| field(name).unwrap_or(0);
        let limit = field("maxmemory").filter(|limit| *limit > 0)?;
        let counted = field("used_memory")?.saturating_sub(beside("mem_not_counted_for_evict"));
        let data = counted
            .saturating_sub(beside("mem_clients_normal"))
            .saturating_sub(beside("mem_replication_backlog"));
        Some(Self {
            counted,
            data,
            limit,
        })
    }
}

/// The growth of a destination since this process began to load into it.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// What there is to do, by weight; 0: nothing is judged.
    work: u64,
    done: AtomicU64,
    /// How many of the checks are over.
    checked: AtomicUsize,
    /// Bytes of data of each shard before the first write.
    before: Mutex<BTreeMap<String, u64>>,
}

impl Growth {
    /// For what is selected of these dumps.
    pub(super) fn of(surveys: &[Survey]) -> Self {
        let weight = |survey: &Survey| {
            let entries = survey.selected.saturating_mul(ENTRY);
            survey.value_bytes.saturating_add(entries)
        };
        Self {
            work: surveys.iter().map(weight).fold(0, u64::saturating_add),
            ..Self::default()
        }
    }

    /// So much of it was done by earlier runs.
    pub(super) fn leave_out(&mut self, finished: u64, entries: u64) {
        let left = u128::from(self.work) * u128::from(entries.saturating_sub(finished))
            / u128::from(entries.max(1));
        self.work = u64::try_from(left).unwrap_or(u64::MAX);
    }

    /// Nothing is judged.
    pub(super) fn none() -> Self {
        Self::default()
    }

    /// So many more entries have their outcome, with values of so many bytes.
    pub(super) fn add(&self, entries: u64, bytes: u64) {
        let weight = bytes.saturating_add(entries.saturating_mul(ENTRY));
        self.done.fetch_add(weight, Ordering::Relaxed);
    }

    /// Notes what a shard holds before anything is written to it.
    ///
    /// # Errors
    /// The connection fails.
    pub(super) fn begin(&self, shard: &str, connection: &mut Connection) -> Result<()> {
        if self.work == 0 {
            return Ok(());
        }
        if let Some(memory) = Memory::ask(connection)?
            && let Ok(mut before) = self.before.lock()
        {
            before.entry(shard.to_owned()).or_insert(memory.data);
        }
        Ok(())
    }

    /// Whether it is time to judge.
    pub(super) fn is_due(&self) -> bool {
        self.passed() > self.checked.load(Ordering::Relaxed)
    }

    /// How many checks are due so far.
    fn passed(&self) -> usize {
        let done = u128::from(self.done.load(Ordering::Relaxed)).saturating_mul(100);
        let is_over = |percent: u64| done >= u128::from(self.work) * u128::from(percent);
        match self.work {
            0 => 0,
            _ => CHECKS
                .iter()
                .take_while(|(percent, _)| is_over(*percent))
                .count(),
        }
    }

    /// Asks each shard, and says why the rest cannot fit, if it cannot.
    ///
    /// # Errors
    /// A connection fails.
    pub(super) fn judge<'c>(
        &self,
        shards: impl IntoIterator<Item = (String, &'c mut Connection)>,
    ) -> Result<Option<Error>> {
        let passed = self.passed();
        self.checked.store(passed, Ordering::Relaxed);
        let Some((_, margin)) = passed.checked_sub(1).and_then(|n| CHECKS.get(n)) else {
            return Ok(None);
        };
        for (name, connection) in shards {
            let Some(now) = Memory::ask(connection)? else {
                continue;
            };
            let before = self.before.lock().map(|before| before.get(&name).copied());
            let Ok(Some(before)) = before else { continue };
            let done = self.done.load(Ordering::Relaxed);
            if let Some(error) = judge(&name, before, now, done, self.work, *margin) {
                return Ok(Some(error));
            }
        }
        Ok(None)
    }
}

fn judge(name: &str, before: u64, now: Memory, done: u64, work: u64, margin: u64) -> Option<Error> {
    let grown = now.data.saturating_sub(before);
    let left_to_do = work.saturating_sub(done);
    let share = |percent: u64| {
        let rest = u128::from(grown.saturating_sub(NOISE)) * u128::from(left_to_do);
        let rest = rest / u128::from(done.max(1)) * u128::from(percent) / 100;
        u64::try_from(rest).unwrap_or(u64::MAX)
    };
    let room = now.limit.saturating_sub(now.counted);
    if share(margin) <= room {
        return None;
    }
    let short = |bytes: u64| ByteCount(bytes).short();
    let percent = u128::from(done) * 100 / u128::from(work.max(1));
    Some(
        Error::new(
            ErrorKind::Destination,
            format!(
                "after {percent} % of the work the memory of {name} has grown by {}: the rest needs about {}, and {} are left of \
                 its maxmemory {}: it cannot fit",
                short(grown),
                short(share(100)),
                short(room),
                short(now.limit)
            ),
        )
        .with_hint(
            "raise maxmemory there, or load fewer keys: the same command goes on; --no-growth-check goes on all the same",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn only_what_cannot_fit_by_far_is_stopped() {
        let judged = |grown: u64, room: u64, percent: u64, margin: u64| {
            let now = Memory {
                counted: 100 * MIB + grown,
                data: 50 * MIB + grown,
                limit: 100 * MIB + grown + room,
            };
            judge("it", 50 * MIB, now, percent, 100, margin)
        };
        // 12 MiB for 10 %: 10 of them count, so 90 are to come, 72 at least.
        assert!(judged(12 * MIB, 73 * MIB, 10, 80).is_none());
        let error = judged(12 * MIB, 71 * MIB, 10, 80).expect("too little");
        let words = error.to_string();
        for part in [
            "after 10 % of the work the memory of it has grown by 12.5 MB",
            "the rest needs about 94.3 MB, and 74.4 MB are left",
            "--no-growth-check",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        // 1 %: half of it is believed.
        assert!(judged(3 * MIB, 50 * MIB, 1, 50).is_none());
        assert!(judged(3 * MIB, 49 * MIB, 1, 50).is_some());
        // What moves by itself is no growth.
        assert!(judged(2 * MIB, 0, 1, 50).is_none());
        assert!(judged(0, 0, 10, 80).is_none());
    }

    #[test]
    fn checks_are_due_once_each_and_the_last_one_that_was_passed_counts() {
        let growth = Growth {
            work: 100_000,
            ..Growth::default()
        };
        assert!(!growth.is_due());
        growth.add(1, 1000 - ENTRY);
        assert!(growth.is_due() && growth.passed() == 1);
        growth.add(1, 9000 - ENTRY);
        assert_eq!(growth.passed(), 3);
        growth.checked.store(3, Ordering::Relaxed);
        assert!(!growth.is_due());
        growth.add(0, u64::MAX / 2);
        assert!(!growth.is_due());
        let mut rest = Growth {
            work: 1000,
            ..Growth::default()
        };
        rest.leave_out(3, 4);
        assert_eq!(rest.work, 250);
        assert!(!Growth::none().is_due());
        assert!(Growth::none().judge(std::iter::empty()).unwrap().is_none());
    }

    #[test]
    fn memory_as_servers_tell_it() {
        let text = "# Memory\r\nused_memory:1000\r\nused_memory_human:1K\r\nmaxmemory:5000\r\nmem_not_counted_for_evict:100\r\n\
                    mem_clients_normal:200\r\nmem_replication_backlog:50\r\n";
        let memory = Memory {
            counted: 900,
            data: 650,
            limit: 5000,
        };
        assert_eq!(Memory::read(text), Some(memory));
        assert_eq!(Memory::read("used_memory:1000\r\nmaxmemory:0\r\n"), None);
        assert_eq!(Memory::read("used_memory:1000\r\n"), None);
        assert_eq!(Memory::read(""), None);
    }
}
