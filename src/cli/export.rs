//! `export`: everything as commands (later also as data), on standard output.

use std::io::Write as _;

use rdbridge::input::Input;
use rdbridge::outcome::Outcome;
use rdbridge::replay::{DbMap, Policies};
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::export::restore::{self, For, Options, Report};
use rdbridge::{Error, ErrorKind, Result};

use super::args::ExportArgs;
use super::exit::Exit;
use super::output::{Grouped, Out, plural};
use super::plan::{self, Run};

pub(crate) fn run(args: &ExportArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    let mut inputs = run.inputs(&args.input, "export --format restore")?;
    let mut selection = run.selection(&args.select, &args.input.how)?;
    let (mut exit, mut db) = (Exit::Done, 0);
    for index in 0..inputs.len() {
        let input = run.open(&mut inputs, index)?;
        match one(&input, args, run, &mut selection, &mut db, out) {
            Ok(report) => {
                say_report(run, &input, &report);
                if report.not_written.has_findings()
                    || report.functions_left_out > 0
                    || !report.adds_up()
                {
                    exit = exit.and(Exit::Findings);
                }
            }
            Err(_) if out.is_closed() => return Ok(Exit::Done),
            Err(error) => {
                let _ = out.flush();
                let error = error.or_input(input.name());
                return Err(match error.kind() {
                    ErrorKind::Corrupt => {
                        error.with_hint("what was written must not be used").into()
                    }
                    _ => error.into(),
                });
            }
        }
    }
    if let Some(missing) = selection.missing()?
        && !missing.is_empty()
    {
        exit = exit.and(Exit::Findings);
        super::say_missing(&missing);
    }
    Ok(exit)
}

fn one(
    input: &Input,
    args: &ExportArgs,
    run: &Run,
    selection: &mut Selection,
    db: &mut u64,
    out: &mut Out,
) -> Result<Report> {
    let bytes = input.bytes();
    let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how))?;
    let policies = Policies {
        now_ms: run.now.0,
        expired: args.arrival.expired,
        replace: args.replace,
        db_map: DbMap::new(args.arrival.map_db.iter().copied()),
    };
    let to = match (args.target, args.rdb_version) {
        (Some(target), _) => For::Target(target),
        (None, Some(version)) => For::Version(version),
        (None, None) => For::Any,
    };
    let mut progress = run.progress(format!("export {}", input.name()), bytes.len() as u64);
    let lines = progress.lines();
    let report = restore::export(
        &snapshot,
        selection,
        &Options { to, policies },
        db,
        out,
        &mut |entry, outcome, reason| {
            if outcome.is_finding() || outcome == Outcome::Empty {
                let context = entry.context();
                let colon = if reason.is_empty() { "" } else { ": " };
                lines.say(&format!(
                    "offset {}: {context}: {}{colon}{reason}",
                    entry.offset,
                    outcome.label()
                ));
            }
        },
        &mut |position| progress.tick(position),
    )?;
    if let Some(change) = input.changed_since_open()? {
        return Err(Error::new(ErrorKind::Corrupt, change.to_string()));
    }
    Ok(report)
}

fn say_report(run: &Run, input: &Input, report: &Report) {
    let mut line = format!(
        "{}: {} written",
        input.name(),
        plural(report.written, "key")
    );
    if report.functions > 0 {
        line.push_str(&format!(
            ", {}",
            plural(report.functions, "function library")
        ));
    }
    if report.functions_left_out > 0 {
        line.push_str(&format!(
            ", {} function libraries left out: the target knows none",
            report.functions_left_out
        ));
    }
    for (outcome, count) in report.not_written.iter().filter(|(_, count)| *count > 0) {
        line.push_str(&format!(", {} {}", Grouped(count), outcome.label()));
    }
    run.note(&line);
}
