//! What must hold for the verbs that need no server, whatever the file: they answer, their sums fit what the scanner counted,
//! and their output can be printed.

use std::path::PathBuf;
use std::sync::LazyLock;

use rdbridge::error::{Error, ErrorKind};
use rdbridge::replay::Policies;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::time::Timestamp;
use rdbridge::verbs::{check, export, info};

use super::judge::judge_error;

static SPOOL_DIR: LazyLock<PathBuf> = LazyLock::new(std::env::temp_dir);

/// An instant of our own: runs do not depend on the clock.
const NOW: i64 = 1_800_000_000;

/// Runs `check`, `info` and `export --format restore`. `entries` were scanned before `error`, if there was one.
pub(crate) fn judge_verbs(
    snapshot: Snapshot<'_>,
    bytes: &[u8],
    entries: u64,
    error: Option<&String>,
) {
    judge_check(&snapshot, bytes, entries, error);
    judge_info(&snapshot, bytes, entries, error);
    judge_export(&snapshot, bytes, entries, error);
}

fn judge_check(snapshot: &Snapshot<'_>, bytes: &[u8], entries: u64, error: Option<&String>) {
    let options = check::Options {
        values: true,
        threads: 1,
        strict: true,
        duplicates: true,
        spool_dir: SPOOL_DIR.clone(),
    };
    let mut told = 0;
    let outcome = check::check(
        snapshot,
        &options,
        &mut Selection::all(),
        &mut |finding| {
            told += 1;
            judge_finding(&finding, bytes);
            Ok(())
        },
        &mut |_| Ok(()),
    );
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => return judge_limit(&error, bytes),
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

/// Damage is data for these verbs; only a bound may stop them.
fn judge_limit(error: &Error, bytes: &[u8]) {
    judge_error(error, bytes);
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

fn judge_json(report: &impl serde::Serialize) {
    let text = serde_json::to_string(report).expect("a report as JSON");
    assert!(text.bytes().all(|b| b >= b' '), "{text:?}");
}
