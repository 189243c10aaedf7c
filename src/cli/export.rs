//! `export`: everything, as data or as commands.

use std::io::Write as _;

use rdbridge::input::{Input, Inputs};
use rdbridge::outcome::{Outcome, Tally};
use rdbridge::replay::{ExpiredPolicy, Policies};
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::units::ByteCount;
use rdbridge::value::commands::Loss;
use rdbridge::verbs::Trust;
use rdbridge::verbs::export::{json, resp, restore};
use rdbridge::{Error, ErrorKind, Result};

use super::args::{ExportArgs, ExportFormat};
use super::arrival;
use super::exit::Exit;
use super::load;
use super::output::{Grouped, Out, input_name, plural, report_text};
use super::output_file::Data;
use super::plan::{self, Run};

pub(crate) fn run(args: &ExportArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    refuse_flags(args)?;
    let mut inputs = run.inputs(&args.input, &format!("export --format {}", name(args)))?;
    let mut selection = run.selection(&args.select, &args.input.how)?;
    if let Some(path) = &args.output.output {
        plan::spare_inputs(&args.input.files, "--output", path)?;
    }
    let mut policies = arrival::policies(&args.arrival, run, args.replace, args.loss.allowed())?;
    let how = &args.input.how;
    let shift_ms = arrival::expiries(&args.arrival, how, run, &mut inputs, None, &mut policies)?;
    refuse_merges(args, run, &mut inputs, &policies, &mut selection)?;
    let mut data = Data::open(&args.output, out)?;
    let mut export = Export {
        args,
        run,
        selection: &mut selection,
        policies,
        db: 0,
        exit: Exit::Done,
        reports: Vec::new(),
    };
    let mut result = match args.format {
        ExportFormat::Json => json::begin_document(&mut data),
        _ => Ok(()),
    };
    for index in 0..inputs.len() {
        result = result.and_then(|()| {
            let input = run.open(&mut inputs, index)?;
            export
                .one(&input, index, &mut data)
                .map_err(|error| error.or_input(input.name()))
        });
    }
    // A document is closed whatever happened, so that what was read can be parsed.
    if args.format == ExportFormat::Json && !data.is_closed() {
        result = json::end_document(&mut data).and(result);
    }
    let Export {
        mut exit, reports, ..
    } = export;
    match result {
        Ok(()) => {}
        Err(_) if data.is_closed() => return Ok(Exit::Done),
        Err(error) => {
            let written = data.written();
            let is_commands = matches!(args.format, ExportFormat::Resp | ExportFormat::Restore);
            return Err(match data.give_up() {
                Some(hint) => error.and_hint(hint),
                None if written > 0 && is_commands && error.kind() == ErrorKind::Corrupt => error
                    .and_hint(format!(
                        "{} of commands were written, which must not be used",
                        ByteCount(written)
                    )),
                None => error,
            }
            .into());
        }
    }
    let is_stdout = data.is_stdout();
    data.finish()?;
    if let Some(missing) = selection.missing()?
        && !missing.is_empty()
    {
        exit = exit.and(Exit::Findings);
        super::say_missing(&missing);
    }
    if run.json {
        let report = serde_json::json!({
            "inputs": reports,
            "ttl_shift_ms": shift_ms,
            "exit_code": exit as u8,
        });
        // Where the data is on standard output, the figures are not data.
        let report = report_text(&report);
        if is_stdout {
            super::say(&report);
        } else {
            writeln!(out, "{report}")?;
        }
    }
    Ok(exit)
}

fn name(args: &ExportArgs) -> &'static str {
    match args.format {
        ExportFormat::Json => "json",
        ExportFormat::Ndjson => "ndjson",
        ExportFormat::Resp => "resp",
        ExportFormat::Restore => "restore",
    }
}

/// A flag that would do nothing is a misunderstanding.
fn refuse_flags(args: &ExportArgs) -> Result<()> {
    let format = name(args);
    let is_data = matches!(args.format, ExportFormat::Json | ExportFormat::Ndjson);
    let nothing = if args.functions && args.format != ExportFormat::Ndjson {
        "--functions"
    } else if args.rdb_version.is_some() && args.format != ExportFormat::Restore {
        "--rdb-version"
    } else if is_data && args.target.is_some() {
        "--target"
    } else if is_data && args.replace {
        "--replace"
    } else if is_data && !args.arrival.map_db.is_empty() {
        "--map-db"
    } else if is_data && args.arrival.expired != ExpiredPolicy::Drop {
        "--expired"
    } else if is_data && !args.arrival.prefix.is_empty() {
        "--prefix"
    } else if is_data && !args.arrival.rename.is_empty() {
        "--rename"
    } else if is_data && !args.arrival.ttl_policy.is_keep() {
        "--ttl-policy"
    } else if is_data && args.arrival.snapshot_time.is_some() {
        "--snapshot-time"
    } else if args.format != ExportFormat::Restore && !args.loss.allow_loss.is_empty() {
        "--allow-loss"
    } else if args.format != ExportFormat::Restore && args.trust.trust() != Trust::default() {
        "--trust-input, --untrusted or --skip-damaged"
    } else {
        return Ok(());
    };
    let error = Error::new(
        ErrorKind::Usage,
        format!("{nothing} means nothing for --format {format}"),
    );
    Err(match nothing {
        "--functions" => error.with_hint("all other formats have the function libraries anyway"),
        "--rdb-version" if !is_data => error.with_hint("use --target"),
        "--expired" => error.with_hint("data has every key, with its expiry"),
        "--allow-loss" => error.with_hint("it is for --format restore, and for load"),
        "--prefix" | "--rename" | "--ttl-policy" => {
            error.with_hint("it is for commands: data shows what stands in the file")
        }
        "--trust-input, --untrusted or --skip-damaged" => {
            error.with_hint("all other formats read each value anyway")
        }
        _ => error.with_hint("it is for commands"),
    })
}

/// Commands for two keys that have one name would make one value of both, or overwrite one by the other.
fn refuse_merges(
    args: &ExportArgs,
    run: &Run,
    inputs: &mut Inputs,
    policies: &Policies,
    selection: &mut Selection,
) -> Result<()> {
    let merges = policies.transform.names.may_merge() || !policies.db_map.is_identity();
    let harms = args.format == ExportFormat::Resp || args.replace;
    if !merges || !harms {
        return Ok(());
    }
    let options = rdbridge::verbs::load::Options {
        policies: policies.clone(),
        spool_dir: plan::spool_dir(&args.input.how),
        ..rdbridge::verbs::load::Options::default()
    };
    load::find_overlaps(&args.input.how, run, inputs, &options, true, selection)
}

/// One run over several inputs.
struct Export<'a> {
    args: &'a ExportArgs,
    run: &'a Run,
    selection: &'a mut Selection,
    policies: Policies,
    /// The database that a text of commands is in.
    db: u64,
    exit: Exit,
    reports: Vec<serde_json::Value>,
}

impl Export<'_> {
    fn one(&mut self, input: &Input, index: usize, data: &mut Data<'_>) -> Result<()> {
        let bytes = input.bytes();
        let how = plan::snapshot_options(&self.args.input.how);
        let snapshot = Snapshot::with_options(bytes, how)?;
        self.run.note(&format!(
            "{}: {}",
            input.name(),
            snapshot.producer()?.taken(self.run.now)
        ));
        match self.args.format {
            ExportFormat::Json => self.json(input, index, &snapshot, json::Layout::Document, data),
            ExportFormat::Ndjson => self.json(input, index, &snapshot, json::Layout::Lines, data),
            ExportFormat::Resp => self.resp(input, &snapshot, data),
            ExportFormat::Restore => self.restore(input, &snapshot, data),
        }?;
        if let Some(change) = input.changed_since_open()? {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the file changed while it was read: {change}"),
            ));
        }
        Ok(())
    }

    fn report(
        &mut self,
        input: &Input,
        findings: bool,
        line: &str,
        report: &impl serde::Serialize,
    ) {
        if findings {
            self.exit = self.exit.and(Exit::Findings);
        }
        if self.run.json {
            self.reports
                .push(serde_json::json!({ "input": input_name(input.name()), "export": report }));
        } else {
            self.run.note(&format!("{}: {line}", input.name()));
        }
    }

    fn json(
        &mut self,
        input: &Input,
        index: usize,
        snapshot: &Snapshot<'_>,
        layout: json::Layout,
        data: &mut Data<'_>,
    ) -> Result<()> {
        let options = json::Options {
            layout,
            function_lines: self.args.functions,
            threads: plan::threads(),
            spool_dir: plan::spool_dir(&self.args.input.how),
        };
        let length = snapshot.data().len() as u64;
        let mut progress = self
            .run
            .progress(format!("export {}", input.name()), length);
        let lines = progress.lines();
        let report = json::export(
            snapshot,
            (input.name(), index),
            self.selection,
            &options,
            data,
            &mut |entry, damage| {
                lines.say(&format!("{}: {}: {damage}", input.name(), entry.context()));
                Ok(())
            },
            &mut |position| progress.tick(position),
        )?;
        drop(progress);
        self.run.note_ending(input.name(), report.ending);
        let mut line = format!("{} written", plural(report.written, "key"));
        for (count, what) in [
            (report.damaged, "of them damaged, with an \"error\""),
            (report.not_selected, "not selected"),
        ] {
            if count > 0 {
                line.push_str(&format!(", {} {what}", Grouped(count)));
            }
        }
        if report.functions_written > 0 {
            line.push_str(&format!(", {}", libraries(report.functions_written)));
        }
        if report.functions_damaged > 0 {
            line.push_str(&format!(
                ", {} damaged, with an \"error\"",
                libraries(report.functions_damaged)
            ));
        }
        if let left @ 1.. = report.functions.saturating_sub(report.functions_written) {
            line.push_str(&format!(
                ", {} left out (--functions writes them)",
                libraries(left)
            ));
        }
        let damaged = report.damaged > 0 || report.functions_damaged > 0;
        self.report(input, damaged, &line, &report);
        Ok(())
    }

    fn resp(&mut self, input: &Input, snapshot: &Snapshot<'_>, data: &mut Data<'_>) -> Result<()> {
        let options = resp::Options {
            target: self.args.target,
            policies: self.policies.clone(),
            threads: plan::threads(),
            spool_dir: plan::spool_dir(&self.args.input.how),
        };
        let length = snapshot.data().len() as u64;
        let mut progress = self
            .run
            .progress(format!("export {}", input.name()), length);
        let lines = progress.lines();
        let report = resp::export(
            snapshot,
            self.selection,
            &options,
            &mut self.db,
            data,
            &mut |entry, told| {
                match told {
                    resp::Told::LeftOut(outcome, reason) => {
                        lines.say(&left_out(entry, *outcome, reason));
                    }
                    resp::Told::Without(losses) if losses.any_meaning() => {
                        let names: Vec<&str> = losses.iter().map(Loss::name).collect();
                        lines.say(&format!(
                            "offset {}: {}: written without {}",
                            entry.offset,
                            entry.context(),
                            names.join(", ")
                        ));
                    }
                    resp::Told::Without(_) => {}
                }
                Ok(())
            },
            &mut |position| progress.tick(position),
        )?;
        drop(progress);
        self.run.note_ending(input.name(), report.ending);
        let mut line = commands_line(
            report.written,
            report.functions,
            (report.functions_left_out, report.functions_damaged),
            &report.not_written,
        );
        for (loss, count) in &report.losses {
            line.push_str(&format!(", {} without {loss}", Grouped(*count)));
        }
        let findings = report.without_meaning > 0
            || report.not_written.has_findings()
            || report.functions_left_out > 0
            || report.functions_damaged > 0
            || !report.adds_up();
        self.report(input, findings, &line, &report);
        Ok(())
    }

    fn restore(
        &mut self,
        input: &Input,
        snapshot: &Snapshot<'_>,
        data: &mut Data<'_>,
    ) -> Result<()> {
        let to = match (self.args.target, self.args.rdb_version) {
            (Some(target), _) => restore::For::Target(target),
            (None, Some(version)) => restore::For::Version(version),
            (None, None) => restore::For::Any,
        };
        let policies = self.policies.clone();
        let length = snapshot.data().len() as u64;
        let mut progress = self
            .run
            .progress(format!("export {}", input.name()), length);
        let lines = progress.lines();
        let report = restore::export(
            snapshot,
            self.selection,
            &restore::Options {
                to,
                policies,
                trust: self.args.trust.trust(),
                spool_dir: Some(plan::spool_dir(&self.args.input.how)),
                threads: plan::threads(),
            },
            &mut self.db,
            data,
            &mut |entry, outcome, reason| {
                if outcome.is_finding() || outcome == Outcome::Empty {
                    lines.say(&left_out(entry, outcome, reason));
                }
            },
            &mut |position| progress.tick(position),
        )?;
        drop(progress);
        self.run.note_ending(input.name(), report.ending);
        if let Some(why) = report.walked {
            self.run
                .note(&format!("{}: values were walked: {why}", input.name()));
        }
        let mut line = commands_line(
            report.written,
            report.functions,
            (report.functions_left_out, report.functions_damaged),
            &report.not_written,
        );
        if report.reencoded > 0 {
            line.push_str(&format!(
                ", {} of them re-encoded",
                Grouped(report.reencoded)
            ));
        }
        for (loss, count) in report.losses.iter() {
            line.push_str(&format!(", {} without {loss}", Grouped(count)));
        }
        let findings = report.not_written.has_findings()
            || report.functions_left_out > 0
            || report.functions_damaged > 0
            || !report.adds_up();
        self.report(input, findings, &line, &report);
        Ok(())
    }
}

fn libraries(count: u64) -> String {
    match count {
        1 => "1 function library".to_owned(),
        count => format!("{} function libraries", Grouped(count)),
    }
}

fn left_out(entry: &rdbridge::snapshot::Entry<'_>, outcome: Outcome, reason: &str) -> String {
    let colon = if reason.is_empty() { "" } else { ": " };
    format!(
        "offset {}: {}: {}{colon}{reason}",
        entry.offset,
        entry.context(),
        outcome.label()
    )
}

fn commands_line(
    written: u64,
    functions: u64,
    (functions_left_out, functions_damaged): (u64, u64),
    others: &Tally,
) -> String {
    let mut line = format!("{} written", plural(written, "key"));
    if functions > 0 {
        line.push_str(&format!(", {}", libraries(functions)));
    }
    if functions_left_out > 0 {
        line.push_str(&format!(
            ", {} left out: the target knows none",
            libraries(functions_left_out)
        ));
    }
    if functions_damaged > 0 {
        line.push_str(&format!(
            ", {} left out: damaged (rdbridge check says where)",
            libraries(functions_damaged)
        ));
    }
    for (outcome, count) in others.iter().filter(|(_, count)| *count > 0) {
        line.push_str(&format!(", {} {}", Grouped(count), outcome.label()));
    }
    line
}
