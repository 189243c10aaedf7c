//! What the destination said between two marks, before it is believed.
//!
//! A mark shows that as many replies came as commands went, not which of them belongs to which key. Where all of them say the
//! same, that is the same. Where they differ (one key existed, another was stored), two of them may have changed places: then
//! nobody's word is taken, and each key of the interval is looked at ([`super::read_back`]). The pipeline puts marks closely
//! where refusals are frequent ([`crate::resp::Pipeline::mark_closely`]), so that such intervals are few and short.

use super::worker::Ticket;
use crate::replay::Step;

/// What was said of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// OK. Its time may have come on its way.
    Stored { expired: bool },
    /// It was there before.
    Existed,
    /// It is not to be stored, in the server's words.
    Failed(String),
    /// It is not taken so, in the server's words: it goes once more, by another step.
    Again { words: String, next: Step },
    /// Nothing of the kind: the key is not finished.
    Nothing,
}

/// What was said of the keys since the last mark.
#[derive(Debug, Default)]
pub(super) struct Interval {
    told: Told,
    first: First,
    mixed: bool,
}

/// Keys, and what was said of each. Kept apart: as pairs each would be put together first, and then moved before it is there.
#[derive(Debug, Default)]
pub(super) struct Told {
    tickets: Vec<Ticket>,
    said: Vec<Said>,
}

impl Told {
    /// Takes all out, in the order of sending.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (&Ticket, Said)> {
        self.tickets.iter().zip(self.said.drain(..))
    }

    pub(super) fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.tickets.iter()
    }
}

/// The first reply of an interval.
#[derive(Debug, Default, PartialEq, Eq)]
enum First {
    #[default]
    None,
    Ok,
    Words(Vec<u8>),
}

impl Interval {
    /// Another `+OK` came.
    #[inline]
    pub(super) fn ok(&mut self) {
        match self.first {
            First::Ok => {}
            First::None => self.first = First::Ok,
            First::Words(_) => self.mixed = true,
        }
    }

    /// Another reply came, in these words.
    pub(super) fn words(&mut self, words: &[u8]) {
        match &self.first {
            First::Words(first) if first == words => {}
            First::None => self.first = First::Words(words.to_vec()),
            First::Words(_) | First::Ok => self.mixed = true,
        }
    }

    /// What such a reply says of a key.
    #[inline]
    pub(super) fn push(&mut self, ticket: &Ticket, said: Said) {
        self.told.tickets.push(*ticket);
        self.told.said.push(said);
    }

    /// Whether two of its replies say different things, so that it matters which is whose.
    #[inline]
    pub(super) fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// What was said, in the order of sending; the next interval begins.
    #[inline]
    pub(super) fn take(&mut self) -> Told {
        self.first = First::None;
        self.mixed = false;
        std::mem::take(&mut self.told)
    }

    /// Gives the room back that [`Interval::take`] took.
    #[inline]
    pub(super) fn reuse(&mut self, mut room: Told) {
        room.tickets.clear();
        room.said.clear();
        if self.told.tickets.is_empty() {
            self.told = room;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_mixed_and_what_does_not_is_not() {
        let mut interval = Interval::default();
        for _ in 0..3 {
            interval.ok();
        }
        assert!(!interval.is_mixed());
        interval.words(b"BUSYKEY Target key name already exists.");
        assert!(interval.is_mixed());
        assert!(interval.take().tickets.is_empty() && !interval.is_mixed());
        for _ in 0..3 {
            interval.words(b"BUSYKEY Target key name already exists.");
        }
        assert!(!interval.is_mixed());
        interval.words(b"ERR Bad data format");
        assert!(interval.is_mixed());
        interval.take();
        interval.words(b"BUSYKEY Target key name already exists.");
        interval.ok();
        assert!(interval.is_mixed());
    }
}
