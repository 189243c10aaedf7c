//! Whether two decoded values mean the same: the file's own, and one that the destination gave as a payload.

use super::Bookkeeping;
use super::bytes::same;
use super::walk::Walk;
use crate::error::Result;
use crate::fingerprint::FingerprintKey;
use crate::value::{
    Array, ArrayValue, Element, Lenient, ModuleItem, ModuleValue, Pending, Stream, Value,
};

/// What is known of two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Likeness {
    /// They mean the same.
    Alike(Bookkeeping),
    /// They do not.
    Unlike,
    /// Too many elements to be held in memory: to be compared in another way.
    TooMany,
}

const ALIKE: Likeness = Likeness::Alike(Bookkeeping(0));

impl Likeness {
    fn when(alike: bool) -> Self {
        if alike { ALIKE } else { Likeness::Unlike }
    }
}

/// Elements of an unordered collection that are held at most: 16 bytes each, for either side.
const MOST: usize = 32 * 1024;

/// Compares unordered collections by 128 bits of each element under random keys: sorted, they are equal or not.
#[derive(Debug)]
pub(super) struct Prints {
    keys: [FingerprintKey; 2],
    mine: Vec<[u64; 2]>,
    theirs: Vec<[u64; 2]>,
}

impl Prints {
    pub(super) fn new() -> Self {
        Self {
            keys: [FingerprintKey::random(), FingerprintKey::random()],
            mine: Vec::new(),
            theirs: Vec::new(),
        }
    }

    /// Whether two values mean the same. Fields whose time has come at `now_ms` are left out.
    pub(super) fn compare(
        &mut self,
        mine: Value<'_, Lenient>,
        theirs: Value<'_, Lenient>,
        now_ms: i64,
    ) -> Result<Likeness> {
        match (mine, theirs) {
            (Value::String(mine), Value::String(theirs))
            | (Value::Json(mine), Value::Json(theirs)) => same(&mine, &theirs).map(Likeness::when),
            (Value::Stream(mine), Value::Stream(theirs)) => streams(mine, theirs),
            (Value::Array(mine), Value::Array(theirs)) => arrays(mine, theirs).map(Likeness::when),
            (Value::Module(mine), Value::Module(theirs)) => {
                modules(mine, theirs).map(Likeness::when)
            }
            (mine, theirs) => match (Walk::of(mine), Walk::of(theirs)) {
                (Some(Walk::List(mine)), Some(Walk::List(theirs))) => {
                    lists(Walk::List(mine), Walk::List(theirs)).map(Likeness::when)
                }
                (Some(mine), Some(theirs)) if mine.kind() == theirs.kind() => {
                    self.unordered(mine, theirs, now_ms)
                }
                _ => Ok(Likeness::Unlike),
            },
        }
    }

    fn unordered(&mut self, mine: Walk<'_>, theirs: Walk<'_>, now_ms: i64) -> Result<Likeness> {
        let Self {
            keys,
            mine: own,
            theirs: other,
        } = self;
        if !collect(keys, mine, now_ms, own)? || !collect(keys, theirs, now_ms, other)? {
            return Ok(Likeness::TooMany);
        }
        if own.len() != other.len() {
            return Ok(Likeness::Unlike);
        }
        // The order is often the same.
        if own != other {
            own.sort_unstable();
            other.sort_unstable();
        }
        Ok(Likeness::when(own == other))
    }
}

/// Makes a fingerprint of each element; `false` where they are too many.
fn collect(
    keys: &[FingerprintKey; 2],
    mut walk: Walk<'_>,
    now_ms: i64,
    into: &mut Vec<[u64; 2]>,
) -> Result<bool> {
    into.clear();
    while let Some(item) = walk.next()? {
        if item.expire_at_ms.is_some_and(|at| at <= now_ms) {
            continue;
        }
        if into.len() >= MOST {
            return Ok(false);
        }
        let mut prints = [0; 2];
        for (print, key) in prints.iter_mut().zip(keys) {
            let mut pieces = key.pieces(item.expire_at_ms.unwrap_or(-1).cast_unsigned());
            let mut push = |element: &Element<'_>| {
                // With its length in front, no two pairs read the same.
                pieces.push(&element.len().to_le_bytes());
                element.write_to(|piece| {
                    pieces.push(piece);
                    Ok(())
                })
            };
            push(&item.name)?;
            if let Some(value) = &item.value {
                push(value)?;
            }
            if let Some(path) = &item.path {
                push(path)?;
            }
            pieces.push(&item.score.to_bits().to_le_bytes());
            *print = pieces.finish();
        }
        into.push(prints);
    }
    Ok(true)
}

impl Prints {
    /// Whether two vector sets (the module of Redis 8) hold the same elements, attributes and vectors. A server that loads one
    /// writes its elements in another order, with other links between them.
    pub(super) fn vector_sets(
        &mut self,
        mine: ModuleValue<'_, Lenient>,
        theirs: ModuleValue<'_, Lenient>,
    ) -> Result<Likeness> {
        let Self {
            keys,
            mine: own,
            theirs: other,
        } = self;
        if mine.id() != theirs.id() {
            return Ok(Likeness::Unlike);
        }
        if !vectors(keys, mine, own)? || !vectors(keys, theirs, other)? {
            return Ok(Likeness::TooMany);
        }
        own.sort_unstable();
        other.sort_unstable();
        Ok(if own == other {
            Likeness::Alike(Bookkeeping::VECTOR_LINKS)
        } else {
            Likeness::Unlike
        })
    }
}

/// Makes a fingerprint of what stands in front of the elements (dimensions, number, settings, a projection), and one of each
/// element: its name, its attributes and its vector stand behind each other as strings; then numbers (range, neighbours).
fn vectors(
    keys: &[FingerprintKey; 2],
    mut walk: ModuleValue<'_, Lenient>,
    into: &mut Vec<[u64; 2]>,
) -> Result<bool> {
    into.clear();
    let open = |domain| keys.each_ref().map(|key| key.pieces(domain));
    let (mut pieces, mut strings, mut in_front) = (open(0), 0u32, true);
    loop {
        let item = walk.next_item()?;
        let is_string = matches!(item, Some(ModuleItem::String(_)));
        // An element begins with a string behind a number.
        if item.is_none() || is_string && strings == 0 {
            if into.len() >= MOST {
                return Ok(false);
            }
            into.push(pieces.map(|pieces| pieces.finish()));
            (pieces, in_front) = (open(1), false);
        }
        let mut push = |bytes: &[u8]| pieces.iter_mut().for_each(|one| one.push(bytes));
        match item {
            None => return Ok(true),
            Some(ModuleItem::String(text)) => {
                strings = strings.saturating_add(1);
                push(&text.len().to_le_bytes());
                text.write_to(|piece| {
                    push(piece);
                    Ok(())
                })?;
            }
            Some(number) => {
                strings = 0;
                match number {
                    _ if !in_front => {}
                    ModuleItem::Signed(value) => push(&value.to_le_bytes()),
                    ModuleItem::Unsigned(value) => push(&value.to_le_bytes()),
                    ModuleItem::Float(value) => push(&value.to_bits().to_le_bytes()),
                    ModuleItem::Double(value) => push(&value.to_bits().to_le_bytes()),
                    ModuleItem::String(_) => {}
                }
            }
        }
    }
}

fn lists(mut mine: Walk<'_>, mut theirs: Walk<'_>) -> Result<bool> {
    loop {
        match (mine.next()?, theirs.next()?) {
            (None, None) => return Ok(true),
            (Some(mine), Some(theirs)) if same(&mine.name, &theirs.name)? => {}
            _ => return Ok(false),
        }
    }
}

fn arrays(mut mine: Array<'_, Lenient>, mut theirs: Array<'_, Lenient>) -> Result<bool> {
    if mine.insert_index() != theirs.insert_index() {
        return Ok(false);
    }
    loop {
        match (mine.next_item()?, theirs.next_item()?) {
            (None, None) => return Ok(true),
            (Some(mine), Some(theirs)) if mine.index == theirs.index => {
                let alike = match (mine.value, theirs.value) {
                    (ArrayValue::Element(mine), ArrayValue::Element(theirs)) => {
                        same(&mine, &theirs)?
                    }
                    (ArrayValue::Double(mine), ArrayValue::Double(theirs)) => {
                        mine.to_bits() == theirs.to_bits()
                    }
                    _ => false,
                };
                if !alike {
                    return Ok(false);
                }
            }
            _ => return Ok(false),
        }
    }
}

fn modules(
    mut mine: ModuleValue<'_, Lenient>,
    mut theirs: ModuleValue<'_, Lenient>,
) -> Result<bool> {
    if mine.id() != theirs.id() {
        return Ok(false);
    }
    loop {
        let alike = match (mine.next_item()?, theirs.next_item()?) {
            (None, None) => return Ok(true),
            (Some(mine), Some(theirs)) => match (mine, theirs) {
                (ModuleItem::Signed(mine), ModuleItem::Signed(theirs)) => mine == theirs,
                (ModuleItem::Unsigned(mine), ModuleItem::Unsigned(theirs)) => mine == theirs,
                (ModuleItem::Float(mine), ModuleItem::Float(theirs)) => {
                    mine.to_bits() == theirs.to_bits()
                }
                (ModuleItem::Double(mine), ModuleItem::Double(theirs)) => {
                    mine.to_bits() == theirs.to_bits()
                }
                (ModuleItem::String(mine), ModuleItem::String(theirs)) => same(&mine, &theirs)?,
                _ => false,
            },
            _ => false,
        };
        if !alike {
            return Ok(false);
        }
    }
}

fn streams(mut mine: Stream<'_, Lenient>, mut theirs: Stream<'_, Lenient>) -> Result<Likeness> {
    let mut books = Bookkeeping::default();
    loop {
        match (mine.next_entry()?, theirs.next_entry()?) {
            (None, None) => break,
            (Some(a), Some(b)) if a.id == b.id && a.fields == b.fields => {}
            _ => return Ok(Likeness::Unlike),
        }
        loop {
            match (mine.next_field()?, theirs.next_field()?) {
                (None, None) => break,
                (Some((name, value)), Some((their_name, their_value)))
                    if same(&name, &their_name)? && same(&value, &their_value)? => {}
                _ => return Ok(Likeness::Unlike),
            }
        }
    }
    let (a, b) = (mine.metadata()?, theirs.metadata()?);
    if a.last_id != b.last_id || a.length != b.length || a.groups != b.groups {
        return Ok(Likeness::Unlike);
    }
    books.note(
        Bookkeeping::ENTRIES_ADDED,
        known_and_unequal(a.entries_added, b.entries_added),
    );
    books.note(
        Bookkeeping::MAX_DELETED,
        known_and_unequal(a.max_deleted_id, b.max_deleted_id),
    );
    loop {
        match (mine.next_group()?, theirs.next_group()?) {
            (None, None) => break,
            (Some(a), Some(b))
                if a.last_id == b.last_id && a.pending == b.pending && same(&a.name, &b.name)? =>
            {
                books.note(
                    Bookkeeping::ENTRIES_READ,
                    known_and_unequal(a.entries_read, b.entries_read),
                );
            }
            _ => return Ok(Likeness::Unlike),
        }
        if !groups(&mut mine, &mut theirs, &mut books)? {
            return Ok(Likeness::Unlike);
        }
    }
    if !idempotency(&mut mine, &mut theirs, &mut books)? {
        return Ok(Likeness::Unlike);
    }
    Ok(Likeness::Alike(books))
}

/// What belongs to the current groups of two streams.
fn groups(
    mine: &mut Stream<'_, Lenient>,
    theirs: &mut Stream<'_, Lenient>,
    books: &mut Bookkeeping,
) -> Result<bool> {
    let mut pending = |mine: Option<Pending>, theirs: Option<Pending>| match (mine, theirs) {
        (None, None) => Some(false),
        (Some(a), Some(b)) if a.id == b.id && a.delivery_count == b.delivery_count => {
            books.note(
                Bookkeeping::DELIVERY_TIMES,
                a.delivered_at_ms != b.delivered_at_ms,
            );
            Some(true)
        }
        _ => None,
    };
    let mut seen = false;
    loop {
        match pending(mine.next_pending()?, theirs.next_pending()?) {
            Some(true) => {}
            Some(false) => break,
            None => return Ok(false),
        }
    }
    loop {
        match (mine.next_consumer()?, theirs.next_consumer()?) {
            (None, None) => break,
            (Some(a), Some(b)) if a.pending == b.pending && same(&a.name, &b.name)? => {
                seen |= a.seen_at_ms != b.seen_at_ms
                    || known_and_unequal(a.active_at_ms, b.active_at_ms);
            }
            _ => return Ok(false),
        }
        loop {
            match pending(mine.next_owned()?, theirs.next_owned()?) {
                Some(true) => {}
                Some(false) => break,
                None => return Ok(false),
            }
        }
    }
    loop {
        match pending(mine.next_nacked()?, theirs.next_nacked()?) {
            Some(true) => {}
            Some(false) => break,
            None => return Ok(false),
        }
    }
    books.note(Bookkeeping::SEEN_TIMES, seen);
    Ok(true)
}

fn idempotency(
    mine: &mut Stream<'_, Lenient>,
    theirs: &mut Stream<'_, Lenient>,
    books: &mut Bookkeeping,
) -> Result<bool> {
    let (a, b) = (mine.idempotency()?, theirs.idempotency()?);
    let producers = |settings: Option<crate::value::Idempotency>| {
        settings.map_or(0, |settings| settings.producers)
    };
    if producers(a) != producers(b) {
        return Ok(false);
    }
    if producers(a) == 0 {
        books.note(Bookkeeping::IDEMPOTENCY, known_and_unequal(a, b));
        return Ok(true);
    }
    if a != b {
        return Ok(false);
    }
    loop {
        match (mine.next_producer()?, theirs.next_producer()?) {
            (None, None) => return Ok(true),
            (Some(a), Some(b)) if a.records == b.records && same(&a.id, &b.id)? => {}
            _ => return Ok(false),
        }
        loop {
            match (mine.next_iid()?, theirs.next_iid()?) {
                (None, None) => break,
                (Some(a), Some(b)) if a.id == b.id && same(&a.iid, &b.iid)? => {}
                _ => return Ok(false),
            }
        }
    }
}

/// Older forms do not say: that is no difference.
fn known_and_unequal<T: PartialEq>(mine: Option<T>, theirs: Option<T>) -> bool {
    matches!((mine, theirs), (Some(mine), Some(theirs)) if mine != theirs)
}
