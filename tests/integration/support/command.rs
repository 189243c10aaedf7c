//! Running the command itself.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_rdbridge");

/// No run of a test takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// How a run ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.stdout))
    }

    /// The same, of a verb that may have written all there is elsewhere.
    pub(crate) fn json_or_nothing(&self) -> serde_json::Value {
        match self.stdout.is_empty() {
            true => serde_json::Value::Null,
            false => self.json(),
        }
    }

    /// Fails unless it ended with `code`.
    #[track_caller]
    pub(crate) fn ends_with(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// The program with nothing of ours in its environment.
pub(crate) fn program() -> Command {
    without_ours(Command::new(PROGRAM))
}

/// The same, for tests that send it signals: it catches them though the tests run where they are ignored (in the background,
/// under `nohup`), which it would respect.
pub(crate) fn program_to_signal() -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,TERM", PROGRAM]);
    without_ours(command)
}

fn without_ours(mut command: Command) -> Command {
    for name in ["RDBRIDGE_PASSWORD", "REDISCLI_AUTH", "TMPDIR"] {
        command.env_remove(name);
    }
    command.env("RDBRIDGE_JOURNAL_DIR", journal_dir());
    command
}

/// A directory of its own for the journals of each run: tests load one file again and again.
pub(crate) fn journal_dir() -> PathBuf {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{}-{run}", since.as_nanos(), std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("journals")
        .join(name)
}

/// Runs it with these arguments and nothing on its standard input.
pub(crate) fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ran {
    run_with(program().args(args), b"")
}

/// Runs it with these bytes on its standard input.
pub(crate) fn run_with(command: &mut Command, stdin: &[u8]) -> Ran {
    let program = std::mem::replace(command, Command::new("false"));
    let output = assert_cmd::Command::from_std(program)
        .timeout(LIMIT)
        .write_stdin(stdin)
        .output()
        .expect("the program runs");
    Ran {
        code: output
            .status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal or the limit: {output:?}")),
        stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
    }
}

/// A directory with files in it, gone when dropped.
#[derive(Debug)]
pub(crate) struct Dir(tempfile::TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file; its path as text.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.0.path().join(name);
        fs::write(&path, bytes).expect("written");
        path.to_str().expect("a path in UTF-8").to_owned()
    }
}
