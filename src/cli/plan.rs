//! What was meant: the run's one instant, its inputs, its selection, its connections. Made from what was typed, once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rdbridge::input::{Fact, Inputs, Options as InputOptions};
use rdbridge::mapped::Mapped;
use rdbridge::resp::{Address, Connector, Endpoint, Reauth, Renames};
use rdbridge::select::{Names, Selection};
use rdbridge::snapshot::Options as SnapshotOptions;
use rdbridge::spool::Spool;
use rdbridge::target::Facts;
use rdbridge::time::Timestamp;
use rdbridge::verbs::{Ending, Position};
use rdbridge::{Error, ErrorKind, Result};

use super::args::{CommonArgs, ConnectArgs, DestinationArgs, InputArgs, ReadArgs, SelectArgs};
use super::progress::Progress;
use super::secrets;

/// What holds for the whole run.
#[derive(Debug)]
pub(crate) struct Run {
    /// The one instant: everything that depends on "now" uses it.
    pub(crate) now: Timestamp,
    /// That instant was given, not read from the clock: no other clock changes it.
    pub(crate) now_is_given: bool,
    /// Data as JSON.
    pub(crate) json: bool,
    /// Errors only.
    pub(crate) quiet: bool,
    /// Set by the first SIGINT, SIGTERM or SIGHUP; a second one ends the process at once.
    pub(crate) interrupted: Arc<AtomicBool>,
    /// Keys that a destination has acknowledged.
    pub(crate) acknowledged: Arc<AtomicU64>,
    /// An input is standard input.
    reads_stdin: AtomicBool,
}

impl Run {
    pub(crate) fn new(args: &CommonArgs) -> Result<Self> {
        let (interrupted, acknowledged) = (Arc::default(), Arc::default());
        watch_signals(&interrupted, &acknowledged)?;
        Ok(Self {
            now: args.now.unwrap_or_else(clock),
            now_is_given: args.now.is_some(),
            json: args.json,
            quiet: args.quiet,
            interrupted,
            acknowledged,
            reads_stdin: AtomicBool::new(false),
        })
    }

    /// The same run at another instant: that of the load which it goes on with.
    pub(crate) fn at(&self, now_ms: i64) -> Self {
        Self {
            now: Timestamp(now_ms),
            now_is_given: self.now_is_given,
            json: self.json,
            quiet: self.quiet,
            interrupted: Arc::clone(&self.interrupted),
            acknowledged: Arc::clone(&self.acknowledged),
            reads_stdin: AtomicBool::new(self.reads_stdin.load(Ordering::Relaxed)),
        }
    }

    /// The same run by the clock of a destination: that one removes keys.
    pub(crate) fn by_clock_of(&self, destination: &Facts) -> Self {
        let ahead_ms = destination.clock_ahead_ms.unwrap_or(0);
        self.at(match self.now_is_given {
            true => self.now.0,
            false => self.now.0.saturating_add(ahead_ms),
        })
    }

    /// A line for the user beside the data.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet {
            super::say(text);
        }
    }

    /// Says what an input has at its end, if that is anything to know.
    pub(crate) fn note_ending(&self, name: &str, ending: Ending) {
        for note in ending.notes() {
            self.note(&format!("{name}: {note}"));
        }
    }

    /// Progress over `total` bytes.
    pub(crate) fn progress(&self, what: impl Into<String>, total: u64) -> Progress {
        Progress::new(what, total, self.quiet, Arc::clone(&self.interrupted))
    }

    /// Finds the inputs, and says what should be known of how they were found.
    pub(crate) fn inputs(&self, args: &InputArgs, verb: &str) -> Result<Inputs> {
        let mut options = InputOptions::new(spool_dir(&args.how));
        options.map = !args.how.no_mmap;
        options.command = format!("rdbridge {verb}");
        options.interrupted = Some(Arc::clone(&self.interrupted));
        let stdin = args.files.iter().any(|file| file == Path::new("-"));
        self.reads_stdin.store(stdin, Ordering::Relaxed);
        let inputs = Inputs::find(&args.files, options)?;
        for fact in inputs.facts() {
            self.note(&fact.to_string());
        }
        if inputs.need().spooled > 0 {
            self.note(&inputs.need().to_string());
        }
        Ok(inputs)
    }

    /// Opens one of them, showing how far the unpacking is, and says what should be known of it.
    pub(crate) fn open(
        &self,
        inputs: &mut Inputs,
        index: usize,
    ) -> Result<Arc<rdbridge::input::Input>> {
        let mut progress: Option<Progress> = None;
        let input = inputs.open(index, &mut |spooling| {
            progress
                .get_or_insert_with(|| {
                    let what = format!("unpacking {}", spooling.input);
                    self.progress(what, spooling.of.unwrap_or(0))
                })
                .tick(Position {
                    offset: spooling.read,
                    entries: 0,
                })
        })?;
        drop(progress);
        for fact in input.facts() {
            // What it takes was said before; how much of it is memory is worth a second line.
            if matches!(
                fact,
                Fact::Spooled {
                    in_memory: false,
                    ..
                }
            ) {
                continue;
            }
            self.note(&format!("{}: {fact}", input.name()));
        }
        Ok(input)
    }

    /// The selection, with its list of names.
    pub(crate) fn selection(&self, args: &SelectArgs, how: &ReadArgs) -> Result<Selection> {
        let mut criteria = args.criteria();
        let spool_dir = spool_dir(how);
        if let Some(path) = &args.keys_from {
            if path == Path::new("-") && self.reads_stdin.load(Ordering::Relaxed) {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "standard input cannot be both the dump and the list of keys",
                )
                .with_hint("write one of them to a file"));
            }
            criteria.names = Some(read_names(path, args.null, &spool_dir)?);
        }
        Selection::new(criteria, self.now, spool_dir)
    }

    /// Everything that is needed to connect.
    pub(crate) fn connector(&self, args: &DestinationArgs) -> Result<Connector> {
        self.connector_to(&args.to, &args.how)
    }

    /// The same for an address that stands apart.
    pub(crate) fn connector_to(&self, to: &str, args: &ConnectArgs) -> Result<Connector> {
        let mut address: Address = to.parse()?;
        if let Some(user) = &args.user {
            if address.user.as_ref().is_some_and(|other| other != user) {
                return Err(Error::new(
                    ErrorKind::Usage,
                    "the address names another user than --user",
                ));
            }
            address.user = Some(user.clone());
        }
        let tls = args.cacert.is_some()
            || args.cert.is_some()
            || args.server_name.is_some()
            || args.insecure;
        if tls && !matches!(address.endpoint, Endpoint::Tls { .. }) {
            return Err(Error::new(
                ErrorKind::Usage,
                format!("{address} does not speak TLS, and options of TLS were given"),
            )
            .with_hint("write rediss:// for TLS"));
        }
        if address.password.is_some() {
            self.note(
                "a password on the command line can be read by every user of this machine: use --password-file, \
                 --password-command, --ask-password or RDBRIDGE_PASSWORD",
            );
        }
        let secret = secrets::source(
            &args.password,
            address.password.is_some(),
            &self.interrupted,
        )?;
        let mut connector = Connector::new(address);
        if args.password.password_command.is_some() && !args.reauth_every.is_zero() {
            let source = secret.clone();
            connector.reauth = source.map(|source| Reauth::new(args.reauth_every, source));
        }
        connector.secret = secret;
        connector.renames = Renames::new(args.rename_command.iter().cloned());
        let options = &mut connector.options;
        options.connect_timeout = seconds(args.connect_timeout);
        options.io_timeout = seconds(args.io_timeout);
        options.interrupted = Some(Arc::clone(&self.interrupted));
        options.tls.ca_certificates = args.cacert.clone();
        options.tls.server_name = args.server_name.clone();
        options.tls.client = args.cert.clone().zip(args.key.clone());
        options.tls.insecure = args.insecure;
        Ok(connector)
    }
}

/// At least one second: no answer comes in none.
fn seconds(seconds: u32) -> std::time::Duration {
    std::time::Duration::from_secs(seconds.max(1).into())
}

fn clock() -> Timestamp {
    let ms = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp(match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => ms(since),
        Err(before) => -ms(before.duration()),
    })
}

/// Refuses to write where an input stands: it may be the only copy. `flag` is what names the place.
pub(crate) fn spare_inputs(inputs: &[PathBuf], flag: &str, place: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let Ok(there) = place.metadata() else {
        return Ok(());
    };
    let is_it = |path: &Path| {
        path.metadata().is_ok_and(|one| {
            there.is_file() && (one.dev(), one.ino()) == (there.dev(), there.ino())
        })
    };
    let stands_in = |dir: &Path| {
        let mut entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.any(|entry| is_it(&entry.path()))
    };
    match inputs.iter().find(|path| is_it(path) || stands_in(path)) {
        None => Ok(()),
        Some(input) => Err(Error::new(
            ErrorKind::Usage,
            format!(
                "{flag} {} would overwrite what is read from {}",
                place.display(),
                input.display()
            ),
        )
        .with_hint("name another file")),
    }
}

/// Where temporary files go.
pub(crate) fn spool_dir(args: &ReadArgs) -> PathBuf {
    args.spool_dir.clone().unwrap_or_else(std::env::temp_dir)
}

/// Threads for walking values, besides the one that reads: two are enough to be ahead of any output.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2))
}

/// How snapshots are read.
pub(crate) fn snapshot_options(args: &ReadArgs) -> SnapshotOptions {
    SnapshotOptions {
        accept_newer: args.accept_newer,
        ..SnapshotOptions::default()
    }
}

/// A thread of its own takes signals, since the others may be waiting for something.
fn watch_signals(interrupted: &Arc<AtomicBool>, acknowledged: &Arc<AtomicU64>) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;

    let mut wanted = vec![SIGINT, SIGTERM];
    // `nohup` means it.
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let mut signals =
        Signals::new(wanted).map_err(|error| Error::io("signals cannot be watched", error))?;
    // A file over the limit of `ulimit -f` would end the process in silence; with a handler the write fails, and is told.
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default())
        .map_err(|error| Error::io("signals cannot be watched", error))?;
    let (interrupted, acknowledged) = (Arc::clone(interrupted), Arc::clone(acknowledged));
    let watch = move || {
        for _signal in signals.forever() {
            if interrupted.swap(true, Ordering::Relaxed) {
                let done = match acknowledged.load(Ordering::Relaxed) {
                    0 => String::new(),
                    keys => format!(
                        "; the destination has acknowledged {}, the same command goes on (without a journal: load again with --on-conflict skip)",
                        rdbridge::units::keys(keys)
                    ),
                };
                super::say(&format!("interrupted again, ended at once{done}"));
                signal_hook::low_level::exit(super::exit::Exit::Interrupted as i32);
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(watch)
        .map(drop)
        .map_err(|error| Error::io("signals cannot be watched", error))
}

/// Whether the process was started with `signal` ignored, as far as the system tells.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// A list of names: mapped where it is a file, spooled where it is a stream.
fn read_names(path: &Path, null: bool, spool_dir: &Path) -> Result<Names> {
    let unreadable = |error| {
        Error::io("the list of keys cannot be read", error).or_input(path.display().to_string())
    };
    let mut reader: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_file() {
            return Names::read(Mapped::new(&file, metadata.len())?, null, spool_dir);
        }
        Box::new(file)
    };
    let mut spool = Spool::create(spool_dir, None)?;
    std::io::copy(&mut reader, &mut spool)
        .map_err(|error| rdbridge::spool::unwrap_io(error, "the list of keys cannot be read"))?;
    Names::read(spool.finish()?, null, spool_dir)
}
