//! Forms: which type, as whom; and which older ones a value can be written in.

use std::borrow::Cow;

use crate::snapshot::{Dialect, Entry, ValueType};

/// A type byte together with whose meaning of it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form {
    /// The type byte.
    pub value_type: ValueType,
    /// Whose type it is.
    pub dialect: Dialect,
}

impl Form {
    /// A plain hash.
    pub const HASH: Self = Self::redis(ValueType::HASH);
    /// Redis' hash with field expiries (7.4).
    pub const HASH_METADATA: Self = Self::redis(ValueType::HASH_METADATA);
    /// Valkey's hash with field expiries (9.0).
    pub const HASH_2: Self = Self {
        value_type: ValueType::HASH_2,
        dialect: Dialect::Valkey,
    };

    const fn redis(value_type: ValueType) -> Self {
        Self {
            value_type,
            dialect: Dialect::Redis,
        }
    }

    /// Whether this form has no room for expiries that fields or members of `other` may have.
    #[must_use]
    pub fn forgets_expiries_of(self, other: Self) -> bool {
        let of_a_set = (other.value_type, other.dialect)
            == (ValueType::DF_SET_WITH_EXPIRY, Dialect::Dragonfly);
        of_a_set || may_have_field_expiries(other) && self == Self::HASH
    }

    /// The name for people: `hash`, `stream-listpacks-2`.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        self.value_type.name(self.dialect)
    }
}

impl Entry<'_> {
    /// The form that the value has in the file.
    #[must_use]
    pub fn form(&self) -> Form {
        Form {
            value_type: self.value_type,
            dialect: self.dialect,
        }
    }
}

/// The forms that a value of `form` can be written in, besides its own: what loses least comes first.
#[must_use]
pub fn older_forms(form: Form) -> &'static [Form] {
    const LIST: Form = Form::redis(ValueType::LIST);
    const QUICKLIST_2: Form = Form::redis(ValueType::LIST_QUICKLIST_2);
    const SET: Form = Form::redis(ValueType::SET);
    const ZSET: Form = Form::redis(ValueType::ZSET);
    const ZSET_2: Form = Form::redis(ValueType::ZSET_2);
    const STREAM_4: Form = Form::redis(ValueType::STREAM_LISTPACKS_4);
    const STREAM_3: Form = Form::redis(ValueType::STREAM_LISTPACKS_3);
    const STREAM_2: Form = Form::redis(ValueType::STREAM_LISTPACKS_2);
    const STREAM: Form = Form::redis(ValueType::STREAM_LISTPACKS);
    match (form.value_type.0, form.dialect) {
        // Dragonfly knows no list but the quicklists.
        (1, _) => &[QUICKLIST_2],
        (10 | 14, _) => &[LIST, QUICKLIST_2],
        (18, _) => &[LIST],
        (11, _) | (20, Dialect::Redis | Dialect::Valkey) => &[SET],
        (5, _) => &[ZSET],
        (12 | 17, _) => &[ZSET_2, ZSET],
        (9 | 13 | 16, _) => &[Form::HASH],
        (22 | 23 | 25, Dialect::Redis) => &[Form::HASH_METADATA, Form::HASH_2, Form::HASH],
        (24, Dialect::Redis) => &[Form::HASH_2, Form::HASH],
        (22, Dialect::Valkey) => &[Form::HASH_METADATA, Form::HASH],
        (29..=32, Dialect::Redis) => &[Form::HASH],
        (19, _) => &[STREAM],
        (21, _) => &[STREAM_2, STREAM],
        (26, Dialect::Redis) => &[STREAM_3, STREAM_2, STREAM],
        (27, Dialect::Redis) => &[STREAM_4, STREAM_3, STREAM_2, STREAM],
        (31, Dialect::Dragonfly) => &[Form::HASH_METADATA, Form::HASH_2, Form::HASH],
        (32, Dialect::Dragonfly) => &[SET],
        _ => &[],
    }
}

/// The form itself, where a value can be mended by writing it once more: streams have counters that newer servers refuse, and
/// hashes expiries of fields that may have to change.
#[must_use]
pub fn mended_form(form: Form) -> Option<Form> {
    let is_hash = matches!(form, Form::HASH_METADATA | Form::HASH_2);
    (is_hash || super::stream::form(form).is_some()).then_some(form)
}

/// Whether parts of such a value can have expiries of their own.
#[must_use]
pub fn may_have_expiries_inside(form: Form) -> bool {
    may_have_field_expiries(form)
        || matches!((form.value_type.0, form.dialect), (32, Dialect::Dragonfly))
}

/// Whether fields of such a hash can have expiries.
pub(super) fn may_have_field_expiries(form: Form) -> bool {
    matches!(
        (form.value_type.0, form.dialect),
        (22..=25, Dialect::Redis) | (22, Dialect::Valkey) | (31, Dialect::Dragonfly)
    )
}
