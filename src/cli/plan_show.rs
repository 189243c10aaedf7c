//! A plan as text: a label and what is to be said, line by line.

use std::io::{self, Write};

use rdbridge::outcome::Outcome;
use rdbridge::units::ByteCount;
use rdbridge::verbs::load::OnConflict;
use rdbridge::verbs::plan::{AtDestination, Fit, ForServer, Report, UNCERTAINTY};

use super::output::{Grouped, Table, plural};

/// What is shown.
pub(crate) struct Shown<'a> {
    pub(crate) report: &'a Report,
    /// Each input with what was found in it, in words.
    pub(crate) told: &'a [(String, String)],
    pub(crate) address: Option<String>,
    /// Commands that the plan itself sent.
    pub(crate) sent: u64,
    pub(crate) on_conflict: OnConflict,
    /// What changes on the way.
    pub(crate) arrival: Vec<String>,
}

/// Lines with labels.
#[derive(Default)]
struct Lines(Vec<(&'static str, String)>);

impl Lines {
    fn add(&mut self, label: &'static str, text: impl Into<String>) {
        self.0.push((label, text.into()));
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (label, text) in &self.0 {
            writeln!(out, "{label:<10} {text}")?;
        }
        Ok(())
    }
}

pub(crate) fn show(shown: &Shown<'_>, out: &mut impl Write) -> io::Result<()> {
    let report = shown.report;
    let mut lines = Lines::default();
    for ((name, found), label) in shown.told.iter().zip(labels("input")) {
        lines.add(label, format!("{name}: {found}"));
    }
    listed("arrives", &shown.arrival, &mut lines);
    if let Some(at) = &report.there {
        destination(shown, at, &mut lines);
        memory(at, &mut lines);
    }
    match report.servers.as_slice() {
        [server] => roads(server, report.there.is_none(), &mut lines),
        servers => {
            lines.write(out)?;
            lines = Lines::default();
            matrix(servers, out)?;
        }
    }
    if report.duplicates > 0 {
        lines.add(
            "twice",
            format!(
                "{} stand again in one database of an input: only one of the values can be left (`rdbridge check --duplicates`)",
                plural(report.duplicates, "key")
            ),
        );
    }
    functions(report, &mut lines);
    scripts(report, &mut lines);
    if let Some(at) = &report.there {
        existing(shown, at, &mut lines);
        time(report, at, &mut lines);
        other_roads(at, &mut lines);
    }
    listed("by hand", &report.by_hand, &mut lines);
    listed("not in it", &report.not_in_file, &mut lines);
    if let Some(at) = &report.there {
        listed("wakes up", &at.wakes_up, &mut lines);
        if let Some(provider) = &at.provider {
            lines.add(
                "provider",
                format!(
                    "{} (known on {}, not asked): {}",
                    provider.name, provider.known_on, provider.import
                ),
            );
            for limit in provider.limits {
                lines.add("", *limit);
            }
        }
    }
    lines.write(out)
}

/// A label, and then none.
fn labels(first: &'static str) -> impl Iterator<Item = &'static str> {
    std::iter::once(first).chain(std::iter::repeat(""))
}

fn listed(label: &'static str, list: &[String], lines: &mut Lines) {
    for (text, label) in list.iter().zip(labels(label)) {
        lines.add(label, text.as_str());
    }
}

fn destination(shown: &Shown<'_>, at: &AtDestination, lines: &mut Lines) {
    let there = &at.destination;
    let address = shown.address.as_deref().unwrap_or_default();
    let mut what = vec![there.name.clone()];
    what.extend(there.mode.map(|mode| match there.shards {
        2.. => format!("{mode} of {} shards", Grouped(there.shards)),
        _ => mode.to_owned(),
    }));
    what.extend(there.role.map(str::to_owned));
    what.extend(there.replicas.map(|n| plural(n, "replica")));
    what.extend(there.databases.map(|n| plural(n, "database")));
    what.extend(there.user.as_ref().map(|user| format!("as user {user}")));
    lines.add("dest.", format!("{address}: {}", what.join(", ")));
    let mut more = vec![format!("RESTORE {}", there.restore)];
    more.extend(
        there
            .proto_max_bulk_len
            .map(|_| format!("arguments up to {}", ByteCount(there.max_argument).short())),
    );
    more.extend(there.modules.as_ref().map(|names| match names.as_slice() {
        [] => "no modules".to_owned(),
        names => format!("modules {}", names.join(", ")),
    }));
    more.extend(there.functions.as_ref().map(|names| match names.len() {
        0 => "no function libraries".to_owned(),
        many => format!("{many} function libraries"),
    }));
    if let Some(ms) = there.clock_ahead_ms
        && ms.abs() > 1000
    {
        more.push(format!(
            "its clock is {:+.1} s from ours",
            ms as f64 / 1000.0
        ));
    }
    lines.add("", more.join(" · "));
    if !there.not_known.is_empty() {
        lines.add("", format!("not known: {}", there.not_known.join(", ")));
    }
    for closed in &there.closed {
        lines.add("", format!("closed: {}: {}", closed.command, closed.words));
    }
    lines.add(
        "",
        format!(
            "asked with {}, {} of them tries of RESTORE that store nothing{}",
            plural(shown.sent, "command"),
            Grouped(there.probes),
            at.measured.map_or(String::new(), |measured| format!(
                "; {} ECHO to measure",
                Grouped(measured.sent)
            ))
        ),
    );
}

fn memory(at: &AtDestination, lines: &mut Lines) {
    let memory = &at.memory;
    let short = |bytes| ByteCount(bytes).short();
    let room = match (memory.maxmemory, memory.free) {
        (Some(0), _) => "no limit there".to_owned(),
        (Some(limit), Some(free)) => format!("{} free of {}", short(free), short(limit)),
        _ => "how much is free is not known".to_owned(),
    };
    let basis = match memory.basis {
        "used-mem" => "what the old server used",
        _ => "a formula by type",
    };
    let verdict = match memory.fit {
        Fit::Fits => "it fits",
        Fit::Tight => "tight: it may not fit",
        Fit::TooLarge => "it does not fit",
        Fit::NotKnown => "not known whether it fits",
    };
    let policy = match memory.policy.as_deref() {
        None => "policy not known".to_owned(),
        Some(policy) if policy == "noeviction" || memory.maxmemory == Some(0) => {
            format!("policy {policy}")
        }
        Some(policy) => format!("policy {policy}: evicts keys at the limit"),
    };
    lines.add(
        "memory",
        format!(
            "needs about {} ± {UNCERTAINTY} % ({basis}), {room} · {policy} · {verdict}",
            short(memory.needed)
        ),
    );
}

fn roads(server: &ForServer, by_table: bool, lines: &mut Lines) {
    let share = |what: &str, share: rdbridge::verbs::plan::Share| match share.keys {
        0 => format!("{what} 0"),
        keys => format!(
            "{what} {} ({})",
            Grouped(keys),
            ByteCount(share.bytes).short()
        ),
    };
    let whom = match by_table {
        true => format!("{}, by the table: ", server.server),
        false => String::new(),
    };
    let mut roads = format!(
        "{whom}{} · {}",
        share("raw", server.raw),
        share("re-encoded", server.reencoded)
    );
    if server.by_commands.keys > 0 {
        roads.push_str(" · ");
        roads.push_str(&share("by commands", server.by_commands));
    }
    lines.add(
        "roads",
        format!("{roads} · {}", share("refused", server.refused)),
    );
    for group in server.groups.iter().filter(|group| group.road != "raw") {
        let keys = plural(group.share.keys, "key");
        let reason = group.reason.as_deref().unwrap_or_default();
        lines.add(
            "",
            match &group.as_type {
                Some(form) => format!("{keys} of type {} as {form}: {reason}", group.type_name),
                None => format!("{keys} of type {} refused: {reason}", group.type_name),
            },
        );
    }
    if server.doubtful > 0 {
        lines.add(
            "",
            format!(
                "of these {} of modules: whether their modules are there is not known",
                plural(server.doubtful, "value")
            ),
        );
    }
    for (outcome, count) in server.outcomes.iter() {
        let told = matches!(outcome, Outcome::Restored(_) | Outcome::Refused);
        if count > 0 && !told {
            lines.add("", format!("{} {}", Grouped(count), outcome.label()));
        }
    }
    for (loss, keys) in server.losses.iter() {
        let what = if loss.is_meaning() {
            ", as allowed"
        } else {
            ", which is bookkeeping"
        };
        lines.add(
            "",
            format!("{} go without {loss}{what}", plural(keys, "key")),
        );
    }
    if let Some(why) = server.walk {
        lines.add(
            "",
            format!("values are walked before the first write: {why}"),
        );
    }
}

fn matrix(servers: &[ForServer], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::default();
    table.row(["", "raw", "re-encoded", "refused", "", "in the way"].map(Into::into));
    for server in servers {
        let mut ways: Vec<&str> = server
            .groups
            .iter()
            .filter(|group| group.road == "refused")
            .filter_map(|group| group.reason.as_deref())
            .collect();
        ways.dedup();
        let more = match ways.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(
                " (and {more} more: --target {})",
                server.server.replace(' ', "-")
            ),
        };
        let mut way = format!("{}{more}", ways.first().unwrap_or(&""));
        if server.functions_refused > 0 {
            let semicolon = if way.is_empty() { "" } else { "; " };
            way.push_str(semicolon);
            way.push_str("no functions, which came with Redis 7.0");
        }
        let goes = server.raw.keys + server.reencoded.keys + server.by_commands.keys;
        let takes = match (server.is_whole(), goes) {
            (true, _) => "whole",
            (false, 0) => "nothing",
            (false, _) => "in part",
        };
        table.row([
            server.server.as_str().into(),
            server.raw.keys.into(),
            server.reencoded.keys.into(),
            server.refused.keys.into(),
            takes.into(),
            way.into(),
        ]);
    }
    table.write(out, 0)
}

fn scripts(report: &Report, lines: &mut Lines) {
    let scripts = &report.scripts;
    if scripts.found == 0 {
        return;
    }
    let found = super::load::cached(scripts.found);
    lines.add(
        "scripts",
        match (&scripts.closed, scripts.skipped) {
            (Some(words), _) => format!("{found}, and none can be loaded: {words}"),
            (None, 0) => format!("{found}, loaded before the keys"),
            (None, _) => format!("{found}, left out: --scripts load takes them along"),
        },
    );
}

fn functions(report: &Report, lines: &mut Lines) {
    let functions = &report.functions;
    if functions.found == 0 {
        return;
    }
    let refused = match &functions.closed {
        Some(words) => format!("refused: the destination says {words}"),
        None => "refused: functions came with Redis 7.0".to_owned(),
    };
    let mut text = vec![format!("{} found", Grouped(functions.found))];
    for (count, what) in [
        (functions.skipped, "left out"),
        (functions.repeated, "repeated"),
        (functions.damaged, "damaged"),
        (functions.refused, refused.as_str()),
    ] {
        if count > 0 {
            text.push(format!("{} {what}", Grouped(count)));
        }
    }
    if !functions.there.is_empty() {
        text.push(format!("there already: {}", functions.there.join(", ")));
    }
    lines.add("libraries", text.join(" · "));
}

fn existing(shown: &Shown<'_>, at: &AtDestination, lines: &mut Lines) {
    let existing = &at.existing;
    if at.in_the_way.is_some() && existing.asked == 0 && !existing.exact {
        lines.add("existing", "not asked");
        return;
    }
    let consequence = match shown.on_conflict {
        OnConflict::Fail => "left alone, and each is a conflict (--on-conflict fail)",
        OnConflict::Skip => "left alone (--on-conflict skip)",
        OnConflict::Same => "compared; a different value is a conflict (--on-conflict same)",
        OnConflict::Replace => "overwritten (--on-conflict replace)",
        OnConflict::Abort => "the load stops at the first (--on-conflict abort)",
    };
    let text = match (existing.exact, existing.at_most) {
        (true, _) if existing.there == 0 => "none of the keys is there".to_owned(),
        (true, _) => format!(
            "{} of {} there already: {consequence}",
            Grouped(existing.there),
            plural(existing.keys, "key")
        ),
        (false, Some(at_most)) => format!(
            "{} of {} drawn at random are there; of all {} at most {}, with 95 % confidence: {consequence}",
            Grouped(existing.there),
            plural(existing.asked - existing.not_known, "key"),
            Grouped(existing.keys),
            Grouped(at_most)
        ),
        (false, None) => format!(
            "not known of {}: {}",
            plural(existing.keys - (existing.asked - existing.not_known), "key"),
            existing
                .words
                .as_deref()
                .unwrap_or("the destination does not answer")
        ),
    };
    lines.add("existing", text);
    if existing.closed > 0 {
        lines.add(
            "",
            format!(
                "{} may not be written by this user (a key pattern) and will fail",
                plural(existing.closed, "key")
            ),
        );
    }
}

fn time(report: &Report, at: &AtDestination, lines: &mut Lines) {
    let Some(server) = report.servers.first() else {
        return;
    };
    let mut text = vec![
        plural(server.commands, "command"),
        ByteCount(server.bytes).short(),
    ];
    if let Some(measured) = &at.measured {
        text.push(format!(
            "round trip {:.1} ms",
            measured.round_trip_us as f64 / 1000.0
        ));
    }
    if let Some(estimate) = &at.estimate {
        text.push(match estimate.at_most_seconds {
            0..=3 => "some seconds".to_owned(),
            most => format!(
                "about {} to {}",
                duration(estimate.at_least_seconds),
                duration(most)
            ),
        });
        text.push(format!("an estimate from ECHO; limit: {}", estimate.limit));
    } else {
        text.push("how long it takes is not known".to_owned());
    }
    lines.add("cost", text.join(" · "));
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{} s", seconds.max(1)),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn other_roads(at: &AtDestination, lines: &mut Lines) {
    for (road, label) in at.other_roads.iter().zip(labels("not taken")) {
        let state = match road.state {
            "unavailable" => "closed",
            "not-tried" => "not tried",
            _ => "not known",
        };
        lines.add(label, format!("{}: {state}: {}", road.road, road.why));
    }
}
