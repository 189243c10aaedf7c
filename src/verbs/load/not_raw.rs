//! What can be said before the first write of keys that do not go as they are.

use crate::reencode::Form;
use crate::replay::{EXPIRIES_CHANGE, Policies, Terms};
use crate::snapshot::ValueType;
use crate::survey::Survey;

/// Selected keys of one type that do not go as they are.
#[derive(Debug, Clone)]
pub struct NotRaw {
    /// The type, as it stands in the file.
    pub form: Form,
    /// How many keys.
    pub keys: u64,
    /// Why the destination does not take it, or it does not go as it is.
    pub reason: String,
    /// The older form that they will be written in, as long as it does not lose any meaning of theirs.
    pub as_form: Option<Form>,
    /// Where there is none: plain commands will carry them, if those lose nothing of theirs. Else they will be refused.
    pub by_commands: bool,
}

/// Types of `surveys` that the destination does not take, or that do not go as they are: what can be said before the first
/// write.
#[must_use]
pub fn not_raw(surveys: &[Survey], terms: &Terms, policies: &Policies) -> Vec<NotRaw> {
    let mut list: Vec<NotRaw> = Vec::new();
    for (dialect, value_type, keys) in surveys.iter().flat_map(Survey::types) {
        if value_type == ValueType::MODULE_2 {
            continue;
        }
        let form = Form {
            value_type,
            dialect,
        };
        let reason = match terms.get(value_type, dialect) {
            Some(crate::replay::TypeTerms::Refuse(reason)) => reason.as_ref(),
            Some(_) if policies.rewrites(form) => EXPIRIES_CHANGE,
            _ => continue,
        };
        match list.iter_mut().find(|found| found.form == form) {
            Some(found) => found.keys = found.keys.saturating_add(keys),
            None => list.push(NotRaw {
                form,
                keys,
                reason: reason.to_string(),
                as_form: terms.other_forms(form).next(),
                by_commands: terms.writes(form),
            }),
        }
    }
    list
}
