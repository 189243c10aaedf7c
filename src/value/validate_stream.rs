//! The walk over a whole stream: names that stand twice, and pending entries that have no owner or two.

use super::decoder::tell;
use super::findings::{Finding, Findings, Rule};
use super::positions::Positions;
use super::stream::Stream;
use super::stream_groups::Pending;
use super::unique::Unique;
use super::validate::Keyed;
use crate::error::{Place, Result};
use crate::wire::Cursor;

/// Pending entries whose owners are noted one by one: 8 MiB of bits. In longer lists only their number is held against the
/// number of owned ones.
const MOST_NOTED: u64 = 64 << 20;

pub(super) fn walk_stream<F: Findings>(
    mut stream: Stream<'_, F>,
    groups: &mut Unique,
    consumers: &mut Unique,
    elements: &mut u64,
) -> Result<()> {
    while let Some(entry) = stream.next_record()? {
        while stream.next_field()?.is_some() {}
        *elements = elements.wrapping_add(u64::from(!entry.deleted));
    }
    let meta = stream.metadata()?;
    let body = stream.body();
    let dir = stream.decoder.spool_dir.clone();
    let mut owners = Owners::default();
    groups.begin(meta.groups, false);
    loop {
        let noted = match stream.next_group()? {
            None => break,
            Some(group) => {
                owners.begin(group.pending);
                groups.note(&group.name, group.position, dir.as_deref())
            }
        };
        if let Err(error) = noted {
            tell(&mut stream.decoder.findings, error)?;
        }
        while stream.next_pending()?.is_some() {}
        stream.check_pending_order()?;
        consumers.begin(0, false);
        loop {
            let noted = match stream.next_consumer()? {
                None => break,
                Some(consumer) => consumers.note(&consumer.name, consumer.position, dir.as_deref()),
            };
            if let Err(error) = noted {
                tell(&mut stream.decoder.findings, error)?;
            }
            loop {
                let place = stream.cursor.place();
                match stream.next_owned()? {
                    Some(pending) => owners.note(&pending, place, &mut stream)?,
                    None => break,
                }
            }
        }
        tell_names(&mut stream, consumers, body, "consumer")?;
        loop {
            let place = stream.cursor.place();
            match stream.next_nacked()? {
                Some(pending) => owners.note(&pending, place, &mut stream)?,
                None => break,
            }
        }
        owners.end(&mut stream)?;
    }
    tell_names(&mut stream, groups, body, "group")?;
    if stream.idempotency()?.is_some() {
        while stream.next_producer()?.is_some() {
            while stream.next_iid()?.is_some() {}
        }
        stream.idempotency_totals()?;
    }
    Ok(())
}

fn tell_names<F: Findings>(
    stream: &mut Stream<'_, F>,
    names: &mut Unique,
    body: Cursor<'_>,
    what: &'static str,
) -> Result<()> {
    stream.decoder.tell_twice(
        names,
        &Keyed {
            positions: Positions::Strings(body),
            rule: Rule::StreamDuplicateName,
            what,
        },
    )
}

/// Which pending entries of a group have an owner.
#[derive(Debug, Default)]
struct Owners {
    pending: u64,
    owned: u64,
    bits: Vec<u64>,
}

impl Owners {
    fn begin(&mut self, pending: u64) {
        self.pending = pending;
        self.owned = 0;
        self.bits.clear();
        if pending <= MOST_NOTED {
            let words = usize::try_from(pending.div_ceil(64)).unwrap_or(0);
            self.bits.resize(words, 0);
        }
    }

    fn note<F: Findings>(
        &mut self,
        pending: &Pending,
        place: Place,
        stream: &mut Stream<'_, F>,
    ) -> Result<()> {
        self.owned = self.owned.saturating_add(1);
        let word = usize::try_from(pending.index / 64).unwrap_or(usize::MAX);
        let Some(word) = self.bits.get_mut(word) else {
            return Ok(());
        };
        let bit = 1u64 << (pending.index % 64);
        if *word & bit != 0 {
            self.owned = self.owned.saturating_sub(1);
            stream.decoder.findings.found(Finding {
                rule: Rule::PendingOwnedTwice,
                place,
                what: format!("{} has an owner already", pending.id).into(),
            })?;
        }
        *word |= bit;
        Ok(())
    }

    fn end<F: Findings>(&mut self, stream: &mut Stream<'_, F>) -> Result<()> {
        if self.owned >= self.pending {
            return Ok(());
        }
        let first = self
            .bits
            .iter()
            .position(|word| *word != u64::MAX)
            .and_then(|at| {
                let word = self.bits.get(at)?;
                (at as u64)
                    .checked_mul(64)?
                    .checked_add(u64::from(word.trailing_ones()))
            });
        let (id, place) = stream.pending_at(first.unwrap_or(0))?;
        stream.decoder.findings.found(Finding {
            rule: Rule::PendingOrphan,
            place,
            what: format!(
                "{} of {} pending entries have no owner, {id} for one",
                self.pending.saturating_sub(self.owned),
                self.pending
            )
            .into(),
        })
    }
}
