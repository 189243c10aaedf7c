//! Function libraries: they go before any key.

use std::collections::HashSet;

use serde::Serialize;

use super::again::judge_asking;
use super::stop::{Ended, Why};
use super::{Load, OnConflict};
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::journal::Counted;
use crate::replay::library_source;
use crate::resp::{Arg, Connection, Reply};
use crate::snapshot::{Function, Snapshot};
use crate::survey::Survey;
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
    fn also_failed(&mut self, earlier: usize, failed: Vec<FunctionFailure>, node: &str) {
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

impl Load {
    /// Sends the libraries of an input to each master, since each keeps its own: one connection to each is given.
    ///
    /// # Errors
    /// A connection fails, or the journal cannot be written.
    pub(super) fn replay_functions(
        &mut self,
        input: u32,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
        connections: &mut [(usize, Connection)],
    ) -> Result<(), Ended> {
        let for_good = |error| Ended { error, why: None };
        if self.functions_lost.contains(&input) {
            self.send_functions_again(snapshot, survey, connections)?;
            self.functions_lost.remove(&input);
        } else if self.functions_sent > input {
            return Ok(());
        } else {
            self.send_functions(input, snapshot, survey, connections)?;
            self.functions_sent = input.saturating_add(1);
        }
        self.recorder
            .functions(self.functions.counted(self.functions_sent))
            .map_err(for_good)
    }

    fn send_functions(
        &mut self,
        input: u32,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
        connections: &mut [(usize, Connection)],
    ) -> Result<(), Ended> {
        let libraries = survey.functions.len() as u64;
        if libraries > 0 && self.refuses_functions().is_some() {
            self.functions.found = self.functions.found.saturating_add(libraries);
            self.functions.refused = self.functions.refused.saturating_add(libraries);
            return Ok(());
        }
        // A library of an earlier try is there already.
        let tried = self.functions_tried.replace(input) == Some(input) || self.goes_on;
        // What a broken try counted is counted again by the next. Libraries are counted once, and as failed where any master
        // refuses one.
        let mut counted: Option<(HashSet<u64>, FunctionReport)> = None;
        let failed_before = self.functions.failed.len();
        for (_, connection) in connections {
            let mut seen = self.seen_functions.clone();
            let mut report = match counted {
                None => self.functions.clone(),
                Some(_) => FunctionReport::default(),
            };
            load(
                snapshot.data(),
                &survey.functions,
                self.options.functions,
                tried || self.options.on_conflict == OnConflict::Skip,
                connection,
                &mut seen,
                &mut report,
            )
            .map_err(|error| judge_asking(connection, error))?;
            match &mut counted {
                None => counted = Some((seen, report)),
                Some((_, first)) => {
                    first.also_failed(failed_before, report.failed, connection.name());
                }
            }
        }
        if let Some((seen, report)) = counted {
            (self.seen_functions, self.functions) = (seen, report);
        }
        Ok(())
    }

    /// A master is another one than it was: it may lack what its predecessor had. The libraries were counted before.
    fn send_functions_again(
        &mut self,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
        connections: &mut [(usize, Connection)],
    ) -> Result<(), Ended> {
        if self.refuses_functions().is_some() {
            return Ok(());
        }
        for (_, connection) in connections {
            let mut report = FunctionReport::default();
            load(
                snapshot.data(),
                &survey.functions,
                self.options.functions,
                true,
                connection,
                &mut HashSet::new(),
                &mut report,
            )
            .map_err(|error| judge_asking(connection, error))?;
            self.functions
                .also_failed(0, report.failed, connection.name());
        }
        Ok(())
    }

    /// The destination is not made of the same processes any more: libraries that were sent go once more.
    pub(super) fn functions_may_be_lost(&mut self) {
        // Where there were none, finished inputs need not be read once more.
        if self.functions.loaded > 0 || self.functions.skipped > 0 {
            self.functions_lost.extend(0..self.functions_sent);
        }
    }
}

/// Sends the libraries at `offsets` of `data`. With `skip_existing` a library that the destination has is left alone like a
/// key that it has.
///
/// # Errors
/// The connection fails, or the server takes nothing for a while. What it refuses is in the report.
fn load(
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
