//! The closing table of `load`, for people and for machines.

use std::io::Write as _;

use rdbridge::outcome::Outcome;
use rdbridge::units::ByteCount;
use rdbridge::verbs::load::Report;
use serde_json::{Map, Value, json};

use super::output::{Grouped, Out, Table, plural};

/// The closing table in one line.
pub(super) fn summary(report: &Report) -> String {
    let outcomes: Vec<String> = report
        .tally
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(outcome, count)| format!("{} {}", Grouped(count), outcome.label()))
        .collect();
    format!("{}: {}", plural(report.entries, "key"), outcomes.join(", "))
}

pub(super) fn show(report: &Report, inputs: usize, out: &mut Out) -> std::io::Result<()> {
    let seconds = report.elapsed.as_secs_f64();
    writeln!(
        out,
        "{} in {}, {seconds:.1} s:",
        plural(report.entries, "key"),
        plural(inputs as u64, "input")
    )?;
    let mut table = Table::default();
    for (outcome, count) in report.tally.iter() {
        // The first line always; of the others those that happened.
        if count > 0 || outcome == Outcome::ALL[0] {
            table.row([outcome.label().into(), count.into()]);
        }
    }
    table.write(out, 2)?;
    for (loss, keys) in report.losses.iter() {
        let what = if loss.is_meaning() {
            ", as allowed"
        } else {
            ", which is bookkeeping"
        };
        writeln!(out, "{} arrived without {loss}{what}", plural(keys, "key"))?;
    }
    if let Some(verified) = &report.verified {
        let not = match verified.not_comparable {
            0 => String::new(),
            not => format!(", {} could not be compared", Grouped(not)),
        };
        writeln!(
            out,
            "read back: {} equal to the input, {} different{not}",
            plural(verified.same, "key"),
            Grouped(report.tally.get(Outcome::ReadBackDifferent)),
        )?;
    }
    let functions = &report.functions;
    if functions.found > 0 {
        writeln!(
            out,
            "function libraries: {} found, {} loaded, {} skipped, {} repeated, {} refused, {} failed",
            functions.found,
            functions.loaded,
            functions.skipped,
            functions.repeated,
            functions.refused,
            functions.failed.len()
        )?;
        for failure in &functions.failed {
            writeln!(out, "  offset {}: {}", failure.offset, failure.reason)?;
        }
    }
    let scripts = &report.scripts;
    if scripts.found > 0 {
        let reason = match &scripts.reason {
            Some(words) => format!(": {words}"),
            None => String::new(),
        };
        writeln!(
            out,
            "cached scripts: {} found, {} loaded, {} left out, {} failed{reason}",
            Grouped(scripts.found),
            Grouped(scripts.loaded),
            Grouped(scripts.skipped),
            Grouped(scripts.failed)
        )?;
    }
    if report.runs > 1 {
        writeln!(
            out,
            "the counts are those of {}, {:.1} s together",
            plural(report.runs.into(), "run"),
            report.all_runs.as_secs_f64()
        )?;
    }
    if report
        .looked_up
        .is_some_and(|looked_up| looked_up.asked == 0)
    {
        writeln!(
            out,
            "none of the keys that an earlier run restored could be looked up: they may have expired since, or EXISTS is closed \
             to us; `rdbridge compare` finds out what is there"
        )?;
    }
    if report.pauses > 0 || !report.longest_stall.is_zero() {
        writeln!(
            out,
            "waited for the destination {}, nothing was sent for {:.1} s at the longest",
            plural(report.pauses, "time"),
            report.longest_stall.as_secs_f64()
        )?;
    }
    if report.redirected != (0, 0) {
        let (moved, asked) = report.redirected;
        writeln!(
            out,
            "slots moved meanwhile: keys were sent on {} by MOVED, {} by ASK",
            plural(moved, "time"),
            plural(asked, "time")
        )?;
    }
    let kept = format!(
        "{} of {}",
        Grouped(report.settled),
        plural(report.entries, "key")
    );
    match report.largest_lag {
        Some(lag) => writeln!(
            out,
            "its replicas were {} behind at the most; {kept} are known to be on all of them",
            ByteCount(lag).short()
        )?,
        None if report.settled > 0 => {
            writeln!(out, "{kept} are known to be on the destination's disk")?
        }
        None => {}
    }
    match report.evicted {
        Some(0) => {}
        Some(keys) => writeln!(
            out,
            "the destination evicted {} meanwhile: not everything that was restored is there",
            plural(keys, "key")
        )?,
        None => writeln!(out, "whether the destination evicted keys is not known")?,
    }
    if let Some(holds) = report.shrunk_to {
        writeln!(
            out,
            "the destination holds {} in all, fewer than must be there of those that were restored: something removed keys meanwhile; `rdbridge compare` \
             finds out which",
            plural(holds, "key")
        )?;
    }
    if !report.adds_up() {
        writeln!(
            out,
            "the outcomes are {} and do not add up to the keys: this is an error of rdbridge",
            Grouped(report.tally.total())
        )?;
    }
    Ok(())
}

/// The same for machines.
pub(super) fn figures(report: &Report) -> Map<String, Value> {
    let object = json!({
        "entries": report.entries,
        "outcomes": report.tally,
        "losses": report.losses,
        "verified": report.verified,
        "functions": report.functions,
        "scripts": report.scripts,
        "evicted": report.evicted,
        "elapsed_seconds": report.elapsed.as_secs_f64(),
        "elapsed_seconds_all_runs": report.all_runs.as_secs_f64(),
        "runs": report.runs,
        "pauses": report.pauses,
        "longest_stall_seconds": report.longest_stall.as_secs_f64(),
        "largest_replica_lag": report.largest_lag,
        "looked_up": report.looked_up,
        "shrunk_to": report.shrunk_to,
        "settled": report.settled,
        "shards": report.shards,
        "clock_ahead_ms": report.clock_ahead_ms,
        "redirected": { "moved": report.redirected.0, "ask": report.redirected.1 },
        "journal": report.journal.as_ref().map(|path| path.display().to_string()),
        "adds_up": report.adds_up(),
        "stopped": report.stopped.as_ref().map(ToString::to_string),
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
