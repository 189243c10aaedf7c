//! Which values the destination's `RESTORE` takes, and with which footer: what it said of itself ([`Facts`]), what was tried
//! ([`Probed`]), and the table by product and version ([`Footers`]), as the [`Terms`] that entries are judged by.
//!
//! A server that takes the footer version with which a type came knows the type, with the few exceptions that stand here. The
//! figures are those of `docs/rdb-format.md` 5.2 and 6.1, measured on fifteen servers.

use std::borrow::Cow;

use super::facts::{DEFAULT_MAX_BULK, Facts};
use super::footer::{Footers, footer_needed};
use super::probe::{Probed, Verdict};
use super::product::{Product, Version};
use crate::payload::payload_type;
use crate::reencode::{Form, older_forms};
use crate::replay::{CommandTerms, Terms, TypeTerms};
use crate::snapshot::{Dialect, ModuleId, ValueType};
use crate::value::commands::Vocabulary;

/// No server that takes this footer ends on a bad payload: it came with Redis 7.0.
pub(super) const NEVER_FRAGILE: u16 = 10;

/// The footer of payloads with key metadata at their head (Redis 8.6).
const KEY_META: u16 = 13;

/// What the destination takes: [`Facts`] and [`Probed`] joined.
#[derive(Debug, Clone, Copy)]
pub struct Acceptance<'f> {
    facts: &'f Facts,
    probed: &'f Probed,
}

impl<'f> Acceptance<'f> {
    /// Joins what was told and what was tried.
    #[must_use]
    pub fn new(facts: &'f Facts, probed: &'f Probed) -> Self {
        Self { facts, probed }
    }

    fn footers(&self) -> Option<Footers> {
        Footers::of(self.facts.product?, self.facts.version?)
    }

    /// The footer for values of a type.
    ///
    /// # Errors
    /// Why the destination does not take them, and what would help, in words.
    pub fn footer_for(
        &self,
        value_type: ValueType,
        dialect: Dialect,
    ) -> Result<u16, Cow<'static, str>> {
        if let Some(words) = &self.probed.restore_closed {
            return Err(format!("RESTORE is closed to us: the destination says {words}").into());
        }
        let needed = footer_needed(value_type, dialect).map_err(Cow::Borrowed)?;
        let unknown_there = || -> Cow<'static, str> {
            format!(
                "{} is not known to {}: it came with {}",
                value_type.name(dialect),
                self.facts.name(),
                came_with(needed)
            )
            .into()
        };
        if self.lacks(payload_type(value_type, dialect), dialect)
            || self.probed.type_verdict(value_type, dialect) == Verdict::Refuses
        {
            return Err(unknown_there());
        }
        // What was tried goes before the table: a proxy or a fork may differ from what it says that it is.
        if let Some(footer) = self.probed.lowest_footer_from(needed) {
            return Ok(footer);
        }
        if self.probed.footer_verdict(needed) == Verdict::Refuses {
            return Err(unknown_there());
        }
        match self.footers() {
            Some(footers) => footers.lowest_from(needed).ok_or_else(unknown_there),
            None if self.facts.product.is_some() && self.facts.version.is_some() => Err(format!(
                "{} has no RESTORE: it came with Redis 2.6",
                self.facts.name()
            )
            .into()),
            None => Err("it is not known which payloads the destination takes; \
                         say what it is with --assume, like --assume redis-7.2"
                .into()),
        }
    }

    /// Types that a product lacks although it takes their footers.
    fn lacks(&self, sent: ValueType, dialect: Dialect) -> bool {
        match self.facts.product {
            Some(Product::Dragonfly) => {
                matches!(sent.0, 1 | 7 | 9 | 10) || (sent.0 > 21 && dialect != Dialect::Dragonfly)
            }
            Some(Product::KeyDb) => sent.0 > 15,
            Some(Product::Valkey) => sent.0 > 21 && dialect != Dialect::Valkey,
            Some(Product::Redis) => sent.0 > 21 && dialect != Dialect::Redis,
            None => false,
        }
    }

    /// The footer for values of one module, or why they cannot go. Never guessed for servers that die of a module value
    /// without its module (Redis up to 6.0).
    ///
    /// # Errors
    /// In words.
    pub fn footer_for_module(&self, module: ModuleId) -> Result<u16, Cow<'static, str>> {
        let footer = self.footer_for(ValueType::MODULE_2, Dialect::Redis)?;
        let name = module.name();
        if self.is_belied() {
            return Err(format!(
                "the destination says that it is {} and refuses what every such server takes: if it is an older one \
                 without the module for values of type {name}, it would die of them",
                self.facts.name()
            )
            .into());
        }
        let wanted = module_of(&name);
        match (&self.facts.modules, wanted) {
            (Some(loaded), Some(wanted))
                if loaded.iter().any(|m| m.eq_ignore_ascii_case(wanted)) =>
            {
                Ok(footer)
            }
            // A type whose module is not in our list: some module that is loaded may be its own.
            (Some(loaded), None) if !loaded.is_empty() && self.survives_bad_payloads() => {
                Ok(footer)
            }
            (Some(_), _) => Err(format!(
                "the destination has no module for values of type {name}{}",
                wanted.map_or(String::new(), |m| format!(" (module {m})"))
            )
            .into()),
            (None, _) if self.survives_bad_payloads() => Ok(footer),
            (None, _) => Err(format!(
                "it is not known whether the destination has the module for values of type {name}, \
                 and one without it would die of them"
            )
            .into()),
        }
    }

    /// Everything for dumps that hold these types and modules: as [`Acceptance::terms`], with the older forms of their values,
    /// and with types that stand for another one in payloads.
    #[must_use]
    pub fn terms_of_dump(&self, types: &[(ValueType, Dialect)], modules: &[ModuleId]) -> Terms {
        let mut terms = self.terms(&with_older_forms(types), modules);
        for &(value_type, dialect) in types {
            let sent_as = payload_type(value_type, dialect);
            if sent_as != value_type
                && let Some(found) = terms.get(sent_as, dialect).cloned()
            {
                terms.set(value_type, dialect, found);
            }
        }
        terms
    }

    /// Whether nobody knows if the destination has the module for such values: its modules are hidden, this is the value of
    /// a module that we have no name for, and some are loaded, or of one that changed its values without saying so. They are
    /// sent where a refusal costs nothing.
    #[must_use]
    pub fn is_doubtful(&self, module: ModuleId) -> bool {
        self.footer_for_module(module).is_ok()
            && match &self.facts.modules {
                Some(_) => match module_of(&module.name()) {
                    // Those that 8.2 writes have the same version in their ID, and 8.0 refuses them (measured).
                    Some("vectorset") => {
                        let reads_all = Version::new(8, 2, 0);
                        self.facts.is_at_least(Product::Redis, reads_all) == Some(false)
                    }
                    other => other.is_none(),
                },
                None => true,
            }
    }

    /// The footer that key metadata needs, where the destination takes it.
    #[must_use]
    pub fn key_meta(&self) -> Option<u16> {
        let takes = self
            .facts
            .is_at_least(Product::Redis, Version::new(8, 6, 0))
            .unwrap_or(false)
            && self.probed.footer_verdict(KEY_META) != Verdict::Refuses;
        takes.then_some(KEY_META)
    }

    /// Whether a payload that is refused costs no more than itself: Redis up to 6.0, and KeyDB, which comes from it, end
    /// on many bad ones. Where it is not known, or what was tried belies what it says, they are taken to do so.
    #[must_use]
    pub fn survives_bad_payloads(&self) -> bool {
        match (self.facts.product, self.facts.version) {
            _ if self.is_belied() => false,
            (Some(Product::Valkey | Product::Dragonfly), _) => true,
            (Some(Product::Redis), Some(version)) => version >= Version::new(6, 2, 0),
            _ => self.probed.lowest_footer_from(NEVER_FRAGILE).is_some(),
        }
    }

    /// Whether it refused a footer that every server of the version that it states takes: then it may be any older one.
    fn is_belied(&self) -> bool {
        self.probed.footer_verdict(NEVER_FRAGILE) == Verdict::Refuses
            && self
                .footers()
                .is_some_and(|stated| stated.takes(NEVER_FRAGILE))
    }

    /// Everything as [`Terms`], for the types and modules that the dump holds.
    #[must_use]
    pub fn terms(&self, types: &[(ValueType, Dialect)], modules: &[ModuleId]) -> Terms {
        let mut terms = Terms::refusing("the destination was not asked about this type");
        let as_terms = |footer: Result<u16, Cow<'static, str>>| match footer {
            Ok(footer) => TypeTerms::Take(footer),
            Err(reason) => TypeTerms::Refuse(reason),
        };
        for &(value_type, dialect) in types {
            // A module value goes by its module alone.
            if value_type != ValueType::MODULE_2 {
                terms.set(
                    value_type,
                    dialect,
                    as_terms(self.footer_for(value_type, dialect)),
                );
            }
        }
        for &module in modules {
            terms.set_module(module, as_terms(self.footer_for_module(module)));
        }
        terms.key_meta = self.key_meta();
        terms.max_bulk = self.facts.max_bulk.unwrap_or(DEFAULT_MAX_BULK);
        terms.max_arg = self.facts.max_arg();
        let (replace, absttl) = self.options();
        terms.knows_replace = replace;
        terms.knows_absttl = absttl;
        terms.knows_stick = self.facts.product == Some(Product::Dragonfly);
        terms.lfu = self
            .facts
            .maxmemory_policy
            .as_deref()
            .is_some_and(|policy| policy.contains("lfu"));
        terms
    }

    /// How values go by plain write commands there. A destination that does not say what it is is taken to know little.
    #[must_use]
    pub fn commands(&self, max_stall_ms: u64) -> CommandTerms {
        let known = self.facts.product.zip(self.facts.version);
        // Redis' own history; what came from it later has it all.
        let since = |major, minor| match known {
            Some((Product::Redis, version)) => version >= Version::new(major, minor, 0),
            _ => true,
        };
        CommandTerms {
            vocabulary: match known {
                Some((Product::Redis, version)) => Vocabulary::redis(version.major, version.minor),
                Some((Product::Valkey, version)) => {
                    Vocabulary::valkey(version.major, version.minor)
                }
                Some((Product::KeyDb, _)) => Vocabulary::keydb(),
                Some((Product::Dragonfly, _)) => Vocabulary::dragonfly(),
                None => Vocabulary::redis(5, 0),
            },
            set_pxat: match known {
                Some((Product::Redis, _)) => since(6, 2),
                Some((Product::Valkey, _)) => true,
                _ => false,
            },
            unlink: since(4, 0),
            max_stall_ms,
        }
    }

    /// Whether `RESTORE` knows `REPLACE` (3.0), and `ABSTTL`, `IDLETIME`, `FREQ` (5.0).
    fn options(&self) -> (bool, bool) {
        match (self.probed.options, self.facts.product, self.facts.version) {
            (Some(probed), _, _) => probed,
            (None, Some(Product::Redis), Some(version)) => (
                version >= Version::new(3, 0, 0),
                version >= Version::new(5, 0, 0),
            ),
            _ => (true, true),
        }
    }
}

/// What a destination is to be asked about for dumps that hold these types: what their payloads carry, and what they could be
/// written as.
#[must_use]
pub fn with_older_forms(types: &[(ValueType, Dialect)]) -> Vec<(ValueType, Dialect)> {
    let sent = types
        .iter()
        .map(|&(value_type, dialect)| (payload_type(value_type, dialect), dialect));
    let older = types.iter().flat_map(|&(value_type, dialect)| {
        older_forms(Form {
            value_type,
            dialect,
        })
    });
    let mut asked: Vec<_> = sent
        .chain(older.map(|form| (form.value_type, form.dialect)))
        .collect();
    asked.sort_unstable_by_key(|(value_type, dialect)| (*value_type, *dialect as u8));
    asked.dedup();
    asked
}

/// The servers that a footer version came with.
fn came_with(footer: u16) -> &'static str {
    match footer {
        ..=6 => "Redis 2.6",
        7 => "Redis 3.2",
        8 => "Redis 4.0",
        9 => "Redis 5.0",
        10 => "Redis 7.0",
        11 => "Redis 7.2 and Valkey 7.2",
        12 => "Redis 7.4",
        13 => "Redis 8.6",
        14 => "Redis 8.8",
        15 => "Redis 8.10",
        80 => "Valkey 9.0",
        81 => "Valkey 9.2",
        _ => "a newer server",
    }
}

/// The module, as `MODULE LIST` names it, that owns a value type.
fn module_of(type_name: &str) -> Option<&'static str> {
    Some(match type_name {
        "ReJSON-RL" => "ReJSON",
        "MBbloom--" | "MBbloomCF" | "CMSk-TYPE" | "TopK-TYPE" | "TDIS-TYPE" | "bloomfltr" => "bf",
        "TSDB-TYPE" => "timeseries",
        "trietype0" | "ft_index0" => "search",
        "vectorset" => "vectorset",
        "graphdata" | "graphmeta" => "graph",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Facts {
        let mut facts = Facts::default();
        facts.assume(text.parse().unwrap());
        facts
    }

    fn footer(server_name: &str, value_type: u8, dialect: Dialect) -> Option<u16> {
        let facts = server(server_name);
        let probed = Probed::default();
        Acceptance::new(&facts, &probed)
            .footer_for(ValueType(value_type), dialect)
            .ok()
    }

    /// `docs/rdb-format.md` 6.1 and DESIGN section 4, row by row.
    #[test]
    fn the_table_is_the_measured_one() {
        use Dialect::{Redis, Valkey};
        let servers = [
            "redis-2.8",
            "redis-3.2.0",
            "redis-3.2.6",
            "redis-4.0",
            "redis-5.0",
            "redis-6.2",
            "redis-7.0",
            "redis-7.2",
            "redis-7.4",
            "redis-8.6",
            "redis-8.8",
            "redis-8.10",
            "valkey-8.1",
            "valkey-9.0",
            "valkey-9.2",
            "keydb-6.3",
            "dragonfly-1.27",
        ];
        let all6 = [6, 7, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6];
        let no_dragonfly = [6, 7, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 0];
        for (value_type, dialect, expected) in [
            (0, Redis, all6),
            (1, Redis, no_dragonfly),
            (2, Redis, all6),
            (3, Redis, all6),
            (4, Redis, all6),
            (
                5,
                Redis,
                [0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8],
            ),
            (9, Redis, no_dragonfly),
            (10, Redis, no_dragonfly),
            (11, Redis, all6),
            (12, Redis, all6),
            (13, Redis, all6),
            (
                14,
                Redis,
                [0, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7],
            ),
            (
                15,
                Redis,
                [0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
            ),
            (
                16,
                Redis,
                [0, 0, 0, 0, 0, 0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 0, 10],
            ),
            (
                18,
                Redis,
                [0, 0, 0, 0, 0, 0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 0, 10],
            ),
            (
                19,
                Redis,
                [0, 0, 0, 0, 0, 0, 10, 10, 10, 10, 10, 10, 10, 10, 10, 0, 10],
            ),
            (
                20,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 11, 11, 11, 11, 11, 11, 11, 11, 0, 11],
            ),
            (
                21,
                Valkey,
                [0, 0, 0, 0, 0, 0, 0, 11, 11, 11, 11, 11, 11, 11, 11, 0, 11],
            ),
            (
                22,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 12, 12, 12, 12, 0, 0, 0, 0, 0],
            ),
            (
                24,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 12, 12, 12, 12, 0, 0, 0, 0, 0],
            ),
            (
                25,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 12, 12, 12, 12, 0, 0, 0, 0, 0],
            ),
            (
                26,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 13, 13, 0, 0, 0, 0, 0],
            ),
            (
                27,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 14, 0, 0, 0, 0, 0],
            ),
            (
                28,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 14, 0, 0, 0, 0, 0],
            ),
            (
                29,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0, 0, 0, 0],
            ),
            (
                30,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0, 0, 0, 0],
            ),
            (
                32,
                Redis,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0, 0, 0, 0],
            ),
            (
                22,
                Valkey,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 80, 80, 0, 0],
            ),
            (
                23,
                Valkey,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 81, 0, 0],
            ),
            (6, Redis, [0; 17]),
            (8, Redis, [0; 17]),
            (33, Redis, [0; 17]),
        ] {
            for (name, want) in servers.iter().zip(expected) {
                let got = footer(name, value_type, dialect);
                assert_eq!(
                    got.unwrap_or(0),
                    want,
                    "type {value_type} ({dialect:?}) into {name}"
                );
            }
        }
        assert_eq!(footer("redis-2.4", 0, Redis), None, "no RESTORE there");
    }

    #[test]
    fn reasons_name_the_type_the_server_and_what_it_would_take() {
        let facts = server("redis-6.2");
        let probed = Probed::default();
        let reason = Acceptance::new(&facts, &probed)
            .footer_for(ValueType::HASH_LISTPACK, Dialect::Redis)
            .unwrap_err();
        assert_eq!(
            reason,
            "hash-listpack is not known to redis 6.2.0 (assumed): it came with Redis 7.0"
        );
        let hidden = Facts::default();
        let reason = Acceptance::new(&hidden, &probed)
            .footer_for(ValueType::STRING, Dialect::Redis)
            .unwrap_err();
        assert!(reason.contains("--assume"), "{reason}");
    }

    #[test]
    fn what_was_tried_goes_before_what_was_said() {
        let facts = server("redis-8.0");
        let mut probed = Probed::default();
        for n in 6..=11 {
            probed.set_footer(n, Verdict::Takes);
        }
        probed.set_footer(12, Verdict::Refuses);
        probed.set_type(ValueType::SET_LISTPACK, Dialect::Redis, Verdict::Refuses);
        let takes = Acceptance::new(&facts, &probed);
        assert!(
            takes
                .footer_for(ValueType::HASH_METADATA, Dialect::Redis)
                .is_err()
        );
        assert!(
            takes
                .footer_for(ValueType::SET_LISTPACK, Dialect::Redis)
                .is_err()
        );
        assert_eq!(
            takes
                .footer_for(ValueType::HASH_LISTPACK, Dialect::Redis)
                .unwrap(),
            10
        );
        // Valkey's 80 is no answer to a need for 12.
        probed.set_footer(80, Verdict::Takes);
        assert!(
            Acceptance::new(&facts, &probed)
                .footer_for(ValueType::HASH_METADATA, Dialect::Redis)
                .is_err()
        );
        // A server that says nothing of itself is known by what it took.
        let hidden = Facts::default();
        let mut exact = Probed::default();
        exact.set_footer(6, Verdict::Refuses);
        exact.set_footer(7, Verdict::Takes);
        let takes = Acceptance::new(&hidden, &exact);
        assert_eq!(
            takes.footer_for(ValueType::STRING, Dialect::Redis).unwrap(),
            7
        );
        assert!(!takes.survives_bad_payloads());
    }

    #[test]
    fn module_values_go_only_where_their_module_is() {
        // "vectorset", version 0; see the alphabet in `ModuleId`.
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let id = |name: &str| {
            ModuleId(
                name.bytes().fold(0u64, |id, c| {
                    id << 6 | alphabet.iter().position(|a| *a == c).unwrap() as u64
                }) << 10,
            )
        };
        assert_eq!(id("vectorset").name(), "vectorset");
        let probed = Probed::default();
        let ask = |name: &str, modules: Option<&[&str]>, type_name: &str| {
            let mut facts = server(name);
            facts.modules = modules.map(|m| m.iter().map(|s| (*s).to_owned()).collect());
            Acceptance::new(&facts, &probed)
                .footer_for_module(id(type_name))
                .is_ok()
        };
        assert!(ask("redis-8.0", Some(&["vectorset"]), "vectorset"));
        assert!(!ask("redis-7.0", Some(&[]), "vectorset"));
        assert!(!ask("redis-7.0", Some(&["bf"]), "vectorset"));
        assert!(ask("redis-6.0", Some(&["ReJSON"]), "ReJSON-RL"));
        assert!(
            ask("redis-7.0", None, "ReJSON-RL"),
            "a refusal costs only itself"
        );
        assert!(!ask("redis-6.0", None, "ReJSON-RL"), "it would die");
        assert!(ask("redis-7.0", Some(&["mine"]), "my-type-1"));
        assert!(!ask("redis-6.0", Some(&["mine"]), "my-type-1"));
        assert!(!ask("redis-3.2", Some(&[]), "ReJSON-RL"));
    }

    #[test]
    fn a_version_that_the_probes_belie_is_not_trusted() {
        for (stated, survives, belied) in [
            ("redis-8.10", true, false),
            ("redis-7.0", true, false),
            ("valkey-9.0", true, false),
            ("redis-6.2", true, true),
            ("redis-6.0", false, false),
        ] {
            let mut facts = server(stated);
            facts.modules = Some(vec!["vectorset".to_owned()]);
            let nothing_tried = Probed::default();
            let acceptance = Acceptance::new(&facts, &nothing_tried);
            assert_eq!(acceptance.survives_bad_payloads(), survives, "{stated}");
            // What 6.2 refuses is no lie.
            let mut refuses = Probed::default();
            for n in 6..=9 {
                refuses.set_footer(n, Verdict::Takes);
            }
            refuses.set_footer(10, Verdict::Refuses);
            let acceptance = Acceptance::new(&facts, &refuses);
            assert_eq!(acceptance.survives_bad_payloads(), belied, "{stated}");
        }
        let mut facts = server("redis-8.0");
        facts.modules = Some(vec!["ReJSON".to_owned()]);
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let id = b"ReJSON-RL".iter().fold(0u64, |id, c| {
            id << 6 | alphabet.iter().position(|a| a == c).unwrap() as u64
        });
        let mut probed = Probed::default();
        probed.set_footer(9, Verdict::Takes);
        let ask = |probed: &Probed| {
            Acceptance::new(&facts, probed)
                .footer_for_module(ModuleId(id << 10))
                .map_err(std::borrow::Cow::into_owned)
        };
        assert!(ask(&probed).is_ok());
        probed.set_footer(10, Verdict::Refuses);
        assert!(ask(&probed).unwrap_err().contains("would die"));
    }

    #[test]
    fn a_closed_restore_is_said_in_the_servers_words() {
        let facts = server("redis-7.0");
        let mut probed = Probed::default();
        probed.restore_closed = Some("\"NOPERM x\"".into());
        let reason = Acceptance::new(&facts, &probed)
            .footer_for(ValueType::STRING, Dialect::Redis)
            .unwrap_err();
        assert!(reason.contains("NOPERM x"), "{reason}");
    }

    #[test]
    fn options_and_limits_follow_version_and_facts() {
        let probed = Probed::default();
        let terms = |name: &str| Acceptance::new(&server(name), &probed).terms(&[], &[]);
        for (name, replace, absttl, key_meta) in [
            ("redis-2.8", false, false, None),
            ("redis-3.0", true, false, None),
            ("redis-4.0", true, false, None),
            ("redis-5.0", true, true, None),
            ("redis-8.6", true, true, Some(13)),
            ("valkey-9.0", true, true, None),
        ] {
            let terms = terms(name);
            assert_eq!(
                (terms.knows_replace, terms.knows_absttl, terms.key_meta),
                (replace, absttl, key_meta),
                "{name}"
            );
            assert_eq!(terms.max_bulk, DEFAULT_MAX_BULK);
        }
        let mut facts = server("redis-7.0");
        facts.max_bulk = Some(2_000_000);
        facts.max_query = Some(1 << 20);
        facts.maxmemory_policy = Some("allkeys-lfu".into());
        let terms = Acceptance::new(&facts, &probed).terms(&[], &[]);
        assert!(terms.lfu && terms.max_bulk == 2_000_000);
        assert_eq!(terms.max_arg, (1 << 20) - (64 << 10));
    }
}
