//! A run of the command under a limit, with a watch on its memory.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::command::journal_dir;

/// How often the process is looked at.
const EVERY: Duration = Duration::from_millis(5);

/// No run takes longer.
const LIMIT: Duration = Duration::from_secs(300);

/// How a run went.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) status: ExitStatus,
    /// The most of RssAnon + RssShmem that was seen, in bytes.
    pub(super) own: u64,
    /// The most of VmData that was seen, in bytes: what the limit is compared with.
    pub(super) data: u64,
    pub(super) looks: u32,
    pub(super) took: Duration,
    /// The end of what it said on standard error.
    pub(super) said: String,
}

/// Runs `program`, which may have no more than `limit` bytes of data, and looks at it until it ends. Its standard output
/// goes nowhere.
///
/// `prlimit` sets the limit and then *is* the program: the process has the same number. What it does before is its own
/// memory too, and little.
pub(super) fn run<A: AsRef<OsStr>>(
    program: &str,
    args: impl IntoIterator<Item = A>,
    limit: Option<u64>,
    stdin: Stdio,
) -> Run {
    let said = tempfile::NamedTempFile::new().expect("a temporary file");
    let limit = limit.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let started = Instant::now();
    let mut child = Command::new("prlimit")
        .arg(format!("--data={limit}"))
        .arg(program)
        .args(args)
        .env_remove("RDBRIDGE_PASSWORD")
        .env_remove("REDISCLI_AUTH")
        .env("RDBRIDGE_JOURNAL_DIR", journal_dir())
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(said.reopen().expect("the temporary file"))
        .spawn()
        .expect("prlimit, of util-linux, runs: tests/all.sh installs it");
    let (mut own, mut data, mut looks) = (0, 0, 0);
    let status = loop {
        // A process that has ended and was not waited for has no such lines. And for a moment after it was started it still is a
        // copy of this one, with this one's memory: its parent is let go when the old memory is, before the new one is there.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let bytes = |name: &str| field(&status, name).unwrap_or(0);
        let called = |path: &str| is_called(&status, path);
        if status.contains("\nVmData:") && (called("prlimit") || called(program)) {
            own = own.max(bytes("RssAnon:") + bytes("RssShmem:"));
            data = data.max(bytes("VmData:"));
            looks += 1;
        }
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if started.elapsed() > LIMIT {
            let _ = child.kill();
            break child.wait().expect("a child");
        }
        thread::sleep(EVERY);
    };
    let took = started.elapsed();
    let text = fs::read(said.path()).unwrap_or_default();
    let end = &text[text.len().saturating_sub(1500)..];
    Run {
        status,
        own,
        data,
        looks,
        took,
        said: String::from_utf8_lossy(end).into_owned(),
    }
}

impl Run {
    /// Why it is not as it should be, if it is not.
    pub(super) fn complaint(&self, budget: u64, codes: &[i32]) -> Option<String> {
        let numbers = || {
            format!(
                "{} of its own, {} of data, {} allowed",
                mib(self.own),
                mib(self.data),
                mib(budget)
            )
        };
        if let Some(signal) = self.status.signal() {
            return Some(format!(
                "ended by signal {signal} after {:.1} s ({}): {}",
                self.took.as_secs_f64(),
                numbers(),
                self.said
            ));
        }
        if !codes.contains(&self.status.code().unwrap_or(-1)) {
            return Some(format!("{} ({}): {}", self.status, numbers(), self.said));
        }
        // A panic of a thread that could not be started, say, is caught on some ways.
        if self.said.contains("panicked") {
            return Some(self.said.clone());
        }
        (self.own > budget).then(numbers)
    }
}

/// Whether the process of this `/proc/PID/status` runs the program at `path`: names are cut off there.
fn is_called(status: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.get(..15).unwrap_or(name);
    status.lines().next() == Some(&format!("Name:\t{name}"))
}

/// A field of `/proc/PID/status`, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// What is measured is there: a process that takes a buffer of 64 MiB has it, and cannot have it under the limit.
#[test]
fn the_measuring_sees_what_a_process_takes() {
    let dd = ["if=/dev/zero", "of=/dev/null", "bs=64M", "count=8"];
    let free = run("dd", dd, None, Stdio::null());
    assert!(free.status.success(), "{free:?}");
    assert!((64 << 20..70 << 20).contains(&free.own), "{free:?}");
    assert!(free.data >= 64 << 20, "{free:?}");
    assert!(free.looks >= 3, "{free:?}");
    assert!(free.complaint(super::OWN, &[0]).is_some());
    assert_eq!(free.complaint(70 << 20, &[0]), None);
    let held = run("dd", dd, Some(super::OWN), Stdio::null());
    assert_eq!(held.status.code(), Some(1), "{held:?}");
    assert!(held.complaint(super::OWN, &[0]).is_some());
}
