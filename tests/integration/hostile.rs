//! Hostile bytes: whatever stands in a file, the library neither panics nor hangs nor reserves much, and what it says of
//! the file is consistent.
//!
//! Each mutation of each seed is read three times: as it is, with the checksum made right, with the checksum switched off.
//! The cases run in processes of their own, so that a process that dies, hangs or eats memory is a result like others; each
//! case can be made again from its number.
//!
//! Not optimised, all this takes minutes: `tests/all.sh` builds this package with `opt-level = 2` for its tests.
//!
//! `RDBRIDGE_HOSTILE_SECONDS=600 cargo test --test integration hostile::` goes on with random cases of a new seed for that
//! long. What it finds is minimised into `testdata/hostile/`, which every run replays.

mod judge;
mod judge_value;
mod judge_verbs;
mod kept;
mod mutate;
mod packed;
mod reference;
mod replies;
mod scale;
mod seeds;
mod worker;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{env, thread};

use super::support::say_aloud;
use mutate::{Family, Plan, Seal};

/// Files over this size are not mutated.
const LARGEST_FILE: u64 = 256 * 1024;

/// The seed of what is random in an ordinary run.
const BASE: u64 = 20_261_123;

/// At least so many files must have been read, or a part of the suite is gone.
const FEWEST_CASES: usize = 900_000;

/// All cases; `base` seeds what is random.
fn plan(base: u64) -> Plan {
    let mut plan = Plan::new(base);
    let files = seeds::files(LARGEST_FILE);
    let (past, built, singles) = (
        seeds::past_finds(),
        seeds::built(),
        seeds::single_records(&files),
    );
    plan.add(past, &[Family::AsItIs, Family::Random(50)]);
    plan.add(
        built,
        &[
            Family::AsItIs,
            Family::Prefixes,
            Family::Bytes,
            Family::Lies,
            Family::Random(500),
        ],
    );
    plan.add(
        singles,
        &[
            Family::AsItIs,
            Family::Prefixes,
            Family::Bytes,
            Family::Random(100),
        ],
    );
    plan.add(files, &[Family::AsItIs, Family::Random(40)]);
    plan
}

#[test]
fn every_mutation_is_survived() {
    let seconds: u64 = env::var("RDBRIDGE_HOSTILE_SECONDS")
        .ok()
        .map(|s| s.parse().expect("RDBRIDGE_HOSTILE_SECONDS is a number"))
        .unwrap_or(0);
    let base = match seconds {
        0 => BASE,
        _ => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock")
            .as_secs(),
    };
    let started = Instant::now();
    let plan = plan(base);
    let shards = thread::available_parallelism()
        .map_or(2, usize::from)
        .min(8);
    let results: Vec<Shard> = thread::scope(|scope| {
        let running: Vec<_> = (0..shards)
            .map(|shard| scope.spawn(move || run_shard(shard, shards, base, seconds)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a shard's thread"))
            .collect()
    });

    let number = |of: &str| results.iter().map(|shard| shard.number(of)).sum::<usize>();
    let most = |of: &str| {
        results
            .iter()
            .map(|shard| shard.number(of))
            .max()
            .unwrap_or(0)
    };
    let files = number("files");
    say_aloud(&format!(
        "hostile: {files} files read in {:.0} s, from {} seeds: {} prefixes, {} changed bytes, {} lies, {} random, \
         each with 3 checksums; most memory {} bytes, slowest {} us",
        started.elapsed().as_secs_f64(),
        plan.seeds(),
        plan.cases_of(|f| *f == Family::Prefixes),
        plan.cases_of(|f| *f == Family::Bytes),
        plan.cases_of(|f| *f == Family::Lies),
        plan.cases_of(|f| matches!(f, Family::Random(_))) + number("explored"),
        most("peak"),
        most("slowest"),
    ));
    let finds: Vec<&str> = results
        .iter()
        .flat_map(|shard| shard.finds.iter().map(String::as_str))
        .collect();
    assert!(
        finds.is_empty(),
        "{} finds (seed {base}):\n{}",
        finds.len(),
        finds.join("\n")
    );
    assert_eq!(
        files,
        (plan.cases() + number("explored")) * Seal::ALL.len(),
        "not every case was run"
    );
    assert!(files >= FEWEST_CASES, "only {files} files were read");
}

/// What one process said.
#[derive(Debug, Default)]
struct Shard {
    numbers: BTreeMap<String, usize>,
    finds: Vec<String>,
}

impl Shard {
    fn number(&self, of: &str) -> usize {
        self.numbers.get(of).copied().unwrap_or(0)
    }
}

/// Runs one shard in a process of its own. If that dies, the case that killed it is found by running the last stretch again,
/// case by case.
fn run_shard(shard: usize, shards: usize, base: u64, seconds: u64) -> Shard {
    let job = worker::Job {
        shard,
        shards,
        base,
        seconds,
        from: 0,
        announce_all: false,
    };
    let (mut result, at, ended) = run_process(&job);
    if ended {
        return result;
    }
    let traced = worker::Job {
        from: at,
        seconds: seconds.min(30),
        announce_all: true,
        ..job
    };
    let (again, last, ended) = run_process(&traced);
    result.finds.push(if ended {
        format!("shard {shard} of {shards} died behind case {at}, and not when it was run again")
    } else {
        let case = plan(base).case(last);
        let path = worker::save("killed-the-process", &case.bytes, seconds > 0);
        format!(
            "case {last} ({}) killed its process: {}; saved as {}",
            case.what,
            again.finds.join("; "),
            path.display()
        )
    });
    result
}

/// What the process said, the last case that it announced, and whether it came to its end.
fn run_process(job: &worker::Job) -> (Shard, usize, bool) {
    let mut child = Command::new(env::current_exe().expect("this test binary"))
        .args(["hostile::worker::work", "--exact", "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .envs(job.to_env())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test binary starts");
    let stderr = child.stderr.take().expect("a pipe");
    let complaints = thread::spawn(move || {
        let lines: Vec<String> = BufReader::new(stderr)
            .lines()
            .map_while(Result::ok)
            .collect();
        let last = lines.len().saturating_sub(8);
        lines[last..].join(" | ")
    });
    let mut shard = Shard::default();
    let mut at = job.from;
    let mut ended = false;
    for line in BufReader::new(child.stdout.take().expect("a pipe"))
        .lines()
        .map_while(Result::ok)
    {
        // The harness' own words may stand in front of the first line.
        let Some((_, said)) = line.split_once("hostile: ") else {
            continue;
        };
        if let Some(number) = said.strip_prefix("at ") {
            at = number.parse().expect("a case number");
        } else if let Some(find) = said.strip_prefix("find ") {
            shard.finds.push(find.to_owned());
        } else if said == "end" {
            ended = true;
        } else if let Some((name, number)) = said.split_once(' ') {
            shard
                .numbers
                .insert(name.to_owned(), number.parse().expect("a number"));
        }
    }
    let status = child.wait().expect("the process ends");
    if !ended {
        let complaints = complaints.join().unwrap_or_default();
        shard.finds.push(format!("{status}: {complaints}"));
    }
    (shard, at, ended)
}
