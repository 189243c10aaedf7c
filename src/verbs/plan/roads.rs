//! By which road keys would go, and which would not: counted by type and reason, in bounded memory.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::outcome::{Outcome, Road, Tally};
use crate::reencode::Form;
use crate::replay::{EXPIRIES_CHANGE, Policies, Step, Terms, TypeTerms};
use crate::value::commands::{LossCounts, Losses};

/// Reasons that are told apart; what has yet another one is counted with the last.
const MOST_REASONS: usize = 64;

/// Keys and the bytes of their commands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Keys.
    pub keys: u64,
    /// Bytes: of what goes those of its commands, of what does not go those of its values in the file.
    pub bytes: u64,
}

impl Share {
    fn add(&mut self, bytes: u64) {
        self.keys = self.keys.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn merge(&mut self, other: Self) {
        self.keys = self.keys.saturating_add(other.keys);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// Keys of one type that go the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The type, as it stands in the file.
    #[serde(rename = "type")]
    pub type_name: String,
    /// `raw`, `reencoded`, `commands` or `refused`.
    pub road: &'static str,
    /// The form that it is written in, of what is re-encoded.
    pub as_type: Option<String>,
    /// Why it does not go raw, or not at all. Where many keys have reasons that differ in numbers only, one of them.
    pub reason: Option<String>,
    /// How much.
    #[serde(flatten)]
    pub share: Share,
}

/// Everything that was decided.
#[derive(Debug, Clone, Default)]
pub(super) struct Roads {
    sent: BTreeMap<(u8, u8, Step), (Form, Share)>,
    refused: BTreeMap<(u8, u8, String), (Form, String, Share)>,
    /// All entries, each by what would become of it if no key existed.
    pub(super) outcomes: Tally,
    /// What keys that go would not carry.
    pub(super) losses: LossCounts,
}

impl Roads {
    pub(super) fn send(&mut self, form: Form, step: Step, bytes: u64, losses: Losses) {
        self.outcomes.add(Outcome::Restored(step.road()));
        if !losses.is_empty() {
            self.losses.add(losses);
        }
        self.sent
            .entry((form.value_type.0, form.dialect as u8, step))
            .or_insert((form, Share::default()))
            .1
            .add(bytes);
    }

    pub(super) fn skip(&mut self, form: Form, outcome: Outcome, reason: &str, bytes: u64) {
        self.outcomes.add(outcome);
        if outcome != Outcome::Refused {
            return;
        }
        let mut id = (
            form.value_type.0,
            form.dialect as u8,
            without_numbers(reason),
        );
        if self.refused.len() >= MOST_REASONS && !self.refused.contains_key(&id) {
            // So many reasons are no reasons any more.
            let Some(last) = self.refused.keys().next_back() else {
                return;
            };
            id = last.clone();
        }
        self.refused
            .entry(id)
            .or_insert_with(|| (form, reason.to_owned(), Share::default()))
            .2
            .add(bytes);
    }

    /// What goes raw, what re-encoded, and what by plain commands.
    pub(super) fn shares(&self) -> (Share, Share, Share) {
        let [raw, reencoded, commands] =
            [Road::Raw, Road::Reencoded, Road::Commands].map(|road| self.share(road));
        (raw, reencoded, commands)
    }

    fn share(&self, road: Road) -> Share {
        let mut all = Share::default();
        for ((_, _, step), (_, share)) in &self.sent {
            if step.road() == road {
                all.merge(*share);
            }
        }
        all
    }

    /// What is refused.
    pub(super) fn refused(&self) -> Share {
        let mut all = Share::default();
        for (_, _, share) in self.refused.values() {
            all.merge(*share);
        }
        all
    }

    /// By type and reason: what goes, then what does not.
    pub(super) fn groups(&self, terms: &Terms, policies: &Policies) -> Vec<Group> {
        let sent = self.sent.iter().map(|((_, _, step), (form, share))| {
            let other = step.nth_other_form();
            let reason = match terms.get(form.value_type, form.dialect) {
                Some(TypeTerms::Refuse(reason)) if other.is_some() => Some(reason.to_string()),
                _ if other.is_some() && policies.rewrites(*form) => {
                    Some(EXPIRIES_CHANGE.to_owned())
                }
                _ => None,
            };
            Group {
                type_name: form.name().into_owned(),
                road: name(step.road()),
                as_type: other
                    .and_then(|nth| terms.other_forms(*form).nth(nth))
                    .map(|form| form.name().into_owned()),
                reason,
                share: *share,
            }
        });
        let refused = self.refused.values().map(|(form, reason, share)| Group {
            type_name: form.name().into_owned(),
            road: "refused",
            as_type: None,
            reason: Some(reason.clone()),
            share: *share,
        });
        sent.chain(refused).collect()
    }
}

/// The road's part of its outcome's name.
fn name(road: Road) -> &'static str {
    let name = Outcome::Restored(road).name();
    name.strip_prefix("restored_").unwrap_or(name)
}

/// A reason with every number in it made one, so that keys that differ only there are counted together.
fn without_numbers(reason: &str) -> String {
    let mut out = String::with_capacity(reason.len());
    let mut in_number = false;
    for c in reason.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !in_number {
            out.push('0');
        }
        in_number = c.is_ascii_digit();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_differ_in_numbers_are_one_and_their_number_is_bounded() {
        let mut roads = Roads::default();
        for n in 0..1000u64 {
            let reason = format!("its payload has {n} bytes");
            roads.skip(Form::HASH, Outcome::Refused, &reason, 10);
        }
        assert_eq!(roads.refused.len(), 1);
        for n in 0..1000u32 {
            let word: String = n
                .to_string()
                .bytes()
                .map(|b| char::from(b - b'0' + b'a'))
                .collect();
            roads.skip(Form::HASH, Outcome::Refused, &word, 10);
        }
        assert_eq!(roads.refused.len(), MOST_REASONS);
        assert_eq!(
            roads.refused(),
            Share {
                keys: 2000,
                bytes: 20_000
            }
        );
        assert_eq!(roads.outcomes.get(Outcome::Refused), 2000);
    }
}
