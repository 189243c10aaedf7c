//! What the integration tests share.

pub(crate) mod alloc;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod contents;
pub(crate) mod dump;
pub(crate) mod expected;
pub(crate) mod gate;
pub(crate) mod journaled;
pub(crate) mod loading;
pub(crate) mod meddler;
pub(crate) mod products;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod reading;
pub(crate) mod recorder;
pub(crate) mod samples;
pub(crate) mod server;
pub(crate) mod wire;

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// The samples that belong to the project.
pub(crate) fn testdata_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Samples of other projects, which are not part of this one: `RDBRIDGE_CORPUS`, else beside this project's directory.
/// `None`, said aloud, where they are not.
pub(crate) fn corpus_dir() -> Option<PathBuf> {
    static SAID: Once = Once::new();
    let dir = match env::var_os("RDBRIDGE_CORPUS") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
    };
    if dir.is_dir() {
        return Some(dir);
    }
    SAID.call_once(|| {
        say_aloud(&format!(
            "the corpus is not in {}: nothing is tested with it",
            dir.display()
        ));
    });
    None
}

/// Says something on the real standard error, past the test harness, which hides what a passing test prints with macros:
/// nothing may be skipped silently.
pub(crate) fn say_aloud(text: &str) {
    // One write, so that lines of parallel tests do not mix; a closed stderr is no reason to fail.
    let _ = std::io::stderr().write_all(format!("\n*** {text}\n").as_bytes());
}
