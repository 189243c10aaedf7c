//! Keys with any name, from a server's dump by every verb to another server: empty, binary, with braces, numbers, and so long
//! that they only fit where they stand.

use std::path::Path;
use std::process::Command;

use super::support::cluster::Cluster;
use super::support::command::{Dir, PROGRAM, Ran, journal_dir, run_with};
use super::support::random::Random;
use super::support::say_aloud;
use super::support::server::Server;
use super::support::wire::Client;

const MIB: usize = 1 << 20;

/// Under the budget of one connection to each of three masters: 32 MiB and 4 MiB each.
fn run(args: &[&str], spool_dir: &Path) -> Ran {
    let mut command = Command::new("prlimit");
    command
        .arg(format!("--data={}", 44 * MIB))
        .args([PROGRAM].iter().chain(args))
        .arg("--spool-dir")
        .arg(spool_dir)
        .env("RDBRIDGE_JOURNAL_DIR", journal_dir());
    run_with(&mut command, b"")
}

/// Names that no compression helps, and others that it does.
fn random(bytes: usize) -> Vec<u8> {
    let mut random = Random::new(1, "names", 0);
    (0..bytes.div_ceil(8))
        .flat_map(|_| random.number().to_le_bytes())
        .take(bytes)
        .collect()
}

fn odd_names() -> Vec<Vec<u8>> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut names: Vec<Vec<u8>> = [
        &b""[..],
        b"{}",
        b"{",
        b"}",
        b"a}b{c",
        b"foo{}{bar}",
        b"foo{{bar}}zap",
        b"{user1000}.following",
        b"}{x}",
        b"17",
        b"-2147483648",
        b"007",
        &every_byte,
        &[0xff; 100],
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    names.push([&b"long {tag} "[..], &b"abc".repeat(MIB)].concat());
    // Tags that are not in the first buffer.
    names.push([&b"late "[..], &b"x".repeat(3 * MIB), b"{tag}"].concat());
    names.push(
        b"wide{"
            .iter()
            .copied()
            .chain(b"y".repeat(2 * MIB))
            .chain(*b"}")
            .collect(),
    );
    names
}

/// Some values of each kind, under these names: `SAVE`d by the server that has them.
fn saved(server: &Server, names: &[Vec<u8>]) -> String {
    let mut client = Client::connect(server.port());
    let rows: Vec<Vec<Vec<u8>>> = names
        .iter()
        .enumerate()
        .flat_map(|(n, name)| {
            let value = format!("value {n}").into_bytes();
            let long = name.len() > MIB && name.len() < 8 * MIB;
            let under = |kind: &[u8]| [kind, name].concat();
            let text = |text: &[u8]| text.to_vec();
            let set = vec![text(b"SET"), name.clone(), value.clone()];
            // Those that compress, as keys of other kinds, too.
            let others = vec![
                vec![text(b"RPUSH"), under(b"list "), value.clone(), text(b"b")],
                vec![text(b"HSET"), under(b"hash "), text(b"f"), value.clone()],
                vec![text(b"ZADD"), under(b"zset "), text(b"1.5"), value.clone()],
                vec![
                    text(b"XADD"),
                    under(b"stream "),
                    text(b"1-1"),
                    text(b"f"),
                    value,
                ],
            ];
            std::iter::once(set).chain(others.into_iter().take(if long { 4 } else { 0 }))
        })
        .collect();
    for (row, reply) in rows.iter().zip(client.ask(&rows)) {
        let is_error = matches!(&reply, redis::Value::SimpleString(text) if text.starts_with('-'));
        assert!(!is_error, "{}: {reply:?}", row[0].escape_ascii());
    }
    server.run("SAVE");
    let path = server.dir().join("dump.rdb");
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// `file` as commands by every export, which another server takes.
fn is_exported(file: &str, keys: u64, target: &Server, dir: &Dir) {
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let run = |args: &[&str]| run(args, dir.path()).ends_with(0).json_or_nothing();
    run(&["check", file, "--duplicates", "--json"]);
    let keys_to = |out: &str, more: &[&str]| {
        let out = path(out);
        let args = ["keys", file, "--format", "names", "--output", &out];
        run(&[&args, more].concat())
    };
    keys_to("all.txt", &[]);
    // A list of names is held name by name.
    keys_to("names.txt", &["--type", "list,hash,zset,stream"]);
    keys_to("again.txt", &["--keys-from", &path("names.txt")]);
    let names = |name: &str| std::fs::read(path(name)).expect("written");
    assert!(names("names.txt") == names("again.txt"));
    for format in ["ndjson", "restore", "resp"] {
        let out = path(format);
        run(&["export", file, "--format", format, "--output", &out]);
        if format == "ndjson" {
            continue;
        }
        target.run("FLUSHALL");
        let commands = std::fs::read(out).expect("written");
        let replies = Client::connect(target.port()).send_raw(&commands);
        assert!(replies >= keys, "{format}: {replies}");
        let url = target.url();
        let json = run(&["compare", file, "--to", &url, "--json", "--extra"]);
        assert_eq!(json["outcomes"]["same"], keys, "{format}: {json:#}");
    }
}

/// From `file` into `target` on both roads.
fn arrives(file: &str, keys: u64, target: &Server, dir: &Dir) {
    let run = |args: &[&str]| run(args, dir.path()).ends_with(0).json();
    let url = target.url();
    target.run("ACL SETUSER by_commands on >p ~* +@all -restore");
    let by_commands = url.replace("redis://", "redis://by_commands:p@");
    for (url, outcome) in [(&url, "restored_raw"), (&by_commands, "restored_commands")] {
        target.run("FLUSHALL");
        let plan = run(&["plan", file, "--to", url, "--json"]);
        assert_eq!(plan["servers"][0]["outcomes"][outcome], keys, "{plan:#}");
        let load = run(&["load", file, "--to", url, "--json", "--compare"]);
        assert_eq!(load["outcomes"][outcome], keys, "{load:#}");
        assert_eq!(load["compare"]["outcomes"]["same"], keys, "{load:#}");
    }
    // Who is there already is found by name.
    let plan = ["plan", file, "--to", &url, "--json"];
    let plan = self::run(&plan, dir.path()).ends_with(1).json();
    assert_eq!(plan["existing"]["there"], keys, "{plan:#}");
}

#[test]
fn names_of_any_bytes_and_length_go_everywhere() {
    let source = Server::start("redis-7.0");
    let names = odd_names();
    let file = saved(&source, &names);
    let long = names.iter().filter(|name| name.len() > MIB).count() as u64;
    let keys = names.len() as u64 + 4 * long;
    let size = std::fs::metadata(&file).expect("saved").len() as usize;
    assert!(size < MIB, "the server compressed its names: {size}");
    let dir = Dir::new();
    let target = Server::start("valkey-9.1");
    is_exported(&file, keys, &target, &dir);
    arrives(&file, keys, &target, &dir);
    // By its beginning, since no command line holds such a name.
    let got = run(&["get", &file, "zset late *"], dir.path());
    got.ends_with(0);
    assert!(got.stdout.contains("1.5") && got.stdout.len() > 3 * MIB);

    let cluster = Cluster::start("redis-7.0", 3, 0);
    let url = cluster.url();
    let load = run(
        &["load", &file, "--to", &url, "--json", "--verify"],
        dir.path(),
    );
    load.ends_with(0);
    let load = load.json();
    assert_eq!(load["outcomes"]["restored_raw"], keys, "{load:#}");
    let compare = run(&["compare", &file, "--to", &url, "--json"], dir.path());
    compare.ends_with(0);
    assert_eq!(compare.json()["outcomes"]["same"], keys, "{compare:?}");
}

/// It is sent from where it stands in the file.
#[test]
fn a_name_that_no_compression_helps_arrives() {
    let source = Server::start("redis-7.0");
    let file = saved(&source, &[random(64 * MIB)]);
    arrives(&file, 1, &Server::start("valkey-9.1"), &Dir::new());
}

/// The longest that servers take, in both forms.
#[test]
fn names_of_512_mb_go_everywhere() {
    if std::env::var_os("RDBRIDGE_LONG").is_none() {
        say_aloud("names: those of 512 MB go with RDBRIDGE_LONG=1 only");
        return;
    }
    let dir = Dir::new();
    let target = Server::start("valkey-9.1");
    for name in [b"z".repeat(512 * MIB), random(512 * MIB)] {
        let source = Server::start("redis-7.0");
        let file = saved(&source, &[name]);
        is_exported(&file, 1, &target, &dir);
        arrives(&file, 1, &target, &dir);
    }
}
