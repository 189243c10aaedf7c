//! Findings of several threads in the order of the file: a batch of entries has a number, and whoever has something to tell
//! waits until all batches before its own are done.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};

/// Which batches are done.
#[derive(Debug, Default)]
pub(super) struct Turns {
    done: Mutex<Done>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Done {
    /// All batches below this number are done.
    below: u64,
    /// Those above it that are done already: as many as there are threads, at most.
    above: BTreeSet<u64>,
}

impl Turns {
    /// Waits until all batches before `batch` are done.
    pub(super) fn wait_for(&self, batch: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while done.below < batch {
            done = self
                .changed
                .wait(done)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// `batch` is done. Every number must come here once, whatever happened to the batch.
    pub(super) fn finish(&self, batch: u64) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.above.insert(batch);
        while done.above.first() == Some(&done.below) {
            done.above.pop_first();
            done.below = done.below.saturating_add(1);
        }
        drop(done);
        self.changed.notify_all();
    }
}

/// Finishes a batch when dropped: nobody must wait for a thread that has panicked.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    batch: u64,
}

impl Turns {
    /// Like [`Turns::finish`], when the returned value is dropped.
    pub(super) fn finish_at_end(&self, batch: u64) -> Turn<'_> {
        Turn { turns: self, batch }
    }
}

impl Turn<'_> {
    /// Whose turn it is.
    pub(super) fn batch(&self) -> u64 {
        self.batch
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turns.finish(self.batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_speak_in_their_order() {
        let turns = Turns::default();
        let spoken = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (turns, spoken) = (&turns, &spoken);
                scope.spawn(move || {
                    for batch in (thread..400).step_by(4) {
                        // Most have nothing to tell.
                        if batch % 7 == 0 {
                            turns.wait_for(batch);
                            spoken.lock().unwrap().push(batch);
                        }
                        turns.finish(batch);
                    }
                });
            }
        });
        let spoken = spoken.into_inner().unwrap();
        assert_eq!(spoken, (0..400).step_by(7).collect::<Vec<_>>());
    }

    #[test]
    fn what_nobody_takes_any_more_is_finished() {
        let turns = Turns::default();
        let (give, take) = std::sync::mpsc::sync_channel(4);
        for batch in 0..3 {
            give.send(turns.finish_at_end(batch)).unwrap();
        }
        drop(take);
        assert!(give.send(turns.finish_at_end(3)).is_err());
        turns.wait_for(4);
    }
}
