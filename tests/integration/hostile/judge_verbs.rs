//! What must hold for the verbs that need no server, whatever the file: they answer, their sums fit what the scanner counted,
//! and their output can be printed.

use std::path::PathBuf;
use std::sync::LazyLock;

use rdbridge::error::{Error, ErrorKind};
use rdbridge::replay::Policies;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::time::Timestamp;
use rdbridge::verbs::export::{json, resp};
use rdbridge::verbs::{check, export, get, info, keys};

use super::super::support::dump::crc64;
use super::super::support::wire;
use super::judge::judge_error;

static SPOOL_DIR: LazyLock<PathBuf> = LazyLock::new(std::env::temp_dir);

/// An instant of our own: runs do not depend on the clock.
const NOW: i64 = 1_800_000_000;

/// Runs `check`, `info`, the exports, `keys` and `get`. `entries` were scanned before `error`, if there was one.
pub(crate) fn judge_verbs(
    snapshot: Snapshot<'_>,
    bytes: &[u8],
    entries: u64,
    error: Option<&String>,
) {
    // It walks on a thread of its own, which costs more than the walking; the values were walked before, without it.
    if lot(bytes).is_multiple_of(8) {
        judge_check(&snapshot, bytes, entries, error);
    }
    judge_info(&snapshot, bytes, entries, error);
    judge_export(&snapshot, bytes, entries, error);
    // They cost as much as everything else together, and one file says about as much as its neighbours.
    if lot(bytes).is_multiple_of(8) {
        judge_output(&snapshot, bytes, entries, error);
    }
}

/// By what the parts are drawn that take more. The last bytes are left out: with a right checksum at its end, a file's own
/// checksum is always 0.
fn lot(bytes: &[u8]) -> u64 {
    crc64(&bytes[..bytes.len().saturating_sub(8)])
}

fn judge_check(snapshot: &Snapshot<'_>, bytes: &[u8], entries: u64, error: Option<&String>) {
    let told = judge_check_on(1, snapshot, bytes, entries, error);
    // Threads cost more than the walking here: a part of the files is enough.
    if lot(bytes).is_multiple_of(64) {
        let again = judge_check_on(2, snapshot, bytes, entries, error);
        assert_eq!(told, again, "two threads tell something else than one");
    }
}

/// What was told, in order.
fn judge_check_on(
    threads: usize,
    snapshot: &Snapshot<'_>,
    bytes: &[u8],
    entries: u64,
    error: Option<&String>,
) -> Vec<String> {
    let options = check::Options {
        values: true,
        threads,
        strict: true,
        duplicates: true,
        spool_dir: SPOOL_DIR.clone(),
    };
    let mut words = Vec::new();
    let mut told = 0;
    let outcome = check::check(
        snapshot,
        &options,
        &mut Selection::all(),
        &mut |finding| {
            // The faults of one value behind the first hundred are one finding.
            told += finding.times;
            words.push(finding.to_string());
            judge_finding(&finding, bytes);
            Ok(())
        },
        &mut |_| Ok(()),
    );
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            judge_limit(&error, bytes);
            return words;
        }
    };
    assert_eq!(outcome.faults, told);
    assert_eq!(outcome.totals.entries, entries);
    assert_eq!(outcome.fatal.is_some(), error.is_some(), "{error:?}");
    assert!(outcome.totals.bytes <= bytes.len() as u64);
    for finding in outcome.warnings.iter().chain(&outcome.fatal) {
        judge_finding(finding, bytes);
    }
    assert!(outcome.warnings.len() < 100, "warnings are told once each");
    judge_json(&outcome);
    words
}

fn judge_finding(finding: &check::Finding, bytes: &[u8]) {
    let text = finding.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() < 2500, "{} bytes of finding", text.len());
    assert!(
        finding.place.is_none_or(|p| p.offset <= bytes.len() as u64),
        "{text}"
    );
    if finding.severity != check::Severity::Warning {
        assert!(finding.place.is_some(), "no place: {text}");
    }
}

fn judge_info(snapshot: &Snapshot<'_>, bytes: &[u8], entries: u64, error: Option<&String>) {
    let options = info::Options {
        now: Timestamp::from_secs(NOW),
        top: 5,
    };
    let info = match info::info(snapshot, &options, &mut Selection::all(), &mut |_| Ok(())) {
        Ok(info) => info,
        Err(error) => return judge_limit(&error, bytes),
    };
    assert_eq!(info.keys + info.not_selected, entries);
    assert_eq!(
        info.damage.as_ref().map(ToString::to_string).as_ref(),
        error,
        "info stops elsewhere"
    );
    let by_type: u64 = info.types.iter().map(|t| t.count.keys).sum();
    assert_eq!(by_type, info.keys, "types do not add up");
    assert!(info.biggest.len() <= 5);
    judge_json(&info);
}

fn judge_export(snapshot: &Snapshot<'_>, bytes: &[u8], entries: u64, error: Option<&String>) {
    struct Counted(u64);
    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let options = export::restore::Options {
        to: export::restore::For::Any,
        policies: Policies {
            now_ms: NOW * 1000,
            ..Policies::default()
        },
        spool_dir: None,
        // Damaged values are to be met by what writes them.
        trust: rdbridge::verbs::Trust {
            trust_input: true,
            ..Default::default()
        },
        threads: 1,
    };
    let mut out = Counted(0);
    let mut left_out = 0;
    let report = export::restore::export(
        snapshot,
        &mut Selection::all(),
        &options,
        &mut 0,
        &mut out,
        &mut |_, _, reason| {
            left_out += 1;
            assert!(!reason.chars().any(char::is_control), "{reason:?}");
        },
        &mut |_| Ok(()),
    );
    match report {
        Ok(report) => {
            assert_eq!(error, None, "export reads on");
            assert_eq!(report.entries, entries);
            assert!(report.adds_up());
            assert_eq!(report.not_written.total(), left_out);
            assert!(out.0 >= report.written * 40);
        }
        Err(error) => judge_error(&error, bytes),
    }
    // Payloads are the file's own bytes; keys and libraries may have been compressed.
    assert!(out.0 <= bytes.len() as u64 * 88 + (entries + 1) * 300);
}

/// Output that is kept where it is not too much.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    total: u64,
}

impl Kept {
    const MOST: usize = 1 << 20;

    /// All of it, if it was kept.
    fn whole(&self) -> Option<&[u8]> {
        (self.total == self.bytes.len() as u64).then_some(&*self.bytes)
    }
}

impl std::io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.total += bytes.len() as u64;
        if self.total <= Self::MOST as u64 {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs `keys`, `get` and the exports that decode values: what they write can be read by others, and has what was scanned.
fn judge_output(snapshot: &Snapshot<'_>, bytes: &[u8], entries: u64, error: Option<&String>) {
    let threads = 1 + usize::from(lot(bytes).is_multiple_of(64));
    judge_keys(threads, snapshot, bytes, entries, error);
    judge_json_export(threads, snapshot, bytes, entries, error);
    judge_resp_export(threads, snapshot, bytes, entries, error);
    judge_get(snapshot, bytes, entries);
}

fn judge_end<R>(result: rdbridge::Result<R>, bytes: &[u8], error: Option<&String>) -> Option<R> {
    match result {
        Ok(report) => {
            assert_eq!(error, None, "a verb reads on");
            Some(report)
        }
        Err(found) => {
            judge_error(&found, bytes);
            if found.kind() != ErrorKind::Limit {
                assert_eq!(Some(&found.to_string()), error, "a verb stops elsewhere");
            }
            None
        }
    }
}

/// Every line is an object.
fn judge_lines(out: &Kept, count: u64) {
    let Some(text) = out.whole() else {
        return;
    };
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let mut seen = 0;
    for line in lines {
        let object: serde_json::Value = serde_json::from_slice(line)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {}", line.escape_ascii()));
        assert!(object.is_object() && line.ends_with(b"\n"), "{object}");
        seen += 1;
    }
    assert_eq!(seen, count, "lines");
}

fn judge_keys(
    threads: usize,
    snapshot: &Snapshot<'_>,
    bytes: &[u8],
    entries: u64,
    error: Option<&String>,
) {
    let options = keys::Options {
        format: keys::Format::Ndjson,
        threads,
        spool_dir: SPOOL_DIR.clone(),
    };
    let (mut out, mut damaged) = (Kept::default(), 0);
    let result = keys::keys(
        snapshot,
        &mut Selection::all(),
        &options,
        &mut out,
        &mut |_, damage| {
            damaged += 1;
            assert!(damage.is_some());
            Ok(())
        },
        &mut |_| Ok(()),
    );
    if let Some(report) = judge_end(result, bytes, error) {
        assert_eq!((report.entries, report.listed), (entries, entries));
        assert_eq!(report.damaged, damaged);
    }
    judge_lines(&out, entries);
}

fn judge_json_export(
    threads: usize,
    snapshot: &Snapshot<'_>,
    bytes: &[u8],
    entries: u64,
    error: Option<&String>,
) {
    for layout in [json::Layout::Lines, json::Layout::Document] {
        let options = json::Options {
            layout,
            function_lines: true,
            threads,
            spool_dir: SPOOL_DIR.clone(),
        };
        let (mut out, mut damaged) = (Kept::default(), 0);
        let document = layout == json::Layout::Document;
        if document {
            json::begin_document(&mut out).expect("memory");
        }
        let result = json::export(
            snapshot,
            ("dump", 0),
            &mut Selection::all(),
            &options,
            &mut out,
            &mut |_, damage| {
                damaged += 1;
                assert!(damage.is_some());
                Ok(())
            },
            &mut |_| Ok(()),
        );
        let Some(report) = judge_end(result, bytes, error) else {
            continue;
        };
        assert_eq!((report.entries, report.written), (entries, entries));
        assert_eq!(report.damaged, damaged);
        if document {
            json::end_document(&mut out).expect("memory");
            if let Some(text) = out.whole() {
                let read: Result<serde_json::Value, _> = serde_json::from_slice(text);
                assert!(read.is_ok(), "{read:?}: {}", text.escape_ascii());
            }
        } else {
            judge_lines(&out, entries + report.functions_written);
        }
    }
}

fn judge_resp_export(
    threads: usize,
    snapshot: &Snapshot<'_>,
    bytes: &[u8],
    entries: u64,
    error: Option<&String>,
) {
    let options = resp::Options {
        target: None,
        policies: Policies {
            now_ms: NOW * 1000,
            ..Policies::default()
        },
        threads,
        spool_dir: SPOOL_DIR.clone(),
    };
    let mut out = Kept::default();
    let result = resp::export(
        snapshot,
        &mut Selection::all(),
        &options,
        &mut 0,
        &mut out,
        &mut |_, _| Ok(()),
        &mut |_| Ok(()),
    );
    if let Some(report) = judge_end(result, bytes, error) {
        assert_eq!(report.entries, entries);
        assert!(report.adds_up(), "{report:?}");
    }
    let mut rest = out.whole().unwrap_or_default();
    while !rest.is_empty() {
        let (words, used) = wire::command(rest).expect("whole commands only");
        assert!(!words.is_empty() && !words[0].is_empty());
        rest = &rest[used..];
    }
}

fn judge_get(snapshot: &Snapshot<'_>, bytes: &[u8], entries: u64) {
    let mut shower = get::Shower::new(&SPOOL_DIR);
    let mut seen = 0;
    let found = get::find(
        snapshot,
        &get::Wanted::new(b"*"),
        &SPOOL_DIR,
        &mut |entry| {
            seen += 1;
            let mut out = Kept::default();
            match shower.json(entry, &mut out) {
                Ok(_) => judge_lines(&out, 1),
                Err(error) => judge_limit(&error, bytes),
            }
            let mut out = Kept::default();
            match get::payload(entry, false, &mut out) {
                Ok(()) => {
                    let whole = out.whole().unwrap_or_default();
                    if let Some((covered, sum)) = whole.split_last_chunk::<8>() {
                        assert_eq!(crc64(covered).to_le_bytes(), *sum, "a payload's checksum");
                    }
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}"),
            }
            if let Err(error) = shower.raw(entry, &mut Kept::default()) {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::Usage | ErrorKind::Corrupt | ErrorKind::Limit
                    ),
                    "{error}"
                );
            }
            Ok(())
        },
        &mut |_| Ok(()),
    );
    match found {
        Ok(sought) => assert_eq!(sought.count, seen),
        Err(error) => judge_error(&error, bytes),
    }
    assert!(seen <= entries);
}

/// Damage is data for these verbs; only a bound may stop them.
fn judge_limit(error: &Error, bytes: &[u8]) {
    judge_error(error, bytes);
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

fn judge_json(report: &impl serde::Serialize) {
    let text = serde_json::to_string(report).expect("a report as JSON");
    assert!(text.bytes().all(|b| b >= b' '), "{text:?}");
}
