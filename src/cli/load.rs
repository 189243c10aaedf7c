//! `load`: everything verified, the destination asked, then written; the closing table.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rdbridge::error::Escaped;
use rdbridge::input::{Input, Inputs, Tail, classify_tail};
use rdbridge::journal::InputId;
use rdbridge::json::write_report;
use rdbridge::replay::Policies;
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::survey::Survey;
use rdbridge::target::{Mode, NodeMap};
use rdbridge::transform::Transform;
use rdbridge::units::ByteCount;
use rdbridge::verbs::compare::Options as Comparison;
use rdbridge::verbs::load::{self, Load, LookedUp, OnConflict, Options};
use rdbridge::verbs::tail_words;
use rdbridge::{Error, ErrorKind, Result};
use serde_json::json;

use super::args::{Cluster, LoadArgs, ReadArgs, Scripts};
use super::arrival;
use super::compare;
use super::exit::Exit;
use super::journal;
use super::load_said::{Notes, Teller, say_clock, say_destination};
use super::load_show::{figures, show, summary};
use super::output::{Grouped, Out, plural};
use super::plan::{self, Run};
use super::shards::{self, Because};

/// Bytes that are looked at before anything is read.
const PEEKED: u64 = 64 * 1024;

pub(crate) fn run(args: &LoadArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    let mut connector = run.connector(&args.destination)?;
    connector.sentinel.clone_from(&args.cluster.sentinel);
    if let Some(db @ 1..) = connector.address.db {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("the address names database {db}, but a dump says itself which database each key belongs to"),
        )
        .with_hint(format!("put keys elsewhere with --map-db 0:{db}"))
        .into());
    }
    let policies = arrival::policies(&args.arrival, run, false, args.loss.allowed())?;
    let journal = journal::open(args, run, &connector)?;
    if let Some(line) = journal.first_line() {
        super::say(&line);
    }
    // What is expired, and what a selection by time admits, was decided when the load began.
    let instant = journal
        .before
        .as_ref()
        .map_or(run.now.0, |before| before.instant_ms);
    let run = &run.at(instant);
    let mut options = options(args, run, policies);
    if journal.before.is_some() {
        // What is there is ours.
        options.require_empty = false;
    }
    options.nodes_before = journal.nodes();
    let mut inputs = run.inputs(&args.input, "load")?;
    let mut selection = run.selection(&args.select, &args.input.how)?;
    // What can be refused is refused now, not after an hour of reading.
    let key = peek(&inputs, &mut selection, &options);
    let contacted = load::first_contact(&connector, &options, key)?;
    say_clock(run, &contacted);
    let wanted: usize = args.policy.connections.into();
    if options.connections < wanted {
        super::say(&format!(
            "{} of {wanted} --connections: --max-latency needs to know who waits for whom",
            options.connections
        ));
    }
    let begins = journal.before.is_none();
    let by_its_clock = match begins {
        true => run.by_clock_of(&contacted),
        false => run.at(instant),
    };
    let run = &by_its_clock;
    options.policies.now_ms = run.now.0;
    selection.at(run.now);
    let before = journal.before.as_ref();
    let shift_ms = arrival::expiries(
        &args.arrival,
        &args.input.how,
        run,
        &mut inputs,
        before.and_then(|before| before.ttl_shift_ms),
        &mut options.policies,
    )?;
    let policies = options.policies.clone();

    let into_cluster = match args.cluster.cluster {
        Cluster::Auto => contacted.mode == Some(Mode::Cluster),
        Cluster::Yes => true,
        Cluster::No => false,
    };
    let because = Because::of_or_say(&args.input, &inputs, into_cluster, args.shards.newest_wins);

    let (mut surveys, mut ids) = (Vec::new(), Vec::new());
    for index in 0..inputs.len() {
        let input = run.open(&mut inputs, index)?;
        let survey = survey(
            &input,
            &args.input.how,
            args.policy.ignore_aof_tail,
            run,
            &policies.transform,
            &mut selection,
        )
        .map_err(|e| e.or_input(input.name()))?;
        run.note(&format!("{}: {}", input.name(), found(&survey, run)));
        if survey.trailing > 0 {
            super::say(&format!(
                "{}: {} behind the end of the dump, from offset {}, are not loaded",
                input.name(),
                ByteCount(survey.trailing),
                (input.bytes().len() as u64).saturating_sub(survey.trailing)
            ));
        }
        ids.push(InputId::of(input.name(), input.bytes()));
        surveys.push(survey);
    }
    let together = match because {
        Some(because) => shards::judge(
            because,
            args.shards.newest_wins,
            &args.input,
            run,
            &mut inputs,
            &mut surveys,
            &mut selection,
            &|input, selection| {
                let ignore_tail = args.policy.ignore_aof_tail;
                let transform = &policies.transform;
                survey(
                    input,
                    &args.input.how,
                    ignore_tail,
                    run,
                    transform,
                    selection,
                )
            },
        )?,
        None => shards::Together::default(),
    };
    let entries = surveys.iter().map(|survey| survey.entries).collect();
    let signed = ids.clone();
    let mut journal = journal.journal(args, run, &connector, ids, entries, selection.names())?;
    if begins {
        journal.record.ttl_shift_ms = shift_ms;
    }
    if begins && !run.now_is_given {
        journal.record.clock_ahead_ms = contacted.clock_ahead_ms;
    }
    refuse_overlaps(
        &args.input.how,
        run,
        &mut inputs,
        &surveys,
        &options,
        together.share_no_name,
        &mut selection,
    )?;

    let libraries: usize = surveys.iter().map(|survey| survey.functions.len()).sum();
    if libraries > 0 && args.policy.functions.is_none() && !selection.is_all() {
        options.functions = load::FunctionPolicy::Skip;
        run.note("a part of the keys is selected, so function libraries are left out: --functions load takes them along");
    }
    let mut load = Load::begin(connector.clone(), &surveys, options)?;
    say_destination(run, &connector, &load);
    if libraries > 0
        && let Some(why) = load.refuses_functions()
    {
        super::say(&format!(
            "{} will not be loaded: {why}",
            match libraries {
                1 => "1 function library".to_owned(),
                many => format!("{} function libraries", Grouped(many as u64)),
            }
        ));
    }
    let not_raw = match load.restore_closed() {
        Some(words) => {
            super::say(&format!(
                "the destination does not let us RESTORE ({words}): every key goes by plain commands, which is slower"
            ));
            Vec::new()
        }
        None => load::not_raw(&surveys, load.terms(), &policies),
    };
    for found in not_raw {
        let keys = plural(found.keys, "key");
        let (name, reason) = (found.form.name(), found.reason);
        match found.as_form {
            Some(form) => run.note(&format!(
                "{keys} of type {name} will be re-encoded as {}: {reason}",
                form.name()
            )),
            None if found.by_commands => super::say(&format!(
                "{keys} of type {name} will go by plain commands, if those lose nothing: {reason}"
            )),
            None => super::say(&format!("{keys} of type {name} will be refused: {reason}")),
        }
    }
    if let Some(why) = load.why_walk() {
        run.note(&format!("values are walked before the first write: {why}"));
        for index in 0..inputs.len() {
            let input = run.open(&mut inputs, index)?;
            selection.in_input(number(index));
            walk(&load, &input, args, run, &mut selection).map_err(|e| e.or_input(input.name()))?;
        }
    }
    let goes_on = journal.left.is_some();
    let typed = journal.record.options.clone();
    load.record_in(journal, &Notes)?;
    if goes_on {
        look_up(&mut load, args, run, &mut inputs, &mut selection)?;
    }
    scripts(&mut load, args, run, &mut inputs, &surveys)?;
    replay(&mut load, args, run, &mut inputs, &surveys, &mut selection)?;
    let facts = load.facts().clone();
    let report = load.finish();
    let compared = match args.policy.compare && report.stopped.is_none() {
        true => Some(compare::AfterLoad::run(
            &connector,
            compare_options(args, run, policies.clone()),
            &args.input.how,
            run,
            &mut inputs,
            &surveys,
            &mut selection,
        )),
        false => None,
    };
    // A comparison makes them in passing.
    let digests = match &compared {
        Some(Ok(compared)) => compared.digests(),
        _ if run.json && report.stopped.is_none() => {
            let options = compare_options(args, run, policies);
            let made =
                compare::digests_of(&options, &args.input.how, run, &mut inputs, &mut selection);
            made.unwrap_or_else(|error| {
                super::say(&format!("there are no digests of what was loaded: {error}"));
                None
            })
        }
        _ => None,
    };
    let missing = selection.missing()?.filter(|missing| !missing.is_empty());
    if let Some(missing) = &missing {
        super::say_missing(missing);
    }
    let mut exit = match &report.stopped {
        Some(_) if report.aborted => Exit::Findings,
        Some(error) => Exit::of_kind(error.kind()),
        None if report.is_clean() => Exit::Done,
        None => Exit::Findings,
    };
    if missing.is_some() {
        exit = exit.and(Exit::Findings);
    }
    let compared = match compared {
        Some(Ok(compared)) => {
            exit = exit.and(compared.exit);
            Some(compared)
        }
        Some(Err(error)) => {
            // The load is done: its table is shown all the same.
            super::say(&format!("what was loaded cannot be compared: {error}"));
            exit = exit.and(Exit::of_kind(error.kind()));
            None
        }
        None => None,
    };
    let shown = if run.json {
        let mut object = figures(&report);
        object.extend(compare::heading(
            &inputs,
            &signed,
            run,
            &connector,
            facts.name(),
        ));
        let missing = missing.map_or(0, |missing| missing.len());
        object.insert("options".into(), json!(typed));
        object.insert("ttl_shift_ms".into(), json!(shift_ms));
        object.insert("slots_without_keys".into(), json!(together.gaps));
        object.insert("names_not_found".into(), json!(missing));
        let compared = compared.as_ref().map(compare::AfterLoad::figures);
        object.insert("compare".into(), json!(compared));
        object.insert("digests".into(), json!(digests));
        object.insert("exit_code".into(), json!(exit as u8));
        write_report(&mut *out, &object).and_then(|()| writeln!(out))
    } else {
        show(&report, inputs.len(), out).and_then(|()| {
            compared
                .as_ref()
                .map_or(Ok(()), |compared| compared.show(out))
        })
    };
    let shown = shown.and_then(|()| out.flush());
    if let Some(error) = &report.stopped {
        super::say(&error.to_string());
    }
    // What was done was done, whether anybody reads the table or not.
    if shown.is_err() {
        // It must not be lost: whoever closed the output may still see this.
        super::say(&summary(&report));
    }
    match shown {
        Err(_) if out.is_closed() => Ok(exit),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(exit),
    }
}

/// The number of an input, as the library counts them.
pub(super) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Some keys of an earlier run must still be there.
fn look_up(
    load: &mut Load,
    args: &LoadArgs,
    run: &Run,
    inputs: &mut Inputs,
    selection: &mut Selection,
) -> Result<()> {
    let mut all = LookedUp::default();
    for index in 0..inputs.len() {
        let input = run.open(inputs, index)?;
        let snapshot =
            Snapshot::with_options(input.bytes(), plan::snapshot_options(&args.input.how))?;
        let number = number(index);
        let found = load.look_up(number, &snapshot, selection)?;
        all.asked += found.asked;
        all.there += found.there;
    }
    if all.there < all.asked {
        super::say(&format!(
            "of {} that were restored and looked up, {} {} there",
            plural(all.asked, "key"),
            Grouped(all.there),
            if all.there == 1 { "is" } else { "are" }
        ));
    }
    load.demand_there(all)
}

fn options(args: &LoadArgs, run: &Run, policies: Policies) -> Options {
    let policy = &args.policy;
    Options {
        policies: Policies {
            now_ms: run.now.0,
            ..policies
        },
        on_conflict: policy.on_conflict.into(),
        verify: policy.verify,
        functions: policy.functions.unwrap_or_default().into(),
        load_scripts: policy.scripts == Scripts::Load,
        require_empty: policy.require_empty,
        fail_fast: policy.fail_fast,
        allow_eviction: policy.allow_eviction,
        growth_check: !policy.no_growth_check,
        trust_input: policy.trust.trust().trust_input,
        skip_damaged: policy.trust.trust().skip_damaged,
        spool_dir: plan::spool_dir(&args.input.how),
        untrusted: policy.trust.trust().untrusted,
        rates: policy.gentle.rates(),
        max_latency: policy
            .max_latency
            .map(|ms| Duration::from_millis(ms.into())),
        max_stall: policy.max_stall(args.select.keys_from.is_some()),
        max_replica_lag: Some(policy.max_replica_lag.0),
        connections: match policy.max_latency {
            Some(_) => 1,
            None => policy.connections.into(),
        },
        assume: policy.assume,
        cluster: args.cluster.cluster.into(),
        node_map: NodeMap::new(args.cluster.node_map.iter().cloned()),
        nodes_before: Vec::new(),
        acknowledged: Arc::clone(&run.acknowledged),
        retry_for: args.journal.retry_for,
        wait_for: args.journal.wait_for,
        failover_lookback: args.journal.failover_lookback,
        ahead: args.journal.journal_ahead,
        settle_every: Duration::from_millis(args.journal.journal_every.into()),
        ..Options::default()
    }
}

/// A key of the first input, where looking at it costs nothing.
fn peek(inputs: &Inputs, selection: &mut Selection, options: &Options) -> Option<load::Peeked> {
    use std::io::Read as _;

    let path = inputs.sources().first()?.path()?;
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(PEEKED)
        .read_to_end(&mut head)
        .ok()?;
    load::peek(&head, selection, options)
}

/// Walks the values of one input.
fn walk(
    load: &Load,
    input: &Input,
    args: &LoadArgs,
    run: &Run,
    selection: &mut Selection,
) -> Result<()> {
    let bytes = input.bytes();
    let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how))?;
    let mut progress = run.progress(format!("walk {}", input.name()), bytes.len() as u64);
    load.walk(&snapshot, selection, &mut |position| {
        progress.tick(position)
    })
}

/// Reads one input to its end, and refuses what should not be loaded.
pub(super) fn survey(
    input: &Input,
    how: &ReadArgs,
    ignore_aof_tail: bool,
    run: &Run,
    transform: &Transform,
    selection: &mut Selection,
) -> Result<Survey> {
    let bytes = input.bytes();
    let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(how))?;
    let mut progress = run.progress(format!("check {}", input.name()), bytes.len() as u64);
    let now_ms = run.now.0;
    let survey = load::survey_arriving(&snapshot, selection, now_ms, transform, &mut |position| {
        progress.tick(position)
    })?;
    drop(progress);
    if !ignore_aof_tail {
        refuse_newer_writes(input, &survey)?;
    }
    Ok(survey)
}

/// A dump that is a part of an append-only file is older than what stands behind or beside it.
fn refuse_newer_writes(input: &Input, survey: &Survey) -> Result<()> {
    let hint = "let a server load the whole append-only file and save a dump of it, or load the older part alone with --ignore-aof-tail";
    if let Some(increments) = input.newer_writes() {
        return Err(Error::new(ErrorKind::Usage, increments.to_string()).with_hint(hint));
    }
    let trailing = usize::try_from(survey.trailing).unwrap_or(usize::MAX);
    let bytes = input.bytes();
    let tail = classify_tail(
        bytes
            .get(bytes.len().saturating_sub(trailing)..)
            .unwrap_or_default(),
    );
    if tail == Tail::AnotherDump {
        return Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{} behind the end: {}; its keys would be left out",
                ByteCount(survey.trailing),
                tail_words(tail)
            ),
        )
        .with_hint("split the file, or load its first dump alone with --ignore-aof-tail"));
    }
    if tail.holds_writes() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{} behind the end: {}",
                ByteCount(survey.trailing),
                tail_words(tail)
            ),
        )
        .with_hint(hint));
    }
    Ok(())
}

/// Two inputs, or two databases that become one, can hold one name: which value is left at the destination would be an
/// accident. Under `replace` the second would silently overwrite the first. Inputs that share no slot share no name.
pub(super) fn refuse_overlaps(
    how: &ReadArgs,
    run: &Run,
    inputs: &mut Inputs,
    surveys: &[Survey],
    options: &Options,
    share_no_slot: bool,
    selection: &mut Selection,
) -> Result<()> {
    let dbs = surveys.iter().flat_map(|s| s.dbs.keys().copied());
    let policies = &options.policies;
    let names = &policies.transform.names;
    let merging = options.on_conflict == OnConflict::Replace
        && (names.may_merge() || policies.db_map.merges(dbs));
    // Names in different slots are different names, and stay so unless something is done to them.
    if (surveys.len() < 2 || share_no_slot && names.keeps_apart()) && !merging {
        return Ok(());
    }
    find_overlaps(how, run, inputs, options, merging, selection)
}

/// The same, whatever the names say.
pub(super) fn find_overlaps(
    how: &ReadArgs,
    run: &Run,
    inputs: &mut Inputs,
    options: &Options,
    merging: bool,
    selection: &mut Selection,
) -> Result<()> {
    let snapshot_options = plan::snapshot_options(how);
    let mut overlaps = load::Overlaps::new(options, merging);
    for index in 0..inputs.len() {
        let input = run.open(inputs, index)?;
        let snapshot = Snapshot::with_options(input.bytes(), snapshot_options)?;
        let mut progress = run.progress(
            format!("compare names, {}", input.name()),
            input.bytes().len() as u64,
        );
        overlaps
            .add(&snapshot, selection, &mut |position| {
                progress.tick(position)
            })
            .map_err(|error| error.or_input(input.name()))?;
    }
    let inputs_names: Vec<String> = inputs
        .sources()
        .iter()
        .map(|source| source.name().to_owned())
        .collect();
    let names = &options.policies.transform.names;
    // What the two that are told of last are called in the file.
    let last: std::cell::RefCell<Vec<(load::Where, Vec<u8>)>> = std::cell::RefCell::default();
    overlaps.refuse(
        |entry| {
            let input = run.open(inputs, entry.input)?;
            let snapshot = Snapshot::with_options(input.bytes(), snapshot_options)?;
            let key = snapshot.key_at(entry.offset, entry.dialect)?;
            let mut last = last.borrow_mut();
            let before = last.pop();
            last.clear();
            last.extend(before);
            last.push((entry, key.preview(128)));
            // Of longer names the beginning: those are not worth a doubt.
            Ok(names.preview(entry.db, &key, 1 << 20))
        },
        |entry| {
            let last = last.borrow();
            let name = last.iter().find(|(of, _)| *of == entry);
            format!(
                "{} at offset {} of {}",
                Escaped(name.map_or(&b""[..], |(_, name)| name)),
                entry.offset,
                inputs_names.get(entry.input).map_or("", String::as_str)
            )
        },
    )
}

/// What was found in an input, in one line.
pub(super) fn found(survey: &Survey, run: &Run) -> String {
    let mut line = plural(survey.entries, "key");
    if survey.selected != survey.entries {
        line.push_str(&format!(", {} selected", Grouped(survey.selected)));
    }
    line.push_str(&format!(
        ", {} of values",
        ByteCount(survey.value_bytes).short()
    ));
    if survey.expired > 0 {
        line.push_str(&format!(", {} expired", Grouped(survey.expired)));
    }
    if !survey.functions.is_empty() {
        let libraries = survey.functions.len() as u64;
        line.push_str(&match libraries {
            1 => ", 1 function library".to_owned(),
            many => format!(", {} function libraries", Grouped(many)),
        });
    }
    format!("{line}; {}", survey.producer.taken(run.now))
}

/// Cached scripts go first, as libraries do. What ends that ends the load, before its first key.
fn scripts(
    load: &mut Load,
    args: &LoadArgs,
    run: &Run,
    inputs: &mut Inputs,
    surveys: &[Survey],
) -> Result<()> {
    let found: u64 = surveys.iter().map(|survey| survey.scripts).sum();
    if found > 0 && args.policy.scripts == Scripts::Skip {
        run.note(&format!(
            "{} left out, which clients send again by themselves: --scripts load takes them along",
            cached(found)
        ));
    }
    for (index, survey) in surveys.iter().enumerate() {
        if survey.scripts == 0 {
            continue;
        }
        let input = run.open(inputs, index)?;
        let bytes = input.bytes();
        let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how))?;
        let mut progress = run.progress(format!("scripts of {}", input.name()), bytes.len() as u64);
        let sent = load.load_scripts(&snapshot, survey, &mut |position| progress.tick(position));
        drop(progress);
        if let Err(error) = sent {
            load.stop(error);
        }
    }
    Ok(())
}

/// So many cached scripts, in words.
pub(super) fn cached(scripts: u64) -> String {
    plural(scripts, "cached Lua script")
}

fn replay(
    load: &mut Load,
    args: &LoadArgs,
    run: &Run,
    inputs: &mut Inputs,
    surveys: &[Survey],
    selection: &mut Selection,
) -> Result<()> {
    let names: Vec<String> = inputs
        .sources()
        .iter()
        .map(|s| s.name().to_owned())
        .collect();
    loop {
        for (index, survey) in surveys.iter().enumerate() {
            let number = number(index);
            if load.is_stopped() || load.is_done_with(number) {
                continue;
            }
            let opened = run.open(inputs, index).and_then(|input| {
                let snapshot_options = plan::snapshot_options(&args.input.how);
                // The checksum was verified by the survey.
                Snapshot::with_options(input.bytes(), snapshot_options)?;
                Ok(input)
            });
            let input: Arc<Input> = match opened {
                Ok(input) => input,
                Err(error) => {
                    load.stop(error);
                    continue;
                }
            };
            let bytes = input.bytes();
            let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how))?;
            let mut progress = run.progress(format!("load {}", input.name()), bytes.len() as u64);
            let teller = Teller {
                lines: progress.lines(),
                names: names.clone(),
                input: Some((number, Arc::clone(&input))),
            };
            load.replay(
                number,
                &snapshot,
                survey,
                selection,
                &teller,
                &mut |position| progress.tick(position),
            )?;
            drop(progress);
            if let Some(fact) = input.replaced() {
                run.note(&format!("{}: {fact}", input.name()));
            }
        }
        let finished = load.standing().0.total();
        let entries = surveys.iter().map(|survey| survey.entries).sum::<u64>();
        let mut progress = run.progress(
            format!(
                "waiting for the destination, {} of {} done",
                Grouped(finished),
                plural(entries, "key")
            ),
            0,
        );
        progress.is_a_wait();
        let teller = Teller {
            lines: progress.lines(),
            names: names.clone(),
            input: None,
        };
        if !load.again(&teller, &mut |position| progress.tick(position)) {
            return Ok(());
        }
    }
}

/// How what was loaded is compared: as it was to arrive. What is read counts as access where the server knows no better.
fn compare_options(args: &LoadArgs, run: &Run, policies: Policies) -> Comparison {
    let arrival = options(args, run, policies);
    Comparison {
        policies: arrival.policies,
        connections: arrival.connections,
        cluster: args.cluster.cluster.asked(),
        node_map: arrival.node_map,
        rates: arrival.rates,
        instant_of_load: true,
        retry_for: arrival.retry_for,
        spool_dir: arrival.spool_dir,
        touch: true,
        digests: run.json,
        ..Comparison::default()
    }
}
