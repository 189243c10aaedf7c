//! What a server made of a file means what the file means: by payload, by type, and with the commands of older servers.

use rdbridge::meaning::{Abilities, Bench, Comparer, Expiry, Verdict, Wanted};
use rdbridge::resp::Connection;
use rdbridge::snapshot::Snapshot;

use super::oracle::Loader;
use super::support::loading::{connector, load, now_ms, options};
use super::support::samples::{self, Sample};
use super::support::say_aloud;
use super::support::server::{OPTIONAL, Server, program};

/// All that a server lets us ask, and parts of it: what users without `DUMP` and older servers leave us.
fn ways(all: Abilities) -> [(&'static str, Abilities); 3] {
    let by_type = Abilities { dump: false, ..all };
    let plainest = Abilities {
        dump: false,
        pexpiretime: false,
        smismember: false,
        zmscore: false,
        ..all
    };
    [("all", all), ("by type", by_type), ("plainest", plainest)]
}

fn abilities(connection: &mut Connection) -> Abilities {
    Abilities::ask(connection, b"k", 0, 1000).expect("a server that can be read")
}

/// What the destination holds of an entry, by every way, in words; nothing where all is the same.
fn faults(
    server: &Server,
    sample: &Sample,
    only_by_dump: &mut u64,
    compared: &mut u64,
) -> Vec<String> {
    let snapshot = Snapshot::parse(&sample.data).expect("a sound sample");
    let mut connection = connector(&server.url()).connect().expect("a connection");
    let all = abilities(&mut connection);
    let mut bench = Bench::new(&std::env::temp_dir());
    let now = now_ms();
    let mut faults = Vec::new();
    for (way, abilities) in ways(all) {
        let mut comparer =
            Comparer::new(&mut connection, &abilities, &mut bench).expect("a connection");
        let mut verdicts: Vec<(Wanted<'_>, Verdict)> = Vec::new();
        let mut sink = |wanted, (), verdict| {
            verdicts.push((wanted, verdict));
            Ok(())
        };
        let mut pushed = 0;
        for entry in snapshot.entries() {
            let entry = entry.expect("a sound sample");
            if entry.expire_at_ms.is_some_and(|at| at <= now) {
                continue;
            }
            let wanted = Wanted {
                entry,
                db: entry.db,
                expiry: entry.expire_at_ms.map_or(Expiry::Never, Expiry::At),
            };
            pushed += 1;
            comparer.push(wanted, (), &mut sink).expect("answers");
        }
        comparer.drain(&mut sink).expect("answers");
        drop(comparer);
        assert_eq!(verdicts.len(), pushed, "each entry has one verdict");
        *compared += pushed as u64;
        for (Wanted { entry, .. }, verdict) in verdicts {
            match verdict {
                Verdict::Same => {}
                Verdict::NotComparable(why) if !abilities.dump && why.contains("DUMP") => {
                    *only_by_dump += 1;
                }
                // All its fields had their time.
                Verdict::Expired if sample.name.ends_with("hash-field-ttl-past.rdb") => {}
                // Neighbours are found anew.
                Verdict::SameBut(books) if sample.name.ends_with("vector-sets.rdb") => {
                    assert_eq!(books.names().collect::<Vec<_>>(), ["vector-links"]);
                }
                other => faults.push(format!(
                    "{}, {way}: {} {}: {other:?}",
                    sample.name,
                    entry.value_type.name(entry.dialect),
                    rdbridge::error::Escaped(&entry.key.preview(60)),
                )),
            }
        }
    }
    faults
}

fn of_itself(name: &'static str) {
    if program(name, "server").is_none() && OPTIONAL.contains(&name) {
        say_aloud(&format!(
            "optional server {name} is absent: nothing compared with it"
        ));
        return;
    }
    let mut loader = Loader::new(name);
    let (mut found, mut files, mut keys, mut only_by_dump) = (Vec::new(), 0, 0, 0);
    for sample in samples::all() {
        if sample.home.as_deref() != Some(name) || loader.load(&sample, false).is_err() {
            continue;
        }
        files += 1;
        found.extend(faults(
            &loader.server,
            &sample,
            &mut only_by_dump,
            &mut keys,
        ));
    }
    say_aloud(&format!(
        "{name}: {files} files of its own, {keys} comparisons, {only_by_dump} possible by DUMP only"
    ));
    assert!(
        found.is_empty(),
        "{} faults:\n{}",
        found.len(),
        found.join("\n")
    );
    assert!(files >= 8 && keys > 300, "{files} files, {keys} keys");
}

macro_rules! of_themselves {
    ($($test:ident $name:literal)*) => {
        $(#[test]
        fn $test() {
            of_itself($name);
        })*
    };
}

of_themselves! {
    redis_2_8_means_its_own "redis-2.8"
    redis_5_0_means_its_own "redis-5.0"
    redis_6_2_means_its_own "redis-6.2"
    redis_7_0_means_its_own "redis-7.0"
    redis_8_2_means_its_own "redis-8.2"
    redis_8_10_means_its_own "redis-8.10"
    valkey_8_1_means_its_own "valkey-8.1"
    valkey_9_0_means_its_own "valkey-9.0"
}

/// Files of older servers, loaded into newer ones: other encodings, the same meaning.
#[test]
fn what_was_loaded_elsewhere_means_the_same() {
    let (mut found, mut keys, mut only_by_dump) = (Vec::new(), 0, 0);
    for name in ["redis-7.0", "redis-8.10", "valkey-9.0"] {
        let server = Server::start(name);
        for sample in samples::all() {
            let old = matches!(sample.home.as_deref(), Some("redis-6.2" | "redis-5.0"));
            if !old || sample.name.contains("functions") {
                continue;
            }
            server.run("FLUSHALL");
            let Ok(loaded) = load(&server.url(), &sample.data, options()) else {
                continue;
            };
            if !loaded.events.is_empty() {
                continue;
            }
            found.extend(faults(&server, &sample, &mut only_by_dump, &mut keys));
        }
    }
    assert!(
        found.is_empty(),
        "{} faults:\n{}",
        found.len(),
        found.join("\n")
    );
    assert!(keys > 2000, "{keys} comparisons");
}
