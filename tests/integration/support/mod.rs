//! What the integration tests share.

pub(crate) mod dump;
pub(crate) mod expected;
pub(crate) mod server;

use std::io::Write as _;

/// Says something on the real standard error, past the test harness, which hides what a passing test prints with macros:
/// nothing may be skipped silently.
pub(crate) fn say_aloud(text: &str) {
    // One write, so that lines of parallel tests do not mix; a closed stderr is no reason to fail.
    let _ = std::io::stderr().write_all(format!("\n*** {text}\n").as_bytes());
}
