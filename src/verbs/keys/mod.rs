//! `keys`: one row for each key, with what can be said of it without its value. The number of elements is what the value's
//! own counts and headers say; whether they are true, `check` says.

mod row;

use std::io::Write;
use std::path::PathBuf;

use self::row::Rows;
use crate::error::{Error, ErrorKind, Result};
use crate::json::Damage;
use crate::select::Selection;
use crate::snapshot::{Entry, Record, Snapshot};
use crate::verbs::ordered::{self, Ends};
use crate::verbs::{Ending, Ticker, Watch};

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for people, the escaped name in quotes last.
    Text,
    /// The escaped name alone, in quotes, one a line: what `--keys-from` reads.
    Names,
    /// RFC 4180 with a line of titles: `db,key,type,encoding,bytes,elements,expire_at_ms,expires,idle_seconds,lfu_freq,slot`.
    /// The name is escaped, without quotes of its own unless it is empty.
    Csv,
    /// One object a line: `db`, `key` (as [`crate::json`] has strings), `type`, `encoding`, `bytes`, `elements`,
    /// `expire_at_ms`, `idle_seconds`, `lfu_freq`, `slot`, and `error` for a damaged key. What is not known is absent.
    Ndjson,
}

impl Format {
    /// The line of titles, its end included; empty where there is none.
    #[must_use]
    pub fn titles(self) -> &'static str {
        match self {
            Format::Text => row::TEXT_TITLES,
            Format::Csv => row::CSV_TITLES,
            Format::Names | Format::Ndjson => "",
        }
    }
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Options {
    /// How rows are written.
    pub format: Format,
    /// Threads that make rows, besides the caller's; less than 2: the caller's does everything.
    pub threads: usize,
    /// Where blobs of more than 1 MiB are decompressed.
    pub spool_dir: PathBuf,
}

/// What was listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Entries that the scanner read.
    pub entries: u64,
    /// Keys that have a row.
    pub listed: u64,
    /// Keys among them with something that cannot be read: the name, or the head of a value.
    pub damaged: u64,
    /// Entries that were not asked for.
    pub not_selected: u64,
    /// The end of the file.
    pub ending: Ending,
}

/// Writes a row for each selected entry of `snapshot`. `damaged` is told of each of which something could not be read.
///
/// # Errors
/// Those of the reader (a wrong checksum comes last), of `watch` and of `damaged`, and `Io` of the writer.
pub fn keys<'data>(
    snapshot: &Snapshot<'data>,
    selection: &mut Selection,
    options: &Options,
    out: &mut dyn Write,
    damaged: &mut dyn FnMut(&Entry<'_>, &Damage) -> Result<()>,
    watch: &mut Watch<'_>,
) -> Result<Report> {
    let mut report = Report::default();
    let mut damaged_keys = 0u64;
    let (mut scratch, mut ticker) = (Vec::new(), Ticker::default());
    let mut records = snapshot.records();
    let next = |entries: &mut Vec<Entry<'data>>| {
        loop {
            ticker.tick(watch, records.offset(), records.entries_seen())?;
            let Some(record) = records.next_record()? else {
                return Ok(false);
            };
            let entry = match record {
                Record::Entry(entry) => entry,
                Record::End(end) => {
                    report.ending = Ending::of(&end);
                    continue;
                }
                _ => continue,
            };
            report.entries = report.entries.saturating_add(1);
            let selected = match selection.admits(&entry, &mut scratch) {
                // The name lies, which its row says.
                Err(error) if error.kind() == ErrorKind::Corrupt => true,
                answer => answer?,
            };
            if selected {
                report.listed = report.listed.saturating_add(1);
                entries.push(entry);
                return Ok(true);
            }
            report.not_selected = report.not_selected.saturating_add(1);
        }
    };
    ordered::run(
        options.threads,
        next,
        // Values are counted by their heads, mostly.
        |_: &Entry<'_>| 64,
        || {
            let mut rows = Rows::new(options);
            move |entry: &Entry<'_>, text: &mut Vec<u8>, spill: &mut crate::json::Spill<'_>| {
                let damage = rows.push(entry, text, spill)?;
                Ok(damage.is_some().then_some(damage))
            }
        },
        Ends {
            out,
            note: &mut |entry, damage: Damage| {
                damaged_keys = damaged_keys.saturating_add(1);
                damaged(entry, &damage)
            },
        },
    )?;
    report.damaged = damaged_keys;
    out.flush()
        .map_err(|error| Error::io("the output cannot be written", error))?;
    Ok(report)
}
