//! What was typed. No I/O here.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rdbridge::pace::Rates;
use rdbridge::replay::ExpiredPolicy;
use rdbridge::resp::Rename as RenamedCommand;
use rdbridge::select::{Criteria, Glob, KeyPattern, Numbers, TtlFilter, TypeName};
use rdbridge::snapshot::Version;
use rdbridge::target::{Assumed, NodeAlias};
use rdbridge::time::Timestamp;
use rdbridge::transform::{Prefix, Rename, TtlRules};
use rdbridge::units::ByteCount;
use rdbridge::value::commands::{Loss, Losses};
use rdbridge::verbs::Trust;
use rdbridge::verbs::load::{Clustering, FunctionPolicy, OnConflict};
use regex::bytes::Regex;

/// Takes a Redis dump.rdb into any server that accepts only commands, and shows what is in it.
#[derive(Debug, Parser)]
#[command(
    name = "rdbridge",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit codes: 0 done, 1 done with findings, 2 usage, 3 input unreadable or damaged,\n4 destination cannot be used, 5 interrupted."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Is this file whole? Verifies checksum and structure, and says what servers would refuse
    Check(CheckArgs),
    /// What is in it: counts and bytes by database and type, expiries, functions, modules, where it can be loaded
    Info(InfoArgs),
    /// One row for each key: database, name, type, encoding, bytes, elements, expiry, idle time, slot
    Keys(KeysArgs),
    /// The value of one key, or of all that fit a pattern
    Get(GetArgs),
    /// Everything, as data (JSON) or as commands
    Export(Box<ExportArgs>),
    /// What a load would do, before it: what goes by which road, what does not and why, room and time; stores nothing
    Plan(Box<PlanArgs>),
    /// Replay into a server: every key by RESTORE, its bytes as they are
    Load(Box<LoadArgs>),
    /// Prove that a server holds what is in it: every key read back and compared; writes nothing
    Compare(Box<CompareArgs>),
}

impl Verb {
    /// Whether scripts read the output.
    pub(crate) fn json(&self) -> bool {
        match self {
            Verb::Check(args) => args.common.json,
            Verb::Info(args) => args.common.json,
            Verb::Keys(args) => args.common.json,
            Verb::Get(args) => args.common.json,
            Verb::Export(args) => args.common.json,
            Verb::Plan(args) => args.common.json,
            Verb::Load(args) => args.common.json,
            Verb::Compare(args) => args.common.json,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Verify checksum and structure only; do not walk values
    #[arg(long)]
    pub(crate) shallow: bool,
    /// Bytes behind the end of the file are a fault, not a warning
    #[arg(long)]
    pub(crate) strict: bool,
    /// Look for keys that stand twice in one database (16 bytes of temporary space for each key)
    #[arg(long)]
    pub(crate) duplicates: bool,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// How many of the largest values are named
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) top: u16,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// text: columns; names: escaped names alone, for --keys-from; csv: RFC 4180; ndjson: an object a line
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: KeysFormat,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum KeysFormat {
    #[default]
    Text,
    Names,
    Csv,
    Ndjson,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The dump: a file (also gzip, zstd, LZ4), or `-` for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The key's name, escaped as `keys` prints it; or a pattern as KEYS takes it, where no key has just that name
    #[arg(value_name = "KEY")]
    pub(crate) key: OsString,
    /// json: an object a line; raw: the bytes of a string; restore: the DUMP payload; hex: the payload as text
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: GetFormat,
    /// Only in these databases
    #[arg(long, value_name = "N,…")]
    pub(crate) db: Option<Numbers>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) how: ReadArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// How a key is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum GetFormat {
    #[default]
    Json,
    Raw,
    Restore,
    Hex,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// json: one document; ndjson: one object a line; resp: plain write commands; restore: the commands that `load` would
    /// send. Commands are text for `redis-cli --pipe`
    #[arg(long, value_enum)]
    pub(crate) format: ExportFormat,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// ndjson: function libraries have lines of their own
    #[arg(long)]
    pub(crate) functions: bool,
    /// Commands for this server: redis-7.0, valkey-8.1 [default: restore: any that knows the types; resp: the newest of the
    /// product that wrote the dump]
    #[arg(long, value_name = "SERVER", conflicts_with = "rdb_version")]
    pub(crate) target: Option<Assumed>,
    /// restore: for servers that take payloads up to this RDB version
    #[arg(long, value_name = "N", value_parser = parse_rdb_version)]
    pub(crate) rdb_version: Option<u16>,
    /// Commands that overwrite keys and function libraries that exist
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    #[command(flatten)]
    pub(crate) arrival: ArrivalArgs,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// Keys as data: one document.
    Json,
    /// Keys as data: one object a line.
    Ndjson,
    /// Plain write commands.
    Resp,
    /// RESTORE commands.
    Restore,
}

/// Where the data goes.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Write to this file instead of standard output: under a temporary name, which becomes this one when everything is
    /// written
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// The server, as for `load`; without it: for servers by name
    #[arg(long, value_name = "URL", help_heading = "Destination")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) how: ConnectArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) shards: ShardArgs,
    /// Without a destination: for this server: redis-6.2, valkey-8.1; several times [default: all that matter]
    #[arg(long, value_name = "SERVER", conflicts_with = "to")]
    pub(crate) target: Vec<Assumed>,
    /// Try nothing at the destination: which types it takes is said by product and version, and no rate is measured
    #[arg(long)]
    pub(crate) no_probe: bool,
    /// Ask about so many percent of the keys only whether they are there, drawn at random
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) sample: Option<f64>,
    /// Print every command that is sent; never a secret
    #[arg(long, short, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) arrival: ArrivalArgs,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) shards: ShardArgs,
    #[command(flatten)]
    pub(crate) policy: PolicyArgs,
    #[command(flatten)]
    pub(crate) journal: JournalArgs,
    #[command(flatten)]
    pub(crate) arrival: ArrivalArgs,
    #[command(flatten)]
    pub(crate) loss: LossArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) destination: DestinationArgs,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) shards: ShardArgs,
    /// By how many milliseconds expiries may differ
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) ttl_tolerance: u32,
    /// How often a key that differs is looked at, with a second between
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Compare only so many percent of the keys, drawn at random, and say what that proves of all
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub(crate) sample: Option<f64>,
    /// Look for keys that only the destination has (with a selection: in the databases of the selected keys)
    #[arg(long)]
    pub(crate) extra: bool,
    /// Compare also where reading resets idle times and access counters that the dump carries (servers before 7.2)
    #[arg(long)]
    pub(crate) touch: bool,
    /// Connections to the destination; to each shard of a cluster
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) connections: u16,
    #[command(flatten)]
    pub(crate) gentle: GentleArgs,
    /// How long a destination that is gone, busy or loading is asked again: 0, 30s, 5m, 2h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) retry_for: Duration,
    /// The journal of the load, which knows the instant that expiries were decided at [default: looked for where `load` keeps
    /// it; --now goes before]
    #[arg(long, value_name = "FILE", conflicts_with = "now")]
    pub(crate) journal: Option<PathBuf>,
    /// Write every key that differs, with what differs, as a line of JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) differences: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) arrival: ArrivalArgs,
    #[command(flatten)]
    pub(crate) select: SelectArgs,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// Redis' numbers up to the newest that is known, and Valkey's own.
fn parse_rdb_version(text: &str) -> Result<u16, String> {
    let redis = Version::NEWEST_REDIS.0;
    let valkey = Version::OLDEST_VALKEY.0..=Version::NEWEST_VALKEY.0;
    text.parse::<u16>()
        .ok()
        .filter(|version| (1..=redis).contains(version) || valkey.contains(version))
        .ok_or_else(|| {
            format!(
                "no RDB version is known by that number: they go from 1 to {redis}, Valkey's own from {} to {}",
                valkey.start(),
                valkey.end()
            )
        })
}

fn parse_percent(text: &str) -> Result<f64, String> {
    text.trim_end_matches('%')
        .parse::<f64>()
        .ok()
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .ok_or_else(|| "write a number above 0, at most 100".to_owned())
}

/// Where keys go in a cluster, and who is the master.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster and Sentinel")]
pub(crate) struct ClusterArgs {
    /// Whether the destination is a cluster: auto asks it, no takes it for one endpoint whatever it says
    #[arg(long, value_enum, default_value_t)]
    pub(crate) cluster: Cluster,
    /// A node of the cluster that calls itself A is reached as B, each host or host:port; may be repeated
    #[arg(long, value_name = "A=B", conflicts_with = "sentinel")]
    pub(crate) node_map: Vec<NodeAlias>,
    /// The address is a sentinel's: load into the master that it watches under this name, asked at every connect
    #[arg(long, value_name = "NAME")]
    pub(crate) sentinel: Option<String>,
}

/// Dumps of a cluster's shards.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster and Sentinel")]
pub(crate) struct ShardArgs {
    /// Dumps of shards (those in a directory, or several that go into a cluster) that share slots, or that were taken over an
    /// hour apart, are not refused: of each shared slot the keys of the younger file are taken
    #[arg(long)]
    pub(crate) newest_wins: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Cluster {
    #[default]
    Auto,
    Yes,
    No,
}

impl Cluster {
    /// What was said of it, if anything was.
    pub(crate) fn asked(self) -> Option<bool> {
        match self {
            Cluster::Auto => None,
            Cluster::Yes => Some(true),
            Cluster::No => Some(false),
        }
    }
}

impl From<Cluster> for Clustering {
    fn from(typed: Cluster) -> Self {
        match typed {
            Cluster::Auto => Clustering::Auto,
            Cluster::Yes => Clustering::Yes,
            Cluster::No => Clustering::No,
        }
    }
}

/// How a load survives.
#[derive(Debug, Args)]
#[command(next_help_heading = "Going on")]
pub(crate) struct JournalArgs {
    /// Where the load is recorded, so that the same command goes on after a break [default: beside the input, else in the
    /// state directory; RDBRIDGE_JOURNAL_DIR names another]
    #[arg(long, value_name = "FILE", conflicts_with = "no_journal")]
    pub(crate) journal: Option<PathBuf>,
    /// Record nothing: a load that breaks off starts from the beginning
    #[arg(long)]
    pub(crate) no_journal: bool,
    /// Forget what the journal says, and begin anew
    #[arg(long)]
    pub(crate) restart: bool,
    /// Show how far the load of this journal is, and nothing else
    #[arg(long, value_name = "JOURNAL", exclusive = true)]
    pub(crate) status: Option<PathBuf>,
    /// List the keys that did not arrive, an object a line; --keys-from takes the list back
    #[arg(long, value_name = "FILE")]
    pub(crate) failures: Option<PathBuf>,
    /// How long a destination that is gone, busy or failing over is tried again: 0, 30s, 5m, 2h
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration)]
    pub(crate) retry_for: Duration,
    /// How long a destination that is out of memory or cannot write to its disk is waited for
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub(crate) wait_for: Duration,
    /// Where nobody can say what a failover would lose: so much is looked up again after one
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) failover_lookback: Duration,
    /// Keys that may be sent before the journal is written again, for tests
    #[arg(long, hide = true, value_name = "N", default_value_t = 256 * 1024,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) journal_ahead: u64,
    /// Milliseconds after which the journal is written again, for tests
    #[arg(long, hide = true, value_name = "MS", default_value_t = 2000)]
    pub(crate) journal_every: u32,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|_| unit > 0)
        .and_then(|number| number.checked_mul(unit))
        .map(Duration::from_secs)
        .ok_or_else(|| "write seconds, or 30s, 5m, 2h, 1d".to_owned())
}

/// What may happen to the destination.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
pub(crate) struct PolicyArgs {
    /// Keys that exist: leave them alone and list each (fail), leave them alone (skip), compare: an equal value is there
    /// already, a different one is listed (same), overwrite (replace), stop at the first (abort)
    #[arg(long, value_enum, default_value_t)]
    pub(crate) on_conflict: Conflict,
    /// Read each key back soon after it was written, and compare it with what was sent
    #[arg(long)]
    pub(crate) verify: bool,
    /// When everything was loaded, compare every key with the input, as `rdbridge compare` does
    #[arg(long)]
    pub(crate) compare: bool,
    /// Refuse a destination that holds any key
    #[arg(long)]
    pub(crate) require_empty: bool,
    /// Function libraries: load them, replace those that exist, or skip them [default: load; skip where keys are selected]
    #[arg(long, value_enum)]
    pub(crate) functions: Option<Functions>,
    /// Cached Lua scripts of the dump: leave them out, or load them before the keys. They are a cache: clients that call a
    /// script by its name send it again where the server does not know it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) scripts: Scripts,
    /// Connections to the destination; to each shard of a cluster
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) connections: u16,
    #[command(flatten)]
    pub(crate) gentle: GentleArgs,
    /// While a replica of the destination is further behind, nothing is sent
    #[arg(long, value_name = "BYTES", default_value = "64MiB")]
    pub(crate) max_replica_lag: ByteCount,
    /// A value whose RESTORE would hold the destination for longer goes by plain commands [default: --max-latency where
    /// that is given, 50 with --keys-from or where the destination holds keys, else 500]
    #[arg(long, value_name = "MS")]
    max_stall: Option<u32>,
    /// Slow down where the destination's other clients would wait so many milliseconds longer (one connection)
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_latency: Option<u32>,
    /// Stop at the first key that is refused or fails, instead of listing it and going on with the others
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Go on where the destination evicts keys
    #[arg(long)]
    pub(crate) allow_eviction: bool,
    /// Go on where the growth of the destination's memory at 1, 5 and 10 % of the work shows that the rest cannot fit
    #[arg(long)]
    pub(crate) no_growth_check: bool,
    /// Load a dump without its newer writes, which stand in an append-only file
    #[arg(long)]
    pub(crate) ignore_aof_tail: bool,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// What the destination is, where it does not say: redis-7.2, valkey-8.1
    #[arg(long, value_name = "SERVER")]
    pub(crate) assume: Option<Assumed>,
}

impl PolicyArgs {
    /// The longest pause that a `RESTORE` may cost the destination, where something was said of it. Whoever repairs by a list
    /// of names repairs what others use already.
    pub(crate) fn max_stall(&self, keys_from: bool) -> Option<Duration> {
        const GENTLE_MS: u32 = 50;
        self.max_stall
            .or(self.max_latency)
            .or(keys_from.then_some(GENTLE_MS))
            .map(|ms| Duration::from_millis(ms.into()))
    }
}

/// What is believed of an input.
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Send values as they are even where nothing shows that they are whole (export: for --format restore)
    #[arg(long, conflicts_with = "untrusted")]
    trust_input: bool,
    /// The dump may be made to do harm: every value is walked first (export: for --format restore)
    #[arg(long)]
    untrusted: bool,
    /// Where values are walked first: refuse damaged ones by name and go on with the others (export: for --format restore)
    #[arg(long, conflicts_with = "trust_input")]
    skip_damaged: bool,
}

impl TrustArgs {
    pub(crate) fn trust(&self) -> Trust {
        Trust {
            trust_input: self.trust_input,
            untrusted: self.untrusted,
            skip_damaged: self.skip_damaged,
        }
    }
}

/// How fast the destination may be worked on, over all connections.
#[derive(Debug, Args)]
pub(crate) struct GentleArgs {
    /// At most so many keys a second, over all connections
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_keys_per_sec: Option<u64>,
    /// At most so many bytes a second
    #[arg(long, value_name = "BYTES")]
    max_bytes_per_sec: Option<ByteCount>,
    /// At most so many commands a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_commands_per_sec: Option<u64>,
}

impl GentleArgs {
    pub(crate) fn rates(&self) -> Rates {
        Rates {
            keys: self.max_keys_per_sec,
            bytes: self.max_bytes_per_sec.map(|bytes| bytes.0),
            commands: self.max_commands_per_sec,
        }
    }
}

/// What arrives.
#[derive(Debug, Args)]
#[command(next_help_heading = "Transformation")]
pub(crate) struct ArrivalArgs {
    /// Keys whose time is past: not sent (drop), sent without expiry (persist), sent with a new one (ttl=SECONDS)
    #[arg(long, value_name = "drop|persist|ttl=SECONDS", default_value = "drop", value_parser = parse_expired)]
    pub(crate) expired: ExpiredPolicy,
    /// Another database number at the destination; several times
    #[arg(long, value_name = "SRC:DST", value_parser = parse_db_pair)]
    pub(crate) map_db: Vec<(u64, u64)>,
    /// What is put in front of every name, or in front of those of one database of the file (0:TEXT; *:TEXT is for all, so
    /// that *:0: is the prefix 0:); several times. Escaped as `keys` prints names
    #[arg(long, value_name = "[DB:]TEXT")]
    pub(crate) prefix: Vec<Prefix>,
    /// In names, what the expression finds first becomes TEXT, in which $1 or ${name} is what a group found; before the
    /// prefix. Several times: the first expression that is found renames, once. A = inside of the expression is \=
    #[arg(long, value_name = "RE=TEXT")]
    pub(crate) rename: Vec<Rename>,
    /// Expiries, those of hash fields too: as they are (keep), removed (strip), moved on by the time from the taking of the
    /// dump to the start of the load, so that what was left is left again (shift; shift=7d: by so much); what is left at the
    /// start of the load held between bounds (min=1h, max=30d); several with commas. Before --expired. What has no expiry
    /// gets none
    #[arg(
        long,
        value_name = "keep|strip|shift|min=TIME|max=TIME",
        default_value = "keep",
        hide_default_value = true
    )]
    pub(crate) ttl_policy: TtlRules,
    /// When the dump was taken, for --ttl-policy shift, where the file does not say it or is wrong: 2026-11-22T02:00:00Z or
    /// seconds of Unix time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) snapshot_time: Option<Timestamp>,
}

/// What may be missing of what arrives.
#[derive(Debug, Args)]
#[command(next_help_heading = "Transformation")]
pub(crate) struct LossArgs {
    /// Send values without a part of their meaning, where the destination has no place for it: field-expiry,
    /// member-expiry, nacked-entries, idempotency, key-metadata, key-flags
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = parse_loss)]
    pub(crate) allow_loss: Vec<Loss>,
}

impl LossArgs {
    /// All losses that may happen.
    pub(crate) fn allowed(&self) -> Losses {
        self.allow_loss.iter().copied().collect()
    }
}

fn parse_loss(text: &str) -> Result<Loss, String> {
    let loss: Loss = text
        .parse()
        .map_err(|error: rdbridge::Error| error.what().to_owned())?;
    if loss.is_whole() {
        return Err(format!(
            "{loss} is the whole value: nothing of it could arrive"
        ));
    }
    Ok(loss)
}

fn parse_expired(text: &str) -> Result<ExpiredPolicy, String> {
    match text {
        "drop" => Ok(ExpiredPolicy::Drop),
        "persist" => Ok(ExpiredPolicy::Persist),
        other => other
            .strip_prefix("ttl=")
            .and_then(|seconds| seconds.parse::<i64>().ok())
            .filter(|seconds| *seconds > 0)
            .and_then(|seconds| seconds.checked_mul(1000))
            .map(ExpiredPolicy::Ttl)
            .ok_or_else(|| "write drop, persist, or ttl=SECONDS with at least 1 second".to_owned()),
    }
}

fn parse_db_pair(text: &str) -> Result<(u64, u64), String> {
    text.split_once(':')
        .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)))
        .ok_or_else(|| "write it as SRC:DST, such as 1:0".to_owned())
}

/// Keys that exist.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(crate) enum Conflict {
    #[default]
    Fail,
    Skip,
    Same,
    Replace,
    Abort,
}

impl From<Conflict> for OnConflict {
    fn from(typed: Conflict) -> Self {
        match typed {
            Conflict::Fail => OnConflict::Fail,
            Conflict::Skip => OnConflict::Skip,
            Conflict::Same => OnConflict::Same,
            Conflict::Replace => OnConflict::Replace,
            Conflict::Abort => OnConflict::Abort,
        }
    }
}

/// Function libraries.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
pub(crate) enum Functions {
    #[default]
    Load,
    Replace,
    Skip,
}

/// Cached scripts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scripts {
    Load,
    #[default]
    Skip,
}

impl From<Functions> for FunctionPolicy {
    fn from(typed: Functions) -> Self {
        match typed {
            Functions::Load => FunctionPolicy::Load,
            Functions::Replace => FunctionPolicy::Replace,
            Functions::Skip => FunctionPolicy::Skip,
        }
    }
}

/// For every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct CommonArgs {
    /// One JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress and no notes on standard error, errors only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// The instant of this run, by which it is judged what is expired and how old the dump is [default: the clock]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) now: Option<Timestamp>,
}

/// Which files, and how they are read.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// Dumps: files (also gzip, zstd, LZ4), directories of shard dumps, `-` for standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) how: ReadArgs,
}

/// How files are read.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reading")]
pub(crate) struct ReadArgs {
    /// Read files of RDB versions that are newer than this program; numbers may mean something else there
    #[arg(long)]
    pub(crate) accept_newer: bool,
    /// Copy files to the spool instead of mapping them: for files that may be cut short meanwhile
    #[arg(long)]
    pub(crate) no_mmap: bool,
    /// Where temporary files go [default: TMPDIR or /tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) spool_dir: Option<PathBuf>,
}

/// Which entries: the same for every verb.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(crate) struct SelectArgs {
    /// Only these databases: 0,3,5-9
    #[arg(long, value_name = "N,…")]
    db: Vec<Numbers>,
    /// Not these databases
    #[arg(long, value_name = "N,…")]
    exclude_db: Vec<Numbers>,
    /// Only keys that fit the pattern, as KEYS takes it; several times: one must fit
    #[arg(long = "match", value_name = "GLOB")]
    matches: Vec<OsString>,
    /// No keys that fit the pattern
    #[arg(long, value_name = "GLOB")]
    exclude_match: Vec<OsString>,
    /// Only keys in which the expression is found (bytes: (?-u)\xff)
    #[arg(long, value_name = "RE")]
    regex: Vec<Regex>,
    /// No keys in which the expression is found
    #[arg(long, value_name = "RE")]
    exclude_regex: Vec<Regex>,
    /// Only these types: string, list, set, zset, hash, stream, array, module, or a module type's name
    #[arg(long = "type", value_name = "TYPE,…", value_delimiter = ',')]
    types: Vec<TypeName>,
    /// Not these types
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',')]
    exclude_type: Vec<TypeName>,
    /// Values of at least so many bytes in the file: 4096, 10k, 1MiB
    #[arg(long, value_name = "BYTES")]
    min_size: Option<ByteCount>,
    /// Values of at most so many bytes in the file
    #[arg(long, value_name = "BYTES")]
    max_size: Option<ByteCount>,
    /// Values of at least so many elements (a string has one, a module's value none)
    #[arg(long, value_name = "N")]
    min_elements: Option<u64>,
    /// Values of at most so many elements
    #[arg(long, value_name = "N")]
    max_elements: Option<u64>,
    /// Keys with an expiry (any), without (none), or that expire from A until before B: ..0 is past, 1h..7d, 2026-11-22..
    #[arg(long, value_name = "any|none|A..B", allow_hyphen_values = true)]
    with_ttl: Option<TtlFilter>,
    /// Only keys of these cluster slots: 0-5460,7000
    #[arg(long, value_name = "A-B,…")]
    slot: Vec<Numbers>,
    /// No keys of these cluster slots
    #[arg(long, value_name = "A-B,…")]
    exclude_slot: Vec<Numbers>,
    /// Only keys in this list: one escaped name a line, as `keys` prints them, or a ledger of --failures; - reads standard
    /// input
    #[arg(long, value_name = "FILE")]
    pub(crate) keys_from: Option<PathBuf>,
    /// The list has raw names, each ended by a zero byte
    #[arg(long, requires = "keys_from")]
    pub(crate) null: bool,
}

impl SelectArgs {
    /// What was typed, by flag: two loads are the same only if this is.
    pub(crate) fn typed(&self) -> Vec<(&'static str, String)> {
        fn shown<T: std::fmt::Debug>(values: &[T]) -> Option<String> {
            (!values.is_empty()).then(|| format!("{values:?}"))
        }
        let all = [
            ("--db", shown(&self.db)),
            ("--exclude-db", shown(&self.exclude_db)),
            ("--match", shown(&self.matches)),
            ("--exclude-match", shown(&self.exclude_match)),
            ("--regex", shown(&self.regex)),
            ("--exclude-regex", shown(&self.exclude_regex)),
            ("--type", shown(&self.types)),
            ("--exclude-type", shown(&self.exclude_type)),
            ("--min-size", self.min_size.map(|size| size.0.to_string())),
            ("--max-size", self.max_size.map(|size| size.0.to_string())),
            ("--with-ttl", self.with_ttl.map(|ttl| format!("{ttl:?}"))),
            ("--min-elements", self.min_elements.map(|n| n.to_string())),
            ("--max-elements", self.max_elements.map(|n| n.to_string())),
            ("--slot", shown(&self.slot)),
            ("--exclude-slot", shown(&self.exclude_slot)),
            (
                "--keys-from",
                self.keys_from
                    .as_ref()
                    .map(|path| path.display().to_string()),
            ),
        ];
        all.into_iter()
            .filter_map(|(flag, value)| Some((flag, value?)))
            .collect()
    }

    /// The conditions, but for the list of names.
    pub(crate) fn criteria(&self) -> Criteria {
        let patterns = |globs: &[OsString], regexes: &[Regex]| {
            globs
                .iter()
                .map(|glob| KeyPattern::Glob(Glob::new(&glob.clone().into_vec())))
                .chain(regexes.iter().cloned().map(KeyPattern::Regex))
                .collect()
        };
        Criteria {
            dbs: together(&self.db),
            exclude_dbs: together(&self.exclude_db),
            keys: patterns(&self.matches, &self.regex),
            exclude_keys: patterns(&self.exclude_match, &self.exclude_regex),
            types: self.types.clone(),
            exclude_types: self.exclude_type.clone(),
            min_size: self.min_size.map(|size| size.0),
            max_size: self.max_size.map(|size| size.0),
            min_elements: self.min_elements,
            max_elements: self.max_elements,
            ttl: self.with_ttl,
            slots: together(&self.slot),
            exclude_slots: together(&self.exclude_slot),
            names: None,
        }
    }
}

/// A flag that is given several times adds up.
fn together(sets: &[Numbers]) -> Option<Numbers> {
    let (first, rest) = sets.split_first()?;
    let mut all = first.clone();
    for set in rest {
        all.extend(set);
    }
    Some(all)
}

/// Where to, and as whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub(crate) struct DestinationArgs {
    /// The server: redis://[user@]host[:port][/db], rediss:// for TLS, unix:///path
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    #[command(flatten)]
    pub(crate) how: ConnectArgs,
}

/// How it is reached.
#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub(crate) struct ConnectArgs {
    /// ACL user, where the address has none
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// How often open connections log in again with what --password-command prints then, for tokens that expire; 0: never
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "password_command", value_parser = parse_duration)]
    pub(crate) reauth_every: Duration,
    /// PEM file with the certificates to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// PEM file with the client's certificate
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// PEM file with the client's key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// The name that the server's certificate must carry, where it is not the host
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// Take any certificate: whoever sits on the way can read and change everything
    #[arg(long)]
    pub(crate) insecure: bool,
    /// A command that has another name there, as `rename-command` in the server's configuration says; may be repeated
    #[arg(long, value_name = "COMMAND=NAME")]
    pub(crate) rename_command: Vec<RenamedCommand>,
    /// The longest time to connect
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) connect_timeout: u32,
    /// The longest time without an answer that is due
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) io_timeout: u32,
}

/// Where the password comes from. Else: `RDBRIDGE_PASSWORD`, `REDISCLI_AUTH`.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct PasswordArgs {
    /// File whose content is the password; read at every connect [else: RDBRIDGE_PASSWORD, REDISCLI_AUTH]
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Shell command that prints the password; run at every connect
    #[arg(long, value_name = "COMMAND")]
    pub(crate) password_command: Option<String>,
    /// Ask for the password on the terminal
    #[arg(long)]
    pub(crate) ask_password: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_longest_pause_is_what_was_said_last() {
        let stall = |more: &[&str], keys_from| {
            let words = ["rdbridge", "load", "f", "--to", "redis://h"];
            let Verb::Load(args) = Cli::parse_from(words.iter().chain(more)).verb else {
                panic!("a load");
            };
            args.policy
                .max_stall(keys_from)
                .map(|stall| stall.as_millis())
        };
        assert_eq!(stall(&[], false), None);
        assert_eq!(stall(&[], true), Some(50));
        assert_eq!(stall(&["--max-latency", "9"], true), Some(9));
        assert_eq!(
            stall(&["--max-latency", "9", "--max-stall", "7"], true),
            Some(7)
        );
    }
}
