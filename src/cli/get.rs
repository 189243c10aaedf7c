//! `get`: one key, or several.

use std::os::unix::ffi::OsStrExt as _;

use rdbridge::error::Escaped;
use rdbridge::input::Input;
use rdbridge::snapshot::{Entry, Snapshot};
use rdbridge::verbs::get::{self, Shower, Wanted};
use rdbridge::{Error, ErrorKind, Result};

use super::args::{GetArgs, GetFormat, InputArgs, ReadArgs};
use super::exit::Exit;
use super::output::Out;
use super::output_file::Data;
use super::plan::{self, Run};

pub(crate) fn run(args: &GetArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    let input_args = InputArgs {
        files: vec![args.file.clone()],
        how: ReadArgs {
            accept_newer: args.how.accept_newer,
            no_mmap: args.how.no_mmap,
            spool_dir: args.how.spool_dir.clone(),
        },
    };
    let mut inputs = run.inputs(&input_args, "get")?;
    if inputs.len() != 1 {
        return Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{} has {} dumps: get looks into one",
                args.file.display(),
                inputs.len()
            ),
        )
        .with_hint("name one of them, or use export --format ndjson --match")
        .into());
    }
    let input = run.open(&mut inputs, 0)?;
    let mut wanted = Wanted::new(args.key.as_bytes());
    wanted.dbs = args.db.clone();
    if let Some(path) = &args.output.output {
        plan::spare_inputs(std::slice::from_ref(&args.file), "--output", path)?;
    }
    let mut data = Data::open(&args.output, out)?;
    match one(&input, args, run, &wanted, &mut data) {
        Ok(found) => {
            data.finish()?;
            if found.count == 0 {
                super::say(&format!(
                    "{}: not in the dump: {}",
                    input.name(),
                    Escaped(args.key.as_bytes())
                ));
            }
            Ok(match found {
                Found { count: 0, .. } | Found { damaged: true, .. } => Exit::Findings,
                _ => Exit::Done,
            })
        }
        Err(_) if data.is_closed() => Ok(Exit::Done),
        Err(error) => {
            let error = error.or_input(input.name());
            Err(match data.give_up() {
                Some(hint) => error.and_hint(hint).into(),
                None => error.into(),
            })
        }
    }
}

/// What was shown.
struct Found {
    count: u64,
    damaged: bool,
}

fn one(
    input: &Input,
    args: &GetArgs,
    run: &Run,
    wanted: &Wanted,
    data: &mut Data<'_>,
) -> Result<Found> {
    let bytes = input.bytes();
    let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.how))?;
    run.note(&format!(
        "{}: {}",
        input.name(),
        snapshot.producer()?.taken(run.now)
    ));
    let spool_dir = plan::spool_dir(&args.how);
    let mut shower = Shower::new(&spool_dir);
    let mut progress = run.progress(format!("get {}", input.name()), bytes.len() as u64);
    let lines = progress.lines();
    let (mut damaged, mut alone) = (false, Alone::default());
    let get::Sought { count, ending } = get::find(
        &snapshot,
        wanted,
        &spool_dir,
        &mut |entry| {
            if args.format != GetFormat::Json {
                alone.found(entry);
                return Ok(());
            }
            let damage = shower.json(entry, data)?;
            if damage.is_some() {
                damaged = true;
                lines.say(&format!("{}: {damage}", entry.context()));
            }
            Ok(())
        },
        &mut |position| progress.tick(position),
    )?;
    drop(progress);
    run.note_ending(input.name(), ending);
    if let Some(change) = input.changed_since_open()? {
        return Err(Error::new(
            ErrorKind::Corrupt,
            format!("the file changed while it was read: {change}"),
        ));
    }
    if args.format != GetFormat::Json
        && let Some(entry) = alone.into_one(count)?
    {
        match args.format {
            GetFormat::Raw => shower.raw(&entry, data)?,
            format => get::payload(&entry, format == GetFormat::Hex, data)?,
        }
    }
    Ok(Found { count, damaged })
}

/// The only key: bytes of several could not be told apart.
#[derive(Default)]
struct Alone<'data> {
    first: Option<Entry<'data>>,
    /// Those that are shown in the error.
    named: Vec<String>,
}

impl<'data> Alone<'data> {
    const NAMED: usize = 5;

    fn found(&mut self, entry: &Entry<'data>) {
        self.first.get_or_insert(*entry);
        if self.named.len() < Self::NAMED {
            self.named.push(entry.context().to_string());
        }
    }

    fn into_one(self, count: u64) -> Result<Option<Entry<'data>>> {
        if count <= 1 {
            return Ok(self.first);
        }
        let more = match count.saturating_sub(self.named.len() as u64) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        Err(Error::new(
            ErrorKind::Usage,
            format!("{count} keys are meant: {}{more}", self.named.join(", ")),
        )
        .with_hint("choose one by its name and --db, or show all with --format json"))
    }
}
