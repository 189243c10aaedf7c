//! The steps by which a value can go, the next one only where the one above cannot serve: its own bytes, then other forms of
//! it. What no step carries is refused.

use std::borrow::Cow;
use std::path::Path;

use super::{
    Decision, NotRaw, Policies, Terms, TypeTerms, arrival, belongings, command, raw, within_limit,
};
use crate::outcome::{Outcome, Road};
use crate::payload::{FOOTER, Payload};
use crate::reencode::{self, Form, Reencoder};
use crate::snapshot::Entry;
use crate::value::commands::{Loss, Losses};

/// A step of the ladder: 0 is the value's own bytes, 1 the first of [`Terms::other_forms`], and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Step(u8);

impl Step {
    /// The value's own bytes.
    pub const RAW: Self = Self(0);

    /// The step behind this one, for a payload that was refused.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place of its form in [`Terms::other_forms`]; `None` for the value's own bytes.
    #[must_use]
    pub fn nth_other_form(self) -> Option<usize> {
        self.0.checked_sub(1).map(usize::from)
    }

    /// The road that it belongs to.
    #[must_use]
    pub fn road(self) -> Road {
        if self == Self::RAW {
            Road::Raw
        } else {
            Road::Reencoded
        }
    }
}

/// Decides about entries, with the buffers that other forms of their values are written to.
#[derive(Debug)]
pub struct Ladder {
    reencoder: Reencoder,
}

impl Ladder {
    /// One that puts what is too large to be held into spools in `spool_dir`.
    #[must_use]
    pub fn new(spool_dir: Option<&Path>) -> Self {
        Self {
            reencoder: Reencoder::new(spool_dir),
        }
    }

    /// Decides about one entry, from step `from` on: [`Step::RAW`] at first, the [`Step::next`] one where the destination has
    /// refused the payload of a step.
    #[must_use]
    pub fn decide<'a>(
        &'a mut self,
        entry: &Entry<'a>,
        terms: &Terms,
        policies: &Policies,
        from: Step,
    ) -> Decision<'a> {
        let (step, why) = if from == Step::RAW {
            match raw(entry, terms, policies) {
                Ok(restore) => return Decision::Send(restore),
                Err(NotRaw::Ends(outcome)) => return Decision::Skip(outcome, Cow::Borrowed("")),
                Err(NotRaw::Refused(reason)) => return Decision::Skip(Outcome::Refused, reason),
                Err(NotRaw::Type(reason)) => (from.next(), reason),
            }
        } else {
            // The server's own words say why.
            (from, Cow::Borrowed(""))
        };
        self.other(entry, terms, policies, step, why)
    }

    /// The value in the form that `step` means.
    fn other<'a>(
        &'a mut self,
        entry: &Entry<'a>,
        terms: &Terms,
        policies: &Policies,
        step: Step,
        why: Cow<'static, str>,
    ) -> Decision<'a> {
        let refuse = |reason: String| Decision::Skip(Outcome::Refused, Cow::Owned(reason));
        let mut forms = terms.other_forms(entry.form());
        let Some(form) = forms.nth(usize::from(step.0.saturating_sub(1))) else {
            return Decision::Skip(Outcome::Refused, why);
        };
        let expire_at_ms = match arrival(entry, policies) {
            Ok(expire_at_ms) => expire_at_ms,
            Err(outcome) => return Decision::Skip(outcome, Cow::Borrowed("")),
        };
        let losses = match belongings(entry, terms, policies) {
            Ok(losses) => losses,
            Err(reason) => return Decision::Skip(Outcome::Refused, reason),
        };
        let room = (FOOTER as u64 + 18)
            .saturating_add(entry.key_meta.map_or(0, |record| record.len() as u64));
        let asked = reencode::Terms {
            allowed: policies.allow_loss,
            now_ms: policies.now_ms,
            most: terms.max_bulk.saturating_sub(room),
        };
        let done = match self.reencoder.encode(entry, form, &asked) {
            Ok(reencode::Outcome::Done(done)) => done,
            Ok(reencode::Outcome::Loses(losses)) => {
                return refuse(behind(&why, &loses(form, losses)));
            }
            Err(error) => {
                let words = format!("as {}: {error}", form.name());
                return refuse(behind(&why, &words));
            }
        };
        if done.is_empty() {
            // All its fields are past their time, or all its members.
            return Decision::Skip(Outcome::Expired, Cow::Borrowed(""));
        }
        let Some(TypeTerms::Take(version)) = terms.get(done.form.value_type, done.form.dialect)
        else {
            return Decision::Skip(Outcome::Refused, why);
        };
        let key_meta = entry.key_meta.filter(|_| terms.key_meta.is_some());
        let payload = Payload::of_pieces(
            done.form.value_type,
            done.head(),
            [done.kept, done.body],
            match (key_meta, terms.key_meta) {
                (Some(_), Some(needed)) => needed.max(*version),
                _ => *version,
            },
            key_meta,
        );
        if let Err(reason) = within_limit(&payload, terms) {
            return Decision::Skip(Outcome::Refused, reason);
        }
        let mut restore = command(entry, terms, policies, expire_at_ms, payload);
        restore.step = step;
        restore.losses = restore.losses.and(losses).and(done.losses);
        Decision::Send(restore)
    }
}

fn behind(why: &str, more: &str) -> String {
    match why {
        "" => more.to_owned(),
        why => format!("{why}; {more}"),
    }
}

/// What an older form would lose, and what allows it.
fn loses(form: Form, losses: Losses) -> String {
    let names: Vec<&str> = losses
        .iter()
        .filter(|loss| loss.is_meaning())
        .map(Loss::name)
        .collect();
    let names = names.join(",");
    format!(
        "as {} it would lose {names} (--allow-loss {names} sends it so)",
        form.name()
    )
}
