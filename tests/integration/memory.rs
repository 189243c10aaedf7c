//! Own memory is flat: 32 MiB and 4 MiB a connection, whatever the file, the number of keys or the size of one.
//!
//! *How it is measured.* RssAnon + RssShmem of the process, read every 5 ms: what is mapped from a file belongs to the page
//! cache and counts for nobody. And every run is under `prlimit --data` of its budget, which no peak between two looks
//! escapes. That limit is the stricter one: it counts what is *reserved*, touched or not, so also the whole stack of every
//! thread (2 MiB each unless the thread asks for less; the main thread's does not count) and what the allocator keeps.
//! Spools are mapped shared, from a file: where their directory lies in memory (tmpfs), they are memory, which is said.
//!
//! *Dumps* are written here, each large in one respect. With `RDBRIDGE_LONG=1` also those of `benches/`, where they were made:
//! `~/.cache/rdbridge/bench`, or `RDBRIDGE_BENCH`.

pub(crate) mod dumps;
mod measure;

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use measure::mib;

use super::support::command::PROGRAM;
use super::support::dump;
use super::support::say_aloud;
use super::support::server::Server;

/// What every verb may have.
const OWN: u64 = 32 << 20;
/// What a connection adds.
const A_CONNECTION: u64 = 4 << 20;

/// One run of the command.
#[derive(Debug)]
struct Case {
    /// Without the path of the dump.
    what: String,
    args: Vec<String>,
    connections: u64,
    /// Comes in by a pipe instead of by its name.
    stdin: Option<PathBuf>,
    /// The exit codes that are right.
    codes: &'static [i32],
}

impl Case {
    fn new(words: &str, dump: &Path) -> Self {
        let name = dump.file_name().unwrap_or_default().to_string_lossy();
        let path = dump.to_str().expect("a path in UTF-8");
        Self {
            what: words.replace("FILE", &name),
            args: words.split(' ').map(|w| w.replace("FILE", path)).collect(),
            connections: 0,
            stdin: None,
            codes: &[0],
        }
    }

    fn ends_with(mut self, codes: &'static [i32]) -> Self {
        self.codes = codes;
        self
    }

    fn piped(words: &str, dump: &Path) -> Self {
        let mut case = Self::new(words, dump);
        case.args = words
            .replace("FILE", "-")
            .split(' ')
            .map(str::to_owned)
            .collect();
        case.what.push_str(" (a pipe)");
        case.stdin = Some(dump.to_owned());
        case
    }

    fn budget(&self) -> u64 {
        OWN + A_CONNECTION * self.connections
    }

    fn run(&self, spool_dir: &Path) -> measure::Run {
        // By `cat`, for a redirected file could be mapped.
        let mut cat = self.stdin.as_ref().map(|path| {
            Command::new("cat")
                .arg(path)
                .stdout(Stdio::piped())
                .spawn()
                .expect("cat runs")
        });
        let pipe = cat.as_mut().and_then(|cat| cat.stdout.take());
        let stdin = pipe.map_or_else(Stdio::null, Stdio::from);
        let spool_dir = spool_dir.to_str().expect("a path in UTF-8");
        let args =
            self.args
                .iter()
                .map(String::as_str)
                .chain(["--quiet", "--spool-dir", spool_dir]);
        let run = measure::run(PROGRAM, args, Some(self.budget()), stdin);
        if let Some(mut cat) = cat {
            cat.wait().expect("cat ends");
        }
        run
    }
}

/// What came of all runs.
#[derive(Debug, Default)]
struct Sums {
    runs: usize,
    complaints: Vec<String>,
    /// The largest share of its budget that a run had, and which.
    own: (f64, String),
    data: (f64, String),
    slowest: (Duration, String),
    looks: u32,
}

impl Sums {
    fn add(&mut self, case: &Case, run: &measure::Run) {
        let budget = case.budget();
        self.runs += 1;
        self.looks += run.looks;
        if let Some(complaint) = run.complaint(budget, case.codes) {
            self.complaints.push(format!("{}: {complaint}", case.what));
        }
        let share = |bytes: u64| bytes as f64 / budget as f64;
        if share(run.own) > self.own.0 {
            self.own = (
                share(run.own),
                format!("{} by `{}`", mib(run.own), case.what),
            );
        }
        if share(run.data) > self.data.0 {
            self.data = (
                share(run.data),
                format!("{} by `{}`", mib(run.data), case.what),
            );
        }
        if run.took > self.slowest.0 {
            self.slowest = (run.took, case.what.clone());
        }
        if env::var_os("RDBRIDGE_LONG").is_some() {
            say_aloud(&format!(
                "memory: `{}`: {} of {}, {} reserved, {:.1} s",
                case.what,
                mib(run.own),
                mib(budget),
                mib(run.data),
                run.took.as_secs_f64()
            ));
        }
    }
}

/// Runs all cases, and `beside` them what needs a server.
fn run_all(cases: Vec<Case>, spool_dir: &Path, beside: impl FnOnce(&Mutex<Sums>) + Send) -> Sums {
    let sums = Mutex::new(Sums::default());
    std::thread::scope(|scope| {
        scope.spawn(|| beside(&sums));
        for case in cases {
            let run = case.run(spool_dir);
            sums.lock().expect("not poisoned").add(&case, &run);
        }
    });
    sums.into_inner().expect("not poisoned")
}

/// The verbs that need no server, and no key by name.
const EVERYTHING: &[&str] = &[
    "info FILE",
    "check --duplicates FILE",
    "keys --format ndjson FILE",
    "export --format json FILE",
    "export --format ndjson FILE",
    "export --format resp FILE",
    "export --format restore FILE",
];

/// Those of them that must read as fast as the disk, for the dump with most keys.
const QUICK: &[&str] = &["info FILE", "check FILE", "check --duplicates FILE"];

/// Those of them that make something of values.
const OF_VALUES: &[&str] = &[
    "check FILE",
    "keys FILE",
    "export --format ndjson FILE",
    "export --format resp FILE",
    "export --format restore FILE",
];

/// Ways to have one key.
const ONE_KEY: &[&str] = &["get FILE big", "get --format restore FILE big"];

/// More ways where it is a string.
const ONE_STRING: &[&str] = &["get --format raw FILE big", "get --format hex FILE big"];

fn cases(of: &[&[&str]], dump: &Path) -> Vec<Case> {
    of.concat()
        .into_iter()
        .map(|words| Case::new(words, dump))
        .collect()
}

/// Loads `dump` into an empty server, in which something must have arrived.
fn load(
    on_conflict: &str,
    connections: u64,
    dump: &Path,
    server: &Server,
    spool_dir: &Path,
) -> (Case, measure::Run) {
    server.run("FLUSHALL");
    let words = format!(
        "load FILE --on-conflict {on_conflict} --connections {connections} --to {}",
        server.url()
    );
    let mut case = Case::new(&words, dump);
    case.connections = connections;
    let repeats = case.what.contains("repeated-keys");
    if repeats {
        case = case.ends_with(&[1]);
    }
    let run = case.run(spool_dir);
    let arrived = server.run("DBSIZE");
    // With what the run itself said, for that is why.
    assert!(
        matches!(arrived, redis::Value::Int(1..)),
        "{}: {arrived:?} keys arrived: {:?}; {run:#?}\n{}",
        case.what,
        run.complaint(case.budget(), case.codes),
        server.log()
    );
    (case, run)
}

/// About how many times slower than an optimised build this one is.
fn how_slow() -> u64 {
    let bytes = vec![7; 4 << 20];
    let started = Instant::now();
    std::hint::black_box(dump::crc64(&bytes));
    if started.elapsed() > Duration::from_millis(60) {
        8
    } else {
        1
    }
}

#[test]
fn every_verb_stays_within_its_budget() {
    let started = Instant::now();
    let dir = tempfile::Builder::new()
        .prefix("memory-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a directory for large files");
    let dir = dir.path();
    // Where nothing is optimised, less has to do: what is not flat shows there, too.
    let slow = how_slow();
    let (mib_of_keys, mib_of_text) = (304 / slow, 1040 / slow);
    let mib_of_bytes = 1024 / slow as usize;
    if slow > 1 {
        say_aloud(&format!(
            "memory: not optimised, so {mib_of_keys} MiB of small keys, strings of {mib_of_text} and {mib_of_bytes} MiB instead of 304, 1040 and \
             1024: tests/all.sh builds with opt-level = 2"
        ));
    }
    let small_keys = dumps::small_keys(dir, "small-keys.rdb", mib_of_keys << 20);
    let fewer_keys = dumps::small_keys(dir, "fewer-keys.rdb", 48 << 20);
    let random = dumps::random_string(dir, "random-string.rdb", mib_of_bytes << 20);
    let random_less = dumps::random_string(dir, "shorter-string.rdb", 300 << 20);
    let compressed = dumps::compressed_string(dir, mib_of_text << 20);
    let list = dumps::list(dir, 10_000_000 / slow);
    let equal = dumps::equal_members(dir, 2_000_000);
    let more_equal = dumps::more_equal_members(dir, 5_000_000 / slow);
    let changes = dumps::database_changes(dir, 1_200_000 / slow);
    let collections = dumps::collections(dir, 1_000_000 / slow);
    let repeated = dumps::repeated_keys(dir, 700_000 / slow);
    let repeated_less = dumps::repeated_keys(dir, 250_000);
    let (long_names, many_names) = (dumps::long_names(dir, 48 << 20), dumps::many_names(dir));
    let written = started.elapsed();

    let mut all = cases(&[QUICK], &small_keys);
    all.extend(cases(&[EVERYTHING], &fewer_keys));
    all.extend(cases(&[OF_VALUES, ONE_KEY, ONE_STRING], &random));
    all.extend(cases(&[OF_VALUES, ONE_KEY, ONE_STRING], &compressed));
    all.extend(cases(&[OF_VALUES, ONE_KEY], &list));
    all.extend(cases(&[OF_VALUES], &collections).into_iter().map(|case| {
        // Commands cannot carry all of a stream, which is said where so many entries are pending that are gone.
        if case.what.contains("resp") && slow == 1 {
            case.ends_with(&[1])
        } else {
            case
        }
    }));
    for key in ["set", "hash", "zset", "stream"] {
        all.push(Case::new(&format!("get FILE {key}"), &collections));
    }
    for dump in [&equal, &more_equal] {
        all.push(Case::new("check FILE", dump).ends_with(&[1]));
        all.extend(cases(
            &[&["keys FILE", "export --format ndjson FILE"]],
            dump,
        ));
    }
    for list in [&long_names, &many_names] {
        let words = format!("keys --keys-from {} FILE", list.display());
        all.push(Case::new(&words, &repeated_less).ends_with(&[1]));
    }
    all.extend(cases(&[QUICK], &changes));
    all.push(Case::new("export --format restore FILE", &changes));
    all.push(Case::new("check --duplicates FILE", &repeated).ends_with(&[1]));
    all.push(Case::piped("check --duplicates FILE", &fewer_keys));
    let loads = [
        ("fail", 1, &fewer_keys),
        ("fail", 4, &fewer_keys),
        ("fail", 1, &random_less),
        ("fail", 4, &compressed),
        ("fail", 1, &list),
        ("fail", 4, &collections),
        // By plain commands.
        ("fail --max-stall 0", 1, &list),
        ("fail --max-stall 0", 4, &collections),
        ("fail", 4, &repeated_less),
        ("replace", 1, &repeated_less),
    ];
    let sums = run_all(all, dir, |sums| {
        let server = Server::start("redis-7.0");
        for (on_conflict, connections, dump) in loads {
            let (case, run) = load(on_conflict, connections, dump, &server, dir);
            sums.lock().expect("not poisoned").add(&case, &run);
        }
    });
    tell(&sums, started, written);
}

fn tell(sums: &Sums, started: Instant, written: Duration) {
    say_aloud(&format!(
        "memory: {} runs in {:.0} s ({:.0} s of them to write the dumps), {} looks; the most of its own was {}, the most reserved {}; the slowest \
         took {:.1} s: `{}`",
        sums.runs,
        started.elapsed().as_secs_f64(),
        written.as_secs_f64(),
        sums.looks,
        sums.own.1,
        sums.data.1,
        sums.slowest.0.as_secs_f64(),
        sums.slowest.1
    ));
    assert!(
        sums.complaints.is_empty(),
        "{} of {} runs:\n{}",
        sums.complaints.len(),
        sums.runs,
        sums.complaints.join("\n")
    );
    assert!(sums.looks as usize > 2 * sums.runs, "{sums:?}");
}

/// The dumps of the benchmarks: real encodings, and the sizes of the design.
#[test]
fn the_dumps_of_the_benchmarks_fit_as_well() {
    const NAMES: &[&str] = &["medium", "large", "big", "list", "gig-random", "gig-text"];
    if env::var_os("RDBRIDGE_LONG").is_none() {
        say_aloud("memory: the dumps of the benchmarks are read with RDBRIDGE_LONG=1 only");
        return;
    }
    let started = Instant::now();
    let dir = match env::var_os("RDBRIDGE_BENCH") {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/rdbridge/bench")
        }
    };
    let spool_dir = env::temp_dir();
    let server = Server::setup("redis-7.0")
        .with("proto-max-bulk-len", ["2gb"])
        .with("client-query-buffer-limit", ["4gb"])
        .start();
    let mut all = Vec::new();
    let mut found = Vec::new();
    for name in NAMES {
        let path = dir.join(format!("{name}.rdb"));
        if File::open(&path).is_ok() {
            all.extend(cases(&[EVERYTHING], &path));
            let (key, ways): (_, &[&[&str]]) = match *name {
                "big" => ("big:string", &[ONE_KEY, ONE_STRING]),
                "list" => ("big:list", &[ONE_KEY]),
                "gig-random" => ("gig:random", &[ONE_KEY, ONE_STRING]),
                "gig-text" => ("gig:text", &[ONE_KEY, ONE_STRING]),
                _ => ("", &[]),
            };
            for words in ways.concat() {
                all.push(Case::new(
                    &words.replace("FILE big", &format!("FILE {key}")),
                    &path,
                ));
            }
            found.push(path);
        } else {
            say_aloud(&format!("memory: {} is absent", path.display()));
        }
    }
    let sums = run_all(all, &spool_dir, |sums| {
        for dump in &found {
            for connections in [1, 4] {
                let (case, run) = load("fail", connections, dump, &server, &spool_dir);
                sums.lock().expect("not poisoned").add(&case, &run);
            }
        }
    });
    if sums.runs > 0 {
        tell(&sums, started, Duration::ZERO);
    }
}
