//! Streams from a model: nodes, groups, pending entries, consumers.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::encode::{Draw, length, listpack, string};
use super::{counted, held};
use crate::snapshot::Dialect;
use crate::value::test_support::{entry, judged};
use crate::value::{Decoder, Element, StreamId, Value};

#[derive(Debug, Clone, PartialEq)]
struct Record {
    id: (u64, u64),
    deleted: bool,
    fields: Vec<(String, String)>,
}

/// ID, delivery time, deliveries.
type Owed = ((u64, u64), i64, u64);

#[derive(Debug, Clone, PartialEq, Default)]
struct Group {
    name: String,
    pending: Vec<Owed>,
    /// Name, seen, active, what it owns.
    consumers: Vec<(String, i64, Option<i64>, Vec<Owed>)>,
    nacked: Vec<Owed>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Model {
    records: Vec<Record>,
    groups: Vec<Group>,
}

/// IDs that rise, by steps of every size.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let name = prop::sample::select(vec!["f", "g", "temperature", "7"]);
    let fields = prop::collection::vec((name, "[a-c]{0,3}|[0-9]{1,6}"), 0..4);
    let step = prop_oneof![Just(0u64), 1u64..5, 1u64..1 << 40];
    prop::collection::vec(
        (
            step,
            0u64..1 << 20,
            any::<bool>(),
            prop::bool::weighted(0.2),
            fields,
        ),
        0..60,
    )
    .prop_map(|steps| {
        let mut id = (1u64, 0u64);
        let record =
            |(ms, seq, same, deleted, fields): (u64, u64, bool, bool, Vec<(&str, String)>)| {
                id = match ms {
                    0 => (id.0, id.1 + seq + 1),
                    // Smaller than before, within a later millisecond.
                    ms => (id.0 + ms, if same { 0 } else { seq }),
                };
                Record {
                    id,
                    deleted,
                    fields: fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                }
            };
        steps.into_iter().map(record).collect()
    })
}

/// One node: its master ID and its listpack.
fn node(records: &[Record], draw: &mut Draw) -> Vec<u8> {
    let first = &records[0];
    // The master's first entry may be gone: what is left stands at a distance from it.
    let master = match draw.once_in(4) {
        true => (first.id.0, first.id.1.saturating_sub(draw.below(3) as u64)),
        false => first.id,
    };
    let names: Vec<&String> = first.fields.iter().map(|(name, _)| name).collect();
    let deleted = records.iter().filter(|record| record.deleted).count();
    let mut items: Vec<String> = vec![
        (records.len() - deleted).to_string(),
        deleted.to_string(),
        names.len().to_string(),
    ];
    items.extend(names.iter().map(|name| (*name).clone()));
    items.push("0".to_owned());
    for record in records {
        let own: Vec<&String> = record.fields.iter().map(|(name, _)| name).collect();
        let same = own == names && !draw.once_in(4);
        let flags = u8::from(record.deleted) + if same { 2 } else { 0 };
        items.push(flags.to_string());
        items.push((record.id.0.wrapping_sub(master.0) as i64).to_string());
        items.push((record.id.1.wrapping_sub(master.1) as i64).to_string());
        if !same {
            items.push(own.len().to_string());
        }
        for (name, value) in &record.fields {
            if !same {
                items.push(name.clone());
            }
            items.push(value.clone());
        }
        let count = match same {
            true => own.len() + 3,
            false => 2 * own.len() + 4,
        };
        items.push(count.to_string());
    }
    let items: Vec<Vec<u8>> = items.into_iter().map(String::into_bytes).collect();
    [
        vec![16],
        raw_id(master),
        string(&listpack(&items, draw), draw),
    ]
    .concat()
}

fn raw_id(id: (u64, u64)) -> Vec<u8> {
    [id.0.to_be_bytes(), id.1.to_be_bytes()].concat()
}

fn id(id: (u64, u64), draw: &mut Draw) -> Vec<u8> {
    [length(id.0, draw), length(id.1, draw)].concat()
}

/// Groups over some of the IDs, and some that are gone.
fn groups(records: &[Record], draw: &mut Draw) -> Vec<Group> {
    let mut groups = Vec::new();
    for number in 0..draw.below(4) {
        let mut group = Group {
            name: format!("group {number}"),
            ..Group::default()
        };
        let mut ids: Vec<_> = records.iter().map(|record| record.id).collect();
        ids.extend((0..draw.below(30)).map(|gone| (0, 7 + gone as u64 * 3)));
        ids.retain(|_| !draw.once_in(3));
        ids.sort_unstable();
        for id in ids {
            let time = 1_700_000_000_000 + draw.below(1000) as i64;
            group.pending.push((id, time, draw.below(70_000) as u64));
        }
        for name in ["alice", "bob", "nobody"] {
            let times = (draw.below(1 << 40) as i64, draw.below(1 << 40) as i64);
            let active = (!draw.once_in(3)).then_some(times.1);
            group
                .consumers
                .push((name.to_owned(), times.0, active, Vec::new()));
        }
        let given_back = draw.once_in(2);
        for owed in &group.pending {
            match draw.below(3) {
                2 if given_back => group.nacked.push(*owed),
                who => group.consumers[who & 1].3.push(*owed),
            }
        }
        groups.push(group);
    }
    groups
}

/// The value in one of the five forms. What a form does not have is taken out of the model.
fn encoded(form: u8, model: &mut Model, draw: &mut Draw) -> Vec<u8> {
    let (mut rest, mut nodes) = (&model.records[..], Vec::new());
    while !rest.is_empty() {
        let (these, behind) = rest.split_at((1 + draw.below(20)).min(rest.len()));
        nodes.push(node(these, draw));
        rest = behind;
    }
    let live: Vec<_> = model
        .records
        .iter()
        .filter(|record| !record.deleted)
        .collect();
    let last = model.records.last().map_or((0, 0), |record| record.id);
    let last = (last.0 + 1, 5);
    let mut out = counted(nodes, draw);
    out.extend(length(live.len() as u64, draw));
    out.extend(id(last, draw));
    if form >= 2 {
        out.extend(id(live.first().map_or((0, 0), |record| record.id), draw));
        out.extend(id((0, 99), draw));
        out.extend(length(1000, draw));
    }
    let mut groups = Vec::new();
    for group in &mut model.groups {
        if form < 5 {
            // Without nacked ones, somebody owns them.
            let nacked = std::mem::take(&mut group.nacked);
            group.consumers[2].3 = nacked;
        }
        let mut bytes = string(group.name.as_bytes(), draw);
        bytes.extend(id(last, draw));
        if form >= 2 {
            bytes.extend(length(if draw.once_in(2) { u64::MAX } else { 17 }, draw));
        }
        let pending: Vec<_> = group
            .pending
            .iter()
            .map(|(id, time, count)| {
                [
                    raw_id(*id),
                    time.to_le_bytes().to_vec(),
                    length(*count, draw),
                ]
                .concat()
            })
            .collect();
        bytes.extend(counted(pending, draw));
        let mut consumers = Vec::new();
        for (name, seen, active, owned) in &mut group.consumers {
            let mut consumer = string(name.as_bytes(), draw);
            consumer.extend(seen.to_le_bytes());
            if form >= 3 {
                consumer.extend(active.unwrap_or(-1).to_le_bytes());
            } else {
                *active = None;
            }
            consumer.extend(counted(owned.iter().map(|owed| raw_id(owed.0)), draw));
            consumers.push(consumer);
        }
        bytes.extend(counted(consumers, draw));
        if form >= 5 {
            bytes.extend(counted(
                group.nacked.iter().map(|owed| raw_id(owed.0)),
                draw,
            ));
        }
        groups.push(bytes);
    }
    out.extend(counted(groups, draw));
    if form >= 4 {
        let records = [
            string(b"iid", draw),
            id((1, 1), draw),
            string(b"5", draw),
            id((2, 0), draw),
        ];
        out.extend(
            [
                length(60, draw),
                length(100, draw),
                vec![1],
                string(b"producer", draw),
                vec![2],
            ]
            .concat(),
        );
        out.extend(records.concat());
        out.extend([length(2, draw), length(3, draw)].concat());
    }
    out
}

fn shown(element: &Element<'_>) -> String {
    String::from_utf8(held(element)).unwrap()
}

fn pair(id: StreamId) -> (u64, u64) {
    (id.ms, id.seq)
}

fn decoded(value_type: u8, body: &[u8]) -> Model {
    let entry = entry(value_type, Dialect::Redis, body);
    let mut decoder = Decoder::new(None);
    let Value::Stream(mut stream) = decoder.decode(&entry).unwrap() else {
        panic!("no stream");
    };
    let mut model = Model::default();
    while let Some(found) = stream.next_record().unwrap() {
        let mut fields = Vec::new();
        while let Some((name, value)) = stream.next_field().unwrap() {
            fields.push((shown(&name), shown(&value)));
        }
        model.records.push(Record {
            id: pair(found.id),
            deleted: found.deleted,
            fields,
        });
    }
    let owed = |pending: crate::value::Pending| {
        (
            pair(pending.id),
            pending.delivered_at_ms,
            pending.delivery_count,
        )
    };
    while let Some(found) = stream.next_group().unwrap() {
        let mut group = Group {
            name: shown(&found.name),
            ..Group::default()
        };
        while let Some(pending) = stream.next_pending().unwrap() {
            group.pending.push(owed(pending));
        }
        while let Some(found) = stream.next_consumer().unwrap() {
            let (name, seen, active) = (shown(&found.name), found.seen_at_ms, found.active_at_ms);
            let mut owned = Vec::new();
            while let Some(pending) = stream.next_owned().unwrap() {
                owned.push(owed(pending));
            }
            group.consumers.push((name, seen, active, owned));
        }
        while let Some(pending) = stream.next_nacked().unwrap() {
            group.nacked.push(owed(pending));
        }
        model.groups.push(group);
    }
    if stream.idempotency().unwrap().is_some() {
        let mut records = Vec::new();
        while let Some(producer) = stream.next_producer().unwrap() {
            assert_eq!(shown(&producer.id), "producer");
            while let Some(found) = stream.next_iid().unwrap() {
                records.push((shown(&found.iid), pair(found.id)));
            }
        }
        assert_eq!(
            records,
            [("iid".to_owned(), (1, 1)), ("5".to_owned(), (2, 0))]
        );
        let totals = stream.idempotency_totals().unwrap().unwrap();
        assert_eq!((totals.added, totals.duplicates), (2, 3));
    }
    let (told, summary) = judged(&entry);
    assert_eq!(told, Vec::<String>::new());
    let live = model.records.iter().filter(|record| !record.deleted);
    assert_eq!(summary.elements, live.count() as u64);
    model
}

proptest! {
    #![proptest_config(Config::with_cases(128))]

    #[test]
    fn streams(records in records(), seed in any::<u64>()) {
        for (form, value_type) in [(1, 15), (2, 19), (3, 21), (4, 26), (5, 27)] {
            let draw = &mut Draw(seed);
            let mut model = Model {
                groups: groups(&records, draw),
                records: records.clone(),
            };
            let body = encoded(form, &mut model, draw);
            prop_assert_eq!(decoded(value_type, &body), model, "form {}", form);
        }
    }
}
