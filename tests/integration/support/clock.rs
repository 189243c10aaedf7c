//! Another time of day for one process: a library that stands before the C library's and adds seconds to what its clock shows.

use std::path::{Path, PathBuf};
use std::process::Command;

/// It calls nothing but `syscall`, so that it fits whichever C library the process brings along. Clocks that only measure how
/// long something takes stay right.
const SOURCE: &str = r#"
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
extern long syscall(long, ...);
int clock_gettime(clockid_t id, struct timespec *at) {
    long failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && id == CLOCK_REALTIME) at->tv_sec += AHEAD;
    return (int)failed;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"#;

/// The library for so many seconds, made where it is not there yet.
pub(crate) fn ahead(seconds: i64) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clocks");
    std::fs::create_dir_all(&dir).expect("a directory");
    let library = dir.join(format!("ahead-{seconds}.so"));
    // Several test processes may make it at once: each its own, and the last name wins.
    let own = tempfile::tempdir_in(&dir).expect("a directory");
    let (source, made) = (own.path().join("clock.c"), own.path().join("clock.so"));
    std::fs::write(&source, SOURCE).expect("written");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-nostdlib", "-O1", "-w"])
        .arg(format!("-DAHEAD=({seconds})"))
        .arg("-o")
        .args([&made, &source])
        .status()
        .expect("the C compiler that links this test runs");
    assert!(status.success(), "the clock is not made");
    std::fs::rename(&made, &library).expect("renamed");
    library
}
