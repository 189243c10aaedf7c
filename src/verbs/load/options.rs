//! How to load.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::{Clustering, FunctionPolicy};
use crate::pace::Rates;
use crate::replay::Policies;
use crate::resp::WindowOptions;
use crate::target::{Assumed, Node, NodeMap};

/// What to do with keys that the destination has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Leave them alone, list each, try all the others. The default.
    #[default]
    Fail,
    /// Leave them alone; that is no finding.
    Skip,
    /// Compare them: an equal value is there already, a different one is a conflict.
    Same,
    /// Overwrite them.
    Replace,
    /// Stop at the first.
    Abort,
}

/// How to load.
#[derive(Debug, Clone)]
pub struct Options {
    /// Expiry, databases and the run's instant. `replace` is set by [`Load::begin`](super::Load::begin) from `on_conflict`.
    pub policies: Policies,
    /// Keys that exist.
    pub on_conflict: OnConflict,
    /// Read back what was stored, and compare.
    pub verify: bool,
    /// Stop at the first key that is refused, fails, differs when it is read back, or stays uncertain.
    pub fail_fast: bool,
    /// Function libraries.
    pub functions: FunctionPolicy,
    /// Cached Lua scripts are loaded, too.
    pub load_scripts: bool,
    /// Refuse a destination that holds any key.
    pub require_empty: bool,
    /// Go on where the destination evicts keys.
    pub allow_eviction: bool,
    /// Stop early where the growth of the destination's memory shows that the rest cannot fit.
    pub growth_check: bool,
    /// Send values unwalked where they should be walked first.
    pub trust_input: bool,
    /// Where values are walked first and some are damaged: refuse these by name and load the others, instead of nothing.
    pub skip_damaged: bool,
    /// Where the fingerprints of many keys, and values too large to be held while they are walked, are spooled. Default:
    /// `/tmp`.
    pub spool_dir: PathBuf,
    /// The dump comes from somebody who may mean harm: values are to be walked first.
    pub untrusted: bool,
    /// Connections to each shard; at least 1.
    pub connections: usize,
    /// How fast it may be at the most, over all connections.
    pub rates: Rates,
    /// What the destination's other clients may wait longer because of the load; `None`: as long as it takes.
    pub max_latency: Option<Duration>,
    /// A value whose `RESTORE` would hold the destination for longer goes by plain commands, if that loses nothing; `None`: half
    /// a second, or 50 ms where the destination holds keys.
    pub max_stall: Option<Duration>,
    /// While a replica of the destination is more bytes behind, nothing is sent; `None`: that is not looked at.
    pub max_replica_lag: Option<u64>,
    /// Where there were replicas and they cannot be seen any more, nothing is sent; after so long it counts as a loss of the
    /// connection, and everything is asked anew.
    pub longest_blind: Duration,
    /// How much may be under way on each.
    pub window: WindowOptions,
    /// Product and version by the user's word.
    pub assume: Option<Assumed>,
    /// Whether the destination is taken for a cluster.
    pub cluster: Clustering,
    /// Where the nodes of a cluster are reached, if not where they say.
    pub node_map: NodeMap,
    /// Nodes of the cluster that an earlier run knew: asked where the address as typed does not answer.
    pub nodes_before: Vec<Node>,
    /// Keys that the destination has answered for so far: for whoever must say so at any instant.
    pub acknowledged: Arc<AtomicU64>,
    /// How long a destination that is gone, busy or failing over is tried again without a key getting through. Zero: not at
    /// all.
    pub retry_for: Duration,
    /// How long a destination without memory, or with a disk that it cannot write to, is waited for.
    pub wait_for: Duration,
    /// Where nobody can say what a failover would lose: so much is taken to be lost.
    pub failover_lookback: Duration,
    /// Entries that may be sent before the journal is written again. After a crash so many are looked up at the most.
    pub ahead: u64,
    /// How often it is asked what the destination keeps, and the journal is written.
    pub settle_every: Duration,
}

impl Options {
    /// Whether values at the destination are read.
    pub(super) fn reads_back(&self) -> bool {
        self.verify || self.on_conflict == OnConflict::Same
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policies: Policies::default(),
            on_conflict: OnConflict::Fail,
            verify: false,
            fail_fast: false,
            functions: FunctionPolicy::Load,
            load_scripts: false,
            require_empty: false,
            allow_eviction: false,
            growth_check: true,
            trust_input: false,
            skip_damaged: false,
            spool_dir: std::path::PathBuf::from("/tmp"),
            untrusted: false,
            connections: 1,
            rates: Rates::default(),
            max_latency: None,
            max_stall: None,
            max_replica_lag: Some(64 << 20),
            longest_blind: Duration::from_secs(30),
            window: WindowOptions::default(),
            assume: None,
            cluster: Clustering::Auto,
            node_map: NodeMap::default(),
            nodes_before: Vec::new(),
            acknowledged: Arc::default(),
            retry_for: Duration::ZERO,
            wait_for: Duration::ZERO,
            failover_lookback: Duration::from_secs(60),
            ahead: 256 * 1024,
            settle_every: Duration::from_secs(2),
        }
    }
}
