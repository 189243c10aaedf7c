//! The steps by which a value can go, the next one only where the one above cannot serve: its own bytes, then other forms of
//! it, then plain commands, if those lose nothing ([`super::carried()`]). What no step carries is refused.

use std::borrow::Cow;
use std::path::Path;

use super::{
    ByCommands, Decision, NotRaw, Policies, Terms, TypeTerms, arrival, belongings, command, raw,
    weigh,
};
use crate::error::ErrorKind;
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

    /// As [`Step::RAW`], however long the destination is held by it.
    pub const WHOLE: Self = Self(u8::MAX - 1);

    /// Plain write commands.
    pub const COMMANDS: Self = Self(u8::MAX);

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
        match self {
            Self::RAW | Self::WHOLE => Road::Raw,
            Self::COMMANDS => Road::Commands,
            _ => Road::Reencoded,
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
    #[inline]
    pub fn decide<'a>(
        &'a mut self,
        entry: &Entry<'a>,
        terms: &Terms,
        policies: &Policies,
        from: Step,
    ) -> Decision<'a> {
        // Nearly always.
        if from == Step::RAW
            && let Ok(restore) = raw(entry, terms, policies, false)
        {
            return Decision::Send(restore);
        }
        self.look(entry, terms, policies, from)
    }

    #[inline(never)]
    fn look<'a>(
        &'a mut self,
        entry: &Entry<'a>,
        terms: &Terms,
        policies: &Policies,
        from: Step,
    ) -> Decision<'a> {
        let patient = from == Step::WHOLE;
        let (step, why) = if from == Step::RAW || patient {
            match raw(entry, terms, policies, patient) {
                Ok(restore) => return Decision::Send(restore),
                Err(NotRaw::Ends(outcome)) => return Decision::Skip(outcome, Cow::Borrowed("")),
                Err(NotRaw::Refused(reason)) => return Decision::Skip(Outcome::Refused, reason),
                Err(NotRaw::Type(reason)) => (Step::RAW.next(), reason),
                Err(heavy) => return not_so(entry, terms, policies, heavy),
            }
        } else if from == Step::COMMANDS {
            return by_commands(entry, policies, Because::default());
        } else {
            // The server's own words say why.
            (from, Cow::Borrowed(""))
        };
        self.other(entry, terms, policies, (step, patient), why)
    }

    /// The value in the form that `step` means.
    fn other<'a>(
        &'a mut self,
        entry: &Entry<'a>,
        terms: &Terms,
        policies: &Policies,
        (step, patient): (Step, bool),
        why: Cow<'static, str>,
    ) -> Decision<'a> {
        let refuse = |reason: String| Decision::Skip(Outcome::Refused, Cow::Owned(reason));
        let mut forms = terms.other_forms(entry.form());
        let Some(form) = forms.nth(usize::from(step.0.saturating_sub(1))) else {
            return last_road(entry, terms, policies, Because::of(why));
        };
        let expire_at_ms = match arrival(entry, policies) {
            Ok(expire_at_ms) => expire_at_ms,
            Err(outcome) => return Decision::Skip(outcome, Cow::Borrowed("")),
        };
        let losses = match belongings(entry, terms, policies) {
            Ok(losses) => losses,
            Err(reason) => return not_so(entry, terms, policies, reason),
        };
        let room = (FOOTER as u64 + 18)
            .saturating_add(entry.key_meta.map_or(0, |record| record.len() as u64));
        let asked = reencode::Terms {
            allowed: policies.allow_loss,
            now_ms: policies.now_ms,
            most: terms.max_arg.saturating_sub(room),
            inside: policies.transform.expiries,
        };
        let done = match self.reencoder.encode(entry, form, &asked) {
            Ok(reencode::Outcome::Done(done)) => done,
            Ok(reencode::Outcome::Loses(losses)) => {
                let because = Because {
                    why: behind(&why, &loses(form, losses)).into(),
                    lost: losses.iter().filter(|loss| loss.is_meaning()).collect(),
                    stall_ms: None,
                };
                return last_road(entry, terms, policies, because);
            }
            Err(error) => {
                let words = behind(&why, &format!("as {}: {error}", form.name()));
                return match error.kind() {
                    ErrorKind::Limit => {
                        not_so(entry, terms, policies, NotRaw::TooLarge(words.into()))
                    }
                    _ => refuse(words),
                };
            }
        };
        if done.is_empty() {
            // All its fields are past their time, or all its members.
            return Decision::Skip(Outcome::Expired, Cow::Borrowed(""));
        }
        let Some(TypeTerms::Take(version)) = terms.get(done.form.value_type, done.form.dialect)
        else {
            return last_road(entry, terms, policies, Because::of(why));
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
        let heavy = match payload.len() > terms.at_ease() {
            true => weigh(entry, &payload, terms, patient),
            false => Ok(None),
        };
        let heavy = match heavy {
            Ok(heavy) => heavy,
            Err(too_heavy) => return not_so(entry, terms, policies, too_heavy),
        };
        let mut restore = command(entry, terms, policies, expire_at_ms, payload);
        restore.step = step;
        restore.heavy = heavy;
        restore.losses = restore.losses.and(losses).and(done.losses);
        Decision::Send(restore)
    }
}

/// Why plain commands are the next road.
#[derive(Debug, Default)]
struct Because {
    why: Cow<'static, str>,
    /// What an older form would lose of its meaning.
    lost: Losses,
    stall_ms: Option<u64>,
}

impl Because {
    fn of(why: Cow<'static, str>) -> Self {
        Self {
            why,
            ..Self::default()
        }
    }
}

/// No payload is left to be tried: plain commands, where something is known of them.
#[cold]
fn last_road<'a>(
    entry: &Entry<'_>,
    terms: &Terms,
    policies: &Policies,
    because: Because,
) -> Decision<'a> {
    match terms.commands {
        Some(_) => by_commands(entry, policies, because),
        None => Decision::Skip(Outcome::Refused, because.why),
    }
}

/// A value that does not go by this `RESTORE`, or should not.
#[cold]
fn not_so<'a>(
    entry: &Entry<'_>,
    terms: &Terms,
    policies: &Policies,
    not_raw: NotRaw,
) -> Decision<'a> {
    match not_raw {
        NotRaw::TooLarge(why) | NotRaw::NoPayload(why) | NotRaw::Type(why) => {
            last_road(entry, terms, policies, Because::of(why))
        }
        NotRaw::Stalls(ms) => {
            let because = Because {
                stall_ms: Some(ms),
                ..Because::default()
            };
            by_commands(entry, policies, because)
        }
        NotRaw::Ends(outcome) => Decision::Skip(outcome, Cow::Borrowed("")),
        NotRaw::Refused(why) => Decision::Skip(Outcome::Refused, why),
    }
}

#[cold]
fn by_commands<'a>(entry: &Entry<'_>, policies: &Policies, because: Because) -> Decision<'a> {
    match arrival(entry, policies) {
        Ok(expire_at_ms) => Decision::Commands(ByCommands {
            db: policies.db_map.get(entry.db),
            expire_at_ms,
            why: because.why,
            lost: because.lost,
            stall_ms: because.stall_ms,
        }),
        Err(outcome) => Decision::Skip(outcome, Cow::Borrowed("")),
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
