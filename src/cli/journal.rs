//! Where a load is recorded, whether it goes on from an earlier run, and how that is told.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rdbridge::journal::{Counted, InputId, JournalFile, Ledger, Phase, Progress, Record};
use rdbridge::json::write_report;
use rdbridge::outcome::Outcome;
use rdbridge::resp::{Address, Connector};
use rdbridge::select::Names;
use rdbridge::target::Node;
use rdbridge::verbs::load::Journal;
use rdbridge::{Error, ErrorKind, Result};

use super::args::{LoadArgs, Scripts};
use super::arrival;
use super::exit::Exit;
use super::output::{Grouped, Out, Table, plural};
use super::plan::{self, Run};

/// The journal of this load, opened before anything is read.
pub(crate) struct Opened {
    file: Option<JournalFile>,
    /// What an earlier run left.
    pub(crate) before: Option<Record>,
}

/// Finds and locks the journal, and reads what an earlier run wrote.
pub(crate) fn open(args: &LoadArgs, run: &Run, connector: &Connector) -> Result<Opened> {
    let nothing = Opened {
        file: None,
        before: None,
    };
    if let Some(path) = &args.journal.failures {
        plan::spare_inputs(&args.input.files, "--failures", path)?;
    }
    if args.journal.no_journal {
        return Ok(nothing);
    }
    let file = match &args.journal.journal {
        Some(path) => {
            plan::spare_inputs(&args.input.files, "--journal", path)?;
            JournalFile::lock(path)?
        }
        None => match default_place(args, connector)? {
            Some(file) => file,
            None => {
                run.note("no journal is kept: neither beside the input nor in the state directory can one be written; name a place with --journal");
                return Ok(nothing);
            }
        },
    };
    let before = match args.journal.restart {
        // A damaged journal may be forgotten, but what is none is not ours to replace.
        true => match JournalFile::read(file.path()) {
            Err(error) if error.kind() == ErrorKind::Usage => return Err(error),
            _ => None,
        },
        false => JournalFile::read(file.path())?,
    };
    Ok(Opened {
        file: Some(file),
        before,
    })
}

/// Where a journal is kept if nobody says where: beside the input, or in the user's state directory; and whether that is by
/// the user's word.
fn places(files: &[PathBuf], connector: &Connector) -> (Vec<PathBuf>, bool) {
    let destination = rdbridge::wire::crc64::checksum(connector.address.to_string().as_bytes());
    let suffix = format!(".to-{:08x}.journal", destination >> 32);
    let first = files.first().map(PathBuf::as_path);
    let mut places = Vec::new();
    if let Some(dir) = given_dir() {
        let path = first.and_then(|path| std::fs::canonicalize(path).ok());
        let path = path.unwrap_or_else(|| PathBuf::from("-"));
        let place = rdbridge::wire::crc64::checksum(path.as_os_str().as_encoded_bytes());
        return (vec![dir.join(format!("{place:016x}{suffix}"))], true);
    }
    if let Some(path) = first.filter(|path| *path != Path::new("-"))
        && let Ok(path) = std::fs::canonicalize(path)
        && path.is_dir() | path.is_file()
    {
        let mut name = path.clone().into_os_string();
        name.push(&suffix);
        places.push(PathBuf::from(name));
        if let Some(dir) = state_dir() {
            // Two inputs of one name are told apart by where they are.
            let place = rdbridge::wire::crc64::checksum(path.as_os_str().as_encoded_bytes());
            places.push(dir.join(format!("{place:016x}{suffix}")));
        }
    } else if let Some(dir) = state_dir() {
        places.push(dir.join(format!("stdin{suffix}")));
    }
    (places, false)
}

fn given_dir() -> Option<PathBuf> {
    std::env::var_os("RDBRIDGE_JOURNAL_DIR").map(PathBuf::from)
}

/// Beside the input where that can be written to, else in the user's state directory; but where an earlier run left one, there.
fn default_place(args: &LoadArgs, connector: &Connector) -> Result<Option<JournalFile>> {
    let (mut places, given) = places(&args.input.files, connector);
    if let (true, Some(dir)) = (given, given_dir()) {
        std::fs::create_dir_all(&dir).map_err(|error| {
            Error::io(
                format!("RDBRIDGE_JOURNAL_DIR {} cannot be made", dir.display()),
                error,
            )
        })?;
        return places
            .pop()
            .map(|place| JournalFile::lock(&place))
            .transpose();
    }
    places.sort_by_key(|place| !place.exists());
    for place in places {
        if let Some(dir) = place.parent() {
            let _ = std::fs::create_dir_all(dir);
        }
        match JournalFile::lock(&place) {
            Ok(file) => return Ok(Some(file)),
            // Somebody works with it: that is no reason to take another.
            Err(error) if error.kind() == ErrorKind::Usage => return Err(error),
            Err(_) => {}
        }
    }
    Ok(None)
}

fn state_dir() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute());
    given
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))
        .map(|dir| dir.join("rdbridge"))
}

/// What a journal says of a load that is to be compared.
pub(crate) struct Loaded {
    /// Its instant.
    pub(crate) instant_ms: i64,
    /// By how much it moved expiries.
    pub(crate) ttl_shift_ms: Option<i64>,
    /// Its options.
    pub(crate) options: BTreeMap<String, String>,
    /// Where that stands.
    pub(crate) path: PathBuf,
}

/// The load that a comparison is about: `None` where no journal of it is found.
///
/// # Errors
/// `Usage` where the one that was named is of another load, or not there.
pub(crate) fn loaded(
    named: Option<&Path>,
    files: &[PathBuf],
    connector: &Connector,
    inputs: impl FnOnce() -> Result<Vec<InputId>>,
) -> Result<Option<Loaded>> {
    let found = match named {
        Some(path) => match JournalFile::read(path)? {
            Some(record) => Some((record, path.to_owned())),
            None => {
                return Err(Error::new(
                    ErrorKind::Usage,
                    format!("there is no journal {}", path.display()),
                ));
            }
        },
        // One that cannot be read is the load's concern.
        None => places(files, connector)
            .0
            .into_iter()
            .find_map(|path| Some((JournalFile::read(&path).ok()??, path))),
    };
    let Some((record, path)) = found else {
        return Ok(None);
    };
    let destination = connector.address.to_string();
    match (record.is_of_another(&destination, &inputs()?), named) {
        (None, _) => Ok(Some(Loaded {
            instant_ms: record.instant_ms,
            ttl_shift_ms: record.ttl_shift_ms,
            options: record.options,
            path,
        })),
        (Some(_), None) => Ok(None),
        (Some(difference), Some(path)) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "the journal {} is of another load: {difference}",
                path.display()
            ),
        )),
    }
}

/// A ledger has every key that did not arrive, or says which it lacks.
fn same_ledger(args: &LoadArgs, record: &Record) -> Result<()> {
    let outcomes = &record.acknowledged.outcomes;
    let missed = outcomes
        .iter()
        .filter(|(outcome, _)| outcome.is_finding())
        .fold(0u64, |sum, (_, keys)| sum.saturating_add(keys));
    match (&args.journal.failures, record.ledger) {
        (None, Some(_)) => Err(Error::new(
            ErrorKind::Usage,
            "this load keeps a ledger of the keys that did not arrive, and it would end here",
        )
        .with_hint("give --failures with the same file to go on, or --restart to begin anew")),
        (Some(path), None) if missed > 0 => {
            super::say(&format!(
                "{} begins in the midst of this load: {} that did not arrive before are not in it",
                path.display(),
                plural(missed, "key")
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

impl Opened {
    /// Makes the journal of this run, out of what an earlier one left where that is the same load.
    pub(crate) fn journal(
        self,
        args: &LoadArgs,
        run: &Run,
        connector: &Connector,
        inputs: Vec<InputId>,
        entries: Vec<u64>,
        names: Option<&Names>,
    ) -> Result<Journal> {
        let fresh = Record {
            phase: Phase::Running,
            stopped: None,
            written: run.now.rfc3339(),
            runs: 1,
            elapsed_ms: 0,
            destination: connector.address.to_string(),
            product: String::new(),
            run_ids: std::collections::BTreeMap::new(),
            keys_before: None,
            inputs,
            entries,
            options: options(args, names),
            instant_ms: run.now.0,
            clock_ahead_ms: None,
            ttl_shift_ms: None,
            staging: String::new(),
            functions: Counted::default(),
            ledger: None,
            evicted: 0,
            sent: 0,
            uncertain: None,
            acknowledged: Progress::default(),
            settled: Progress::default(),
        };
        let left = self.before.as_ref().map(|before| before.phase);
        let record = match self.before {
            None => fresh,
            Some(before) => {
                if let Some(difference) = before.mismatch(&fresh) {
                    let place = self
                        .file
                        .as_ref()
                        .map(|file| file.path().display().to_string());
                    return Err(Error::new(
                        ErrorKind::Usage,
                        format!(
                            "the journal {} is of another load: {difference}",
                            place.unwrap_or_default()
                        ),
                    )
                    .with_hint("give the same options to go on, --restart to forget it, or --journal PATH for another"));
                }
                // Who only looks does no work on it.
                let works = u32::from(before.phase != Phase::Done);
                Record {
                    runs: before.runs.saturating_add(works),
                    ..before
                }
            }
        };
        if left.is_some_and(|left| left != Phase::Done) {
            same_ledger(args, &record)?;
        }
        let ledger = args
            .journal
            .failures
            .as_deref()
            .map(|path| {
                if args.journal.restart {
                    Ledger::forget(path)?;
                }
                Ledger::open(path, record.ledger)
            })
            .transpose()?;
        Ok(Journal {
            record,
            left,
            file: self.file,
            ledger,
        })
    }

    /// The nodes of the cluster that an earlier run loaded into. The one of the address may be there no more.
    pub(crate) fn nodes(&self) -> Vec<Node> {
        let before = self.before.iter();
        let shards = before.filter(|before| before.run_ids.len() > 1);
        shards
            .flat_map(|before| before.run_ids.keys())
            .filter_map(|address| Node::of(&address.parse::<Address>().ok()?.endpoint))
            .collect()
    }

    /// How it goes on, in one line; `None` for a load that begins.
    pub(crate) fn first_line(&self) -> Option<String> {
        let before = self.before.as_ref()?;
        let place = self.file.as_ref()?.path().display();
        let finished = Grouped(before.acknowledged.finished.total());
        Some(match before.phase {
            Phase::Done => format!(
                "the journal {place} says that this load was finished at {}: {finished} of {}; nothing is sent again, --restart begins anew",
                before.written,
                plural(before.total(), "key"),
            ),
            _ => format!(
                "going on from the journal {place} of {}: {finished} of {} finished, {} to be looked up",
                before.written,
                plural(before.total(), "key"),
                Grouped(before.uncertain().total()),
            ),
        })
    }
}

/// What changes the result: another value is another load.
fn options(args: &LoadArgs, names: Option<&Names>) -> BTreeMap<String, String> {
    let mut options = arrival::typed(&args.arrival);
    let mut put = |name: &str, value: String| options.insert(name.to_owned(), value);
    put(
        "--on-conflict",
        format!("{:?}", args.policy.on_conflict).to_lowercase(),
    );
    if let Some(functions) = args.policy.functions {
        put("--functions", format!("{functions:?}").to_lowercase());
    }
    if let Some(name) = &args.cluster.sentinel {
        put("--sentinel", name.clone());
    }
    let allowed = args.loss.allowed();
    if !allowed.is_empty() {
        let names: Vec<_> = allowed.iter().map(|loss| loss.to_string()).collect();
        put("--allow-loss", names.join(" "));
    }
    if args.policy.scripts == Scripts::Load {
        put("--scripts", "load".to_owned());
    }
    if args.shards.newest_wins {
        put("--newest-wins", "given".to_owned());
    }
    if args.policy.trust.trust().skip_damaged {
        put("--skip-damaged", "given".to_owned());
    }
    for (name, value) in args.select.typed() {
        put(name, value);
    }
    if let Some(names) = names {
        // Where the list lies does not matter, what is in it does.
        let null = if args.select.null { " (--null)" } else { "" };
        let (count, digest) = (plural(names.len(), "name"), names.digest());
        put(
            "--keys-from",
            format!("{count} with CRC {digest:016x}{null}"),
        );
    }
    options
}

/// `load --status JOURNAL`: how far a load is.
pub(crate) fn status(path: &Path, json: bool, out: &mut Out) -> anyhow::Result<Exit> {
    let Some(record) = JournalFile::read(path)? else {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("there is no journal {}", path.display()),
        )
        .into());
    };
    if json {
        write_report(&mut *out, &record)?;
        writeln!(out)?;
        return Ok(Exit::Done);
    }
    let words = match record.phase {
        Phase::Running => "running, or killed while it ran",
        Phase::Stopped => "stopped, can go on",
        Phase::Done => "done",
    };
    writeln!(out, "{}: {words}, as of {}", path.display(), record.written)?;
    if let Some(stopped) = &record.stopped {
        writeln!(out, "  {stopped}")?;
    }
    writeln!(out, "  into {} ({})", record.destination, record.product)?;
    for (input, entries) in record.inputs.iter().zip(&record.entries) {
        writeln!(out, "  from {}: {}", input.name, plural(*entries, "key"))?;
    }
    writeln!(
        out,
        "  {} of {} finished, {} kept by the destination for sure, {} to be looked up; {}, {:.1} s",
        Grouped(record.acknowledged.finished.total()),
        plural(record.total(), "key"),
        Grouped(record.settled.finished.total()),
        Grouped(record.uncertain().total()),
        plural(record.runs.into(), "run"),
        record.elapsed_ms as f64 / 1000.0
    )?;
    let mut table = Table::default();
    for (outcome, count) in record.acknowledged.outcomes.iter() {
        if count > 0 || matches!(outcome, Outcome::Restored(_)) {
            table.row([outcome.label().into(), count.into()]);
        }
    }
    table.write(out, 2)?;
    for (name, value) in &record.options {
        writeln!(out, "  {name} {value}")?;
    }
    if let Some(ms) = record.ttl_shift_ms {
        writeln!(out, "  expiries moved by {}", arrival::moved(ms))?;
    }
    Ok(Exit::Done)
}
