//! `check`: the findings as lines, or as JSON while they are found.

use std::io::{self, Write as _};

use rdbridge::input::Input;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::units::ByteCount;
use rdbridge::verbs::check::{self, Finding, Options, Outcome, Severity};
use rdbridge::{Error, ErrorKind, Result};

use super::args::CheckArgs;
use super::exit::Exit;
use super::output::{Json, Out, plural};
use super::plan::{self, Run};

pub(crate) fn run(args: &CheckArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    let mut inputs = run.inputs(&args.input, "check")?;
    let mut selection = run.selection(&args.select, &args.input.how)?;
    let options = Options {
        values: !args.shallow,
        threads: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2)),
        strict: args.strict,
        duplicates: args.duplicates,
        spool_dir: plan::spool_dir(&args.input.how),
    };
    let mut json = run.json.then(|| Json::begin(out)).transpose()?;
    let several = inputs.len() > 1;
    let mut exit = Exit::Done;
    for index in 0..inputs.len() {
        let name = inputs.sources()[index].name().to_owned();
        let mut report = Report {
            out,
            json: json.as_mut(),
            several,
            input: &name,
        };
        let checked = run
            .open(&mut inputs, index)
            .and_then(|input| one(&input, args, run, &options, &mut selection, &mut report));
        exit = exit.and(match checked {
            Ok(outcome) if outcome.fatal.is_some() => Exit::Input,
            Ok(outcome) if outcome.faults > 0 => Exit::Findings,
            Ok(_) => Exit::Done,
            Err(_) if out.is_closed() => return Ok(Exit::Done),
            // The other inputs are worth checking, unless the user wants to stop.
            Err(error) => {
                if let Some(json) = &mut json {
                    json.fail_input(out, &name, &error.to_string())?;
                }
                super::say(&error.to_string());
                Exit::of_kind(error.kind())
            }
        });
        if exit == Exit::Interrupted {
            break;
        }
    }
    if let Some(missing) = selection.missing()?
        && !missing.is_empty()
        && exit != Exit::Interrupted
    {
        exit = exit.and(Exit::Findings);
        super::say_missing(&missing);
    }
    if let Some(json) = json {
        json.end(out, exit)?;
    }
    Ok(exit)
}

fn one(
    input: &Input,
    args: &CheckArgs,
    run: &Run,
    options: &Options,
    selection: &mut Selection,
    report: &mut Report<'_>,
) -> Result<Outcome> {
    let named = |error: Error| error.or_input(input.name());
    let bytes = input.bytes();
    report.begin()?;
    let outcome = match Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how)) {
        Ok(snapshot) => {
            let mut progress = run.progress(format!("check {}", input.name()), bytes.len() as u64);
            let outcome = check::check(
                &snapshot,
                options,
                selection,
                &mut |finding| report.finding(&finding),
                &mut |position| progress.tick(position),
            )
            .map_err(named)?;
            drop(progress);
            run.note(&format!(
                "{}: {}",
                input.name(),
                outcome.producer.taken(run.now)
            ));
            outcome
        }
        // Not even a header: that is a result like any other damage.
        Err(error) => Outcome::unreadable(&error),
    };
    if let Some(change) = input.changed_since_open().map_err(named)? {
        return Err(named(Error::new(
            ErrorKind::Corrupt,
            format!("the file changed while it was read: {change}"),
        )));
    }
    report.end(&outcome)?;
    Ok(outcome)
}

/// Writes what is found, as it is found.
struct Report<'a> {
    out: &'a mut Out,
    json: Option<&'a mut Json>,
    several: bool,
    input: &'a str,
}

impl Report<'_> {
    fn begin(&mut self) -> Result<()> {
        let Some(json) = &mut self.json else {
            return Ok(());
        };
        json.begin_input(self.out, self.input)
            .and_then(|()| json.begin_list(self.out, "findings"))
            .map_err(untold)
    }

    fn finding(&mut self, finding: &Finding) -> Result<()> {
        let written = match &mut self.json {
            Some(json) => json.item(self.out, finding),
            None => self.line(finding),
        };
        written.map_err(untold)
    }

    fn line(&mut self, finding: &Finding) -> std::io::Result<()> {
        if self.several {
            write!(self.out, "{}: ", self.input)?;
        }
        writeln!(self.out, "{}: {finding}", finding.severity.name())
    }

    fn end(&mut self, outcome: &Outcome) -> Result<()> {
        for finding in outcome.warnings.iter().chain(&outcome.fatal) {
            self.finding(finding)?;
        }
        self.end_lines(outcome).map_err(untold)
    }

    fn end_lines(&mut self, outcome: &Outcome) -> io::Result<()> {
        let Some(json) = &mut self.json else {
            return writeln!(self.out, "{}: {}", self.input, summary(outcome));
        };
        json.end_list(self.out)?;
        json.field(self.out, "sound", &outcome.is_sound())?;
        json.field(self.out, "faults", &outcome.faults)?;
        json.field(self.out, "totals", &outcome.totals)?;
        json.field(self.out, "producer", &outcome.producer)?;
        json.end_input(self.out)
    }
}

/// Standard output says by itself that it is standard output.
fn untold(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, error.to_string())
}

/// The last line of one input.
fn summary(outcome: &Outcome) -> String {
    let totals = &outcome.totals;
    let verdict = match (&outcome.fatal, outcome.faults) {
        (Some(_), 0) => "cannot be read to its end".to_owned(),
        (Some(_), faults) => format!("cannot be read to its end, {}", plural(faults, "fault")),
        (None, 0) => "sound".to_owned(),
        (None, faults) => plural(faults, "fault"),
    };
    let keys = if totals.selected == totals.entries {
        plural(totals.entries, "key")
    } else {
        format!(
            "{} of {}",
            plural(totals.selected, "key"),
            plural(totals.entries, "key")
        )
    };
    let checksum = match totals.checksum {
        "verified" => "checksum verified",
        "disabled" => "checksum switched off by the writer",
        "none" => "no checksum in this version",
        "wrong" => "checksum wrong",
        _ => "checksum not reached",
    };
    let warnings = outcome
        .warnings
        .iter()
        .filter(|finding| finding.severity == Severity::Warning)
        .count() as u64;
    let mut text = format!(
        "{verdict}: {keys}, {}, {checksum}",
        ByteCount(totals.bytes).short()
    );
    if warnings > 0 {
        let kinds = if warnings == 1 { "kind" } else { "kinds" };
        text.push_str(&format!(", {warnings} {kinds} of warning"));
    }
    text
}
