//! `plan`: everything read and asked as for a load, and nothing stored. (What was *meant*, for all verbs, is in
//! [`super::plan`].)

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rdbridge::error::Escaped;
use rdbridge::input::Inputs;
use rdbridge::json::write_report;
use rdbridge::replay::Policies;
use rdbridge::resp::{Arg, Connector, Trace};
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::survey::Survey;
use rdbridge::target::{Assumed, Mode, NodeMap};
use rdbridge::verbs::load::{self, OnConflict};
use rdbridge::verbs::plan::{self as verb, Fit, ForServer, Options, Plan, Report};
use rdbridge::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::args::{Cluster, Functions, PlanArgs, Scripts};
use super::arrival;
use super::exit::Exit;
use super::load::{found, refuse_overlaps, survey};
use super::output::{Out, input_name};
use super::plan::{self, Run};
use super::plan_show::{self, Shown};
use super::shards::{self, Because};

/// Servers that are told of where none is named: one for each set of types that a release brought.
const SERVERS: [&str; 14] = [
    "redis-2.8",
    "redis-3.2",
    "redis-4.0",
    "redis-5.0",
    "redis-6.2",
    "redis-7.0",
    "redis-7.2",
    "redis-7.4",
    "redis-8.0",
    "redis-8.6",
    "redis-8.8",
    "redis-8.10",
    "valkey-8.1",
    "valkey-9.0",
];

pub(crate) fn run(args: &PlanArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    let sent = Arc::new(AtomicU64::new(0));
    let connector = args
        .to
        .as_deref()
        .map(|to| connector(to, args, run, &sent))
        .transpose()?;
    let mut inputs = run.inputs(&args.input, "plan")?;
    let mut selection = run.selection(&args.select, &args.input.how)?;
    let replace = OnConflict::from(args.policy.on_conflict) == OnConflict::Replace;
    // A destination that is not there is said now, not after the dump was read.
    let there = connector.as_ref();
    let there = there
        .map(|connector| verb::first_look(connector, &asking(args)))
        .transpose()?;
    let into_cluster = match args.cluster.cluster {
        Cluster::Auto => there
            .as_ref()
            .is_some_and(|there| there.mode == Some(Mode::Cluster)),
        asked => asked == Cluster::Yes,
    };
    // A load begins by the clock there.
    let by_its_clock = there.as_ref().map(|there| run.by_clock_of(there));
    let run = by_its_clock.as_ref().unwrap_or(run);
    selection.at(run.now);
    let mut policies = arrival::policies(&args.arrival, run, replace, args.loss.allowed())?;
    let shift_ms = arrival::expiries(
        &args.arrival,
        &args.input.how,
        run,
        &mut inputs,
        None,
        &mut policies,
    )?;
    let transform = policies.transform.clone();
    let because = Because::of_or_say(&args.input, &inputs, into_cluster, args.shards.newest_wins);
    let (mut surveys, mut told) = (Vec::new(), Vec::new());
    for index in 0..inputs.len() {
        let input = run.open(&mut inputs, index)?;
        let survey = survey(
            &input,
            &args.input.how,
            args.policy.ignore_aof_tail,
            run,
            &transform,
            &mut selection,
        )
        .map_err(|error| error.or_input(input.name()))?;
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
                survey(
                    input,
                    &args.input.how,
                    ignore_tail,
                    run,
                    &transform,
                    selection,
                )
            },
        )?,
        None => shards::Together::default(),
    };
    for (source, survey) in inputs.sources().iter().zip(&surveys) {
        told.push((source.name().to_owned(), found(survey, run)));
    }
    let options = options(args, policies, &selection, &surveys);
    refuse_overlaps(
        &args.input.how,
        run,
        &mut inputs,
        &surveys,
        &load::Options {
            policies: options.policies.clone(),
            on_conflict: args.policy.on_conflict.into(),
            spool_dir: options.spool_dir.clone(),
            ..load::Options::default()
        },
        together.share_no_name,
        &mut selection,
    )?;
    let mut plan = match &connector {
        Some(connector) => Plan::ask(connector.clone(), &surveys, options)?,
        None => Plan::assume(&servers(args)?, &surveys, options),
    };
    look(&mut plan, args, run, &mut inputs, &surveys, &mut selection)?;
    let report = plan.finish(&surveys)?;
    let missing = selection.missing()?.filter(|missing| !missing.is_empty());
    if let Some(missing) = &missing {
        super::say_missing(missing);
    }
    let on_conflict = args.policy.on_conflict.into();
    let mut exit = judge(&report, args, on_conflict);
    if missing.is_some() {
        exit = exit.and(Exit::Findings);
    }
    let sent = sent.load(Ordering::Relaxed);
    if run.json {
        let mut object = serde_json::to_value(&report)?;
        if let Value::Object(object) = &mut object {
            let inputs: Vec<Value> = told
                .iter()
                .zip(&surveys)
                .map(|((name, _), survey)| input_figures(name, survey))
                .collect();
            object.insert("inputs".into(), json!(inputs));
            object.insert("arrival".into(), json!(arrival::typed(&args.arrival)));
            object.insert("ttl_shift_ms".into(), json!(shift_ms));
            let address = connector.as_ref().map(|c| c.address.to_string());
            object.insert("address".into(), json!(address));
            object.insert("slots_without_keys".into(), json!(together.gaps));
            object.insert("commands_sent_by_plan".into(), json!(sent));
            object.insert(
                "on_conflict".into(),
                json!(format!("{on_conflict:?}").to_lowercase()),
            );
            let missing = missing.map_or(0, |missing| missing.len());
            object.insert("names_not_found".into(), json!(missing));
            object.insert("exit_code".into(), json!(exit as u8));
        }
        write_report(&mut *out, &object)?;
        writeln!(out)?;
    } else {
        let address = connector.as_ref().map(|c| c.address.to_string());
        plan_show::show(
            &Shown {
                report: &report,
                told: &told,
                address,
                sent,
                on_conflict,
                arrival: arrives(args, shift_ms),
            },
            out,
        )?;
    }
    if let Some(error) = report.there.as_ref().and_then(|at| at.in_the_way.as_ref()) {
        // In order on a terminal: first what was found, then why a load would end there.
        out.flush()?;
        super::say(&format!("load would not begin: {error}"));
    }
    Ok(exit)
}

/// What changes on the way, in words; nothing where nothing does.
fn arrives(args: &PlanArgs, shift_ms: Option<i64>) -> Vec<String> {
    let typed = arrival::typed(&args.arrival).into_iter();
    let changed = typed.filter(|(name, value)| name != "--expired" || value != "drop");
    changed
        .map(|(name, value)| match shift_ms {
            Some(ms) if name == "--ttl-policy" => format!(
                "{name} {value}: expiries move by {} if the load begins now",
                arrival::moved(ms)
            ),
            _ => format!("{name} {value}"),
        })
        .collect()
}

/// A connector that tells of every command.
fn connector(to: &str, args: &PlanArgs, run: &Run, sent: &Arc<AtomicU64>) -> Result<Connector> {
    let mut connector = run.connector_to(to, &args.how)?;
    connector.sentinel.clone_from(&args.cluster.sentinel);
    if let Some(db @ 1..) = connector.address.db {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("the address names database {db}, but a dump says itself which database each key belongs to"),
        )
        .with_hint(format!("put keys elsewhere with --map-db 0:{db}")));
    }
    let (sent, verbose) = (Arc::clone(sent), args.verbose);
    let trace: Trace = Arc::new(move |command| {
        sent.fetch_add(1, Ordering::Relaxed);
        if verbose {
            super::say(&format!("> {}", shown(command)));
        }
    });
    connector.trace = Some(trace);
    Ok(connector)
}

/// A command for people: long arguments by their beginnings and lengths.
fn shown(command: &[Arg<'_>]) -> String {
    const LONGEST: usize = 48;
    let words = command.iter().map(|arg| {
        let bytes = match arg {
            Arg::Bytes(bytes) => bytes.to_vec(),
            Arg::Pieces(pieces) => pieces.concat(),
        };
        if bytes.len() > LONGEST {
            return format!("({} bytes)", bytes.len());
        }
        let is_word = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
        match String::from_utf8(bytes) {
            Ok(word) if is_word => word,
            Ok(text) => Escaped(text.as_bytes()).to_string(),
            Err(error) => Escaped(error.as_bytes()).to_string(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The servers that are meant where no destination is given.
fn servers(args: &PlanArgs) -> Result<Vec<Assumed>> {
    match args.target.as_slice() {
        [] => SERVERS.iter().map(|name| name.parse()).collect(),
        named => Ok(named.to_vec()),
    }
}

/// How the destination is asked what it is.
fn asking(args: &PlanArgs) -> Options {
    Options {
        probe: !args.no_probe,
        cluster: args.cluster.cluster.asked(),
        node_map: NodeMap::new(args.cluster.node_map.iter().cloned()),
        assume: args.policy.assume,
        ..Options::default()
    }
}

fn options(
    args: &PlanArgs,
    policies: Policies,
    selection: &Selection,
    surveys: &[Survey],
) -> Options {
    let policy = &args.policy;
    let libraries = surveys.iter().any(|survey| !survey.functions.is_empty());
    let left_out = libraries && policy.functions.is_none() && !selection.is_all();
    Options {
        policies,
        measure: !args.no_probe,
        sample: args.sample.map(|percent| percent / 100.0),
        skip_functions: left_out || matches!(policy.functions, Some(Functions::Skip)),
        load_scripts: policy.scripts == Scripts::Load,
        allow_eviction: policy.allow_eviction,
        trust_input: policy.trust.trust().trust_input,
        max_stall: policy.max_stall(args.select.keys_from.is_some()),
        untrusted: policy.trust.trust().untrusted,
        skip_damaged: policy.trust.trust().skip_damaged,
        rates: policy.gentle.rates(),
        spool_dir: plan::spool_dir(&args.input.how),
        ..asking(args)
    }
}

fn look(
    plan: &mut Plan,
    args: &PlanArgs,
    run: &Run,
    inputs: &mut Inputs,
    surveys: &[Survey],
    selection: &mut Selection,
) -> Result<()> {
    for (index, survey) in surveys.iter().enumerate() {
        let input = run.open(inputs, index)?;
        let bytes = input.bytes();
        let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how))?;
        let mut progress = run.progress(format!("plan {}", input.name()), bytes.len() as u64);
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        plan.look(number, &snapshot, survey, selection, &mut |position| {
            progress.tick(position)
        })
        .map_err(|error| match error.kind() {
            ErrorKind::Destination => error,
            _ => error.or_input(input.name()),
        })?;
        drop(progress);
        if let Some(change) = input.changed_since_open()? {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("the file changed while it was read: {change}"),
            )
            .or_input(input.name()));
        }
    }
    Ok(())
}

/// The code that a load with the same options would end with, as far as that can be foreseen.
fn judge(report: &Report, args: &PlanArgs, on_conflict: OnConflict) -> Exit {
    let Some(at) = &report.there else {
        let whole = |server: &ForServer| server.is_whole();
        let all_can_go = match args.target.is_empty() {
            // Nobody asked for a certain one.
            true => report.servers.iter().any(whole),
            false => report.servers.iter().all(whole),
        };
        return match all_can_go && report.functions.damaged == 0 && report.duplicates == 0 {
            true => Exit::Done,
            false => Exit::Findings,
        };
    };
    if at.in_the_way.is_some() {
        return Exit::Destination;
    }
    let holds = at.destination.keys.as_ref();
    if args.policy.require_empty && holds.is_none_or(|keys| keys.values().any(|keys| *keys > 0)) {
        return Exit::Destination;
    }
    let functions = &report.functions;
    let libraries_fail = functions.damaged > 0
        || functions.refused > 0
        || !functions.there.is_empty()
            && on_conflict != OnConflict::Skip
            && !matches!(args.policy.functions, Some(Functions::Replace));
    let conflicts =
        matches!(on_conflict, OnConflict::Fail | OnConflict::Abort) && at.existing.there > 0;
    let no_room = at.memory.fit == Fit::TooLarge && !args.policy.allow_eviction;
    let whole = report.servers.iter().all(ForServer::is_whole);
    let scripts_fail = report.scripts.closed.is_some();
    match whole
        && report.duplicates == 0
        && !libraries_fail
        && !scripts_fail
        && !conflicts
        && at.existing.closed == 0
        && !no_room
    {
        true => Exit::Done,
        false => Exit::Findings,
    }
}

fn input_figures(name: &str, survey: &Survey) -> Value {
    json!({
        "input": input_name(name),
        "entries": survey.entries,
        "selected": survey.selected,
        "expired": survey.expired,
        "with_expiry": survey.with_expiry,
        "value_bytes": survey.value_bytes,
        "largest_value": survey.largest_value,
        "function_libraries": survey.functions.len(),
        "scripts": survey.scripts,
        "databases": survey.dbs,
        "producer": survey.producer,
    })
}
