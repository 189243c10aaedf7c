//! Streams: an object whose members stand in the order of the file, so that it takes one walk.

use std::cell::RefCell;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::member;
use super::text::{Shown, Text};
use super::walk::{Context, Items, Seq, items};
use crate::error::{Error, ErrorKind};
use crate::json::damage::Damage;
use crate::value::{Element, Idempotency, Stream, StreamId};
use crate::wire::Str;

/// A stream.
pub(super) struct StreamObject<'c, 'd>(
    pub(super) RefCell<Stream<'d, Damage>>,
    pub(super) &'c Context,
);

impl Serialize for StreamObject<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let context = self.1;
        let stream = &mut *self.0.borrow_mut();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("entries", &Seq::new(Entries(stream), context))?;
        if !context.broken.get()
            && let Some(meta) = context.step(stream.metadata().map(Some))?
        {
            map.serialize_entry("length", &meta.length)?;
            map.serialize_entry("last_id", &Shown(meta.last_id))?;
            member(&mut map, "first_id", meta.first_id.map(Shown))?;
            member(&mut map, "max_deleted_id", meta.max_deleted_id.map(Shown))?;
            member(&mut map, "entries_added", meta.entries_added)?;
            map.serialize_entry("groups", &Seq::new(Groups(stream), context))?;
            if !context.broken.get()
                && let Some(settings) = context.step(stream.idempotency())?
            {
                map.serialize_entry(
                    "idempotency",
                    &IdempotencyObject {
                        settings,
                        stream: RefCell::new(stream),
                        context,
                    },
                )?;
            }
        }
        map.end()
    }
}

items!(Entries<'a, 'd>(&'a mut Stream<'d, Damage>), |stream, seq, context| stream.next_entry(), entry => {
    let fields = Seq::new(EntryFields(stream), context);
    seq.serialize_element(&(Shown(entry.id), fields))?;
});

items!(EntryFields<'a, 'd>(&'a mut Stream<'d, Damage>), |stream, seq, context| stream.next_field(), (field, value) => {
    let (field, value) = (context.text(field)?, context.text(value)?);
    if let (Some(field), Some(value)) = (field, value) {
        seq.serialize_element(&(field, value))?;
    }
});

items!(PendingOfGroup<'a, 'd>(&'a mut Stream<'d, Damage>), |stream, seq, context| stream.next_pending(), pending => {
    seq.serialize_element(&(
        Shown(pending.id),
        pending.delivered_at_ms,
        pending.delivery_count,
    ))?;
});

items!(Owned<'a, 'd>(&'a mut Stream<'d, Damage>), |stream, seq, context| stream.next_owned(), pending => {
    seq.serialize_element(&Shown(pending.id))?;
});

items!(Records<'a, 'd>(&'a mut Stream<'d, Damage>), |stream, seq, context| stream.next_iid(), record => {
    if let Some(iid) = context.text(record.iid)? {
        seq.serialize_element(&(iid, Shown(record.id)))?;
    }
});

/// A name that outlives the buffer that it was read into.
#[derive(Debug)]
struct Name(Vec<u8>);

impl Name {
    /// What belongs to a name that cannot be decoded is written all the same.
    fn of<E: serde::ser::Error>(
        element: Element<'_>,
        context: &Context,
    ) -> std::result::Result<Option<Self>, E> {
        let mut bytes = Vec::new();
        let copied = match element.len() {
            ..=Str::MAX_BUFFERED => element.append_to(&mut bytes),
            more => Err(Error::new(
                ErrorKind::Limit,
                format!("a name of {more} bytes is too long to be held"),
            )),
        };
        match copied {
            Ok(()) => Ok(Some(Self(bytes))),
            Err(error) => context.note(error).map(|()| None),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let Self(bytes) = self;
        let is_utf8 = std::str::from_utf8(bytes).is_ok();
        let element = Element::Bytes(bytes);
        Text { element, is_utf8 }.serialize(serializer)
    }
}

items!(Groups<'a, 'd>(&'a mut Stream<'d, Damage>), |stream, seq, context| stream.next_group(), group => {
    let group = GroupObject {
        name: Name::of(group.name, context)?,
        last_id: group.last_id,
        entries_read: group.entries_read,
        stream: RefCell::new(stream),
        context,
    };
    seq.serialize_element(&group)?;
});

struct GroupObject<'c, 'a, 'd> {
    name: Option<Name>,
    last_id: StreamId,
    entries_read: Option<u64>,
    stream: RefCell<&'a mut Stream<'d, Damage>>,
    context: &'c Context,
}

impl Serialize for GroupObject<'_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let context = self.context;
        let stream = &mut **self.stream.borrow_mut();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("last_id", &Shown(self.last_id))?;
        member(&mut map, "entries_read", self.entries_read)?;
        map.serialize_entry("pending", &Seq::new(PendingOfGroup(stream), context))?;
        map.serialize_entry("consumers", &Seq::new(Consumers(stream), context))?;
        if !context.broken.get()
            && let Some(first) = context.step(stream.next_nacked())?
        {
            let nacked = Nacked {
                first: Some(first.id),
                stream,
            };
            map.serialize_entry("nacked", &Seq::new(nacked, context))?;
        }
        map.end()
    }
}

/// Nacked entries, of which the first one was read: there is no such member without any.
struct Nacked<'a, 'd> {
    first: Option<StreamId>,
    stream: &'a mut Stream<'d, Damage>,
}

impl Items for Nacked<'_, '_> {
    fn next<Q: SerializeSeq>(
        &mut self,
        seq: &mut Q,
        context: &Context,
    ) -> std::result::Result<bool, Q::Error> {
        let id = match self.first.take() {
            Some(id) => id,
            None => match context.step(self.stream.next_nacked())? {
                Some(pending) => pending.id,
                None => return Ok(false),
            },
        };
        seq.serialize_element(&Shown(id)).map(|()| true)
    }
}

items!(Consumers<'a, 'd>(&'a mut Stream<'d, Damage>), |stream, seq, context| stream.next_consumer(), consumer => {
    let consumer = ConsumerObject {
        name: Name::of(consumer.name, context)?,
        seen_at_ms: consumer.seen_at_ms,
        active_at_ms: consumer.active_at_ms,
        pending: Seq::new(Owned(stream), context),
    };
    seq.serialize_element(&consumer)?;
});

struct ConsumerObject<'c, 'a, 'd> {
    name: Option<Name>,
    seen_at_ms: i64,
    active_at_ms: Option<i64>,
    pending: Seq<'c, Owned<'a, 'd>>,
}

impl Serialize for ConsumerObject<'_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("seen_at_ms", &self.seen_at_ms)?;
        member(&mut map, "active_at_ms", self.active_at_ms)?;
        map.serialize_entry("pending", &self.pending)?;
        map.end()
    }
}

struct IdempotencyObject<'c, 'a, 'd> {
    settings: Idempotency,
    stream: RefCell<&'a mut Stream<'d, Damage>>,
    context: &'c Context,
}

impl Serialize for IdempotencyObject<'_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let context = self.context;
        let stream = &mut **self.stream.borrow_mut();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("duration_seconds", &self.settings.duration_seconds)?;
        map.serialize_entry("max_entries", &self.settings.max_entries)?;
        map.serialize_entry("producers", &Seq::new(Producers(stream), context))?;
        if !context.broken.get()
            && let Some(totals) = context.step(stream.idempotency_totals())?
        {
            map.serialize_entry("added", &totals.added)?;
            map.serialize_entry("duplicates", &totals.duplicates)?;
        }
        map.end()
    }
}

items!(Producers<'a, 'd>(&'a mut Stream<'d, Damage>), |stream, seq, context| stream.next_producer(), producer => {
    let producer = ProducerObject {
        id: Name::of(producer.id, context)?,
        records: Seq::new(Records(stream), context),
    };
    seq.serialize_element(&producer)?;
});

struct ProducerObject<'c, 'a, 'd> {
    id: Option<Name>,
    records: Seq<'c, Records<'a, 'd>>,
}

impl Serialize for ProducerObject<'_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("id", &self.id)?;
        map.serialize_entry("records", &self.records)?;
        map.end()
    }
}
