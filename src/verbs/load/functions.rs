//! Function libraries: they go before any key.

use std::collections::HashSet;

use serde::Serialize;

use super::stop::Why;
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::journal::Counted;
use crate::replay::library_source;
use crate::resp::{Arg, Connection, Reply};
use crate::snapshot::Function;
use crate::target::{Asked, Situation, react};
use crate::wire::crc64;

/// What to do with the function libraries of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FunctionPolicy {
    /// Load them; one that exists is left alone and listed. The default.
    #[default]
    Load,
    /// Load them over those that exist.
    Replace,
    /// Leave them out.
    Skip,
}

/// What became of the function libraries.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FunctionReport {
    /// Libraries in the inputs.
    pub found: u64,
    /// Libraries that the destination holds now.
    pub loaded: u64,
    /// Left out by the policy: all of them, or those that the destination has under `skip`.
    pub skipped: u64,
    /// The same library again, from another input.
    pub repeated: u64,
    /// Not sent, since the destination knows no functions.
    pub refused: u64,
    /// Refused by the destination: the library's offset and the server's words.
    pub failed: Vec<FunctionFailure>,
}

impl FunctionReport {
    /// The same for a journal, where the libraries of so many inputs were sent.
    pub(super) fn counted(&self, inputs: u32) -> Counted {
        Counted {
            inputs,
            found: self.found,
            loaded: self.loaded,
            skipped: self.skipped,
            repeated: self.repeated,
            refused: self.refused,
            failed: self
                .failed
                .iter()
                .map(|failure| (failure.offset, failure.reason.clone()))
                .collect(),
        }
    }
}

impl FunctionReport {
    /// Libraries of one input that another master of the same cluster refused. Failures up to `earlier` are of other inputs.
    pub(super) fn also_failed(&mut self, earlier: usize, failed: Vec<FunctionFailure>, node: &str) {
        for FunctionFailure { offset, reason } in failed {
            let of_this = self.failed.get(earlier..).unwrap_or_default();
            if of_this.iter().any(|before| before.offset == offset) {
                continue;
            }
            // Each library counts once.
            match self.loaded.checked_sub(1) {
                Some(less) => self.loaded = less,
                None => self.skipped = self.skipped.saturating_sub(1),
            }
            self.failed.push(FunctionFailure {
                offset,
                reason: format!("{node}: {reason}"),
            });
        }
    }
}

impl From<&Counted> for FunctionReport {
    fn from(counted: &Counted) -> Self {
        Self {
            found: counted.found,
            loaded: counted.loaded,
            skipped: counted.skipped,
            repeated: counted.repeated,
            refused: counted.refused,
            failed: counted
                .failed
                .iter()
                .map(|(offset, reason)| FunctionFailure {
                    offset: *offset,
                    reason: reason.clone(),
                })
                .collect(),
        }
    }
}

/// A library that the destination does not hold.
#[derive(Debug, Clone, Serialize)]
pub struct FunctionFailure {
    /// Where its record begins in the input.
    pub offset: u64,
    /// The server's words, or ours.
    pub reason: String,
}

/// Sends the libraries at `offsets` of `data`. With `skip_existing` a library that the destination has is left alone like a
/// key that it has.
///
/// # Errors
/// The connection fails, or the server takes nothing for a while. What it refuses is in the report.
pub(super) fn load(
    data: &[u8],
    offsets: &[u64],
    policy: FunctionPolicy,
    skip_existing: bool,
    connection: &mut Connection,
    seen: &mut HashSet<u64>,
    report: &mut FunctionReport,
) -> Result<()> {
    for offset in offsets {
        report.found = report.found.saturating_add(1);
        if policy == FunctionPolicy::Skip {
            report.skipped = report.skipped.saturating_add(1);
            continue;
        }
        let source = match Function::at(data, *offset).and_then(|library| library_source(&library))
        {
            Ok(source) => source,
            Err(error) => {
                report.failed.push(FunctionFailure {
                    offset: *offset,
                    reason: error.to_string(),
                });
                continue;
            }
        };
        if !seen.insert(crc64::checksum(&source)) {
            report.repeated = report.repeated.saturating_add(1);
            continue;
        }
        let load = [
            Arg::from("FUNCTION"),
            Arg::from("LOAD"),
            Arg::Bytes(&source),
        ];
        let replace = [
            Arg::from("FUNCTION"),
            Arg::from("LOAD"),
            Arg::from("REPLACE"),
            Arg::Bytes(&source),
        ];
        let words: &[Arg<'_>] = if policy == FunctionPolicy::Replace {
            &replace
        } else {
            &load
        };
        match connection.request(words)? {
            Reply::Error(words)
                if skip_existing
                    && words.starts_with(b"ERR Library '")
                    && words.ends_with(b"already exists") =>
            {
                report.skipped = report.skipped.saturating_add(1);
            }
            reply @ Reply::Error(words)
                if Why::of(react(&reply, Asked::Write, Situation::default())).is_some() =>
            {
                return Err(Error::new(
                    ErrorKind::Destination,
                    format!(
                        "the destination says {} to a function library",
                        Escaped(words)
                    ),
                ));
            }
            Reply::Error(words) => {
                let reason = String::from_utf8_lossy(words).into_owned();
                report.failed.push(FunctionFailure {
                    offset: *offset,
                    reason,
                });
            }
            _ => report.loaded = report.loaded.saturating_add(1),
        }
    }
    Ok(())
}
