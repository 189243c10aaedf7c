//! `load` asks for what makes sense before it reads or writes anything.

use std::process::Command;

use crate::support::dump::{Crc, Dump};
use crate::support::server::Server;

fn load(args: &[&str], files: usize) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rdbridge"));
    command.arg("load").args(args);
    for n in 0..files {
        let path = dir.path().join(format!("{n}.rdb"));
        let dump = Dump::redis(11)
            .function("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
            .string_key("key", "value");
        std::fs::write(&path, dump.finish(Crc::Right)).unwrap();
        command.arg(path);
    }
    let got = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        got.status.code().unwrap(),
        text(&got.stdout),
        text(&got.stderr),
    )
}

#[test]
fn what_would_be_ignored_or_overwritten_is_refused_with_words() {
    let server = Server::start("redis-7.0");
    let url = server.url();
    let in_db = format!("{url}/5");
    for (args, files, says) in [
        (vec!["--to", &in_db], 1, "--map-db 0:5"),
        (vec!["--to", &url, "--insecure"], 1, "rediss://"),
        (
            vec!["--to", &url, "--map-db", "0:3", "--map-db", "0:4"],
            1,
            "database 0 into 3 and into 4",
        ),
        (
            vec!["--to", &url, "--on-conflict", "replace"],
            2,
            "one after the other",
        ),
    ] {
        let (code, _, said) = load(&args, files);
        assert_eq!(code, 2, "{args:?}: {said}");
        assert!(said.contains(says), "{said}");
    }
    let mut client = server.connect();
    let keys: u64 = redis::cmd("DBSIZE").query(&mut client).unwrap();
    assert_eq!(keys, 0, "nothing was written");
}

#[test]
fn a_finished_load_can_be_run_again_with_skip() {
    let server = Server::start("redis-7.0");
    for (policy, code) in [("fail", 0), ("skip", 0), ("fail", 1)] {
        let (got, table, said) = load(&["--to", &server.url(), "--on-conflict", policy], 1);
        assert_eq!(got, code, "{policy}: {table}{said}");
    }
}
