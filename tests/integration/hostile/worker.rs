//! The process in which cases run: it measures each, catches what can be caught, makes finds small, and tells its parent.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use super::super::support::{alloc, testdata_dir};
use super::judge::judge;
use super::mutate::Seal;

/// What one file may take, as the design says.
const MOST_TIME: Duration = Duration::from_secs(2);
const MOST_MEMORY: usize = 64 << 20;

/// No single allocation may be larger; it aborts the process, which the parent tells.
const REFUSED: usize = 1 << 30;

/// The parent is told of every so many cases that they are begun.
const STRETCH: usize = 512;

/// A process tells so many finds of different kinds.
const MOST_FINDS: usize = 8;

/// Runs of a case that making it small may take.
const MOST_RUNS: usize = 4000;

/// What a process is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    /// Every case whose number is `shard` modulo `shards`.
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) base: u64,
    /// How long to go on behind the last numbered case.
    pub(crate) seconds: u64,
    /// The first case.
    pub(crate) from: usize,
    /// Say each case before it runs.
    pub(crate) announce_all: bool,
}

const VARIABLE: &str = "RDBRIDGE_HOSTILE_JOB";

impl Job {
    pub(crate) fn to_env(self) -> [(&'static str, String); 1] {
        let numbers = [
            self.shard as u64,
            self.shards as u64,
            self.base,
            self.seconds,
            self.from as u64,
            u64::from(self.announce_all),
        ];
        [(VARIABLE, numbers.map(|n| n.to_string()).join(" "))]
    }

    fn from_env() -> Option<Self> {
        let text = env::var(VARIABLE).ok()?;
        let numbers: Vec<u64> = text.split(' ').map_while(|n| n.parse().ok()).collect();
        let &[shard, shards, base, seconds, from, announce_all] = numbers.as_slice() else {
            return None;
        };
        Some(Self {
            shard: shard as usize,
            shards: shards as usize,
            base,
            seconds,
            from: from as usize,
            announce_all: announce_all != 0,
        })
    }
}

thread_local! {
    /// What the last panic said, and where.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The case that is running, for the watchdog; 0 between cases.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

#[test]
#[ignore = "the process that `every_mutation_is_survived` starts"]
fn work() {
    let job = Job::from_env().expect("started by the suite, with a job");
    panic::set_hook(Box::new(|info| {
        PANIC.with_borrow_mut(|said| *said = info.to_string());
    }));
    watch();
    alloc::refuse_over(REFUSED);

    let plan = super::plan(job.base);
    let mut totals = Totals::default();
    let mut finds = BTreeSet::new();
    let mut behind_the_end = None;
    for number in job.from.. {
        if number % STRETCH == 0 || job.announce_all {
            say(&format!("at {number}"));
        }
        if number >= plan.cases() {
            let until = behind_the_end
                .get_or_insert_with(|| Instant::now() + Duration::from_secs(job.seconds));
            if Instant::now() >= *until || finds.len() >= MOST_FINDS {
                break;
            }
        }
        if number % job.shards != job.shard {
            continue;
        }
        let case = plan.case(number);
        RUNNING.store(number + 1, Relaxed);
        for seal in Seal::ALL {
            let bytes = case.sealed(seal);
            totals.files += 1;
            if let Err(what) = run(&bytes, seal == Seal::Right || case.cut, &mut totals)
                && finds.len() < MOST_FINDS
                && finds.insert(kind_of(&what))
            {
                RUNNING.store(0, Relaxed);
                let small = make_small(bytes, &what);
                let path = save(&what, &small, job.seconds > 0);
                let (what, name) = (what.replace('\n', " / "), &case.what);
                say(&format!(
                    "find case {number} ({name}; checksum {seal:?}): {what}; {} bytes saved as {}",
                    small.len(),
                    path.display()
                ));
            }
        }
        RUNNING.store(0, Relaxed);
        if number >= plan.cases() {
            totals.explored += 1;
        }
    }
    say(&format!("files {}", totals.files));
    say(&format!("explored {}", totals.explored));
    say(&format!("peak {}", totals.peak));
    say(&format!("slowest {}", totals.slowest.as_micros()));
    say(&format!("slowest_bytes {}", totals.slowest_bytes));
    say("end");
}

#[derive(Debug, Default)]
struct Totals {
    files: usize,
    explored: usize,
    peak: usize,
    slowest: Duration,
    slowest_bytes: usize,
}

/// To the parent, in one write.
fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    // The parent may be gone; then nobody listens.
    let _ = out.write_all(format!("hostile: {line}\n").as_bytes());
    let _ = out.flush();
}

/// Judges one file; what is wrong with how it was read, if anything is.
fn run(bytes: &[u8], thoroughly: bool, totals: &mut Totals) -> Result<(), String> {
    let before = alloc::live();
    alloc::restart_peak();
    let started = Instant::now();
    let result = panic::catch_unwind(AssertUnwindSafe(|| judge(bytes, thoroughly)));
    let took = started.elapsed();
    let used = alloc::peak().saturating_sub(before);
    totals.peak = totals.peak.max(used);
    if took > totals.slowest {
        totals.slowest = took;
        totals.slowest_bytes = bytes.len();
    }
    if result.is_err() {
        return Err(PANIC.with_borrow(Clone::clone));
    }
    if used > MOST_MEMORY {
        return Err(format!("memory: {used} bytes were allocated at once"));
    }
    if took > MOST_TIME {
        // The machine may be busy with others: what counts is the time that this process took.
        let before = process_time();
        judge(bytes, thoroughly);
        let took = process_time().saturating_sub(before);
        if took > MOST_TIME {
            return Err(format!("time: {} ms", took.as_millis()));
        }
    }
    Ok(())
}

/// The processor time of this process.
pub(crate) fn process_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(now).unwrap_or_default()
}

/// Ends the process when one case takes far too long: then it hangs.
fn watch() {
    thread::spawn(|| {
        let mut seen = (0, Duration::ZERO);
        loop {
            thread::sleep(Duration::from_millis(250));
            let case = RUNNING.load(Relaxed);
            if case != seen.0 {
                seen = (case, process_time());
            }
            let took = process_time().saturating_sub(seen.1);
            // Three files, each judged, and perhaps judged again.
            if case != 0 && took > MOST_TIME * 7 {
                eprint_raw(&format!("case {} hangs\n", case - 1));
                process::exit(99);
            }
        }
    });
}

fn eprint_raw(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The smallest file with the same complaint that can be had by cutting pieces out and setting bytes to zero.
fn make_small(bytes: Vec<u8>, what: &str) -> Vec<u8> {
    let wanted = kind_of(what);
    let mut runs = 0;
    let mut fails = |bytes: &[u8]| {
        runs += 1;
        if runs > MOST_RUNS {
            return None;
        }
        let same = run(bytes, true, &mut Totals::default())
            .err()
            .is_some_and(|other| kind_of(&other) == wanted);
        Some(same)
    };
    let mut best = bytes;
    let mut piece = (best.len() / 2).max(1);
    loop {
        let mut at = 0;
        while at < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..(at + piece).min(best.len()));
            match fails(&shorter) {
                Some(true) => best = shorter,
                Some(false) => at += piece,
                None => return best,
            }
        }
        if piece == 1 {
            break;
        }
        piece /= 2;
    }
    for at in 0..best.len() {
        let mut plainer = best.clone();
        plainer[at] = 0;
        match fails(&plainer) {
            Some(true) => best = plainer,
            Some(false) => {}
            None => break,
        }
    }
    best
}

/// Where a panic happened, or which limit was broken: numbers in the text differ from file to file.
fn kind_of(what: &str) -> String {
    let first = what.lines().next().unwrap_or_default();
    match first.split_once(':') {
        Some((kind @ ("memory" | "time"), _)) => kind.to_owned(),
        _ => first.to_owned(),
    }
}

/// Writes a find: into `testdata/hostile` in a long run, which is for that, else where builds write.
pub(crate) fn save(what: &str, bytes: &[u8], for_ever: bool) -> PathBuf {
    let dir = if for_ever {
        testdata_dir().join("hostile")
    } else {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile")
    };
    let mut name = String::new();
    for c in what.trim_start_matches("panicked at ").chars() {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ if name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    name.truncate(80);
    let hash = super::super::support::dump::crc64(bytes) as u32;
    let path = dir.join(format!("{}-{hash:08x}.rdb", name.trim_matches('-')));
    // A read-only tree must not hide the find itself.
    let _ = fs::create_dir_all(&dir).and_then(|()| fs::write(&path, bytes));
    path
}
