//! Cached Lua scripts of a dump: left out and said, or loaded before the keys.

use redis::Value;

use super::support::command::{Dir, Ran, run};
use super::support::dump::{Crc, Dump};
use super::support::server::Server;

/// `return 1`, and its name.
const SCRIPT: (&str, &str) = ("return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");

/// Two scripts, one behind the keys as old servers wrote them; the second one cannot be compiled.
fn dump() -> Vec<u8> {
    Dump::redis(7)
        .aux("lua", SCRIPT.0)
        .select_db(0)
        .string_key("k", "v")
        .aux("lua", "this is no script")
        .finish(Crc::Right)
}

fn sound() -> Vec<u8> {
    Dump::redis(7)
        .select_db(0)
        .string_key("k", "v")
        .aux("lua", SCRIPT.0)
        .finish(Crc::Right)
}

fn go(verb: &str, file: &str, url: &str, more: &[&str]) -> Ran {
    run([&[verb, file, "--to", url, "--json"], more].concat())
}

fn knows(server: &Server) -> Value {
    server.run(&format!("SCRIPT EXISTS {}", SCRIPT.1))
}

const ONE: Value = Value::Int(1);

#[test]
fn scripts_go_along_only_where_that_is_wanted() {
    let dir = Dir::new();
    let (file, sound) = (dir.file("dump.rdb", dump()), dir.file("sound.rdb", sound()));
    for name in [
        "redis-2.8",
        "redis-6.2",
        "redis-7.0",
        "redis-8.10",
        "valkey-9.0",
    ] {
        let server = Server::start(name);
        let url = server.url();
        let plan = go("plan", &sound, &url, &[]);
        plan.ends_with(0);
        assert_eq!(plan.json()["scripts"]["skipped"], 1, "{name}");
        let ran = go("load", &sound, &url, &[]);
        ran.ends_with(0);
        assert_eq!(ran.json()["scripts"]["skipped"], 1, "{name}");
        assert!(
            ran.stderr.contains("1 cached Lua script left out"),
            "{name}: {}",
            ran.stderr
        );
        assert_eq!(knows(&server), Value::Array(vec![Value::Int(0)]), "{name}");

        server.run("FLUSHALL");
        go("plan", &sound, &url, &["--scripts", "load"]).ends_with(0);
        let ran = go("load", &sound, &url, &["--scripts", "load"]);
        ran.ends_with(0);
        assert_eq!(ran.json()["scripts"]["loaded"], 1, "{name}");
        assert_eq!(knows(&server), Value::Array(vec![ONE]), "{name}");

        // One that the server refuses is a finding, and keeps no key back.
        server.run("SCRIPT FLUSH");
        server.run("FLUSHALL");
        let ran = go("load", &file, &url, &["--scripts", "load"]);
        ran.ends_with(1);
        let json = ran.json();
        assert_eq!(json["scripts"]["loaded"], 1, "{name}: {json:#}");
        assert_eq!(json["scripts"]["failed"], 1, "{name}: {json:#}");
        assert_eq!(json["outcomes"]["restored_raw"], 1, "{name}: {json:#}");
        assert_eq!(knows(&server), Value::Array(vec![ONE]), "{name}");
    }
}

#[test]
fn a_user_without_the_right_to_scripts_loads_the_keys() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let server = Server::start("redis-7.0");
    server.run("ACL SETUSER u on >p ~* +@all -script");
    let url = format!("redis://u:p@127.0.0.1:{}", server.port());
    let plan = go("plan", &file, &url, &["--scripts", "load"]);
    plan.ends_with(1);
    let closed = plan.json()["scripts"]["closed"].to_string();
    assert!(closed.contains("NOPERM"), "{closed}");
    let ran = go("load", &file, &url, &["--scripts", "load"]);
    ran.ends_with(1);
    let json = ran.json();
    assert_eq!(json["scripts"]["failed"], 2, "{json:#}");
    assert!(json["scripts"]["reason"].to_string().contains("NOPERM"));
    assert_eq!(json["outcomes"]["restored_raw"], 1, "{json:#}");
    // Nothing of it matters to who does not want them.
    server.run("FLUSHALL");
    go("plan", &file, &url, &[]).ends_with(0);
    go("load", &file, &url, &[]).ends_with(0);
}
