//! Destinations whose owners renamed commands, and logins that run out while a load is under way.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::Value;

use super::support::cluster::{text, wait_until};
use super::support::command::{Dir, program_to_signal, run};
use super::support::dump::{Crc, Dump, length, string};
use super::support::server::Server;

const KEYS: u64 = 1200;

fn dump() -> Vec<u8> {
    let start = Dump::redis(6).select_db(0);
    (1..KEYS)
        .fold(start, |dump, i| {
            dump.string_key(format!("k{i}"), format!("value {i}"))
        })
        .key(1, "list", [length(2), string("a"), string("b")].concat())
        .finish(Crc::Right)
}

fn words<'a>(verb: &'a str, file: &'a str, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[verb, file, "--to", url, "--json"], more].concat()
}

#[test]
fn a_unix_socket_is_a_destination_of_every_verb() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let password = dir.file("password", "p:w d\n");
    for name in ["redis-2.8", "redis-7.0", "valkey-9.1"] {
        let socket = dir.path().join(format!("{name}.sock"));
        let server = Server::setup(name)
            .with("unixsocket", [&socket])
            .with_password("p:w d")
            .start();
        let socket = socket.to_str().expect("UTF-8").to_owned();
        let in_address = format!("unix://{socket}?db=0&pass=p%3Aw%20d");
        let by_file = ["--password-file", &password[..]];
        for (url, login) in [(&in_address, &[][..]), (&socket, &by_file[..])] {
            server.run("FLUSHALL");
            for (verb, path) in [
                ("plan", "/servers/0/outcomes/restored_raw"),
                ("load", "/outcomes/restored_raw"),
                ("compare", "/outcomes/same"),
            ] {
                let more: &[&str] = if verb == "load" {
                    &["--connections", "2"]
                } else {
                    &[]
                };
                let ran = run(words(verb, &file, url, &[login, more].concat()));
                ran.ends_with(0);
                let json = ran.json();
                let keys = json.pointer(path).and_then(serde_json::Value::as_u64);
                assert_eq!(keys, Some(KEYS), "{name} {verb}: {json:#}");
                assert!(
                    !format!("{ran:?}").contains("p:w d"),
                    "{verb} tells the password"
                );
            }
            assert_eq!(server.run("DBSIZE"), Value::Int(KEYS as i64), "{name}");
            // Its journal is found again.
            let ran = run(words(
                "load",
                &file,
                url,
                &[login, &["--on-conflict", "skip"]].concat(),
            ));
            ran.ends_with(0);
        }
        for verb in ["plan", "load", "compare"] {
            let wrong = format!("unix://{socket}?pass=wrong");
            let ran = run(words(verb, &file, &wrong, &[]));
            ran.ends_with(4);
            assert!(ran.stderr.contains("password"), "{verb}: {}", ran.stderr);
            let nobody = format!("unix://{socket}.not");
            run(words(verb, &file, &nobody, &[])).ends_with(4);
        }
    }
}

#[test]
fn a_renamed_command_is_sent_under_its_name_there() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    for name in [
        "redis-2.8",
        "redis-3.2",
        "redis-6.2",
        "redis-7.0",
        "redis-8.10",
        "valkey-8.1",
    ] {
        let server = Server::setup(name)
            .with("rename-command", ["RESTORE", "secret-Restore"])
            .with("rename-command", ["DUMP", "d"])
            .with("rename-command", ["INFO", "info-2"])
            .with("rename-command", ["GET", "get-it"])
            .start();
        let url = server.url();
        let named = [
            "--rename-command",
            "restore=secret-Restore",
            "--rename-command",
            "DUMP=d",
            "--rename-command",
            "INFO=info-2",
            "--rename-command",
            "GET=get-it",
        ];
        // Without its name the road is closed, and what may help is said.
        let plain = run(words("plan", &file, &url, &[]));
        assert_eq!(
            plain.json()["destination"]["restore"],
            "closed to us",
            "{name}"
        );

        let plan = run(words("plan", &file, &url, &named));
        plan.ends_with(0);
        let json = plan.json();
        assert_eq!(json["destination"]["restore"], "works", "{name}: {json:#}");
        assert_eq!(json["servers"][0]["raw"]["keys"], KEYS, "{name}: {json:#}");
        assert!(
            json["destination"]["version"].is_string(),
            "{name}: {json:#}"
        );
        let shown = run([&["plan", &file, "--to", &url, "-v"], &named[..]].concat());
        assert!(
            shown.stderr.contains("> secret-Restore ") && !shown.stderr.contains("> RESTORE"),
            "{name}: {}",
            shown.stderr
        );

        let load = run(words(
            "load",
            &file,
            &url,
            &[&named[..], &["--verify"]].concat(),
        ));
        load.ends_with(0);
        let json = load.json();
        assert_eq!(json["outcomes"]["restored_raw"], KEYS, "{name}: {json:#}");
        assert_eq!(json["verified"]["same"], KEYS, "{name}: {json:#}");
        run(words("compare", &file, &url, &named)).ends_with(0);
    }
}

#[test]
fn values_go_by_renamed_commands_too() {
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let server = Server::setup("redis-7.0")
        .with("rename-command", ["RESTORE", ""])
        .with("rename-command", ["RPUSH", "add-behind"])
        .with("rename-command", ["SET", "put"])
        .start();
    let url = server.url();
    let named = [
        "--rename-command",
        "RPUSH=add-behind",
        "--rename-command",
        "SET=put",
    ];
    let load = run(words("load", &file, &url, &named));
    load.ends_with(0);
    assert_eq!(
        load.json()["outcomes"]["restored_commands"],
        KEYS,
        "{load:?}"
    );
    assert_eq!(server.run("LLEN list"), Value::Int(2));
    for bad in ["RESTORE", "RESTORE=", "=x"] {
        run(words("load", &file, &url, &["--rename-command", bad])).ends_with(2);
    }
}

// ---- logins that run out ---------------------------------------------------------------------------------------------

/// A load under way, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Its exit code, output and messages, after SIGINT.
    fn interrupted(mut self) -> (i32, String) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status();
        assert!(sent.expect("kill runs").success());
        let (mut said, begun) = (String::new(), Instant::now());
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("waited for") {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        for pipe in [
            &mut stdout.expect("piped") as &mut dyn std::io::Read,
            &mut stderr.expect("piped"),
        ] {
            pipe.read_to_string(&mut said).expect("text");
        }
        (status.code().expect("an exit code"), said)
    }
}

/// How often `AUTH` was called, and how often it failed.
fn logins(server: &Server) -> (u64, u64) {
    let stats = text(server.port(), "INFO commandstats");
    let line = stats
        .lines()
        .find(|line| line.starts_with("cmdstat_auth:"))
        .unwrap_or_default();
    let field = |name: &str| {
        let value = line
            .split([':', ','])
            .find_map(|field| field.strip_prefix(name));
        value.map_or(0, |value| value.trim().parse::<u64>().expect("a number"))
    };
    (field("calls="), field("failed_calls="))
}

#[test]
fn open_connections_log_in_again_with_a_fresh_password() {
    let server = Server::start("redis-7.0");
    server.run("ACL SETUSER u on >first-s3cret ~* +@all");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let token = dir.file("token", "first-s3cret\n");
    let journal = dir.path().join("load.journal").display().to_string();
    let command = format!("cat {token}");
    let url = format!("redis://u@127.0.0.1:{}", server.port());
    let args = [
        "load",
        &file,
        "--to",
        &url,
        "--password-command",
        &command,
        "--reauth-every",
        "1s",
        "--journal",
        &journal,
        "--connections",
        "2",
    ];
    let running = Running(
        program_to_signal()
            .args(args)
            // It is not to be done before it is interrupted.
            .args(["--max-keys-per-sec", "10"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs"),
    );
    wait_until("keys come", || {
        matches!(server.run("DBSIZE"), Value::Int(20..))
    });
    // Both hold for a moment, as tokens do.
    server.run("ACL SETUSER u >second-s3cret");
    dir.file("token", "second-s3cret\n");
    let before = logins(&server).0;
    wait_until("all connections have the new one", || {
        logins(&server).0 > before + 8
    });
    server.run("ACL SETUSER u <first-s3cret");
    let before = logins(&server).0;
    wait_until("it logs in with the new one", || {
        logins(&server).0 > before + 4
    });
    assert_eq!(logins(&server).1, 0, "none was refused");
    let (code, said) = running.interrupted();
    assert_eq!(code, 5, "{said}");
    let kept = std::fs::read(&journal).expect("a journal");
    for secret in ["first-s3cret", "second-s3cret"] {
        assert!(!said.contains(secret), "{said}");
        assert!(!String::from_utf8_lossy(&kept).contains(secret));
    }
    run(args).ends_with(0);
    assert_eq!(server.run("DBSIZE"), Value::Int(KEYS as i64));
    // Only a command gives a new one each time.
    let without = ["load", &file, "--to", &url, "--reauth-every", "1s"];
    run(without).ends_with(2);
}

#[test]
fn a_password_that_holds_no_more_ends_the_load_in_words() {
    let server = Server::start("redis-7.0");
    server.run("ACL SETUSER u on >first-s3cret ~* +@all");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let token = dir.file("token", "first-s3cret\n");
    let command = format!("cat {token}");
    let url = format!("redis://u@127.0.0.1:{}", server.port());
    let args = [
        "load",
        &file,
        "--to",
        &url,
        "--password-command",
        &command,
        "--reauth-every",
        "1s",
    ];
    let mut child = program_to_signal()
        .args(args)
        .args(["--max-keys-per-sec", "10", "--retry-for", "30s"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)
        .expect("the program runs");
    wait_until("keys come", || {
        matches!(server.run("DBSIZE"), Value::Int(20..))
    });
    server.run("ACL SETUSER u resetpass >another");
    let mut status = None;
    wait_until("the load ends", || {
        status = child.0.try_wait().expect("waited for");
        status.is_some()
    });
    let mut said = String::new();
    let mut stderr = child.0.stderr.take().expect("piped");
    std::io::Read::read_to_string(&mut stderr, &mut said).expect("text");
    assert_eq!(status.and_then(|status| status.code()), Some(4), "{said}");
    assert!(
        said.contains("gave up after 2 tries") && said.contains("WRONGPASS"),
        "{said}"
    );
    assert!(!said.contains("s3cret"), "{said}");
}
