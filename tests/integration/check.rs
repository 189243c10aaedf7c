//! `check`: each fault and each warning by a file made for it, in the order of the file, whatever the number of threads.

use super::support::command::{Dir, Ran, run};
use super::support::dump::{self, Crc, Dump, opcode};

fn check(bytes: impl AsRef<[u8]>, flags: &[&str]) -> Ran {
    let dir = Dir::new();
    let path = dir.file("d.rdb", bytes);
    run(["check", "-q", &path]
        .into_iter()
        .chain(flags.iter().copied()))
}

fn base() -> Dump {
    Dump::redis(11).aux("redis-ver", "7.2.4").select_db(0)
}

#[track_caller]
fn says(ran: &Ran, code: i32, words: &[&str]) {
    ran.ends_with(code);
    for word in words {
        assert!(
            ran.stdout.contains(word),
            "{word:?} is missing:\n{}",
            ran.stdout
        );
    }
}

#[test]
fn a_sound_file_is_one_line() {
    let ran = check(base().string_key("k", "v").finish(Crc::Right), &[]);
    says(&ran, 0, &["d.rdb: sound: 1 key, 42 B, checksum verified\n"]);
    assert_eq!(ran.stdout.lines().count(), 1);
}

#[test]
fn damage_of_the_container_is_fatal_and_has_an_offset() {
    let whole = base().string_key("k", "v").finish(Crc::Right);
    for cut in 9..whole.len() {
        let ran = check(&whole[..cut], &["--shallow"]);
        says(&ran, 3, &["fatal: offset ", "cannot be read to its end"]);
    }
    says(
        &check(base().finish(Crc::Wrong), &[]),
        3,
        &["wrong checksum"],
    );
    let lies = base()
        .key(1, "list", dump::length(1 << 60))
        .finish(Crc::Right);
    says(
        &check(lies, &[]),
        3,
        &["fatal: offset ", "list \"list\" in db 0"],
    );
}

#[test]
fn what_stands_behind_the_end() {
    let whole = base().string_key("k", "v").finish(Crc::Right);
    let at = format!("offset {}", whole.len());
    for (tail, words) in [
        (
            &b"*1\r\n$4\r\nPING\r\n"[..],
            "commands of an append-only file",
        ),
        (
            b"0123456789abcdef0123456789abcdef01234567",
            "end mark of a diskless transfer",
        ),
        (b"\0\0\0\0", "zero bytes"),
        (b"rubbish", "garbage"),
        (b"REDIS0011", "another RDB file"),
    ] {
        let file = [&whole[..], tail].concat();
        says(&check(&file, &[]), 0, &["warning: ", words, &at, "sound"]);
        says(
            &check(&file, &["--strict"]),
            1,
            &["fault: ", words, &at, "1 fault"],
        );
    }
}

#[test]
fn oddities_are_warnings_with_the_servers_that_mind() {
    for (file, words) in [
        (base().finish(Crc::Zero), "rdbchecksum no"),
        (
            Dump::redis(4).string_key("k", "v").finish(Crc::Absent),
            "version 4 has no checksum",
        ),
        (
            base()
                .resize_db(3, 1)
                .string_key("k", "v")
                .finish(Crc::Right),
            "announced with 3 keys, 1 of them with expiry, and has 1 and 0",
        ),
        (
            base().select_db(1).select_db(0).finish(Crc::Right),
            "database 0 is selected again",
        ),
        (
            Dump::redis(11).select_db(5).select_db(2).finish(Crc::Right),
            "the databases do not rise",
        ),
        (
            base().select_db(16).string_key("k", "v").finish(Crc::Right),
            "the default `databases 16` refuses",
        ),
        (
            base().aux("unheard-of", "x").finish(Crc::Right),
            "aux field \"unheard-of\"",
        ),
        (
            base()
                .string_key("k", "v")
                .function("#!lua name=a\nreturn 1")
                .finish(Crc::Right),
            "a function library behind keys",
        ),
        (
            base()
                .raw([246])
                .raw(dump::string("lib"))
                .raw(dump::string("LUA"))
                .raw([0])
                .raw(dump::string("x"))
                .finish(Crc::Right),
            "redis from 7.2 and valkey refuse",
        ),
        (
            base()
                .idle(5)
                .freq(3)
                .string_key("k", "v")
                .finish(Crc::Right),
            "both an idle time and an access frequency",
        ),
        (
            base()
                .key(
                    7,
                    "m",
                    [&[0x81][..], &(0x1234u64 << 10).to_be_bytes(), &[0]].concat(),
                )
                .finish(Crc::Right),
            "without that module refuses the whole file",
        ),
        (
            base()
                .raw([opcode::MODULE_AUX, 0x81])
                .raw((0x1234u64 << 10).to_be_bytes())
                .raw([2, 2, 0])
                .finish(Crc::Right),
            "belongs to no key",
        ),
        (
            base().raw([107, 5]).string_key("k", "v").finish(Crc::Right),
            "Redis Enterprise",
        ),
        (base().idle(5).finish(Crc::Right), "no key follows"),
        (
            base()
                .key(2, "s", [dump::length(1), dump::string("m")].concat())
                .aux("keydb-subexpire-key", "m")
                .aux("keydb-subexpire-when", "1")
                .finish(Crc::Right),
            "only KeyDB has",
        ),
        (
            Dump::redis(9)
                .aux("df-ver", "1.0")
                .string_key("k", "v")
                .finish(Crc::Right),
            "written by Dragonfly",
        ),
        (
            Dump::valkey(80)
                .raw([243])
                .raw(dump::string("job"))
                .raw([0])
                .finish(Crc::Right),
            "slot import",
        ),
        (
            Dump::redis(12)
                .key(22, "h", [1, 0, 1, b'f', 1, b'v'])
                .finish(Crc::Right),
            "release candidates of redis 7.4",
        ),
    ] {
        let ran = check(file, &[]);
        says(&ran, 0, &["warning: ", words, "sound", "1 kind of warning"]);
    }
}

#[test]
fn function_libraries_that_servers_refuse() {
    let lib = "#!lua name=lib\nreturn 1";
    let file = base()
        .function(lib)
        .function("#!lua name=other\n")
        .function(lib);
    says(
        &check(file.finish(Crc::Right), &[]),
        1,
        &["fault: offset ", "\"lib\" stands twice"],
    );
    let file = base().function("return 1").finish(Crc::Right);
    says(&check(file, &[]), 1, &["without a name"]);
}

#[test]
fn compressed_strings_that_lie_are_faults_of_their_own() {
    let lies = dump::lzf_string(b"\x00a", 40);
    let file = base()
        .raw([0])
        .raw(&lies)
        .raw(dump::string("v"))
        .raw([opcode::FUNCTION2])
        .raw(&lies)
        .raw([opcode::AUX])
        .raw(dump::string("ctime"))
        .raw(&lies)
        .key(0, "value", &lies)
        .string_key("last", "one")
        .finish(Crc::Right);
    let deep = check(&file, &[]);
    says(
        &deep,
        1,
        &[
            "the source of a function library is damaged",
            "the value of an aux field is damaged",
            "4 faults: 3 keys",
        ],
    );
    says(&check(&file, &["--shallow"]), 1, &["3 faults: 3 keys"]);
    // Selection by name meets the damaged name: its fault is told, and the others are chosen.
    says(
        &check(&file, &["--match", "last"]),
        1,
        &["3 faults: 2 keys of 3 keys"],
    );
}

/// The faults of a value are listed up to a hundred, and counted to the last one.
#[test]
fn faults_of_one_value_are_all_counted() {
    for members in [101usize, 5000, 100_000] {
        let value = [dump::length(members as u64), b"\x01m".repeat(members)].concat();
        let file = base().key(2, "set", &value).string_key("k", "v");
        let file = file.finish(Crc::Right);
        let ran = check(&file, &[]);
        let faults = members - 1;
        let number = match faults {
            100 => "100",
            4999 => "4,999",
            _ => "99,999",
        };
        says(&ran, 1, &[&format!("{number} faults: 2 keys")]);
        let told = ran.stdout.lines().filter(|l| l.starts_with("fault: "));
        let rest = faults - 100;
        assert_eq!(told.count(), 100 + usize::from(rest > 0));
        let more = format!("): and {rest} more in this value; set \"set\" in db 0\n");
        assert_eq!(ran.stdout.contains(&more), rest > 0, "{}", ran.stdout);
        let json = check(&file, &["--json"]).json();
        let input = &json["inputs"][0];
        assert_eq!(input["faults"], faults);
        let findings = input["findings"].as_array().expect("a list");
        let times: Vec<_> = findings.iter().map(|one| one["times"].as_u64()).collect();
        assert!(times[..100].iter().all(|times| *times == Some(1)), "{json}");
        let rest = (rest > 0).then_some(Some(rest as u64));
        assert_eq!(times[100..], Vec::from_iter(rest), "{json}");
    }
}

/// A stream of two nodes of one entry each: what a node's key is, and the entry's ID less that.
fn two_nodes(nodes: [(u64, u8, u8); 2], last: u64) -> Vec<u8> {
    let mut value = dump::length(2);
    for (master, ms, seq) in nodes {
        value.extend(dump::string([master.to_be_bytes(), [0; 8]].concat()));
        // One live entry, none deleted, one field name; the entry, which has that.
        let small = |number: u8| vec![number, 1];
        let items = [
            vec![small(1), small(0), small(1), vec![0x81, b'f', 2], small(0)],
            vec![
                small(2),
                small(ms),
                small(seq),
                vec![0x81, b'v', 2],
                small(4),
            ],
        ]
        .concat();
        let body = items.concat();
        let bytes = u32::try_from(body.len() + 7).expect("a short one");
        let items = u16::try_from(items.len()).expect("few").to_le_bytes();
        let packed = [&bytes.to_le_bytes()[..], &items, &body, &[0xff]].concat();
        value.extend(dump::string(packed));
    }
    // Its length, its last ID; no groups.
    value.extend([2].into_iter().chain(dump::length(last)).chain([1, 0]));
    value
}

/// Servers find entries by the keys of nodes: these rise, as the entries do. Redis ends at its start where one stands twice.
#[test]
fn the_nodes_of_a_stream_rise() {
    let found = |nodes, last| {
        let file = base().key(15, "s", two_nodes(nodes, last));
        let file = file.string_key("k", "v").finish(Crc::Right);
        check(&file, &[])
    };
    says(&found([(1, 0, 0), (2, 0, 1)], 2), 0, &["sound"]);
    let twice = found([(1, 0, 0), (1, 0, 1)], 1);
    says(&twice, 1, &["node 1-0 stands behind node 1-0", "1 fault"]);
    let falls = found([(9, 0, 0), (5, 7, 1)], 12);
    says(&falls, 1, &["node 5-0 stands behind node 9-0", "1 fault"]);
}

#[test]
fn the_same_key_twice() {
    let file = base()
        .string_key("a", "1")
        .string_key("17", "2")
        .select_db(1)
        .string_key("a", "3")
        .select_db(2)
        .key(0, "a", dump::string("4"))
        .raw([0])
        .raw(dump::int_string(17))
        .raw(dump::string("5"))
        .expire_ms(1 << 42)
        .string_key("a", "6")
        .string_key("17", "7");
    let file = file.finish(Crc::Right);
    says(&check(&file, &[]), 0, &["sound"]);
    let ran = check(&file, &["--duplicates"]);
    says(
        &ran,
        1,
        &["2 faults", "key \"a\" in db 2", "key \"17\" in db 2"],
    );
    let offsets: Vec<usize> = ran
        .stdout
        .lines()
        .filter_map(|l| {
            l.strip_prefix("fault: offset ")?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    assert!(offsets.is_sorted() && offsets.len() == 2, "{}", ran.stdout);
}

#[test]
fn faults_come_in_the_order_of_the_file() {
    let mut dump = base();
    let mut expected = Vec::new();
    for n in 0..5000 {
        let name = format!("key:{n}");
        dump = match n % 11 {
            3 => {
                expected.push(name.clone());
                // A listpack whose total is wrong.
                dump.key(16, &name, dump::string(b"\x08\0\0\0\0\0\xff"))
            }
            7 => {
                expected.push(name.clone());
                dump.key(1, &name, [0])
            }
            9 => dump.function(format!("#!lua name=f{}\n", n % 99)),
            _ => dump.string_key(&name, vec![b'x'; n % 3000]),
        };
    }
    let ran = check(dump.finish(Crc::Right), &["--json"]);
    ran.ends_with(1);
    let json = ran.json();
    let findings = json["inputs"][0]["findings"].as_array().expect("a list");
    let faults: Vec<_> = findings
        .iter()
        .filter(|f| f["severity"] == "fault")
        .collect();
    let offsets: Vec<u64> = faults
        .iter()
        .map(|f| f["offset"].as_u64().expect("an offset"))
        .collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    let mut keys: Vec<&str> = faults.iter().filter_map(|f| f["key"].as_str()).collect();
    // The broken listpacks have two faults each.
    keys.dedup();
    assert!(keys == expected, "{} and {}", keys.len(), expected.len());
    assert_eq!(json["inputs"][0]["faults"], faults.len());
    assert!(faults.len() > expected.len(), "libraries that stand twice");
}

#[test]
fn only_selected_values_are_looked_at() {
    let file = base()
        .key(1, "bad", [0])
        .string_key("good", "v")
        .finish(Crc::Right);
    says(
        &check(&file, &["--match", "good"]),
        0,
        &["sound: 1 key of 2 keys"],
    );
    says(
        &check(&file, &["--match", "bad"]),
        1,
        &["1 fault: 1 key of 2 keys"],
    );
}

#[test]
fn machines_read_the_same() {
    let file = base().key(1, b"list\xff", [0]).finish(Crc::Zero);
    let json = check(file, &["--json"]).json();
    let input = &json["inputs"][0];
    assert_eq!(
        (&input["sound"], &input["faults"], &json["exit_code"]),
        (&false.into(), &1.into(), &1.into())
    );
    let fault = &input["findings"][0];
    assert_eq!(fault["code"], "empty");
    assert_eq!((&fault["db"], &fault["type"]), (&0.into(), &"list".into()));
    assert_eq!(input["findings"][1]["code"], "checksum-disabled");
    assert_eq!(input["totals"]["checksum"], "disabled");
    assert_eq!(input["producer"]["version"], "7.2.4");
}
