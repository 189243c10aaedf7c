//! From what was typed to an exit code: `args` (typed) → `plan` (meant) → one verb → `output`.
//!
//! Data goes to standard output, everything else to standard error. The only place that reads the environment, the clock
//! and the terminal.

mod args;
mod arrival;
mod check;
mod compare;
mod exit;
mod export;
mod get;
mod info;
mod journal;
mod keys;
mod load;
mod load_said;
mod load_show;
mod output;
mod output_file;
mod plan;
mod plan_show;
mod plan_verb;
mod progress;
mod secrets;
mod shards;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use self::args::{Cli, Verb};
use self::exit::Exit;
use self::output::{Grouped, Out};
use self::plan::Run;

/// Runs the command.
pub(crate) fn main() -> ExitCode {
    if let Some((path, json)) = status_of(std::env::args_os().skip(1)) {
        let mut out = Out::stdout();
        let shown = journal::status(&path, json, &mut out).and_then(|exit| {
            out.flush()?;
            Ok(exit)
        });
        return ended(shown, json, &mut out);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output; a reader that has gone away is no error.
            let _ = error.print();
            return match error.exit_code() {
                0 => Exit::Done.into(),
                _ => Exit::Usage.into(),
            };
        }
    };
    let mut out = Out::stdout();
    let json = cli.verb.json();
    let result = run(cli, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    ended(result, json, &mut out)
}

/// `load --status JOURNAL [--json]`, which needs neither an input nor a destination.
fn status_of(args: impl Iterator<Item = std::ffi::OsString>) -> Option<(PathBuf, bool)> {
    let args: Vec<_> = args.collect();
    let (verb, rest) = args.split_first()?;
    let json = rest.iter().any(|arg| arg == "--json");
    let rest: Vec<_> = rest.iter().filter(|arg| *arg != "--json").collect();
    match rest.as_slice() {
        [flag, path] if verb == "load" && *flag == "--status" => Some((PathBuf::from(path), json)),
        _ => None,
    }
}

fn ended(result: anyhow::Result<Exit>, json: bool, out: &mut Out) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        // The reader of our output has seen enough: nothing went wrong.
        Err(_) if out.is_closed() => Exit::Done.into(),
        Err(error) => {
            if json && out.is_untouched() {
                let _ = writeln!(out, "{}", output::report_text(&output::failure(&error)));
            }
            // What was found so far is worth having.
            let _ = out.flush();
            say(&format!("{error:#}"));
            Exit::of(&error).into()
        }
    }
}

fn run(cli: Cli, out: &mut Out) -> anyhow::Result<Exit> {
    match cli.verb {
        Verb::Check(args) => check::run(&args, &Run::new(&args.common)?, out),
        Verb::Info(args) => info::run(&args, &Run::new(&args.common)?, out),
        Verb::Keys(args) => keys::run(&args, &Run::new(&args.common)?, out),
        Verb::Get(args) => get::run(&args, &Run::new(&args.common)?, out),
        Verb::Export(args) => export::run(&args, &Run::new(&args.common)?, out),
        Verb::Plan(args) => plan_verb::run(&args, &Run::new(&args.common)?, out),
        Verb::Load(args) => load::run(&args, &Run::new(&args.common)?, out),
        Verb::Compare(args) => compare::run(&args, &Run::new(&args.common)?, out),
    }
}

/// One line on standard error. That it cannot be written is no reason to fail.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("rdbridge: {text}\n").as_bytes());
}

/// How many missing names are shown one by one.
const MISSING_SHOWN: usize = 100;

/// Lists names that were asked for and that no input has.
fn say_missing(missing: &rdbridge::select::Missing) {
    for name in missing.names().take(MISSING_SHOWN) {
        let db = name.db.map(|db| format!(" in db {db}")).unwrap_or_default();
        let cut = match name.bytes > name.key.len() as u64 {
            true => format!(
                " (the first {} of {} bytes)",
                Grouped(name.key.len() as u64),
                Grouped(name.bytes)
            ),
            false => String::new(),
        };
        say(&format!(
            "not in the dump: {}{cut}{db}",
            rdbridge::error::Escaped(&name.key)
        ));
    }
    if let more @ 1.. = missing.len().saturating_sub(MISSING_SHOWN as u64) {
        say(&format!("and {more} more names that are not in the dump"));
    }
}
