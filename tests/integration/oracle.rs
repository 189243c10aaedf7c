//! The server is the oracle: the same file, loaded by a server itself and replayed into an empty one of its kind, gives the
//! same keys: type, encoding, expiry, value, idle time or frequency, functions.

use std::fs;
use std::time::{Duration, Instant};

use super::support::contents::{
    CLOCK_TOLERANCE_MS, Key, Reading, differences, differs_in_meaning, read,
};
use super::support::loading::{Event, Loaded, load, options};
use super::support::samples::{self, Sample};
use super::support::say_aloud;
use super::support::server::{OPTIONAL, Server, program, version_of};

/// A server that loads files by itself.
pub(crate) struct Loader {
    name: &'static str,
    pub(crate) server: Server,
}

impl Loader {
    pub(crate) fn new(name: &'static str) -> Self {
        let server = Server::setup(name).with_debug().start();
        Self { name, server }
    }

    /// Makes the server load `sample`. From 6.0 on by `DEBUG RELOAD NOSAVE`, which is the same function as at start-up and
    /// saves a process; before, and where `anew` is given, by a start.
    pub(crate) fn load(&mut self, sample: &Sample, anew: bool) -> Result<(), String> {
        let lfu = keeps_frequencies(sample);
        let (_, major, _) = version_of(self.name);
        if major < 6 || anew {
            let mut setup = Server::setup(self.name).with_debug().with_rdb(&sample.path);
            if lfu {
                setup = setup.with("maxmemory-policy", ["allkeys-lfu"]);
            }
            self.server = setup.try_start()?;
            return Ok(());
        }
        empty(&self.server);
        set_lfu(&self.server, lfu);
        fs::copy(&sample.path, self.server.dir().join("dump.rdb")).expect("copied");
        let reloaded = redis::cmd("DEBUG")
            .arg("RELOAD")
            .arg("NOSAVE")
            .exec(&mut self.server.connect());
        if let Err(error) = reloaded {
            let log = self.server.log();
            // Some end, some stay behind half empty.
            self.server = Server::setup(self.name).with_debug().start();
            return Err(format!("{error}; {log}"));
        }
        Ok(())
    }
}

fn keeps_frequencies(sample: &Sample) -> bool {
    sample.name.ends_with("lfu.rdb")
}

/// Frequencies are kept only under this policy. Without decay, so that they stay what they were.
fn set_lfu(server: &Server, lfu: bool) {
    let (_, major, _) = version_of(server.name());
    if major < 4 {
        return;
    }
    let policy = if lfu { "allkeys-lfu" } else { "noeviction" };
    server.run(&format!("CONFIG SET maxmemory-policy {policy}"));
    server.run("CONFIG SET lfu-decay-time 0");
}

pub(crate) fn empty(server: &Server) {
    server.run("FLUSHALL");
    let (_, major, _) = version_of(server.name());
    if major >= 7 {
        server.run("FUNCTION FLUSH");
    }
}

/// Whether two servers of one version hold a key alike.
fn differs(left: &Key, right: &Key, tolerance_ms: i64) -> Option<String> {
    if let Some(what) = differs_in_meaning(left, right, tolerance_ms) {
        return Some(what);
    }
    let near = |l: Option<i64>, r: Option<i64>, by| match (l, r) {
        (Some(l), Some(r)) => (l - r).abs() <= by,
        (l, r) => l == r,
    };
    let (l, r) = (&left.own, &right.own);
    if l.encoding != r.encoding {
        Some(format!("encoded as {} and {}", l.encoding, r.encoding))
    } else if l.digest != r.digest {
        Some(format!("digests {:?} and {:?}", l.digest, r.digest))
    } else if l.details != r.details {
        Some(format!("{:?} and {:?}", l.details, r.details))
    } else if !near(l.idle, r.idle, IDLE_TOLERANCE_S) {
        Some(format!("idle for {:?} and {:?} s", l.idle, r.idle))
    } else if !near(l.freq, r.freq, 0) {
        Some(format!("frequencies {:?} and {:?}", l.freq, r.freq))
    } else {
        None
    }
}

/// Expiries are exact where the server tells them as they are (7.0).
fn tolerance(name: &str) -> i64 {
    let (_, major, _) = version_of(name);
    if major >= 7 { 0 } else { CLOCK_TOLERANCE_MS }
}

/// Idle times run on between two readings, in steps of up to ten seconds (servers keep them in 24 bits at their own
/// resolution).
const IDLE_TOLERANCE_S: i64 = 15;

/// Fields of hashes whose time is past are removed by and by; all else is there at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Compares until both agree or patience ends; gives the last differences.
fn compare(
    left: &Server,
    right: &Server,
    differ: impl Fn(&Reading, &Reading) -> Vec<String>,
) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = differ(&read(left), &read(right));
        if found.is_empty() || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Files that a server should read by their version, and does not.
fn is_not_read(sample: &Sample, name: &str) -> bool {
    let file = sample.name.as_str();
    let of_a_module = file.contains("module")
        && (file.contains("corpus/KeyDB/")
            || file.contains("corpus/librdb/")
            || file.contains("corpus/redis-rdb-tools/")
            || file.contains("corpus/redis-replicator/"));
    of_a_module
        // The value's version is 8.2's.
        || file == "redis-8.2/vector-sets.rdb" && name == "redis-8.0"
        // An aux field in a file of version 6, which came with version 7.
        || file.ends_with("script_legacy.rdb") && ["redis-2.8", "redis-3.0"].contains(&name)
}

/// What a server does with all samples.
#[derive(Debug, Default)]
struct Count {
    files: u32,
    keys: u64,
    unread: u32,
}

/// Every sample that the server reads by itself.
fn agrees(name: &'static str) {
    if program(name, "server").is_none() && OPTIONAL.contains(&name) {
        say_aloud(&format!("optional server {name} is absent: no oracle"));
        return;
    }
    let mut loader = Loader::new(name);
    let destination = Server::setup(name).with_debug().start();
    let mut faults = Vec::new();
    let mut count = Count::default();
    for sample in samples::all() {
        if !sample.is_read_by(name) {
            continue;
        }
        // Its own files by a true start as well: that and `DEBUG RELOAD` are one.
        let own = sample.home.as_deref() == Some(name)
            && [
                "dbs-and-expiries.rdb",
                "functions.rdb",
                "lru.rdb",
                "lfu.rdb",
            ]
            .iter()
            .any(|case| sample.name.ends_with(case));
        let reads = loader.load(&sample, own);
        assert_eq!(
            reads.is_err(),
            is_not_read(&sample, name),
            "{name} and {}: {reads:?}",
            sample.name
        );
        if reads.is_err() {
            count.unread += 1;
            faults.extend(not_read_and_replayed(&destination, &sample));
            continue;
        }
        empty(&destination);
        set_lfu(&destination, keeps_frequencies(&sample));
        let loaded = match load(&destination.url(), &sample.data, options()) {
            Ok(loaded) => loaded,
            Err(error) => {
                faults.push(format!("{}: {error}", sample.name));
                continue;
            }
        };
        count.files += 1;
        count.keys += loaded.restored();
        let found = compare(&loader.server, &destination, |left, right| {
            let mut found = differences(left, right, |l, r| differs(l, r, tolerance(name)));
            if left.sizes != right.sizes {
                found.push(format!("DBSIZE {:?} and {:?}", left.sizes, right.sizes));
            }
            if left.functions != right.functions {
                found.push(format!(
                    "functions {:?} and {:?}",
                    left.functions, right.functions
                ));
            }
            found
        });
        faults.extend(
            found
                .into_iter()
                .map(|what| format!("{}: {what}", sample.name)),
        );
        let unexpected = unexpected(&loaded).into_iter();
        faults.extend(unexpected.map(|what| format!("{}: {what}", sample.name)));
    }
    say_aloud(&format!(
        "{name}: {} files loaded by itself and by replay, {} keys alike; {} files that it does not load by itself",
        count.files, count.keys, count.unread
    ));
    // Servers up to 3.2 read what was written up to RDB 6 or 7.
    let (files, keys) = match version_of(name) {
        ("redis", 2 | 3, _) => (15, 500),
        _ => (40, 600),
    };
    assert!(count.files >= files && count.keys > keys, "{count:?}");
    assert!(
        faults.is_empty(),
        "{name}: {} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// A file that the server cannot load by itself: all but the values of modules arrive, and those are refused by name.
fn not_read_and_replayed(destination: &Server, sample: &Sample) -> Vec<String> {
    empty(destination);
    let loaded = match load(&destination.url(), &sample.data, options()) {
        Ok(loaded) => loaded,
        Err(error) => return vec![format!("{}: {error}", sample.name)],
    };
    let other = |event: &&Event| {
        // The vector sets of 8.2 come back from 8.0, which has the module of that name, in its own words.
        let is_module = event.reason.contains("has no module for values of type")
            || event.reason.contains("Bad data format")
            || event.reason.contains("module-2 is not known to");
        !is_module
    };
    let mut faults: Vec<String> = loaded
        .events
        .iter()
        .filter(other)
        .map(|e| format!("{e:?}"))
        .collect();
    faults.extend(loaded.report.stopped.iter().map(ToString::to_string));
    let held: i64 = read(destination).sizes.values().sum();
    if u64::try_from(held) != Ok(loaded.restored()) {
        faults.push(format!("{held} keys there, {} restored", loaded.restored()));
    }
    faults
        .into_iter()
        .map(|what| format!("{}: {what}", sample.name))
        .collect()
}

/// A file that the server loads by itself has nothing that cannot arrive.
fn unexpected(loaded: &Loaded) -> Vec<String> {
    let mut found = Vec::new();
    for event in &loaded.events {
        found.push(format!("{event:?}"));
    }
    // Its own types need no other form.
    if loaded.restored_raw() != loaded.restored() {
        found.push(format!("not all raw: {:?}", loaded.report.tally));
    }
    if !loaded.stopped().is_empty() {
        found.push(loaded.stopped());
    }
    if !loaded.report.functions.failed.is_empty() {
        found.push(format!("{:?}", loaded.report.functions.failed));
    }
    found
}

macro_rules! oracles {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            agrees($name);
        })*

        /// None is forgotten.
        #[test]
        fn every_server_has_an_oracle_test() {
            let tested = [$($name),*];
            for name in super::support::server::all() {
                assert!(tested.contains(&name), "{name}");
            }
        }
    };
}

oracles! {
    redis_2_8_agrees "redis-2.8"
    redis_3_0_agrees "redis-3.0"
    redis_3_2_agrees "redis-3.2"
    redis_5_0_agrees "redis-5.0"
    redis_6_0_agrees "redis-6.0"
    redis_6_2_agrees "redis-6.2"
    redis_7_0_agrees "redis-7.0"
    redis_8_0_agrees "redis-8.0"
    redis_8_2_agrees "redis-8.2"
    redis_8_6_agrees "redis-8.6"
    redis_8_10_agrees "redis-8.10"
    valkey_8_0_agrees "valkey-8.0"
    valkey_8_1_agrees "valkey-8.1"
    valkey_9_0_agrees "valkey-9.0"
    valkey_9_1_agrees "valkey-9.1"
}
