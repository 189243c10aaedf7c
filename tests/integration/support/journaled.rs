//! The command `load` with a journal in a place of its own, given again and again.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::command::{Ran, journal_dir, program, run_with};

/// A load that is the same whenever it runs.
pub(crate) struct Command {
    args: Vec<String>,
    journals: PathBuf,
}

impl Command {
    /// Loads `file` into `url`, and tries a destination that is gone again for a while.
    pub(crate) fn new(file: &str, url: &str, more: &[&str]) -> Self {
        Self::of(&[file], url, "20s", more)
    }

    /// The same, but it gives up at once.
    pub(crate) fn hasty(file: &str, url: &str, more: &[&str]) -> Self {
        Self::of(&[file], url, "0", more)
    }

    /// Loads several files.
    pub(crate) fn of(files: &[&str], url: &str, retry_for: &str, more: &[&str]) -> Self {
        let rest = ["--to", url, "--retry-for", retry_for, "--json"];
        let args = ["load"].iter().chain(files).chain(&rest).chain(more);
        Self {
            args: args.map(|arg| (*arg).to_owned()).collect(),
            journals: journal_dir(),
        }
    }

    pub(crate) fn start(&self) -> Child {
        program()
            .args(&self.args)
            .env("RDBRIDGE_JOURNAL_DIR", &self.journals)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs")
    }

    pub(crate) fn run(&self, more: &[&str]) -> Ran {
        let mut command = program();
        command
            .args(&self.args)
            .args(more)
            .env("RDBRIDGE_JOURNAL_DIR", &self.journals);
        run_with(&mut command, b"")
    }

    /// Where its journal is: it must have been begun.
    pub(crate) fn journal(&self) -> PathBuf {
        let mut files = std::fs::read_dir(&self.journals)
            .expect("a directory")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|e| e == "journal"));
        files.next().expect("a journal")
    }

    /// What `load --status --json` says of it.
    pub(crate) fn status(&self) -> serde_json::Value {
        let mut command = program();
        command.args(["load", "--json", "--status"]);
        run_with(command.arg(self.journal()), b"")
            .ends_with(0)
            .json()
    }

    /// How many entries its journal calls finished.
    pub(crate) fn finished(&self) -> u64 {
        let status = self.status();
        let outcomes = status["acknowledged"]["outcomes"].as_object();
        let counts = outcomes.expect("outcomes").values();
        counts.map(|count| count.as_u64().expect("a count")).sum()
    }
}

pub(crate) fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happens() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{what}: did not happen"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}
