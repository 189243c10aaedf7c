//! Walks that are serialised on the way, and what is found to be broken meanwhile.

use std::cell::{Cell, RefCell};

use serde::ser::{Error as SerError, Serialize, SerializeSeq, Serializer};

use super::text::Text;
use crate::error::{Error, Result};
use crate::json::damage::Damage;
use crate::json::string::Utf8;
use crate::value::Element;

/// What is found to be broken on the way.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) damage: RefCell<Damage>,
    /// The walk has ended in the middle of the value: nothing behind it can be read.
    pub(super) broken: Cell<bool>,
}

impl Context {
    /// Notes damage; an error that is none ends the serialisation.
    pub(super) fn note<E: SerError>(&self, error: Error) -> std::result::Result<(), E> {
        self.damage
            .borrow_mut()
            .note_error(error)
            .map_err(E::custom)
    }

    /// The next step of a walk; `None` at its end, and where it breaks.
    pub(super) fn step<T, E: SerError>(
        &self,
        step: Result<Option<T>>,
    ) -> std::result::Result<Option<T>, E> {
        match step {
            Ok(next) => Ok(next),
            Err(error) => {
                self.broken.set(true);
                self.note(error)?;
                Ok(None)
            }
        }
    }

    /// How an element is written; `None` where it cannot be decoded.
    pub(super) fn text<'a, E: SerError>(
        &self,
        element: Element<'a>,
    ) -> std::result::Result<Option<Text<'a>>, E> {
        let is_utf8 = match element {
            Element::Int(_) => true,
            Element::Bytes(bytes) => std::str::from_utf8(bytes).is_ok(),
            long @ Element::Long(_) => {
                let mut utf8 = Utf8::default();
                let walked = long.write_to(|piece| {
                    utf8.push(piece);
                    Ok(())
                });
                if let Err(error) = walked {
                    self.note(error)?;
                    return Ok(None);
                }
                utf8.finish()
            }
        };
        Ok(Some(Text { element, is_utf8 }))
    }
}

/// Items that are walked while they are serialised.
pub(super) trait Items {
    /// Serialises the next item; `false` where there is none.
    fn next<Q: SerializeSeq>(
        &mut self,
        seq: &mut Q,
        context: &Context,
    ) -> std::result::Result<bool, Q::Error>;
}

/// A sequence of [`Items`].
pub(super) struct Seq<'c, T>(pub(super) RefCell<T>, &'c Context);

impl<'c, T> Seq<'c, T> {
    pub(super) fn new(items: T, context: &'c Context) -> Self {
        Self(RefCell::new(items), context)
    }
}

impl<T: Items> Serialize for Seq<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        let mut items = self.0.borrow_mut();
        while !self.1.broken.get() && items.next(&mut seq, self.1)? {}
        seq.end()
    }
}

/// Defines the items of one walk: `$step` yields the next one, `$put` serialises it.
macro_rules! items {
    ($name:ident<$($life:lifetime),+>($of:ty), |$walk:ident, $seq:ident, $context:ident| $step:expr, $found:pat => $put:block) => {
        pub(super) struct $name<$($life),+>(pub(super) $of);

        impl<$($life),+> Items for $name<$($life),+> {
            fn next<Q: SerializeSeq>(
                &mut self,
                $seq: &mut Q,
                $context: &Context,
            ) -> std::result::Result<bool, Q::Error> {
                let $walk = &mut self.0;
                let Some($found) = $context.step($step)? else {
                    return Ok(false);
                };
                $put
                Ok(true)
            }
        }
    };
}

pub(super) use items;
