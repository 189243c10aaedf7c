//! Every packed encoding, written by an encoder of its own ([`encode`]) from a random model and read back by the decoders:
//! what an encoder and a decoder of one author both get wrong, a round trip through them does not show.

mod encode;
mod stream;

use proptest::prelude::*;
use proptest::test_runner::Config;

use self::encode::{Draw, intset, length, listpack, string, ziplist, zipmap};
use super::test_support::{entry, judged};
use super::*;
use crate::snapshot::Dialect;

type Text = Vec<u8>;

/// Numbers at the edges of every width, texts at the edges of every length, and some of neither.
fn text() -> impl Strategy<Value = Text> {
    let number = (0u32..64, -2i64..3, any::<bool>()).prop_map(|(bits, off, negative)| {
        let edge = 1i64.wrapping_shl(bits).wrapping_add(off);
        let n = if negative { edge.wrapping_neg() } else { edge };
        n.to_string().into_bytes()
    });
    let filled = |lengths: std::ops::Range<usize>| {
        (lengths, any::<u8>(), any::<u8>()).prop_map(|(len, first, fill)| {
            let mut text = vec![fill; len];
            if let Some(byte) = text.first_mut() {
                *byte = first;
            }
            text
        })
    };
    prop_oneof![
        6 => number,
        4 => prop::collection::vec(any::<u8>(), 0..20),
        2 => "[ab]{0,60}".prop_map(String::into_bytes),
        2 => filled(58..70),
        2 => filled(120..132),
        2 => filled(244..262),
        1 => filled(4088..4100),
        1 => filled(16376..16390),
    ]
}

/// Numbers that an encoding may take for texts or the other way round.
fn number_like() -> impl Strategy<Value = Text> {
    prop::sample::select(vec![
        "007",
        "+5",
        "-0",
        "",
        " 5",
        "5 ",
        "1e3",
        "9223372036854775808",
    ])
    .prop_map(|text| text.as_bytes().to_vec())
}

fn texts(most: usize) -> impl Strategy<Value = Vec<Text>> {
    prop::collection::vec(prop_oneof![8 => text(), 1 => number_like()], 1..most)
}

/// Different ones, in the order of their coming.
fn unique(mut texts: Vec<Text>) -> Vec<Text> {
    let mut seen = std::collections::HashSet::new();
    texts.retain(|text| seen.insert(text.clone()));
    texts
}

/// A whole value: elements, and what stands with each.
#[derive(Debug, Clone, PartialEq)]
enum Model {
    Elements(Vec<Text>),
    /// Score by its bits.
    Scored(Vec<(Text, u64)>),
    Fields(Vec<(Text, Text, Option<i64>)>),
}

fn held(element: &Element<'_>) -> Text {
    let mut out = Vec::new();
    element.append_to(&mut out).unwrap();
    out
}

/// What the decoders make of a value, all of it; a walk that judges must find nothing wrong and count the same.
fn decoded(value_type: u8, dialect: Dialect, body: &[u8]) -> Model {
    let entry = entry(value_type, dialect, body);
    let mut decoder = Decoder::new(None);
    let model = match decoder.decode(&entry).unwrap() {
        Value::List(mut list) => {
            let mut all = Vec::new();
            while let Some(element) = list.next_element().unwrap() {
                all.push(held(&element));
            }
            Model::Elements(all)
        }
        Value::Set(mut set) => {
            let mut all = Vec::new();
            while let Some(found) = set.next_member().unwrap() {
                all.push(held(&found.member));
            }
            Model::Elements(all)
        }
        Value::Zset(mut zset) => {
            let mut all = Vec::new();
            while let Some(found) = zset.next_scored().unwrap() {
                all.push((held(&found.member), found.score.to_bits()));
            }
            Model::Scored(all)
        }
        Value::Hash(mut hash) => {
            let mut all = Vec::new();
            while let Some(found) = hash.next_field().unwrap() {
                all.push((held(&found.field), held(&found.value), found.expire_at_ms));
            }
            Model::Fields(all)
        }
        other => panic!("{other:?}"),
    };
    let count = match &model {
        Model::Elements(all) => all.len(),
        Model::Scored(all) => all.len(),
        Model::Fields(all) => all.len(),
    };
    let (told, summary) = judged(&entry);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(summary.elements, count as u64);
    model
}

/// A count, and the parts behind it.
fn counted(parts: impl IntoIterator<Item = Vec<u8>>, draw: &mut Draw) -> Vec<u8> {
    let parts: Vec<Vec<u8>> = parts.into_iter().collect();
    let mut out = length(parts.len() as u64, draw);
    out.extend(parts.concat());
    out
}

/// Nodes of one to six elements, made by `node`.
fn nodes(
    elements: &[Text],
    draw: &mut Draw,
    node: impl Fn(&[Text], &mut Draw) -> Vec<u8>,
) -> Vec<u8> {
    let (mut rest, mut made) = (elements, Vec::new());
    while !rest.is_empty() {
        let (these, behind) = rest.split_at((1 + draw.below(6)).min(rest.len()));
        made.push(node(these, draw));
        rest = behind;
    }
    counted(made, draw)
}

fn config() -> Config {
    Config::with_cases(128)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn lists(elements in texts(40), seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let plain = elements.iter().map(|text| string(text, draw)).collect::<Vec<_>>();
        let plain = counted(plain, draw);
        let packed = string(&ziplist(&elements, draw), draw);
        let quick = nodes(&elements, draw, |these, draw| string(&ziplist(these, draw), draw));
        let quick_2 = nodes(&elements, draw, |these, draw| {
            let (container, bytes) = match these {
                [alone] if !alone.is_empty() && draw.once_in(2) => (1, string(alone, draw)),
                these => (2, string(&listpack(these, draw), draw)),
            };
            [length(container, draw), bytes].concat()
        });
        let model = Model::Elements(elements);
        for (value_type, body) in [(1, plain), (10, packed), (14, quick), (18, quick_2)] {
            prop_assert_eq!(decoded(value_type, Dialect::Redis, &body), model.clone(), "type {}", value_type);
        }
    }

    #[test]
    fn sets(members in texts(40), mut numbers in prop::collection::vec(any::<i64>(), 1..40), shift in 0u32..64, seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let members = unique(members);
        let plain = members.iter().map(|text| string(text, draw)).collect::<Vec<_>>();
        let plain = counted(plain, draw);
        let packed = string(&listpack(&members, draw), draw);
        let model = Model::Elements(members);
        prop_assert_eq!(decoded(2, Dialect::Redis, &plain), model.clone());
        prop_assert_eq!(decoded(20, Dialect::Redis, &packed), model);
        for number in &mut numbers {
            *number >>= shift;
        }
        numbers.sort_unstable();
        numbers.dedup();
        let ints = string(&intset(&numbers, draw), draw);
        let model = numbers.iter().map(|n| n.to_string().into_bytes()).collect();
        prop_assert_eq!(decoded(11, Dialect::Redis, &ints), Model::Elements(model));
    }

    #[test]
    fn sorted_sets(
        members in texts(30),
        scores in prop::collection::vec(prop_oneof![
            any::<f64>(),
            (-5000i64..70000).prop_map(|n| n as f64),
            prop::sample::select(vec![0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 5e-324, f64::MAX, 0.1, 2.5]),
        ], 30),
        seed in any::<u64>(),
    ) {
        let draw = &mut Draw(seed);
        let mut model: Vec<(Text, f64)> = unique(members)
            .into_iter()
            .zip(scores)
            .filter(|(_, score)| !score.is_nan())
            .collect();
        prop_assume!(!model.is_empty());
        model.sort_by(|a, b| a.1.partial_cmp(&b.1).unwrap().then_with(|| a.0.cmp(&b.0)));
        // Scores as text: whole ones without a point, so that some are packed as integers.
        let shown = |score: f64| match score {
            inf if inf.is_infinite() => if inf > 0.0 { "inf" } else { "-inf" }.to_owned(),
            score => format!("{score}"),
        };
        let items: Vec<Text> = model
            .iter()
            .flat_map(|(member, score)| [member.clone(), shown(*score).into_bytes()])
            .collect();
        let old: Vec<_> = model.iter().map(|(member, score)| {
            let score = match *score {
                f64::INFINITY => vec![254],
                f64::NEG_INFINITY => vec![255],
                score => {
                    let text = format!("{score:e}");
                    [&[text.len() as u8][..], text.as_bytes()].concat()
                }
            };
            [string(member, draw), score].concat()
        }).collect();
        let binary: Vec<_> = model.iter().map(|(member, score)| {
            [string(member, draw), score.to_le_bytes().to_vec()].concat()
        }).collect();
        let bodies = [
            (3, counted(old, draw)),
            (5, counted(binary, draw)),
            (12, string(&ziplist(&items, draw), draw)),
            (17, string(&listpack(&items, draw), draw)),
        ];
        // An integer has no negative zero.
        let packed = |score: f64| if score == 0.0 { 0.0 } else { score };
        for (value_type, body) in bodies {
            let Model::Scored(found) = decoded(value_type, Dialect::Redis, &body) else { panic!() };
            let same = |(found, own): (&(Text, u64), &(Text, f64))| {
                let bits = [own.1.to_bits(), packed(own.1).to_bits()];
                found.0 == own.0 && (found.1 == bits[0] || value_type != 5 && found.1 == bits[1])
            };
            prop_assert_eq!(found.len(), model.len());
            prop_assert!(found.iter().zip(&model).all(same), "type {}: {:?} for {:?}", value_type, found, model);
        }
    }

    #[test]
    fn hashes(names in texts(25), values in texts(25), seed in any::<u64>()) {
        let draw = &mut Draw(seed);
        let pairs: Vec<(Text, Text)> = unique(names)
            .into_iter()
            .zip(values.into_iter().cycle())
            .collect();
        let items: Vec<Text> = pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
        let plain: Vec<_> = pairs
            .iter()
            .map(|(name, value)| [string(name, draw), string(value, draw)].concat())
            .collect();
        let bodies = [
            (4, counted(plain, draw)),
            (9, string(&zipmap(&pairs, draw), draw)),
            (13, string(&ziplist(&items, draw), draw)),
            (16, string(&listpack(&items, draw), draw)),
        ];
        let model = Model::Fields(pairs.into_iter().map(|(name, value)| (name, value, None)).collect());
        for (value_type, body) in bodies {
            prop_assert_eq!(decoded(value_type, Dialect::Redis, &body), model.clone(), "type {}", value_type);
        }
    }

    #[test]
    fn hashes_whose_fields_expire(
        names in texts(25),
        values in texts(25),
        expiries in prop::collection::vec(prop::option::of(1i64..1 << 47), 25),
        seed in any::<u64>(),
    ) {
        let draw = &mut Draw(seed);
        let mut model: Vec<(Text, Text, Option<i64>)> = unique(names)
            .into_iter()
            .zip(values.into_iter().cycle())
            .zip(expiries)
            .map(|((name, value), at)| (name, value, at))
            .collect();
        // Soonest first, those that stay last: the order that servers keep in a listpack.
        model.sort_by_key(|(.., at)| at.unwrap_or(i64::MAX));
        let soonest = model.iter().filter_map(|(.., at)| *at).min();
        let least = soonest.unwrap_or(0).to_le_bytes();
        let triples: Vec<Text> = model
            .iter()
            .flat_map(|(name, value, at)| {
                [name.clone(), value.clone(), at.unwrap_or(0).to_string().into_bytes()]
            })
            .collect();
        let mut plain = |number: &dyn Fn(Option<i64>) -> u64| {
            let all: Vec<_> = model
                .iter()
                .map(|(name, value, at)| [length(number(*at), draw), string(name, draw), string(value, draw)].concat())
                .collect();
            counted(all, draw)
        };
        let absolute = plain(&|at| at.unwrap_or(0) as u64);
        let relative = plain(&|at| at.map_or(0, |at| (at - soonest.unwrap_or(0) + 1) as u64));
        let valkey: Vec<_> = model
            .iter()
            .map(|(name, value, at)| [string(name, draw), string(value, draw), at.unwrap_or(-1).to_le_bytes().to_vec()].concat())
            .collect();
        let bodies = [
            (22, Dialect::Redis, absolute),
            (22, Dialect::Valkey, counted(valkey, draw)),
            (23, Dialect::Redis, string(&listpack(&triples, draw), draw)),
            (24, Dialect::Redis, [least.to_vec(), relative].concat()),
            (25, Dialect::Redis, [least.to_vec(), string(&listpack(&triples, draw), draw)].concat()),
        ];
        for (value_type, dialect, body) in bodies {
            let found = decoded(value_type, dialect, &body);
            prop_assert_eq!(found, Model::Fields(model.clone()), "type {} of {:?}", value_type, dialect);
        }
    }
}
