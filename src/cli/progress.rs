//! How far a run is: a bar on a terminal, a plain line every few seconds elsewhere, nothing with `--quiet`. And the place
//! where an interrupt is noticed.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rdbridge::units::ByteCount;
use rdbridge::verbs::Position;
use rdbridge::{Error, ErrorKind, Result};

use super::output::Grouped;

/// A run that is over before this shows nothing.
const FIRST: Duration = Duration::from_millis(500);

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Between two changes of a bar.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// Shows one run.
#[derive(Debug)]
pub(crate) struct Progress {
    what: String,
    total: u64,
    show: Show,
    started: Instant,
    due: Instant,
    /// Nothing moves: only the time is told.
    waits: bool,
    interrupted: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Show {
    Nothing,
    Lines,
    Bar(Arc<OnceLock<ProgressBar>>),
}

/// Writes lines to standard error, from any thread, so that they do not mix with a bar.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    bar: Option<Arc<OnceLock<ProgressBar>>>,
}

impl Lines {
    /// One line.
    pub(crate) fn say(&self, text: &str) {
        match self.bar.as_ref().and_then(|bar| bar.get()) {
            Some(bar) => bar.suspend(|| super::say(text)),
            None => super::say(text),
        }
    }
}

impl Progress {
    /// Progress over `total` bytes. `what` stands in front: a verb and an input.
    pub(crate) fn new(
        what: impl Into<String>,
        total: u64,
        quiet: bool,
        interrupted: Arc<AtomicBool>,
    ) -> Self {
        let show = if quiet {
            Show::Nothing
        } else if std::io::stderr().is_terminal() {
            Show::Bar(Arc::default())
        } else {
            Show::Lines
        };
        let now = Instant::now();
        let due = now
            + match show {
                Show::Lines => LINE_EVERY,
                _ => FIRST,
            };
        Self {
            what: what.into(),
            total,
            show,
            started: now,
            due,
            waits: false,
            interrupted,
        }
    }

    /// Nothing moves while this is shown: it tells for how long.
    pub(crate) fn is_a_wait(&mut self) {
        self.waits = true;
    }

    /// For lines that are written while this is shown.
    pub(crate) fn lines(&self) -> Lines {
        match &self.show {
            Show::Bar(bar) => Lines {
                bar: Some(Arc::clone(bar)),
            },
            Show::Nothing | Show::Lines => Lines::default(),
        }
    }

    /// Notes how far the run is.
    ///
    /// # Errors
    /// `Interrupted` once the user has asked to stop.
    pub(crate) fn tick(&mut self, position: Position) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(interrupted(position));
        }
        if matches!(self.show, Show::Nothing) {
            return Ok(());
        }
        let now = Instant::now();
        if now < self.due {
            return Ok(());
        }
        let seconds = now.duration_since(self.started).as_secs_f64().max(0.001);
        let eta = eta(position.offset, self.total, seconds);
        let rate = |amount: u64| {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate for people"
            )]
            let rate = (amount as f64 / seconds) as u64;
            rate
        };
        if self.waits {
            let text = format!("{}, since {seconds:.0} s", self.what);
            match &mut self.show {
                Show::Nothing => {}
                Show::Lines => {
                    self.due = now + LINE_EVERY;
                    super::say(&text);
                }
                Show::Bar(bar) => {
                    self.due = now + DRAW_EVERY;
                    bar.get_or_init(new_spinner).set_message(text);
                }
            }
            return Ok(());
        }
        let message = format!(
            "{} keys, {}, {} keys/s, {}/s{eta}",
            Grouped(position.entries),
            ByteCount(position.offset).short(),
            Grouped(rate(position.entries)),
            ByteCount(rate(position.offset)).short(),
        );
        match &mut self.show {
            Show::Nothing => {}
            Show::Lines => {
                self.due = now + LINE_EVERY;
                let share = position.offset.saturating_mul(100) / self.total.max(1);
                super::say(&format!("{} {share} %, {message}", self.what));
            }
            Show::Bar(bar) => {
                self.due = now + DRAW_EVERY;
                let bar = bar.get_or_init(|| new_bar(self.total, &self.what));
                bar.set_position(position.offset);
                bar.set_message(message);
            }
        }
        Ok(())
    }
}

/// The bar goes away with its run, whatever ended it.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Show::Bar(bar) = &self.show
            && let Some(bar) = bar.get()
        {
            bar.finish_and_clear();
        }
    }
}

fn new_spinner() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
        bar.set_style(style);
    }
    bar
}

fn new_bar(total: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:20} {percent} %  {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar
}

/// `, ETA 26 s`; nothing as long as it cannot be known.
fn eta(done: u64, total: u64, seconds: f64) -> String {
    if done == 0 || total <= done || seconds < 1.0 {
        return String::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
    let left = seconds * ((total - done) as f64) / (done as f64);
    match left {
        left if left < 120.0 => format!(", ETA {left:.0} s"),
        left if left < 7200.0 => format!(", ETA {:.0} min", left / 60.0),
        left => format!(", ETA {:.1} h", left / 3600.0),
    }
}

#[cold]
fn interrupted(position: Position) -> Error {
    Error::new(
        ErrorKind::Interrupted,
        format!(
            "interrupted: {} keys were read, up to offset {}",
            Grouped(position.entries),
            position.offset
        ),
    )
    .with_hint("the same command can be run again; a load with a journal goes on where it was")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_is_an_error_with_the_place() {
        let flag = Arc::new(AtomicBool::new(false));
        let mut progress = Progress::new("x", 10, true, Arc::clone(&flag));
        let position = Position {
            offset: 5,
            entries: 1234,
        };
        assert!(progress.tick(position).is_ok());
        flag.store(true, Ordering::Relaxed);
        let error = progress.tick(position).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert_eq!(
            error.to_string(),
            "interrupted: 1,234 keys were read, up to offset 5; the same command can be run again; \
             a load with a journal goes on where it was"
        );
    }

    #[test]
    fn estimates() {
        assert_eq!(eta(0, 10, 5.0), "");
        assert_eq!(eta(10, 10, 5.0), "");
        assert_eq!(eta(1, 11, 5.0), ", ETA 50 s");
        assert_eq!(eta(1, 61, 10.0), ", ETA 10 min");
        assert_eq!(eta(1, 3601, 10.0), ", ETA 10.0 h");
    }
}
