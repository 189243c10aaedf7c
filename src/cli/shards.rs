//! Several dumps in one job: whether they are taken for the shards of one cluster, and what is refused then.
//!
//! They are where a directory names them, or where they go into a cluster; dumps that are named one by one for a server that
//! is no cluster may be anything.

use rdbridge::input::{Input, Inputs};
use rdbridge::select::Selection;
use rdbridge::snapshot::Snapshot;
use rdbridge::survey::Survey;
use rdbridge::time::Timestamp;
use rdbridge::verbs::shard_dumps::{self, ShardDump, Shared};
use rdbridge::{Error, ErrorKind, Result};

use super::args::InputArgs;
use super::load::number;
use super::output::plural;
use super::plan::{self, Run};

/// Why inputs are taken for shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// A directory was named.
    Directory,
    /// They go into a cluster.
    Cluster,
}

impl Because {
    /// Whether these inputs are taken for the shards of one cluster.
    pub(crate) fn of(args: &InputArgs, inputs: &Inputs, into_cluster: bool) -> Option<Self> {
        if inputs.len() < 2 {
            None
        } else if into_cluster {
            Some(Because::Cluster)
        } else {
            let directory = args.files.iter().any(|file| file.is_dir());
            directory.then_some(Because::Directory)
        }
    }

    /// The same, and a word where `--newest-wins` has nothing to decide.
    pub(crate) fn of_or_say(
        args: &InputArgs,
        inputs: &Inputs,
        into_cluster: bool,
        newest_wins: bool,
    ) -> Option<Self> {
        let because = Self::of(args, inputs, into_cluster);
        if newest_wins && because.is_none() {
            super::say(
                "--newest-wins has nothing to decide: only several dumps in a directory, or several that go into a cluster, are \
                 taken for the shards of one",
            );
        }
        because
    }

    fn way_out(self) -> &'static str {
        match self {
            Because::Directory => {
                "where these are no shards of one cluster, name the files instead of their directory"
            }
            Because::Cluster => {
                "where these are no shards of one cluster, load them one after the other"
            }
        }
    }
}

/// What was found out about shards that may be loaded.
#[derive(Debug, Default)]
pub(crate) struct Together {
    /// Slots without a key that should have one: `0-5460`.
    pub(crate) gaps: Option<String>,
    /// No name can stand in two of them, since those of one name share a slot.
    pub(crate) share_no_name: bool,
}

/// Refuses shards that share a slot or that were not taken at one time, before anything is sent. With `newest_wins` the selection
/// leaves out of the older ones what a younger one has, too, and these are surveyed again.
///
/// # Errors
/// `Usage` with the files; those of the reader and of `survey`.
#[expect(clippy::too_many_arguments, reason = "all that is known of the inputs")]
pub(crate) fn judge(
    because: Because,
    newest_wins: bool,
    args: &InputArgs,
    run: &Run,
    inputs: &mut Inputs,
    surveys: &mut [Survey],
    selection: &mut Selection,
    survey: &dyn Fn(&Input, &mut Selection) -> Result<Survey>,
) -> Result<Together> {
    let mut dumps = Vec::with_capacity(surveys.len());
    for (index, survey) in surveys.iter().enumerate() {
        let input = run.open(inputs, index)?;
        let bytes = input.bytes();
        let snapshot = Snapshot::with_options(bytes, plan::snapshot_options(&args.how))?;
        let what = format!("find the slots of {}", input.name());
        let mut progress = run.progress(what, bytes.len() as u64);
        let taken = survey.producer.ctime;
        let dump = ShardDump::read(&snapshot, taken, selection, &mut |position| {
            progress.tick(position)
        });
        dumps.push(dump.map_err(|error| error.or_input(input.name()))?);
    }
    let by_notes = shard_dumps::by_notes(&mut dumps);
    let name = |n: usize| {
        let source = inputs.sources().get(n);
        let taken = dumps.get(n).and_then(|dump| dump.taken);
        let taken = taken.map_or("at an unknown time".to_owned(), |seconds| {
            Timestamp::from_secs(seconds).rfc3339()
        });
        format!("{} (taken {taken})", source.map_or("", |one| one.name()))
    };
    let mut older = Vec::new();
    if newest_wins {
        let left = shard_dumps::left_to_newer(&dumps).map_err(
            |Shared {
                 first,
                 second,
                 slots,
             }| {
                Error::new(
                    ErrorKind::Usage,
                    format!(
                        "{} and {} share {}, and neither is known to be the newer one",
                        name(first),
                        name(second),
                        slots.words()
                    ),
                )
                .with_hint(because.way_out())
            },
        )?;
        for (n, slots) in left
            .iter()
            .enumerate()
            .filter(|(_, slots)| !slots.is_empty())
        {
            older.push(n);
            super::say(&format!(
                "the keys of {} in {} are left out: a newer input has {}",
                name(n),
                slots.words(),
                if slots.len() == 1 { "it" } else { "them" }
            ));
        }
        selection.leave_to_newer(left, by_notes);
    } else {
        refuse(because, &dumps, &name)?;
    }
    for n in older {
        let input = run.open(inputs, n)?;
        selection.in_input(number(n));
        let again = survey(&input, selection).map_err(|error| error.or_input(input.name()))?;
        if let Some(survey) = surveys.get_mut(n) {
            *survey = again;
        }
    }
    let gaps = shard_dumps::gaps(&dumps);
    let gaps = (!gaps.is_empty()).then(|| {
        super::say(&format!(
            "none of the {} has a key in {}, which chance does not explain: is the dump of a shard missing",
            plural(dumps.len() as u64, "input"),
            gaps.words()
        ));
        gaps.to_string()
    });
    Ok(Together {
        gaps,
        share_no_name: !by_notes,
    })
}

fn refuse(because: Because, dumps: &[ShardDump], name: &dyn Fn(usize) -> String) -> Result<()> {
    const SHOWN: usize = 16;
    let shared = shard_dumps::shared(dumps);
    if !shared.is_empty() {
        let mut pairs: Vec<String> = shared
            .iter()
            .take(SHOWN)
            .map(|pair| {
                let (first, second) = (name(pair.first), name(pair.second));
                format!("{first} and {second} share {}", pair.slots.words())
            })
            .collect();
        if let more @ 1.. = shared.len().saturating_sub(SHOWN) {
            pairs.push(format!("and {more} more pairs"));
        }
        return Err(Error::new(
            ErrorKind::Usage,
            format!(
                "the dumps of a cluster's shards have no slot in common, but {}",
                pairs.join("; ")
            ),
        )
        .with_hint(format!(
            "--newest-wins takes the younger file for each shared slot; {}",
            because.way_out()
        )));
    }
    let Some((oldest, youngest)) = shard_dumps::too_far_apart(dumps) else {
        return Ok(());
    };
    let mut names: Vec<String> = (0..dumps.len()).take(SHOWN).map(name).collect();
    if let more @ 1.. = dumps.len().saturating_sub(SHOWN) {
        names.push(format!(
            "and {more} more, {} the oldest and {} the youngest of all",
            name(oldest),
            name(youngest)
        ));
    }
    Err(Error::new(
        ErrorKind::Usage,
        format!(
            "the dumps of a cluster's shards were not taken at one time, but over an hour apart: {}",
            names.join(", ")
        ),
    )
    .with_hint(format!(
        "--newest-wins loads them all the same; {}",
        because.way_out()
    )))
}
