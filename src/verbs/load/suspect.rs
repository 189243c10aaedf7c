//! An input that is written to while it is loaded: what was read of it since it was last seen unchanged may be neither the old
//! nor the new. Nobody reads it again to find out; the load ends, and such entries are uncertain.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Watcher;
use super::stop::Stop;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Progress, Recorder};

/// Looks at the input of a pass.
pub(super) struct InputWatch<'run> {
    watcher: &'run dyn Watcher,
    recorder: &'run Recorder,
    input: u32,
    name: &'run str,
    state: Mutex<State>,
    /// The reader is here, bytes.
    read: AtomicU64,
}

struct State {
    /// What was acknowledged when the input was last seen unchanged.
    good: Progress,
    /// Positions of entries, and where in the input these begin: rising, a few for what is not good yet.
    marks: VecDeque<(u64, u64)>,
    /// How it changed.
    change: Option<String>,
}

impl<'run> InputWatch<'run> {
    /// Begins with what is acknowledged now.
    pub(super) fn new(
        watcher: &'run dyn Watcher,
        recorder: &'run Recorder,
        input: u32,
        name: &'run str,
    ) -> Self {
        Self {
            watcher,
            recorder,
            input,
            name,
            state: Mutex::new(State {
                good: recorder.acknowledged(),
                marks: VecDeque::new(),
                change: None,
            }),
            read: AtomicU64::new(0),
        }
    }

    /// Stops the pass where the input has changed. Gives whether it is as it was.
    pub(super) fn check(&self, stop: &Stop) -> bool {
        // First what is acknowledged: all of that was read before.
        let acknowledged = self.recorder.acknowledged();
        let changed = self.watcher.input_changed(self.input);
        let Ok(mut state) = self.state.lock() else {
            return false;
        };
        match changed {
            Ok(None) if state.change.is_none() => {
                let low = acknowledged.finished.low_mark();
                while state
                    .marks
                    .get(1)
                    .is_some_and(|(position, _)| *position <= low)
                {
                    state.marks.pop_front();
                }
                // Two threads look: the later one wins.
                if acknowledged.finished.total() >= state.good.finished.total() {
                    state.good = acknowledged;
                }
            }
            Ok(None) => {}
            Ok(Some(change)) => {
                stop.set(self.says(&change, ""));
                state.change = Some(change);
            }
            Err(error) => {
                stop.set(error);
                return false;
            }
        }
        state.change.is_none()
    }

    /// The next entry that is read has this position, and begins at this offset or behind it.
    pub(super) fn reads(&self, position: u64, offset: u64) {
        self.read_to(offset);
        if let Ok(mut state) = self.state.lock() {
            state.marks.push_back((position, offset));
        }
    }

    /// The reader came as far as this.
    pub(super) fn read_to(&self, offset: u64) {
        self.read.store(offset, Ordering::Relaxed);
    }

    /// When nothing is under way any more: makes what is suspect uncertain. Gives why the load ends, where the input changed.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub(super) fn end(&self, stop: &Stop) -> Result<Option<Error>> {
        self.check(stop);
        let read = self.read.load(Ordering::Relaxed);
        let Ok(state) = self.state.lock() else {
            return Ok(None);
        };
        let Some(change) = &state.change else {
            return Ok(None);
        };
        let suspects = self.recorder.suspect(&state.good)?;
        let first = suspects.iter().next().map_or(0, |range| range.start);
        let marks = state.marks.iter().rev();
        let from = marks
            .filter(|(position, _)| *position <= first)
            .map(|(_, offset)| *offset)
            .next();
        let what = match suspects.total() {
            0 => "; nothing was sent since it was last seen unchanged".to_owned(),
            many => format!(
                "; {} between offsets {} and {read} {} sent since it was last seen unchanged, and {} uncertain",
                crate::units::keys(many),
                from.unwrap_or(0),
                if many == 1 { "was" } else { "were" },
                if many == 1 { "is" } else { "are" },
            ),
        };
        Ok(Some(self.says(change, &what)))
    }

    #[cold]
    fn says(&self, change: &str, suspects: &str) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("the file changed while it was loaded ({change}){suspects}"),
        )
        .or_input(self.name)
        .with_hint("load again from a copy that nobody writes to, with --on-conflict replace")
    }
}
