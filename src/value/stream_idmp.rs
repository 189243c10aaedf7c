//! A stream's idempotency records (Redis 8.6, forms 4 and 5): which producers added which entries.
//!
//! # Bytes
//! Behind the groups: duration in seconds, most entries a producer; count of producers; for each its id, a count, and for each
//! of these an idempotent id and the entry's ID; then how many were added and how many were duplicates.

use super::decoder::{Part, expect_end};
use super::element::Element;
use super::findings::{Finding, Findings, Rule};
use super::stream::{Phase, Stream, StreamId};
use crate::error::Result;
use crate::wire::length;

/// The settings in front of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// How long records are kept, in seconds: 1 to 86400.
    pub duration_seconds: u64,
    /// How many records each producer keeps: 1 to 10000.
    pub max_entries: u64,
    /// Number of producers.
    pub producers: u64,
}

/// A producer.
#[derive(Debug, Clone, Copy)]
pub struct Producer<'a> {
    /// Its id.
    pub id: Element<'a>,
    /// How many records it has.
    pub records: u64,
}

/// A record of a producer.
#[derive(Debug, Clone, Copy)]
pub struct Iid<'a> {
    /// The idempotent id that the producer gave.
    pub iid: Element<'a>,
    /// The entry that was added for it.
    pub id: StreamId,
}

/// The counters behind the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyTotals {
    /// How many entries were added with an idempotent id.
    pub added: u64,
    /// How many were refused as duplicates.
    pub duplicates: u64,
}

impl<'d, F: Findings> Stream<'d, F> {
    /// The settings; `None` for a form without records. Groups that were not read yet are moved over.
    ///
    /// # Errors
    /// `Corrupt` where the bytes cannot be read, and what the findings answer.
    pub fn idempotency(&mut self) -> Result<Option<Idempotency>> {
        while self.phase < Phase::Idempotency {
            if self.next_group()?.is_none() {
                break;
            }
        }
        if self.phase != Phase::Idempotency {
            return Ok(None);
        }
        let read = self.read_idempotency();
        self.fused(read).map(Some)
    }

    fn read_idempotency(&mut self) -> Result<Idempotency> {
        let place = self.cursor.place();
        let settings = Idempotency {
            duration_seconds: length::read(&mut self.cursor)?,
            max_entries: length::read(&mut self.cursor)?,
            producers: length::read(&mut self.cursor)?,
        };
        self.cursor
            .expect_room(settings.producers, 2, "producers")?;
        if !(1..=86_400).contains(&settings.duration_seconds)
            || !(1..=10_000).contains(&settings.max_entries)
        {
            self.decoder.findings.found(Finding {
                rule: Rule::IdmpRange,
                place,
                what: format!(
                    "idempotency for {} seconds and {} entries; servers take 1 to 86400 and 1 to 10000",
                    settings.duration_seconds, settings.max_entries
                )
                .into(),
            })?;
        }
        self.left.producers = settings.producers;
        self.phase = Phase::Producers;
        Ok(settings)
    }

    /// The next producer; `None` behind the last one.
    ///
    /// # Errors
    /// As [`Stream::idempotency`].
    pub fn next_producer(&mut self) -> Result<Option<Producer<'_>>> {
        let read = self.read_producer();
        let Some((name, records)) = self.fused(read)? else {
            return Ok(None);
        };
        let [text, ..] = &self.decoder.text;
        Ok(Some(Producer {
            id: name.element(&self.decoder.blob, text),
            records,
        }))
    }

    pub(super) fn read_producer(&mut self) -> Result<Option<(Part<'d>, u64)>> {
        if self.phase == Phase::Iids {
            while self.read_iid()?.is_some() {}
            self.phase = Phase::Producers;
        }
        if self.phase != Phase::Producers || self.left.producers == 0 {
            return Ok(None);
        }
        self.left.producers = self.left.producers.wrapping_sub(1);
        let name = self.read_name()?;
        let records = length::read(&mut self.cursor)?;
        self.cursor
            .expect_room(records, 3, "records of a producer")?;
        self.left.iids = records;
        self.phase = Phase::Iids;
        Ok(Some((name, records)))
    }

    /// The next record of the current producer; `None` behind the last one.
    ///
    /// # Errors
    /// As [`Stream::idempotency`].
    pub fn next_iid(&mut self) -> Result<Option<Iid<'_>>> {
        let read = self.read_iid();
        let Some((name, id)) = self.fused(read)? else {
            return Ok(None);
        };
        let [text, ..] = &self.decoder.text;
        Ok(Some(Iid {
            iid: name.element(&self.decoder.blob, text),
            id,
        }))
    }

    pub(super) fn read_iid(&mut self) -> Result<Option<(Part<'d>, StreamId)>> {
        if self.phase != Phase::Iids || self.left.iids == 0 {
            return Ok(None);
        }
        self.left.iids = self.left.iids.wrapping_sub(1);
        let name = self.read_name()?;
        Ok(Some((name, StreamId::read(&mut self.cursor)?)))
    }

    /// The counters; `None` for a form without records. What was not read yet is moved over. This ends the walk.
    ///
    /// # Errors
    /// As [`Stream::idempotency`].
    pub fn idempotency_totals(&mut self) -> Result<Option<IdempotencyTotals>> {
        if self.phase <= Phase::Idempotency {
            self.idempotency()?;
        }
        while self.next_producer()?.is_some() {}
        if self.phase != Phase::Producers {
            return Ok(None);
        }
        let read = self.read_totals();
        self.phase = Phase::Done;
        read.map(Some)
    }

    fn read_totals(&mut self) -> Result<IdempotencyTotals> {
        let totals = IdempotencyTotals {
            added: length::read(&mut self.cursor)?,
            duplicates: length::read(&mut self.cursor)?,
        };
        expect_end(&self.cursor, &mut self.decoder.findings)?;
        Ok(totals)
    }
}
