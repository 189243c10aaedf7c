//! Lists, sets, hashes and sorted sets walked in one way.

use crate::error::Result;
use crate::snapshot::Kind;
use crate::value::{Element, Hash, Lenient, List, Set, Value, Zset};

/// A collection that is being walked.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one or two at a time, on the stack"
)]
pub(super) enum Walk<'d> {
    List(List<'d, Lenient>),
    Set(Set<'d, Lenient>),
    Hash(Hash<'d, Lenient>),
    Zset(Zset<'d, Lenient>),
}

/// One element of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    /// The element, member or field.
    pub(super) name: Element<'a>,
    /// The path that a field belongs to (Valkey 9.2).
    pub(super) path: Option<Element<'a>>,
    /// The value of a field.
    pub(super) value: Option<Element<'a>>,
    /// The score of a member of a sorted set, never −0.
    pub(super) score: f64,
    /// The expiry of a field or member, milliseconds of Unix time.
    pub(super) expire_at_ms: Option<i64>,
}

impl<'a> Item<'a> {
    fn plain(name: Element<'a>) -> Self {
        Self {
            name,
            path: None,
            value: None,
            score: 0.0,
            expire_at_ms: None,
        }
    }
}

impl<'d> Walk<'d> {
    /// A walk over `value`, if it is such a collection.
    pub(super) fn of(value: Value<'d, Lenient>) -> Option<Self> {
        Some(match value {
            Value::List(list) => Walk::List(list),
            Value::Set(set) => Walk::Set(set),
            Value::Hash(hash) => Walk::Hash(hash),
            Value::Zset(zset) => Walk::Zset(zset),
            _ => return None,
        })
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Walk::List(_) => Kind::List,
            Walk::Set(_) => Kind::Set,
            Walk::Hash(_) => Kind::Hash,
            Walk::Zset(_) => Kind::ZSet,
        }
    }

    /// The next element; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item<'_>>> {
        Ok(match self {
            Walk::List(list) => list.next_element()?.map(Item::plain),
            Walk::Set(set) => set.next_member()?.map(|found| Item {
                expire_at_ms: found.expire_at_ms,
                ..Item::plain(found.member)
            }),
            Walk::Hash(hash) => hash.next_field()?.map(|found| Item {
                path: found.path,
                value: Some(found.value),
                expire_at_ms: found.expire_at_ms,
                ..Item::plain(found.field)
            }),
            Walk::Zset(zset) => zset.next_scored()?.map(|found| Item {
                score: positive_zero(found.score),
                ..Item::plain(found.member)
            }),
        })
    }
}

/// −0 and 0 are one score.
pub(super) fn positive_zero(score: f64) -> f64 {
    if score == 0.0 { 0.0 } else { score }
}
