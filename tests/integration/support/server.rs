//! Real servers, as `tests/servers.sh` fetched them: found by name, started on a free loopback port in a directory of their
//! own, stopped when dropped, also when the test panics or the test process is killed.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use super::{clock, say_aloud};

/// Servers without which the tests fail: pinned by hash, or from a stable Debian suite.
#[cfg(target_arch = "x86_64")]
pub(crate) const REQUIRED: &[&str] = &[
    "redis-5.0",
    "redis-6.0",
    "redis-6.2",
    "redis-7.0",
    "redis-8.0",
    "redis-8.2",
    "redis-8.10",
    "valkey-8.0",
    "valkey-8.1",
    "valkey-9.0",
];
/// On other machines only Debian's packages exist.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const REQUIRED: &[&str] = &[
    "redis-6.0",
    "redis-7.0",
    "redis-8.0",
    "valkey-8.0",
    "valkey-8.1",
];

/// The oldest servers: required as well, built from their sources. They have no part in tests that go through [`REQUIRED`],
/// whose options they are too old for.
pub(crate) const OLD: &[&str] = &["redis-2.8", "redis-3.0", "redis-3.2"];

/// Servers that the tests use where they are there: they come from suites that move.
#[cfg(target_arch = "x86_64")]
pub(crate) const OPTIONAL: &[&str] = &["redis-8.6", "valkey-9.1"];
/// On other machines the pinned wheels are missing as well.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) const OPTIONAL: &[&str] = &[
    "redis-5.0",
    "redis-6.2",
    "redis-8.2",
    "redis-8.6",
    "redis-8.10",
    "valkey-9.0",
    "valkey-9.1",
];

const START_LIMIT: Duration = Duration::from_secs(60);

/// Where the servers are: `RDBRIDGE_SERVERS`, else the default of `tests/servers.sh`.
pub(crate) fn servers_dir() -> PathBuf {
    match env::var_os("RDBRIDGE_SERVERS") {
        Some(dir) => dir.into(),
        None => PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/tmp".into()))
            .join(".cache/rdbridge/servers"),
    }
}

/// The program `server`, `cli`, `check-rdb`, … of a server, if it is there.
pub(crate) fn program(name: &str, program: &str) -> Option<PathBuf> {
    let path = servers_dir().join(name).join(format!("redis-{program}"));
    path.exists().then_some(path)
}

/// All servers to test against: the required ones, of which none may be missing, and the optional ones that are there.
/// What is absent is said aloud.
pub(crate) fn all() -> Vec<&'static str> {
    let mut names = [OLD, REQUIRED].concat();
    for name in &names {
        assert!(is_there(name), "{}", missing(name));
    }
    for name in OPTIONAL {
        if is_there(name) {
            names.push(name);
        } else {
            say_aloud(&format!(
                "optional server {name} is absent: not tested against it"
            ));
        }
    }
    names
}

fn is_there(name: &str) -> bool {
    program(name, "server").is_some()
}

fn missing(name: &str) -> String {
    format!(
        "required server {name} is not in {}: run `bash tests/servers.sh` first",
        servers_dir().display()
    )
}

/// Product and version by name: `("valkey", 8, 1)` for `valkey-8.1`.
pub(crate) fn version_of(name: &str) -> (&str, u32, u32) {
    let parsed = name.split_once('-').and_then(|(product, version)| {
        let (major, minor) = version.split_once('.')?;
        Some((product, major.parse().ok()?, minor.parse().ok()?))
    });
    parsed.unwrap_or_else(|| panic!("{name} is no server's name like redis-7.0"))
}

/// A server to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    name: &'static str,
    args: Vec<OsString>,
    files: Vec<(PathBuf, String)>,
    password: Option<String>,
    preload: Option<PathBuf>,
}

impl Setup {
    /// Adds one directive with its values: `.with("maxmemory", ["100mb"])`.
    pub(crate) fn with<A: AsRef<OsStr>>(
        mut self,
        directive: &str,
        values: impl IntoIterator<Item = A>,
    ) -> Self {
        self.args.push(format!("--{directive}").into());
        self.args
            .extend(values.into_iter().map(|v| v.as_ref().to_owned()));
        self
    }

    /// Allows `DEBUG` where it has to be allowed (from 7.0 on; older servers refuse to start with the directive).
    pub(crate) fn with_debug(self) -> Self {
        let (_, major, _) = version_of(self.name);
        if major >= 7 {
            self.with("enable-debug-command", ["yes"])
        } else {
            self
        }
    }

    /// Makes the server load a copy of this file at its start.
    pub(crate) fn with_rdb(self, path: impl Into<PathBuf>) -> Self {
        self.with_file(path, "dump.rdb")
    }

    /// Puts a copy of this file into the server's directory before it starts.
    pub(crate) fn with_file(mut self, path: impl Into<PathBuf>, as_name: &str) -> Self {
        self.files.push((path.into(), as_name.to_owned()));
        self
    }

    /// Sets `requirepass`; [`Server::url`] and [`Server::connect`] use it.
    pub(crate) fn with_password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self.with("requirepass", [password])
    }

    /// Its clock is so many seconds before ours.
    pub(crate) fn with_clock_ahead(mut self, seconds: i64) -> Self {
        self.preload = Some(clock::ahead(seconds));
        self
    }

    /// Starts it and waits until it has loaded its file and answers.
    ///
    /// # Panics
    /// With the end of the server's log, if it does not.
    pub(crate) fn start(self) -> Server {
        let name = self.name;
        self.try_start()
            .unwrap_or_else(|log| panic!("{name} does not start; its log ends:\n{log}"))
    }

    /// Like [`Setup::start`], for servers that may refuse: returns the end of the log of one that exits.
    pub(crate) fn try_start(self) -> Result<Server, String> {
        let program =
            program(self.name, "server").unwrap_or_else(|| panic!("{}", missing(self.name)));
        let mut log = String::new();
        // Another process may take the free port before the server does.
        for _attempt in 0..5 {
            let dir = tempfile::Builder::new()
                .prefix("rdbridge-server-")
                .tempdir()
                .expect("a temporary directory");
            for (from, to) in &self.files {
                let to = dir.path().join(to);
                if let Some(parent) = to.parent() {
                    fs::create_dir_all(parent).expect("a directory");
                }
                fs::copy(from, to).unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
            }
            let port = free_port();
            let child = Command::new(&program)
                .envs(self.preload.iter().map(|path| ("LD_PRELOAD", path)))
                .args(["--port", &port.to_string()])
                .args(["--bind", "127.0.0.1"])
                .args(["--daemonize", "no"])
                .args(["--save", ""])
                .args(["--logfile", "server.log"])
                .arg("--dir")
                .arg(dir.path())
                .args(&self.args)
                .current_dir(dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(
                    fs::File::create(dir.path().join("server.err"))
                        .expect("a file in the temporary directory"),
                )
                .spawn()
                .unwrap_or_else(|e| panic!("start {}: {e}", program.display()));
            let mut server = Server {
                watchdog: watchdog(child.id()),
                child,
                port,
                dir,
                name: self.name,
                password: self.password.clone(),
            };
            match server.wait_until_it_answers() {
                Ok(()) => return Ok(server),
                Err(exited) => log = exited,
            }
            if !log.contains("ddress already in use") {
                break;
            }
        }
        Err(log)
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    watchdog: Child,
    port: u16,
    dir: tempfile::TempDir,
    name: &'static str,
    password: Option<String>,
}

impl Server {
    /// A server by name, nothing set.
    pub(crate) fn setup(name: &'static str) -> Setup {
        Setup {
            name,
            args: Vec::new(),
            files: Vec::new(),
            password: None,
            preload: None,
        }
    }

    /// Starts a server as it comes, empty.
    pub(crate) fn start(name: &'static str) -> Server {
        Self::setup(name).start()
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The server's own directory: its log, and what it saves.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// As a destination is typed, with the password if there is one.
    pub(crate) fn url(&self) -> String {
        let login = self
            .password
            .as_ref()
            .map_or_else(String::new, |p| format!(":{p}@"));
        format!("redis://{login}127.0.0.1:{}", self.port)
    }

    /// A connection of the `redis` crate's own client, which shares nothing with the code under test.
    pub(crate) fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("a valid URL");
        let connection = client
            .get_connection_with_timeout(Duration::from_secs(10))
            .expect("the server answers");
        connection
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a time-out can be set");
        connection
    }

    /// Runs one command, given as its words with blanks between.
    ///
    /// # Panics
    /// Where the server answers with an error.
    pub(crate) fn run(&self, words: &str) -> redis::Value {
        let mut words_of = words.split(' ');
        let mut command = redis::cmd(words_of.next().unwrap_or_default());
        command.arg(words_of.collect::<Vec<_>>());
        command
            .query(&mut self.connect())
            .unwrap_or_else(|e| panic!("{} refuses {words}: {e}", self.name))
    }

    /// One field of `INFO`, as text.
    pub(crate) fn info(&self, field: &str) -> Option<String> {
        let text: String = redis::cmd("INFO")
            .arg("all")
            .query(&mut self.connect())
            .expect("INFO answers");
        text.lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .map(str::to_owned)
    }

    /// The end of the server's log and of what it wrote to standard error.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        for file in ["server.log", "server.err"] {
            let bytes = fs::read(self.dir().join(file)).unwrap_or_default();
            let whole = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = whole.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(25)) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }

    /// Has the process ended by itself?
    pub(crate) fn has_exited(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    fn wait_until_it_answers(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            if self.has_exited() {
                return Err(self.log());
            }
            // By the log first: on a port that was taken meanwhile somebody else would answer.
            let log = fs::read(self.dir().join("server.log")).unwrap_or_default();
            let ready = String::from_utf8_lossy(&log).contains("eady to accept connections");
            if ready && ping(self.port).is_some_and(|l| l == "+PONG" || l.starts_with("-NOAUTH")) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("no answer in {START_LIMIT:?}\n{}", self.log()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The watchdog first: it must not live to kill a process that got the same number later.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that kills `pid` as soon as this process is gone, however it went: its end of the pipe then closes.
fn watchdog(pid: u32) -> Child {
    Command::new("sh")
        .args(["-c", "read -r _; kill -9 \"$0\"", &pid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts")
}

/// A port that is free now, and whose cluster bus port (10,000 above) is free as well.
pub(crate) fn free_port() -> u16 {
    loop {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let port = bound.local_addr().expect("a bound address").port();
        let bus = port.checked_add(10_000);
        if bus.is_some_and(|bus| TcpListener::bind((Ipv4Addr::LOCALHOST, bus)).is_ok()) {
            return port;
        }
    }
}

/// What a server on this port says to `PING`: one line, without its end.
fn ping(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    Some(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_starts_answers_and_ends_with_its_handle() {
        for name in all() {
            let server = Server::start(name);
            assert_eq!(server.name(), name);
            let (_, major, minor) = version_of(name);
            let field = if name.starts_with("valkey") {
                "valkey_version"
            } else {
                "redis_version"
            };
            let version = server.info(field).expect("a version");
            assert!(
                version.starts_with(&format!("{major}.{minor}.")),
                "{name} is {version}"
            );
            let port = server.port();
            assert!(Path::new(&format!("/proc/{}", server.pid())).exists());
            drop(server);
            assert_eq!(ping(port), None, "{name} still answers");
        }
    }

    #[test]
    fn a_server_loads_the_file_it_is_given_and_takes_a_password() {
        let first = Server::setup("redis-7.0").with_debug().start();
        redis::cmd("SET")
            .arg("greeting")
            .arg("hello")
            .exec(&mut first.connect())
            .expect("SET");
        redis::cmd("DEBUG")
            .arg("RELOAD")
            .exec(&mut first.connect())
            .expect("DEBUG is allowed");
        redis::cmd("SAVE").exec(&mut first.connect()).expect("SAVE");
        let second = Server::setup("redis-8.0")
            .with_rdb(first.dir().join("dump.rdb"))
            .with_password("sesame")
            .start();
        let got: String = redis::cmd("GET")
            .arg("greeting")
            .query(&mut second.connect())
            .expect("GET");
        assert_eq!(got, "hello");
        assert!(ping(second.port()).is_some_and(|line| line.starts_with("-NOAUTH")));
    }

    #[test]
    fn a_server_that_refuses_to_start_says_why() {
        let bad = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(bad.path(), b"REDIS9999 is no version").expect("written");
        let log = Server::setup("redis-7.0")
            .with_rdb(bad.path())
            .try_start()
            .expect_err("no server loads this");
        assert!(log.contains("9999"), "{log}");
    }

    #[test]
    fn the_watchdog_kills_when_its_pipe_closes() {
        let mut sleeper = Command::new("sleep")
            .arg("600")
            .spawn()
            .expect("sleep starts");
        let mut dog = watchdog(sleeper.id());
        drop(dog.stdin.take());
        dog.wait().expect("the watchdog ends");
        let status = sleeper.wait().expect("the sleeper ends");
        assert!(!status.success());
    }
}
