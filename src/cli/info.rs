//! `info`: tables for people, or JSON.

use std::io::{self, Write};

use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::units::ByteCount;
use rdbridge::verbs::info::{self, Count, Info, Options};
use rdbridge::verbs::tail_words;
use rdbridge::{Error, ErrorKind, Result};

use super::args::InfoArgs;
use super::exit::Exit;
use super::output::{Cell, Grouped, Json, Out, Table, percent, plural};
use super::plan::{self, Run};

pub(crate) fn run(args: &InfoArgs, run: &Run, out: &mut Out) -> anyhow::Result<Exit> {
    let mut inputs = run.inputs(&args.input, "info")?;
    let mut selection = run.selection(&args.select, &args.input.how)?;
    let mut json = run.json.then(|| Json::begin(out)).transpose()?;
    let mut exit = Exit::Done;
    for index in 0..inputs.len() {
        let opened = run.open(&mut inputs, index);
        let read = opened.and_then(|input| {
            let info = one(&input, args, run, &mut selection)?;
            Ok((input, info))
        });
        match read {
            Ok((input, info)) => {
                if let Some(json) = &mut json {
                    json.begin_input(out, input.name())?;
                    json.field(out, "info", &info)?;
                    json.end_input(out)?;
                } else {
                    if index > 0 {
                        writeln!(out)?;
                    }
                    show(&info, input.name(), run, out)?;
                }
                if let Some(damage) = info.damage {
                    // In order on a terminal: first what was read, then why it ended.
                    out.flush()?;
                    super::say(&damage.or_input(input.name()).to_string());
                    exit = exit.and(Exit::Input);
                }
            }
            Err(error) => {
                if let Some(json) = &mut json {
                    let name = inputs.sources()[index].name().to_owned();
                    json.fail_input(out, &name, &error.to_string())?;
                }
                super::say(&error.to_string());
                exit = exit.and(Exit::of_kind(error.kind()));
            }
        }
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
    input: &rdbridge::input::Input,
    args: &InfoArgs,
    run: &Run,
    selection: &mut Selection,
) -> Result<Info> {
    let named = |error: Error| error.or_input(input.name());
    let bytes = input.bytes();
    let snapshot =
        Snapshot::with_options(bytes, plan::snapshot_options(&args.input.how)).map_err(named)?;
    let options = Options {
        now: run.now,
        top: args.top.into(),
    };
    let mut progress = run.progress(format!("info {}", input.name()), bytes.len() as u64);
    let info = info::info(&snapshot, &options, selection, &mut |position| {
        progress.tick(position)
    })
    .map_err(named)?;
    drop(progress);
    if let Some(change) = input.changed_since_open().map_err(named)? {
        return Err(named(Error::new(
            ErrorKind::Corrupt,
            format!("the file changed while it was read: {change}"),
        )));
    }
    Ok(info)
}

/// Cached scripts that the text names; `--json` has a hundred.
const SCRIPTS_SHOWN: usize = 10;

/// Everything that is there; what is not there takes no line.
fn show(info: &Info, name: &str, run: &Run, out: &mut impl Write) -> io::Result<()> {
    let checksum = match info.checksum {
        "verified" => "checksum verified",
        "disabled" => "checksum switched off by the writer",
        "none" => "no checksum in this version",
        "wrong" => "checksum wrong",
        _ => "checksum not reached",
    };
    let mut head = Table::default();
    head.row([
        "input".into(),
        format!(
            "{name}: {}, RDB {} ({}), {checksum}",
            ByteCount(info.bytes).short(),
            info.rdb_version,
            info.magic
        )
        .into(),
    ]);
    head.row(["".into(), info.producer.taken(run.now).into()]);
    head.row(["keys".into(), keys_line(info).into()]);
    if let Some(slots) = &info.slots {
        head.row(["slots".into(), slots.clone().into()]);
    }
    if info.function_count > 0 {
        head.row(["functions".into(), functions_line(info).into()]);
    }
    for (label, list, what) in [
        ("modules", &info.modules, "value"),
        ("module aux", &info.module_aux, "record"),
    ] {
        for module in list {
            let line = format!(
                "{} version {}: {}, {}",
                module.name,
                module.version,
                plural(module.count.keys, what),
                ByteCount(module.count.bytes).short()
            );
            head.row([label.into(), line.into()]);
        }
    }
    if info.scripts.keys > 0 {
        let line = format!(
            "{} cached, {}",
            plural(info.scripts.keys, "Lua script"),
            ByteCount(info.scripts.bytes).short()
        );
        head.row(["scripts".into(), line.into()]);
        for script in info.script_list.iter().take(SCRIPTS_SHOWN) {
            let name = script.sha1.as_deref().unwrap_or("(its bytes lie)");
            let line = format!("{name}  {}", script.first_line);
            head.row(["".into(), line.into()]);
        }
        let more = info.scripts.keys.saturating_sub(SCRIPTS_SHOWN as u64);
        if more > 0 {
            head.row(["".into(), format!("and {} more", Grouped(more)).into()]);
        }
    }
    for (count, label, what) in [
        (
            info.with_key_meta,
            "key meta",
            "key with metadata of redis 8.6",
        ),
        (
            info.with_sub_expires,
            "members",
            "key with members that expire by themselves (KeyDB)",
        ),
        (
            info.hash_templates,
            "templates",
            "hash template (redis 8.10)",
        ),
    ] {
        if count > 0 {
            head.row([label.into(), plural_first(count, what).into()]);
        }
    }
    if info.trailing.bytes > 0 {
        let line = format!(
            "{} behind the end: {}",
            ByteCount(info.trailing.bytes),
            tail_words(info.trailing.kind)
        );
        head.row(["trailing".into(), line.into()]);
    }
    for aux in &info.aux {
        head.row(["aux".into(), format!("{} = {}", aux.name, aux.value).into()]);
    }
    head.write(out, 0)?;
    show_databases(info, out)?;
    show_types(info, out)?;
    show_biggest(info, out)?;
    show_servers(info, out)
}

fn keys_line(info: &Info) -> String {
    let total = &info.total;
    let mut line = plural(info.keys, "key");
    if info.not_selected > 0 {
        line.push_str(&format!(" selected, {} not", Grouped(info.not_selected)));
    }
    for (count, what) in [
        (total.expires, "with expiry"),
        (total.expired, "expired"),
        (total.with_idle, "with idle time"),
        (total.with_freq, "with access frequency"),
    ] {
        if count > 0 {
            line.push_str(&format!(
                ", {} {what} ({})",
                Grouped(count),
                percent(count, info.keys)
            ));
        }
    }
    line
}

fn functions_line(info: &Info) -> String {
    let names: Vec<String> = info
        .functions
        .iter()
        .map(|library| {
            let name = library.name.as_deref().unwrap_or("without a name");
            let age = if library.pre_ga {
                ", of a release candidate of redis 7.0"
            } else {
                ""
            };
            format!("{name} ({}{age})", ByteCount(library.bytes).short())
        })
        .collect();
    let mut line = names.join(", ");
    let more = info.function_count - info.functions.len() as u64;
    if more > 0 {
        line.push_str(&format!(", and {} more", Grouped(more)));
    }
    line
}

/// `1 key with x`, `2 keys with x`.
fn plural_first(count: u64, what: &str) -> String {
    match what.split_once(' ') {
        Some(("hash", rest)) => {
            let (noun, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            format!("{} {rest}", plural(count, &format!("hash {noun}")))
        }
        Some((noun, rest)) => format!("{} {rest}", plural(count, noun)),
        None => plural(count, what),
    }
}

fn bytes_cell(count: &Count) -> Cell {
    Cell::Number(ByteCount(count.bytes).short())
}

fn heading(text: &str) -> Cell {
    Cell::Number(text.to_owned())
}

fn show_databases(info: &Info, out: &mut impl Write) -> io::Result<()> {
    if info.databases.is_empty() {
        return Ok(());
    }
    let mut table = Table::default();
    table.row([
        "db".into(),
        heading("keys"),
        heading("bytes"),
        heading("with expiry"),
        heading("expired"),
    ]);
    for db in &info.databases {
        table.row([
            db.db.to_string().into(),
            db.count.keys.into(),
            bytes_cell(&db.count),
            db.expires.into(),
            db.expired.into(),
        ]);
    }
    if let Some(rest) = &info.databases_left_off {
        table.row([
            "others".into(),
            rest.count.keys.into(),
            bytes_cell(&rest.count),
            rest.expires.into(),
            rest.expired.into(),
        ]);
    }
    writeln!(out)?;
    table.write(out, 0)
}

fn show_types(info: &Info, out: &mut impl Write) -> io::Result<()> {
    if info.types.is_empty() {
        return Ok(());
    }
    let mut table = Table::default();
    table.row([
        "type".into(),
        "encoding".into(),
        heading("keys"),
        heading("share"),
        heading("bytes"),
    ]);
    for line in &info.types {
        table.row([
            line.kind.into(),
            line.encoding.into(),
            line.count.keys.into(),
            Cell::Number(percent(line.count.keys, info.keys)),
            bytes_cell(&line.count),
        ]);
    }
    writeln!(out)?;
    table.write(out, 0)
}

fn show_biggest(info: &Info, out: &mut impl Write) -> io::Result<()> {
    if info.biggest.is_empty() {
        return Ok(());
    }
    let mut table = Table::default();
    table.row([
        "largest values".into(),
        "db".into(),
        heading("bytes"),
        "key".into(),
    ]);
    for big in &info.biggest {
        table.row([
            big.type_name.clone().into(),
            big.db.to_string().into(),
            big.bytes.into(),
            format!("\"{}\"", big.key).into(),
        ]);
    }
    writeln!(out)?;
    table.write(out, 0)
}

fn show_servers(info: &Info, out: &mut impl Write) -> io::Result<()> {
    let loadable = &info.loadable;
    let mut places: Vec<String> = [loadable.redis, loadable.valkey]
        .into_iter()
        .flatten()
        .map(|server| format!("{server} or newer"))
        .collect();
    if info.damage.is_some() {
        places = vec!["no server: it is damaged".to_owned()];
    } else if places.is_empty() {
        places.push("no known server".to_owned());
    }
    writeln!(out, "\nthe whole file starts: {}", places.join(", "))?;
    for condition in &loadable.conditions {
        writeln!(out, "  {condition}")?;
    }
    if info.keys == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "key by key (`load`): bytes as they are, and written in an older form:"
    )?;
    let mut table = Table::default();
    for share in &loadable.raw {
        table.row([
            share.server.into(),
            share.keys.into(),
            Cell::Number(percent(share.keys, info.keys)),
            share.reencoded.into(),
        ]);
    }
    table.write(out, 2)
}
