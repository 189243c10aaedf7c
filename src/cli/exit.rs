//! Exit codes. They are part of the interface: fixed, in the README, and decided here only.

use std::process::ExitCode;

use rdbridge::{Error, ErrorKind};

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Everything was done.
    Done = 0,
    /// Everything was done, and something was found: failed or refused keys, differences, damaged values.
    Findings = 1,
    /// What was typed makes no sense.
    Usage = 2,
    /// An input cannot be read, or is damaged so that the job could not be completed.
    Input = 3,
    /// The destination cannot be used.
    Destination = 4,
    /// Interrupted; the same command can be run again.
    Interrupted = 5,
}

impl Exit {
    /// The code of a run that ended with an error.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<Error>() {
            Some(error) => Self::of_kind(error.kind()),
            // Nothing else but our own output can fail here.
            None => Exit::Input,
        }
    }

    /// The code of an error of this kind.
    pub(crate) fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::Destination => Exit::Destination,
            ErrorKind::Interrupted => Exit::Interrupted,
            // A disk that is full or a bound that was reached: the input could not be worked on.
            _ => Exit::Input,
        }
    }

    /// The worse of two: of several inputs each has its own end.
    #[must_use]
    pub(crate) fn and(self, other: Exit) -> Exit {
        self.max(other)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code() {
        for (kind, code) in [
            (ErrorKind::Usage, 2),
            (ErrorKind::Io, 3),
            (ErrorKind::Corrupt, 3),
            (ErrorKind::Unsupported, 3),
            (ErrorKind::Limit, 3),
            (ErrorKind::Destination, 4),
            (ErrorKind::Interrupted, 5),
        ] {
            let error = anyhow::Error::new(Error::new(kind, "x")).context("more words");
            assert_eq!(Exit::of(&error) as u8, code, "{kind:?}");
        }
        assert_eq!(Exit::Done.and(Exit::Findings).and(Exit::Done) as u8, 1);
        assert_eq!(Exit::Input.and(Exit::Findings), Exit::Input);
    }
}
