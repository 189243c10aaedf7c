//! A destination that is too small is found out early, by how its memory grows; one that just suffices is not called so.

use redis::Value;

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump};
use super::support::random::Random;
use super::support::server::Server;

const KEYS: usize = 400;

/// 40 MB that do not compress.
fn dump() -> Vec<u8> {
    let mut random = Random::new(1, "growth", 0);
    (0..KEYS)
        .fold(Dump::redis(7).select_db(0), |dump, i| {
            let value: Vec<u8> = (0..12_500)
                .flat_map(|_| random.number().to_le_bytes())
                .collect();
            dump.string_key(format!("k{i}"), value)
        })
        .finish(Crc::Right)
}

fn used(server: &Server) -> u64 {
    let used = server.info("used_memory").expect("a field");
    used.trim().parse().expect("a number")
}

/// So many bytes more than it uses now, and no key is evicted.
fn limit(server: &Server, more: u64) {
    server.run("CONFIG SET maxmemory-policy noeviction");
    server.run(&format!("CONFIG SET maxmemory {}", used(server) + more));
}

fn keys(server: &Server) -> i64 {
    match server.run("DBSIZE") {
        Value::Int(keys) => keys,
        other => panic!("{other:?}"),
    }
}

fn load(file: &str, server: &Server, more: &[&str]) -> Ran {
    // Slow enough to be watched.
    let bounded = ["--max-bytes-per-sec", "20MiB"];
    run([&["load", file, "--to", &server.url()], &bounded[..], more].concat())
}

#[test]
fn what_cannot_fit_is_stopped_early_and_goes_on() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let journal = dir.path().join("journal").display().to_string();
    let more = ["--journal", &journal];
    for name in ["redis-7.0", "valkey-8.1"] {
        let free = Server::start(name);
        let before = used(&free);
        load(&file, &free, &["--no-journal"]).ends_with(0);
        let grown = used(&free) - before;
        drop(free);

        let server = Server::start(name);
        limit(&server, grown * 3 / 10);
        let ran = load(&file, &server, &[&more[..], &["--restart"]].concat());
        ran.ends_with(4);
        for says in [
            "% of the work the memory of redis://127.0.0.1:",
            " are left of its maxmemory ",
            "it cannot fit",
            "--no-growth-check",
        ] {
            assert!(ran.stderr.contains(says), "{name}, {says}: {}", ran.stderr);
        }
        assert!(keys(&server) < KEYS as i64 / 2, "{name}: {}", keys(&server));
        // There is no other way than more memory: then the same command goes on.
        server.run("CONFIG SET maxmemory 0");
        load(&file, &server, &more).ends_with(0);
        assert_eq!(keys(&server), KEYS as i64, "{name}");
        drop(server);

        // One in which it just fits.
        let server = Server::start(name);
        limit(&server, grown + grown / 10);
        load(&file, &server, &["--no-journal"]).ends_with(0);
        assert_eq!(keys(&server), KEYS as i64, "{name}");
    }
}

#[test]
fn whoever_wants_it_sees_how_far_it_goes() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let server = Server::start("redis-7.0");
    limit(&server, 12 << 20);
    let more = ["--no-journal", "--no-growth-check", "--wait-for", "1s"];
    let ran = load(&file, &server, &more);
    ran.ends_with(4);
    assert!(
        ran.stderr.contains("OOM ") && !ran.stderr.contains("cannot fit"),
        "{}",
        ran.stderr
    );
    assert!(keys(&server) > KEYS as i64 / 5, "{}", keys(&server));
}
