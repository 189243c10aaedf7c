//! What is wrong with a value that is written all the same.

use std::fmt;

use crate::error::{Error, Result};
use crate::value::{Finding, Findings, Severity, unreadable};

/// The faults of one value: the first one, and how many more there are. Warnings are none: they lose nothing.
#[derive(Debug, Clone, Default)]
pub struct Damage {
    /// The first fault.
    pub first: Option<Finding>,
    /// How many follow.
    pub more: u64,
}

impl Damage {
    /// Whether there is any fault.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.first.is_some()
    }

    #[cold]
    pub(crate) fn note(&mut self, finding: Finding) {
        match &self.first {
            None => self.first = Some(finding),
            Some(_) => self.more = self.more.saturating_add(1),
        }
    }

    /// Notes damage; an error that is none (a full disk, an interrupt) stays an error.
    #[cold]
    pub(crate) fn note_error(&mut self, error: Error) -> Result<()> {
        self.note(unreadable(error)?);
        Ok(())
    }

    /// Adds what was found elsewhere in the same value.
    pub(crate) fn add(&mut self, other: Damage) {
        if let Some(first) = other.first {
            self.note(first);
            self.more = self.more.saturating_add(other.more);
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = &self.first {
            write!(f, "{}: {}", first.place, first.what)?;
        }
        match self.more {
            0 => Ok(()),
            1 => f.write_str(", and 1 more fault"),
            more => write!(f, ", and {more} more faults"),
        }
    }
}

/// Reads on over everything that can be read, and remembers what could not.
impl Findings for Damage {
    #[cold]
    fn found(&mut self, finding: Finding) -> Result<()> {
        self.found_times(finding, 1)
    }

    #[cold]
    fn found_times(&mut self, finding: Finding, times: u64) -> Result<()> {
        if finding.severity() == Severity::Fault {
            self.note(finding);
            self.more = self.more.saturating_add(times.saturating_sub(1));
        }
        Ok(())
    }

    #[cold]
    fn unreadable(&mut self, error: Error) -> Result<()> {
        self.note_error(error)
    }
}
