//! What arrives: names, databases and expiries, made from what was typed.

use std::collections::BTreeMap;

use rdbridge::error::Escaped;
use rdbridge::input::Inputs;
use rdbridge::replay::{DbMap, Policies};
use rdbridge::snapshot::Snapshot;
use rdbridge::time::{Span, Timestamp};
use rdbridge::transform::{Naming, Shift, Transform};
use rdbridge::value::commands::Losses;
use rdbridge::{Error, ErrorKind, Result};

use super::args::{ArrivalArgs, ReadArgs};
use super::plan::{self, Run};

/// What is known before any input is read: all but how far expiries move, which count as kept until [`expiries`].
pub(super) fn policies(
    args: &ArrivalArgs,
    run: &Run,
    replace: bool,
    allow_loss: Losses,
) -> Result<Policies> {
    for (n, (source, target)) in args.map_db.iter().enumerate() {
        if let Some((_, other)) = args.map_db[..n]
            .iter()
            .find(|(s, t)| s == source && t != target)
        {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("--map-db puts database {source} into {other} and into {target}"),
            ));
        }
    }
    if args.snapshot_time.is_some() && args.ttl_policy.shift() != Some(Shift::FromSnapshot) {
        return Err(Error::new(
            ErrorKind::Usage,
            "--snapshot-time means nothing without --ttl-policy shift",
        ));
    }
    Ok(Policies {
        now_ms: run.now.0,
        expired: args.expired,
        replace,
        db_map: DbMap::new(args.map_db.iter().copied()),
        allow_loss,
        transform: Transform {
            names: Naming::new(&args.rename, &args.prefix)?,
            ..Transform::default()
        },
    })
}

/// What becomes of expiries in a run that begins at `policies.now_ms`, or that goes on with one that moved them by
/// `known_ms`. Gives how far [`Shift::FromSnapshot`] moves them, where that is wanted.
pub(super) fn expiries(
    args: &ArrivalArgs,
    how: &ReadArgs,
    run: &Run,
    inputs: &mut Inputs,
    known_ms: Option<i64>,
    policies: &mut Policies,
) -> Result<Option<i64>> {
    let shift_ms = match (args.ttl_policy.shift(), known_ms) {
        (Some(Shift::FromSnapshot), None) => {
            let taken = taken(args, how, run, inputs)?;
            let shift_ms = policies.now_ms.saturating_sub(taken.0);
            run.note(&format!(
                "expiries move by {}, the time since {}{}",
                moved(shift_ms),
                taken.rfc3339(),
                match args.snapshot_time {
                    Some(_) => "",
                    None => ", when the dump was taken",
                }
            ));
            Some(shift_ms)
        }
        (Some(Shift::FromSnapshot), Some(known)) => Some(known),
        _ => None,
    };
    policies.transform.expiries = args.ttl_policy.at(policies.now_ms, shift_ms.unwrap_or(0));
    Ok(shift_ms)
}

/// A distance in words, exact.
pub(super) fn moved(shift_ms: i64) -> String {
    format!("{} ({shift_ms} ms)", Span(shift_ms))
}

/// When the dump was taken: of several, when the last of them was, so that nothing is left longer than it was.
fn taken(args: &ArrivalArgs, how: &ReadArgs, run: &Run, inputs: &mut Inputs) -> Result<Timestamp> {
    if let Some(given) = args.snapshot_time {
        return Ok(given);
    }
    let mut newest = None;
    for index in 0..inputs.len() {
        let input = run.open(inputs, index)?;
        let snapshot = Snapshot::with_options(input.bytes(), plan::snapshot_options(how))?;
        let producer = snapshot
            .producer()
            .map_err(|error| error.or_input(input.name()))?;
        let Some(seconds) = producer.ctime else {
            return Err(Error::new(
                ErrorKind::Usage,
                "the file does not say when it was taken, so it is not known by how much --ttl-policy shift moves expiries",
            )
            .or_input(input.name())
            .with_hint("say when it was taken: --snapshot-time 2026-11-22T02:00:00Z, or seconds of Unix time"));
        };
        newest = newest.max(Some(Timestamp::from_secs(seconds)));
    }
    newest.ok_or_else(|| Error::new(ErrorKind::Usage, "there is no input"))
}

/// Options that change what arrives, as they are recorded.
pub(super) fn typed(args: &ArrivalArgs) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let mut put = |name: &str, value: String| options.insert(name.to_owned(), value);
    put("--expired", format!("{:?}", args.expired).to_lowercase());
    if !args.map_db.is_empty() {
        let pairs: Vec<String> = args
            .map_db
            .iter()
            .map(|(from, to)| format!("{from}:{to}"))
            .collect();
        put("--map-db", pairs.join(" "));
    }
    if !args.ttl_policy.is_keep() {
        put("--ttl-policy", args.ttl_policy.to_string());
    }
    if let Some(time) = args.snapshot_time {
        put("--snapshot-time", time.rfc3339());
    }
    if !args.rename.is_empty() {
        put("--rename", quoted(&args.rename));
    }
    if !args.prefix.is_empty() {
        put("--prefix", quoted(&args.prefix));
    }
    options
}

/// In the order as given, which matters.
fn quoted(rules: &[impl ToString]) -> String {
    let rules = rules.iter().map(|rule| {
        let text = rule.to_string();
        Escaped(text.as_bytes()).to_string()
    });
    rules.collect::<Vec<_>>().join(" ")
}
