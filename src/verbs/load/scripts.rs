//! Cached Lua scripts (aux `lua`): loaded before any key, where that is wanted. They are a cache, so a script more or less
//! does no harm: nothing of them stands in a journal, and a run that goes on sends them again.

use serde::Serialize;

use super::Load;
use super::again::passes;
use crate::error::{Error, ErrorKind, Escaped, Result};
use crate::resp::{Arg, Reply};
use crate::snapshot::{Lent, Record, Snapshot};
use crate::survey::Survey;
use crate::verbs::{Ticker, Watch};

/// What became of the cached scripts.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ScriptReport {
    /// Scripts in the inputs.
    pub found: u64,
    /// Scripts that the destination has in its cache now.
    pub loaded: u64,
    /// Left out.
    pub skipped: u64,
    /// Refused by the destination, or with bytes that lie.
    pub failed: u64,
    /// Why the first one of these failed: the server's words, or ours.
    pub reason: Option<String>,
}

impl ScriptReport {
    fn fail(&mut self, scripts: u64, reason: String) {
        self.failed = self.failed.saturating_add(scripts);
        self.reason.get_or_insert(reason);
    }
}

impl Load {
    /// Sends the cached scripts of an input to each master, or counts them as left out: before its first key.
    ///
    /// # Errors
    /// A connection fails, or takes nothing for a while; those of the reader and of `watch`.
    pub fn load_scripts(
        &mut self,
        snapshot: &Snapshot<'_>,
        survey: &Survey,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let report = &mut self.scripts;
        report.found = report.found.saturating_add(survey.scripts);
        if survey.scripts == 0 || !self.options.load_scripts || self.only_looks {
            report.skipped = report.skipped.saturating_add(survey.scripts);
            return Ok(());
        }
        let mut connections = self.shards.connect_all()?;
        let (mut ticker, mut scratch, mut left) = (Ticker::default(), Vec::new(), survey.scripts);
        snapshot.read(|records| {
            while left > 0 {
                let (name, value) = match records.lend()? {
                    Some(Lent::Other(Record::Aux { name, value, .. })) => (name, value),
                    Some(Lent::Entry(entry)) => {
                        ticker.tick(watch, entry.end(), entry.ordinal)?;
                        continue;
                    }
                    Some(_) => continue,
                    None => break,
                };
                if name.preview(4) != b"lua" {
                    continue;
                }
                left = left.saturating_sub(1);
                let source = match value.bytes(&mut scratch) {
                    Ok(source) => source,
                    Err(error) => {
                        report.fail(1, error.to_string());
                        continue;
                    }
                };
                let mut refused = None;
                for connection in &mut connections {
                    let load = [Arg::from("SCRIPT"), Arg::from("LOAD"), Arg::Bytes(source)];
                    if let Reply::Error(words) = connection.request(&load)? {
                        refused = Some(Escaped(words).to_string());
                        break;
                    }
                }
                match refused {
                    None => report.loaded = report.loaded.saturating_add(1),
                    Some(words) if passes(&words).is_some() => {
                        return Err(Error::new(
                            ErrorKind::Destination,
                            format!("the destination says {words} to a cached script"),
                        ));
                    }
                    // What is closed is so for all of them.
                    Some(words) if is_closed(&words) => {
                        report.fail(left.saturating_add(1), words);
                        return Ok(());
                    }
                    Some(words) => report.fail(1, words),
                }
            }
            Ok::<(), Error>(())
        })
    }
}

fn is_closed(words: &str) -> bool {
    let words = words.trim_start_matches('"').to_ascii_lowercase();
    words.starts_with("noperm") || words.starts_with("err unknown command")
}
