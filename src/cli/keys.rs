//! `keys`: rows as they are found.

use std::io::Write as _;

use rdbridge::input::Input;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::verbs::keys::{self, Format, Options, Report};
use rdbridge::{Error, ErrorKind, Result};

use super::args::{KeysArgs, KeysFormat};
use super::exit::Exit;
use super::output::{Out, plural};
use super::output_file::Data;
use super::plan::{self, Run};

pub(crate) fn run(args: &KeysArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    let mut inputs = run.inputs(&args.input, "keys")?;
    let mut selection = run.selection(&args.select, &args.input.how)?;
    let options = Options {
        format: match args.format {
            KeysFormat::Text if run.json => Format::Ndjson,
            KeysFormat::Text => Format::Text,
            KeysFormat::Names => Format::Names,
            KeysFormat::Csv => Format::Csv,
            KeysFormat::Ndjson => Format::Ndjson,
        },
        threads: plan::threads(),
        spool_dir: plan::spool_dir(&args.input.how),
    };
    if let Some(path) = &args.output.output {
        plan::spare_inputs(&args.input.files, "--output", path)?;
    }
    let mut data = Data::open(&args.output, out)?;
    data.write_all(options.format.titles().as_bytes())?;
    let mut exit = Exit::Done;
    for index in 0..inputs.len() {
        let listed = run.open(&mut inputs, index).and_then(|input| {
            one(&input, args, run, &options, &mut selection, &mut data)
                .map_err(|error| error.or_input(input.name()))
        });
        match listed {
            Ok(report) if report.damaged > 0 => exit = exit.and(Exit::Findings),
            Ok(_) => {}
            Err(_) if data.is_closed() => return Ok(Exit::Done),
            Err(error) => {
                return Err(match data.give_up() {
                    Some(hint) => error.and_hint(hint).into(),
                    None => error.into(),
                });
            }
        }
    }
    data.finish()?;
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
    args: &KeysArgs,
    run: &Run,
    options: &Options,
    selection: &mut Selection,
    data: &mut Data<'_>,
) -> Result<Report> {
    let bytes = input.bytes();
    let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how))?;
    run.note(&format!(
        "{}: {}",
        input.name(),
        snapshot.producer()?.taken(run.now)
    ));
    let mut progress = run.progress(format!("keys {}", input.name()), bytes.len() as u64);
    let lines = progress.lines();
    let report = keys::keys(
        &snapshot,
        selection,
        options,
        data,
        &mut |entry, damage| {
            lines.say(&format!("{}: {}: {damage}", input.name(), entry.context()));
            Ok(())
        },
        &mut |position| progress.tick(position),
    )?;
    drop(progress);
    run.note_ending(input.name(), report.ending);
    if let Some(change) = input.changed_since_open()? {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the file changed while it was read: {change}"),
        ));
    }
    if report.damaged > 0 {
        super::say(&format!(
            "{}: {} of {} damaged",
            input.name(),
            plural(report.damaged, "key"),
            report.listed
        ));
    }
    Ok(report)
}
