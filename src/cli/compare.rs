//! `compare`: the destination read key by key; the closing table, and a line for each key that differs.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdbridge::error::Escaped;
use rdbridge::input::{Input, Inputs};
use rdbridge::journal::InputId;
use rdbridge::json::{push_string, write_report};
use rdbridge::meaning::Verdict;
use rdbridge::meaning::digest::Digests;
use rdbridge::replay::Policies;
use rdbridge::resp::Connector;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::survey::Survey;
use rdbridge::target::{Facts, Mode, NodeMap};
use rdbridge::transform::{Shift, Transform};
use rdbridge::value::commands::Losses;
use rdbridge::verbs::Ending;
use rdbridge::verbs::compare::{self, Compare, KeyEvent, Options, Outcome, Report, Watcher};
use rdbridge::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::args::{Cluster, CompareArgs, ReadArgs};
use super::arrival;
use super::exit::Exit;
use super::journal::{self, Loaded};
use super::output::{Grouped, Out, Table, input_name, plural, report_text};
use super::plan::{self, Run};
use super::progress::Lines;
use super::shards::{self, Because};

/// Keys that are told one by one on standard error.
const TOLD: usize = 100;

pub(crate) fn run(args: &CompareArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    let mut connector = run.connector(&args.destination)?;
    connector.sentinel.clone_from(&args.cluster.sentinel);
    if let Some(db @ 1..) = connector.address.db {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("the address names database {db}, but a dump says itself which database each key belongs to"),
        )
        .with_hint(format!("say where keys went with --map-db 0:{db}"))
        .into());
    }
    if let Some(path) = &args.differences {
        plan::spare_inputs(&args.input.files, "--differences", path)?;
    }
    let file = args
        .differences
        .as_deref()
        .map(Listing::create)
        .transpose()?;
    let mut inputs = run.inputs(&args.input, "compare")?;
    // What is expired, and what a selection by time admits, was decided when the load began.
    let loaded = match args.common.now {
        Some(_) => None,
        None => journal::loaded(
            args.journal.as_deref(),
            &args.input.files,
            &connector,
            || identities(&mut inputs, run),
        )?,
    };
    let run = &run.at(loaded.as_ref().map_or(run.now.0, |load| load.instant_ms));
    let mut policies = arrival::policies(&args.arrival, run, false, Losses::default())?;
    match &loaded {
        Some(load) => {
            run.note(&format!(
                "expiries are those of the load that began at {}, says its journal {}",
                run.now.rfc3339(),
                load.path.display()
            ));
            say_other_arrival(args, load);
        }
        None => demand_instant(args)?,
    }
    let shift_ms = arrival::expiries(
        &args.arrival,
        &args.input.how,
        run,
        &mut inputs,
        loaded.as_ref().and_then(|load| load.ttl_shift_ms),
        &mut policies,
    )?;
    let transform = policies.transform.clone();
    let mut selection = run.selection(&args.select, &args.input.how)?;
    let everywhere = selection.is_all();
    // A destination that is not there is said now, not after the dump was read.
    let mut into_cluster = args.cluster.cluster == Cluster::Yes;
    {
        let mut connection = connector.connect()?;
        if args.shards.newest_wins && args.cluster.cluster == Cluster::Auto {
            let facts = Facts::gather(&mut connection, &[])?;
            into_cluster = facts.mode == Some(Mode::Cluster);
        }
    }

    let (mut surveys, mut ids) = (Vec::new(), Vec::new());
    for index in 0..inputs.len() {
        let input = run.open(&mut inputs, index)?;
        let survey = survey(&input, args, run, &transform, &mut selection)
            .map_err(|e| e.or_input(input.name()))?;
        run.note(&format!(
            "{}: {}, {} selected; {}",
            input.name(),
            plural(survey.entries, "key"),
            Grouped(survey.selected),
            survey.producer.taken(run.now)
        ));
        ids.push(InputId::of(input.name(), input.bytes()));
        surveys.push(survey);
    }
    let because = Because::of_or_say(&args.input, &inputs, into_cluster, args.shards.newest_wins)
        .filter(|_| args.shards.newest_wins);
    if let Some(because) = because {
        shards::judge(
            because,
            true,
            &args.input,
            run,
            &mut inputs,
            &mut surveys,
            &mut selection,
            &|input, selection| survey(input, args, run, &transform, selection),
        )?;
    }
    let mut compare = Compare::begin(
        connector.clone(),
        &surveys,
        options(args, run, policies, loaded.is_some()),
    )?;
    say_destination(run, &connector.address.to_string(), &compare);

    let names: Vec<String> = inputs
        .sources()
        .iter()
        .map(|source| source.name().to_owned())
        .collect();
    let teller = Teller {
        lines: Mutex::default(),
        names,
        told: AtomicUsize::new(0),
        file,
    };
    hold(
        &mut compare,
        &args.input.how,
        run,
        &mut inputs,
        &surveys,
        &mut selection,
        &teller,
    )?;
    if args.extra {
        let mut progress = run.progress("search for extra keys".to_owned(), 0);
        compare.extra(everywhere, &teller, &mut |position| progress.tick(position));
    }
    let facts = compare.facts().clone();
    let report = compare.finish();
    let missing = selection.missing()?.filter(|missing| !missing.is_empty());
    if let Some(missing) = &missing {
        super::say_missing(missing);
    }
    teller.finish()?;
    let mut exit = match &report.stopped {
        Some(error) => Exit::of_kind(error.kind()),
        None if report.is_clean() => Exit::Done,
        None => Exit::Findings,
    };
    if missing.is_some() {
        exit = exit.and(Exit::Findings);
    }
    let shown = if run.json {
        let missing = missing.map_or(0, |missing| missing.len());
        let mut object = figures(&report, args.sample);
        object.extend(heading(&inputs, &ids, run, &connector, facts.name()));
        object.insert("options".into(), json!(typed(args)));
        object.insert("ttl_shift_ms".into(), json!(shift_ms));
        object.insert("ttl_tolerance_ms".into(), json!(args.ttl_tolerance));
        object.insert("names_not_found".into(), json!(missing));
        object.insert("exit_code".into(), json!(exit as u8));
        write_report(&mut *out, &object).and_then(|()| writeln!(out))
    } else {
        show(&report, inputs.len(), out)
    };
    if let Some(error) = &report.stopped {
        let _ = out.flush();
        super::say(&error.to_string());
    }
    match shown {
        Err(_) if out.is_closed() => Ok(exit),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(exit),
    }
}

fn identities(inputs: &mut Inputs, run: &Run) -> Result<Vec<InputId>> {
    (0..inputs.len())
        .map(|index| {
            let input = run.open(inputs, index)?;
            Ok(InputId::of(input.name(), input.bytes()))
        })
        .collect()
}

/// Says where keys are looked for under other names, or with other expiries, than they were loaded with.
fn say_other_arrival(args: &CompareArgs, load: &Loaded) {
    const CONCERNED: [&str; 5] = [
        "--map-db",
        "--prefix",
        "--rename",
        "--ttl-policy",
        "--snapshot-time",
    ];
    let typed = arrival::typed(&args.arrival);
    for name in CONCERNED {
        let (was, is) = (load.options.get(name), typed.get(name));
        if was != is {
            let shown = |value: Option<&String>| match value {
                Some(value) => value.clone(),
                None => "not given".to_owned(),
            };
            super::say(&format!(
                "{name} was {} for the load and is {} here: keys are looked for as this comparison says",
                shown(was),
                shown(is)
            ));
        }
    }
}

/// What counts from the start of a load can be compared only where that is known.
fn demand_instant(args: &CompareArgs) -> Result<()> {
    let policy = &args.arrival.ttl_policy;
    let counts = policy.bounds() || policy.shift() == Some(Shift::FromSnapshot);
    if !counts || args.common.now.is_some() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Usage,
        format!(
            "--ttl-policy {policy} counts from the start of the load, and no journal of it is found"
        ),
    )
    .with_hint("name it with --journal, or say when the load began: --now TIME, which its --json report calls \"now\""))
}

fn options(args: &CompareArgs, run: &Run, policies: Policies, instant_of_load: bool) -> Options {
    Options {
        policies,
        ttl_tolerance_ms: i64::from(args.ttl_tolerance),
        rounds: args.rounds,
        pause: Duration::from_secs(1),
        sample: args.sample.map(|percent| percent / 100.0),
        touch: args.touch,
        connections: args.connections.into(),
        cluster: args.cluster.cluster.asked(),
        node_map: NodeMap::new(args.cluster.node_map.iter().cloned()),
        rates: args.gentle.rates(),
        instant_of_load,
        retry_for: args.retry_for,
        extra: args.extra,
        digests: run.json,
        spool_dir: plan::spool_dir(&args.input.how),
    }
}

/// Reads one input to its end.
fn survey(
    input: &Input,
    args: &CompareArgs,
    run: &Run,
    transform: &Transform,
    selection: &mut Selection,
) -> Result<Survey> {
    let bytes = input.bytes();
    let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how))?;
    let mut progress = run.progress(format!("check {}", input.name()), bytes.len() as u64);
    if let Some(increments) = input.newer_writes() {
        run.note(&format!("{}: {increments}", input.name()));
    }
    let arrival = (run.now.0, transform);
    let survey = compare::survey(&snapshot, selection, arrival, &mut |position| {
        progress.tick(position)
    })?;
    drop(progress);
    run.note_ending(input.name(), Ending::surveyed(&survey, bytes));
    Ok(survey)
}

fn say_destination(run: &Run, address: &str, compare: &Compare) {
    let facts = compare.facts();
    let keys = match facts.total_keys() {
        Some(keys) => format!(", holds {}", plural(keys, "key")),
        None => String::new(),
    };
    let shards = match compare.shards() {
        1 => String::new(),
        many => format!(", a cluster of {many} shards"),
    };
    run.note(&format!(
        "destination {address}: {}{shards}{keys}",
        facts.name()
    ));
    if !compare.abilities().dump {
        run.note(
            "the destination does not let us DUMP: all values are read by type, which takes longer",
        );
    }
    if compare.touches() {
        run.note("what is read counts as access there (no CLIENT NO-TOUCH): idle times begin anew");
    }
}

fn hold(
    compare: &mut Compare,
    how: &ReadArgs,
    run: &Run,
    inputs: &mut Inputs,
    surveys: &[Survey],
    selection: &mut Selection,
    teller: &Teller,
) -> Result<()> {
    for (index, survey) in surveys.iter().enumerate() {
        if compare.is_stopped() {
            compare.leave_out(survey);
            continue;
        }
        let input = match run.open(inputs, index) {
            Ok(input) => input,
            Err(error) => {
                compare.stop(error);
                compare.leave_out(survey);
                continue;
            }
        };
        let bytes = input.bytes();
        let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(how))?;
        let mut progress = run.progress(format!("compare {}", input.name()), bytes.len() as u64);
        *teller.lines.lock().unwrap_or_else(PoisonError::into_inner) = progress.lines();
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        compare.input(
            number,
            &snapshot,
            survey,
            selection,
            teller,
            &mut |position| {
                changed(&input)?;
                progress.tick(position)
            },
        )?;
        drop(progress);
        if let Err(error) = changed(&input) {
            compare.stop(error);
        }
    }
    Ok(())
}

/// A file that was written to while we read it proves nothing.
fn changed(input: &Input) -> Result<()> {
    match input.changed_since_open()? {
        None => Ok(()),
        Some(change) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("the file changed while it was compared ({change})"),
        )
        .or_input(input.name())
        .with_hint("compare again with a copy that nobody writes to")),
    }
}

/// Tells which keys differ.
struct Teller {
    /// Of the progress that is shown now.
    lines: Mutex<Lines>,
    names: Vec<String>,
    told: AtomicUsize,
    file: Option<Listing>,
}

impl Teller {
    /// One line, as long as they are not many.
    fn say(&self, text: impl FnOnce() -> String) {
        if self.told.fetch_add(1, Ordering::Relaxed) < TOLD {
            self.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .say(&text());
        }
    }

    fn finish(self) -> Result<()> {
        let told = self.told.load(Ordering::Relaxed);
        if let more @ 1.. = told.saturating_sub(TOLD) {
            let all = match &self.file {
                Some(listing) => format!("; {} has them", listing.path.display()),
                None => "; --differences FILE writes them all".to_owned(),
            };
            super::say(&format!("and {}{all}", plural(more as u64, "more key")));
        }
        // What was found before the end is worth having, too.
        match self.file {
            Some(listing) => listing.finish(),
            None => Ok(()),
        }
    }
}

/// What came out, in words.
fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Different(found) => format!(": {found}"),
        Verdict::NotComparable(why) => format!(": {why}"),
        _ => String::new(),
    }
}

impl Watcher for Teller {
    fn key(&self, event: &KeyEvent<'_>) {
        let name = usize::try_from(event.input)
            .ok()
            .and_then(|i| self.names.get(i))
            .map_or("", String::as_str);
        self.say(|| {
            let input = if self.names.len() > 1 {
                format!("{name}: ")
            } else {
                String::new()
            };
            format!(
                "{input}offset {}: {} in db {}: {}{}",
                event.offset,
                Escaped(event.key),
                event.db,
                event.outcome.label(),
                words(event.verdict)
            )
        });
        if let Some(file) = &self.file {
            let (mut more, mut reason) = (false, None);
            let mut list = Vec::new();
            match event.verdict {
                Verdict::Different(found) => {
                    more = found.more;
                    list.extend(found.listed.iter().map(|one| {
                        json!({"what": one.what.name(), "at": one.at.to_string(), "how": one.how})
                    }));
                }
                Verdict::NotComparable(why) => reason = Some(why),
                _ => {}
            }
            file.line(
                json!({"input": input_name(name), "db": event.db, "offset": event.offset, "type": event.type_name,
                       "outcome": event.outcome.name(), "differences": list, "more": more, "reason": reason}),
                event.key,
            );
        }
    }

    fn extra(&self, db: u64, key: &[u8]) {
        self.say(|| {
            format!(
                "{} in db {db} of the destination: not in the dump",
                Escaped(key)
            )
        });
        if let Some(file) = &self.file {
            file.line(json!({"db": db, "outcome": "extra"}), key);
        }
    }
}

/// The file of `--differences`: it has its name when everything is written.
struct Listing {
    file: Mutex<(BufWriter<NamedTempFile>, Option<std::io::Error>)>,
    path: PathBuf,
}

impl Listing {
    fn create(path: &Path) -> Result<Self> {
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".rdbridge-")
            .suffix(".part")
            .tempfile_in(dir)
            .map_err(|error| cannot(path, error))?;
        Ok(Self {
            file: Mutex::new((BufWriter::new(file), None)),
            path: path.to_owned(),
        })
    }

    /// An object with the key in front of what else is known of it.
    fn line(&self, rest: serde_json::Value, key: &[u8]) {
        let mut line = b"{\"key\":".to_vec();
        push_string(&mut line, key);
        line.push(b',');
        let rest = report_text(&rest);
        line.extend_from_slice(rest.get(1..).unwrap_or("}").as_bytes());
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.1.is_none()
            && let Err(error) = file.0.write_all(&line)
        {
            file.1 = Some(error);
        }
    }

    fn finish(self) -> Result<()> {
        let cannot = |error| cannot(&self.path, error);
        let (file, failed) = self
            .file
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failed {
            return Err(cannot(error));
        }
        let file = file
            .into_inner()
            .map_err(|error| cannot(error.into_error()))?;
        file.as_file().sync_all().map_err(cannot)?;
        file.persist(&self.path)
            .map(drop)
            .map_err(|error| cannot(error.error))
    }
}

#[cold]
fn cannot(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("{} cannot be written", path.display()), error)
}

fn show(report: &Report, inputs: usize, out: &mut Out) -> std::io::Result<()> {
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
        if count > 0 || outcome == Outcome::Same {
            table.row([outcome.label().into(), count.into()]);
        }
    }
    if let Some(extra) = report.extra {
        table.row(["only at the destination".into(), extra.into()]);
    }
    table.write(out, 2)?;
    for (what, books) in [
        ("differing keys by what differs", &report.books.differences),
        (
            "bookkeeping that differs, in keys",
            &report.books.bookkeeping,
        ),
    ] {
        if !books.is_empty() {
            let parts: Vec<String> = books
                .iter()
                .map(|(name, keys)| format!("{name} {}", Grouped(*keys)))
                .collect();
            writeln!(out, "{what}: {}", parts.join(", "))?;
        }
    }
    if report.read_again > 0 {
        writeln!(out, "{} read again", plural(report.read_again, "key"))?;
    }
    if let Some(at_most) = report.at_most {
        let compared = report.tally.compared();
        let all = compared.saturating_add(report.tally.get(Outcome::NotSampled));
        writeln!(
            out,
            "a sample of {} in {}: with 95 % confidence at most {} of them {} not as in the dump",
            Grouped(compared),
            plural(all, "key"),
            Grouped(at_most),
            if at_most == 1 { "is" } else { "are" }
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

/// Digests, as strings to be held against others.
fn shown(digests: Option<Digests>) -> Option<Value> {
    digests.map(|digests| {
        json!({"keys": digests.keys, "values": digests.values.to_string(), "expiries": digests.expiries.to_string()})
    })
}

/// Digests of what should have arrived from all inputs, by these alone.
///
/// # Errors
/// An input cannot be read any more.
pub(crate) fn digests_of(
    options: &Options,
    how: &ReadArgs,
    run: &Run,
    inputs: &mut Inputs,
    selection: &mut Selection,
) -> Result<Option<Value>> {
    let mut sum = Digests::default();
    for index in 0..inputs.len() {
        let input = run.open(inputs, index)?;
        let bytes = input.bytes();
        let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(how))?;
        let mut progress = run.progress(format!("digest {}", input.name()), bytes.len() as u64);
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let found = compare::digests(number, &snapshot, selection, options, &mut |position| {
            progress.tick(position)
        })?;
        match found {
            Some(digests) => sum.add(&digests),
            None => return Ok(None),
        }
    }
    Ok(shown(Some(sum)))
}

/// What a comparison found, for machines.
fn figures(report: &Report, percent: Option<f64>) -> Map<String, Value> {
    let sample = report.at_most.map(|at_most| {
        json!({"percent": percent, "compared": report.tally.compared(), "confidence": 0.95, "differ_at_most": at_most})
    });
    let object = json!({
        "entries": report.entries,
        "outcomes": report.tally,
        "differences": report.books.differences,
        "bookkeeping": report.books.bookkeeping,
        "extra": report.extra,
        "read_again": report.read_again,
        "digests": shown(report.digests.and_then(|digests| digests.file())),
        "destination_digests": shown(report.digests.and_then(|digests| digests.held())),
        "sample": sample,
        "elapsed_seconds": report.elapsed.as_secs_f64(),
        "adds_up": report.adds_up(),
        "stopped": report.stopped.as_ref().map(ToString::to_string),
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Options that change what comes out.
fn typed(args: &CompareArgs) -> BTreeMap<String, String> {
    let mut options = arrival::typed(&args.arrival);
    let mut put = |name: &str, value: String| options.insert(name.to_owned(), value);
    put("--ttl-tolerance", args.ttl_tolerance.to_string());
    put("--rounds", args.rounds.to_string());
    if let Some(percent) = args.sample {
        put("--sample", percent.to_string());
    }
    if args.extra {
        put("--extra", "given".to_owned());
    }
    for (name, value) in args.select.typed() {
        put(name, value);
    }
    options
}

/// What was held against what, and when: a report says it to be worth a signature.
pub(crate) fn heading(
    inputs: &Inputs,
    ids: &[InputId],
    run: &Run,
    connector: &Connector,
    product: String,
) -> Map<String, Value> {
    let sources = inputs.sources().iter();
    let names: Vec<Value> = sources.map(|source| input_name(source.name())).collect();
    let ids = ids.iter().map(|id| {
        let mut object = json!(id);
        object["name"] = input_name(&id.name);
        object
    });
    let object = json!({
        "inputs": names,
        "input_digests": ids.collect::<Vec<_>>(),
        "now": run.now.rfc3339(),
        "destination": product,
        "destination_address": connector.address.to_string(),
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A comparison right after a load.
pub(crate) struct AfterLoad {
    report: Report,
    inputs: usize,
    pub(crate) exit: Exit,
}

impl AfterLoad {
    /// Holds the same entries against the destination.
    ///
    /// # Errors
    /// The destination cannot be asked.
    pub(crate) fn run(
        connector: &Connector,
        options: Options,
        how: &ReadArgs,
        run: &Run,
        inputs: &mut Inputs,
        surveys: &[Survey],
        selection: &mut Selection,
    ) -> Result<Self> {
        let mut compare = Compare::begin(connector.clone(), surveys, options)?;
        say_destination(run, &connector.address.to_string(), &compare);
        let names = inputs.sources().iter().map(|s| s.name().to_owned());
        let teller = Teller {
            lines: Mutex::default(),
            names: names.collect(),
            told: AtomicUsize::new(0),
            file: None,
        };
        hold(&mut compare, how, run, inputs, surveys, selection, &teller)?;
        let report = compare.finish();
        teller.finish()?;
        let exit = match &report.stopped {
            Some(error) => {
                super::say(&error.to_string());
                Exit::of_kind(error.kind())
            }
            None if report.is_clean() => Exit::Done,
            None => Exit::Findings,
        };
        Ok(Self {
            report,
            inputs: inputs.len(),
            exit,
        })
    }

    /// The closing table.
    pub(crate) fn show(&self, out: &mut Out) -> std::io::Result<()> {
        write!(out, "compared: ")?;
        show(&self.report, self.inputs, out)
    }

    /// Digests of the inputs, where they were made.
    pub(crate) fn digests(&self) -> Option<Value> {
        shown(self.report.digests.and_then(|digests| digests.file()))
    }

    /// The same for machines.
    pub(crate) fn figures(&self) -> Map<String, Value> {
        figures(&self.report, None)
    }
}
