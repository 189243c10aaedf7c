//! Selection against what servers say: patterns as `KEYS` takes them, slots as `CLUSTER KEYSLOT` answers.

use rdbridge::error::Escaped;
use rdbridge::select::{Glob, slot_of};

use super::support::random::Random;
use super::support::server::Server;

/// Bytes that mean something in patterns, some that do not, and some that are no ASCII.
const PATTERN: &[u8] = b"aabbc*??[[]]^-\\\\!\x00\xff\x80Z";
const KEY: &[u8] = b"aabbc*?[]^-\\!\x00\xff\x80Z";

fn words(random: &mut Random, alphabet: &[u8], longest: usize) -> Vec<u8> {
    let len = random.below(longest + 1);
    (0..len).map(|_| *random.one_of(alphabet)).collect()
}

#[test]
fn patterns_match_what_servers_match() {
    for name in ["redis-5.0", "redis-7.0", "redis-8.0", "valkey-8.1"] {
        let server = Server::start(name);
        let mut connection = server.connect();
        let mut random = Random::new(7, name, 1);
        let mut keys: Vec<Vec<u8>> = (0..400).map(|_| words(&mut random, KEY, 6)).collect();
        keys.sort();
        keys.dedup();
        let mut set = redis::cmd("MSET");
        for key in &keys {
            set.arg(key).arg(1);
        }
        set.exec(&mut connection).expect("MSET");
        let mut matched = 0;
        for _ in 0..4000 {
            let pattern = words(&mut random, PATTERN, 8);
            // `KEYS` of Redis 5 takes these for `*` alone: it stops at the zero byte.
            if name == "redis-5.0" && pattern.starts_with(b"*\0") {
                continue;
            }
            let mut theirs: Vec<Vec<u8>> = redis::cmd("KEYS")
                .arg(&pattern)
                .query(&mut connection)
                .expect("KEYS");
            theirs.sort();
            let glob = Glob::new(&pattern);
            let ours: Vec<&Vec<u8>> = keys.iter().filter(|key| glob.matches(key)).collect();
            matched += ours.len();
            let differ: Vec<String> = ours
                .iter()
                .filter(|key| !theirs.contains(key))
                .map(|key| format!("{} is ours alone", Escaped(key)))
                .chain(
                    theirs
                        .iter()
                        .filter(|key| !ours.contains(key))
                        .map(|key| format!("{} is theirs alone", Escaped(key))),
                )
                .take(5)
                .collect();
            assert!(
                differ.is_empty(),
                "{name}: pattern {}: {differ:?}",
                Escaped(&pattern)
            );
        }
        assert!(matched > 1000, "the patterns match something: {matched}");
    }
}

#[test]
fn slots_are_those_of_a_cluster() {
    let server = Server::setup("redis-7.0")
        .with("cluster-enabled", ["yes"])
        .start();
    let mut connection = server.connect();
    let mut random = Random::new(8, "slots", 1);
    for _ in 0..3000 {
        let key = words(&mut random, b"ab{}{}\x00\xff", 12);
        let theirs: u16 = redis::cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(&key)
            .query(&mut connection)
            .expect("KEYSLOT");
        assert_eq!(slot_of(&key), theirs, "{}", Escaped(&key));
    }
}
