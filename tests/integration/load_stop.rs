//! What ends a load from outside: signals, and what is refused before anything is read.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdbridge::outcome::Outcome;

use crate::support::command::{Dir, Ran, program, program_to_signal, run_with};
use crate::support::dump::{Crc, Dump};
use crate::support::loading::{load, options};
use crate::support::proxy::{Fault, On, Proxy};
use crate::support::server::Server;

const KEYS: usize = 3000;

fn dump() -> Vec<u8> {
    (0..KEYS)
        .fold(Dump::redis(7).select_db(0), |dump, i| {
            dump.string_key(format!("k{i}"), "v".repeat(100))
        })
        .finish(Crc::Right)
}

/// A load under way. Its standard input stays open and silent.
struct Running(Child);

impl Running {
    fn start(args: &[&str]) -> Self {
        let child = program_to_signal()
            .arg("load")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        Self(child)
    }

    /// Waits until it catches the signals that end a load: one that comes before ends any process.
    fn catches_signals(&self) {
        const HUP_INT_TERM: u64 = 1 | 1 << 1 | 1 << 14;
        let status = format!("/proc/{}/status", self.0.id());
        let started = Instant::now();
        while started.elapsed() < SOON {
            let text = std::fs::read_to_string(&status).expect("a process");
            let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16);
            if caught.expect("a mask") & HUP_INT_TERM == HUP_INT_TERM {
                return;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("it catches no signals");
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Its exit code, output and messages; fails where it does not end in time.
    #[track_caller]
    fn ends_within(mut self, limit: Duration) -> (i32, String, String) {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("waited for") {
                break status;
            }
            if started.elapsed() > limit {
                self.0.kill().expect("killed");
                panic!("it did not end within {limit:?}");
            }
            sleep(Duration::from_millis(10));
        };
        let (mut out, mut err) = (String::new(), String::new());
        let (stdout, stderr) = (self.0.stdout.take(), self.0.stderr.take());
        stdout
            .expect("piped")
            .read_to_string(&mut out)
            .expect("text");
        stderr
            .expect("piped")
            .read_to_string(&mut err)
            .expect("text");
        (status.code().expect("no signal"), out, err)
    }
}

/// Long, since a journal is synced to a disk that others may keep busy; what is waited for here never comes by itself.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn a_destination_that_cannot_be_used_is_told_before_anything_is_read() {
    let locked = Server::setup("redis-7.0").with_password("sesame").start();
    let wrong = format!("redis://:wrong@127.0.0.1:{}", locked.port());
    let cluster = Server::setup("redis-7.0")
        .with("cluster-enabled", ["yes"])
        .start();
    let closed = Server::start("redis-7.0");
    closed.run("ACL SETUSER u on >p ~* +@all -restore -renamenx");
    let closed = format!("redis://u:p@127.0.0.1:{}", closed.port());
    for (url, says) in [
        (wrong, "WRONGPASS"),
        (cluster.url(), "slots have no owner"),
        (closed, "does not let us RESTORE"),
    ] {
        // Standard input never ends: whoever reads it first never gets to the destination.
        let (code, _, err) = Running::start(&["-", "--to", &url]).ends_within(SOON);
        assert_eq!(code, 4, "{err}");
        assert!(err.contains(says), "{err}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_an_input_that_gives_nothing() {
    let server = Server::start("redis-7.0");
    for signal in ["-INT", "-TERM", "-HUP"] {
        let running = Running::start(&["-", "--to", &server.url()]);
        running.catches_signals();
        sleep(Duration::from_millis(300));
        running.signal(signal);
        let (code, _, err) = running.ends_within(SOON);
        assert_eq!(code, 5, "{signal}: {err}");
        assert!(err.contains("interrupted"), "{signal}: {err}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_server_that_answers_nothing() {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    for (signals, says) in [
        (
            &["-TERM"][..],
            "interrupted: the destination has acknowledged",
        ),
        (&["-HUP"][..], "the same command goes on"),
        (
            &["-INT", "-INT"][..],
            "interrupted again, ended at once; the destination has acknowledged",
        ),
    ] {
        server.run("FLUSHALL");
        let proxy = Proxy::start(server.port(), On::Data, Fault::Stall(5000));
        let running = Running::start(&[&file, "--to", &proxy.url()]);
        let started = Instant::now();
        while !proxy.has_fired() && started.elapsed() < SOON {
            sleep(Duration::from_millis(10));
        }
        assert!(proxy.has_fired());
        sleep(Duration::from_millis(200));
        for signal in signals {
            running.signal(signal);
            sleep(Duration::from_millis(150));
        }
        let (code, out, err) = running.ends_within(SOON);
        assert_eq!(code, 5, "{out}{err}");
        assert!(err.contains(says), "{err}");
        if signals.len() == 1 {
            assert!(out.contains("uncertain"), "{out}");
            assert!(out.contains("restored, raw"), "{out}");
        }
    }
}

#[test]
fn more_connections_than_the_server_takes_are_told_before_the_first_write() {
    let server = Server::setup("redis-7.0").with("maxclients", ["6"]).start();
    let mut many = options();
    many.connections = 12;
    let loaded = load(&server.url(), &dump(), many).expect("begins");
    assert!(
        loaded.stopped().contains("max number of clients"),
        "{}",
        loaded.stopped()
    );
    assert!(
        loaded.stopped().contains("--connections"),
        "{}",
        loaded.stopped()
    );
    assert_eq!(loaded.count(Outcome::NotReached), KEYS as u64);
    sleep(Duration::from_millis(100));
    assert_eq!(server.run("DBSIZE"), redis::Value::Int(0));
}

/// A load of a file, some seconds long, to which something happens when a third of it is there.
fn load_while(happens: impl FnOnce(&std::path::Path)) -> Ran {
    let server = Server::start("redis-7.0");
    let dir = Dir::new();
    let file = dir.file("dump.rdb", dump());
    let url = server.url();
    let mut command = program();
    command.args(["load", &file, "--to", &url, "--json"]);
    command.args(["--max-keys-per-sec", "1000"]);
    let loading = std::thread::spawn(move || run_with(&mut command, b""));
    let started = Instant::now();
    while !matches!(server.run("DBSIZE"), redis::Value::Int(1000..)) {
        assert!(started.elapsed() < Duration::from_secs(60), "it is slow");
        sleep(Duration::from_millis(10));
    }
    happens(file.as_ref());
    loading.join().expect("it ends")
}

#[test]
fn an_input_that_is_written_to_ends_the_load_and_its_suspects_are_named() {
    let ran = load_while(|file| {
        use std::io::{Seek as _, SeekFrom, Write as _};
        let open = std::fs::File::options().write(true).open(file);
        let mut open = open.expect("it can be written to");
        open.seek(SeekFrom::Start(300_000)).expect("it is longer");
        open.write_all(b"x").expect("written");
    });
    let report = ran.ends_with(3).json();
    let count = |name: &str| report["outcomes"][name].as_u64().expect("a count");
    assert_eq!(report["adds_up"], true, "{ran:?}");
    assert!(count("restored_raw") >= 500, "{ran:?}");
    assert!(count("not_reached") >= 500, "{ran:?}");
    // A tenth of a second, and what may be made up for at once, on a busy machine.
    assert!((1..=1000).contains(&count("uncertain")), "{ran:?}");
    let named = format!("; {} keys between offsets ", count("uncertain"));
    assert!(
        ran.stderr
            .contains("dump.rdb: the file changed while it was loaded"),
        "{ran:?}"
    );
    assert!(ran.stderr.contains(&named), "{ran:?}");
}

#[test]
fn an_input_whose_name_another_file_takes_is_loaded_to_its_end() {
    let ran = load_while(|file| {
        let other = file.with_extension("new");
        std::fs::write(&other, b"REDIS0011 another").expect("written");
        std::fs::rename(&other, file).expect("renamed");
    });
    let report = ran.ends_with(0).json();
    assert_eq!(report["outcomes"]["restored_raw"], KEYS, "{ran:?}");
    assert!(
        ran.stderr
            .contains("now names another file; the one that was opened is read"),
        "{ran:?}"
    );
}
