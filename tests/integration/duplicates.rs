//! The same key twice in one database: no server loads such a file, and a load must not pretend that both values arrived.

use std::process::Command;

use serde_json::Value;

use crate::support::dump::{Crc, Dump};
use crate::support::server::Server;

/// Three keys, one of them three times (once in another form of its name, once in another database).
fn dump() -> Vec<u8> {
    Dump::redis(11)
        .select_db(0)
        .string_key("5", "first")
        .string_key("other", "x")
        .raw(b"\x00\xc0\x05\x06second")
        .string_key("5", "third")
        .select_db(1)
        .string_key("5", "elsewhere")
        .finish(Crc::Right)
}

fn load(server: &Server, policy: &str) -> (i32, Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("twice.rdb");
    std::fs::write(&path, dump()).unwrap();
    let got = Command::new(env!("CARGO_BIN_EXE_rdbridge"))
        .args([
            "load",
            "--json",
            "--on-conflict",
            policy,
            "--to",
            &server.url(),
        ])
        .arg(&path)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&got.stdout).unwrap();
    (
        got.status.code().unwrap(),
        report,
        String::from_utf8_lossy(&got.stderr).into_owned(),
    )
}

fn outcomes(report: &Value) -> (u64, u64, u64, u64) {
    let count = |name: &str| {
        report["outcomes"][name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} in {report}"))
    };
    (
        count("restored_raw"),
        count("duplicate"),
        count("conflict"),
        count("existing"),
    )
}

#[test]
fn under_each_policy_one_value_arrives_and_the_others_are_duplicates() {
    for policy in ["fail", "skip", "replace"] {
        let server = Server::start("redis-7.0");
        let (code, report, listed) = load(&server, policy);
        assert_eq!(outcomes(&report), (3, 2, 0, 0), "{policy}: {report}");
        assert_eq!(report["entries"], 5, "{report}");
        assert_eq!(code, 1, "{policy}: a duplicate is a finding");
        assert!(listed.contains("the same key stands at offset"), "{listed}");
        let mut client = server.connect();
        let keys: u64 = redis::cmd("DBSIZE").query(&mut client).unwrap();
        assert_eq!(keys, 2, "{policy}");
    }
}

#[test]
fn a_key_that_the_destination_had_is_a_conflict_once() {
    let server = Server::start("redis-7.0");
    let mut client = server.connect();
    let () = redis::cmd("SET")
        .arg("5")
        .arg("mine")
        .query(&mut client)
        .unwrap();
    let (code, report, _) = load(&server, "fail");
    assert_eq!((outcomes(&report), code), ((2, 2, 1, 0), 1), "{report}");
    let value: String = redis::cmd("GET").arg("5").query(&mut client).unwrap();
    assert_eq!(value, "mine");
}
