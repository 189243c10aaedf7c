//! What must hold for the value of any entry that the scanner finds, and for what is made of the entry: its payload, its
//! `RESTORE` command, the survey.

use std::path::PathBuf;
use std::sync::LazyLock;

use rdbridge::error::{Error, ErrorKind, Result};
use rdbridge::outcome::Outcome;
use rdbridge::payload::{NoPayload, Payload};
use rdbridge::replay::{self, Decision, Policies, Terms, TypeTerms};
use rdbridge::resp::pack;
use rdbridge::select::{Criteria, Glob, KeyPattern, Selection};
use rdbridge::snapshot::{Dialect, Entry, Producer, Record, Snapshot, ValueType};
use rdbridge::survey::Survey;
use rdbridge::time::Timestamp;
use rdbridge::value::{
    ArrayValue, Decoder, Element, Finding, Findings, IntText, Lenient, ModuleItem, Severity, Value,
};

use super::super::support::dump::crc64;
use super::judge::judge_error;

/// Elements of one value that are looked at closely.
const CLOSELY: u64 = 300;

/// Payloads up to this size have their checksum computed again.
const SMALL: u64 = 2000;

/// Where blobs are spooled that are too long for a buffer.
static SPOOL_DIR: LazyLock<PathBuf> = LazyLock::new(std::env::temp_dir);

/// Reads every value, and makes of every entry what is made of it on its way.
pub(crate) fn judge_values(snapshot: Snapshot<'_>, bytes: &[u8]) {
    let mut collecting = Decoder::with_findings(Some(SPOOL_DIR.as_path()), Told::default());
    let mut strict = Decoder::new(Some(SPOOL_DIR.as_path()));
    let mut lenient = Decoder::with_findings(Some(SPOOL_DIR.as_path()), Lenient);
    let mut survey = Some(Survey::new(Producer::new(snapshot.header())));
    let mut scratch = Vec::new();
    let mut selection = Selection::new(
        Criteria {
            keys: vec![KeyPattern::Glob(Glob::new(b"*[a-m]*"))],
            slots: Some("0-9000".parse().expect("slots")),
            ..Criteria::default()
        },
        Timestamp::from_secs(NOW_MS / 1000),
        SPOOL_DIR.clone(),
    )
    .expect("a selection");
    for record in snapshot.records().map_while(Result::ok) {
        let learned = match &record {
            Record::Entry(entry) => {
                judge_value(entry, bytes, &mut collecting, &mut strict, &mut lenient);
                judge_payload(entry);
                judge_command(entry, &EVERYTHING);
                let selected = selection.admits(entry, &mut scratch);
                if let Err(error) = &selected {
                    judge_error(error, bytes);
                }
                let selected = selected.unwrap_or(true);
                survey.as_mut().map(|s| s.add(entry, selected, NOW_MS))
            }
            Record::Function(library) => {
                match replay::library_source(library) {
                    Ok(source) => assert!(source.len() <= bytes.len() * 88 + 40),
                    Err(error) => judge_error(&error, bytes),
                }
                survey.as_mut().map(|s| s.learn(&record))
            }
            record => survey.as_mut().map(|s| s.learn(record)),
        };
        if let Some(Err(error)) = learned {
            assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
            survey = None;
        }
    }
}

const NOW_MS: i64 = 1_800_000_000_000;

/// Hears of every broken rule, and keeps little.
#[derive(Debug, Default)]
struct Told {
    findings: u64,
    faults: u64,
    /// Bytes of the input, for places.
    input: u64,
}

impl Findings for Told {
    fn found(&mut self, finding: Finding) -> Result<()> {
        self.findings += 1;
        self.faults += u64::from(finding.severity() == Severity::Fault);
        assert!(finding.place.offset <= self.input, "{finding}");
        if self.findings <= CLOSELY {
            let text = finding.to_string();
            assert!(!text.chars().any(char::is_control), "{text:?}");
            assert!(text.len() < 2000, "{} bytes of finding", text.len());
        }
        Ok(())
    }

    fn unreadable(&mut self, error: Error) -> Result<()> {
        let finding = rdbridge::value::unreadable(error)?;
        self.found(finding)
    }
}

fn judge_value(
    entry: &Entry<'_>,
    bytes: &[u8],
    collecting: &mut Decoder<Told>,
    strict: &mut Decoder,
    lenient: &mut Decoder<Lenient>,
) {
    *collecting.findings() = Told {
        input: bytes.len() as u64,
        ..Told::default()
    };
    let summary = match collecting.validate(entry) {
        Ok(summary) => summary,
        Err(error) => {
            judge_error(&error, bytes);
            assert_ne!(
                error.kind(),
                ErrorKind::Corrupt,
                "damage is a finding: {error}"
            );
            return;
        }
    };
    let faults = collecting.findings().faults;
    assert!(
        faults > 0 || !summary.damaged,
        "damage that was not told of"
    );
    match strict.validate(entry) {
        Ok(same) => {
            assert_eq!(faults, 0, "a fault that is none for a strict walk");
            assert_eq!(same, summary);
        }
        Err(error) => {
            judge_error(&error, bytes);
            assert!(faults > 0, "an error that is no finding: {error}");
            assert!(error.entry().is_some(), "no entry is named: {error}");
        }
    }
    match count_elements(lenient, entry, bytes) {
        Ok(elements) => {
            assert!(
                elements == summary.elements || faults > 0,
                "{elements} elements, but {} in a validating walk",
                summary.elements
            );
        }
        Err(error) => {
            judge_error(&error, bytes);
            assert!(
                summary.damaged,
                "damage only where elements are asked for: {error}"
            );
        }
    }
}

/// Walks the value as an exporter would.
fn count_elements(decoder: &mut Decoder<Lenient>, entry: &Entry<'_>, bytes: &[u8]) -> Result<u64> {
    let mut seen = Seen { elements: 0, bytes };
    match decoder.decode(entry)? {
        Value::String(element) | Value::Json(element) => {
            seen.one(&[element]);
        }
        Value::List(mut list) => {
            while let Some(element) = list.next_element()? {
                seen.one(&[element]);
            }
            assert!(list.next_element()?.is_none(), "not fused");
        }
        Value::Set(mut set) => {
            while let Some(member) = set.next_member()? {
                seen.one(&[member.member]);
            }
            assert!(set.next_member()?.is_none(), "not fused");
        }
        Value::Zset(mut zset) => {
            while let Some(scored) = zset.next_scored()? {
                seen.one(&[scored.member]);
            }
            assert!(zset.next_scored()?.is_none(), "not fused");
        }
        Value::Hash(mut hash) => {
            while let Some(field) = hash.next_field()? {
                seen.one(&[field.field, field.value]);
                seen.close(field.path.as_slice());
            }
            assert!(hash.next_field()?.is_none(), "not fused");
        }
        Value::Array(mut array) => {
            while let Some(item) = array.next_item()? {
                match item.value {
                    ArrayValue::Element(element) => seen.one(&[element]),
                    ArrayValue::Double(_) => seen.one(&[]),
                }
            }
            assert!(array.next_item()?.is_none(), "not fused");
        }
        Value::Module(mut module) => {
            while let Some(item) = module.next_item()? {
                match item {
                    ModuleItem::String(element) => seen.one(&[element]),
                    _ => seen.one(&[]),
                }
            }
            assert!(module.next_item()?.is_none(), "not fused");
        }
        Value::Stream(mut stream) => {
            while let Some(_entry) = stream.next_entry()? {
                seen.one(&[]);
                while let Some((name, value)) = stream.next_field()? {
                    seen.close(&[name, value]);
                }
            }
            assert!(stream.next_entry()?.is_none(), "not fused");
            // An impatient reader: parts are left unread, which must be moved over.
            let meta = stream.metadata()?;
            let mut groups = 0;
            while let Some(group) = stream.next_group()? {
                seen.close(&[group.name]);
                groups += 1;
                if groups % 3 == 1 {
                    while stream.next_pending()?.is_some() {}
                }
                if groups % 3 != 0 {
                    while let Some(consumer) = stream.next_consumer()? {
                        seen.close(&[consumer.name]);
                        if groups % 3 == 1 {
                            while stream.next_owned()?.is_some() {}
                        }
                    }
                    while stream.next_nacked()?.is_some() {}
                }
            }
            assert_eq!(groups, meta.groups, "groups end early");
            if stream.idempotency()?.is_some() {
                while let Some(producer) = stream.next_producer()? {
                    seen.close(&[producer.id]);
                    while let Some(iid) = stream.next_iid()? {
                        seen.close(&[iid.iid]);
                    }
                }
                stream.idempotency_totals()?;
            }
        }
        other => panic!("an unknown value {other:?}"),
    }
    Ok(seen.elements)
}

/// Elements that were handed out.
struct Seen<'b> {
    elements: u64,
    bytes: &'b [u8],
}

impl Seen<'_> {
    fn one(&mut self, parts: &[Element<'_>]) {
        self.elements += 1;
        self.close(parts);
    }

    /// All ways to read an element say the same.
    fn close(&self, parts: &[Element<'_>]) {
        if self.elements > CLOSELY {
            return;
        }
        for part in parts {
            let mut text = IntText::new();
            let short = part.short(&mut text);
            let mut pieces = part.pieces();
            let mut total = 0u64;
            let walked = loop {
                match pieces.next_piece() {
                    Ok(Some(piece)) => {
                        assert!(!piece.is_empty());
                        if let Some(short) = short {
                            assert_eq!(short, piece, "a short element is one piece");
                        }
                        total += piece.len() as u64;
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            match walked {
                Ok(()) => assert_eq!(total, part.len(), "an element is not as long as it says"),
                Err(error) => {
                    assert!(short.is_none(), "a short element cannot be read");
                    judge_error(&error, self.bytes);
                }
            }
            assert!(total <= self.bytes.len() as u64 * 88 + 20);
            if let (Some(n), Some(short)) = (part.int(), short) {
                assert_eq!(n.to_string().as_bytes(), short);
            }
        }
    }
}

/// The payload is type, bytes of the file, version and the right checksum.
fn judge_payload(entry: &Entry<'_>) {
    for with_meta in [false, true] {
        let payload = match Payload::new(entry, 9, with_meta) {
            Ok(payload) => payload,
            Err(NoPayload(reason)) => {
                assert!(matches!(entry.value_type.0, 30 | 32), "{reason}");
                assert!(entry.template.is_none(), "{reason}");
                return;
            }
        };
        let pieces = payload.pieces();
        let length: u64 = pieces.iter().map(|p| p.len() as u64).sum();
        assert_eq!(payload.len(), length);
        let meta = entry.key_meta.filter(|_| with_meta).unwrap_or_default();
        assert_eq!(pieces[0], meta);
        let references = entry.template.is_some();
        assert!(entry.value.ends_with(pieces[3]));
        assert!(references || pieces[3].len() == entry.value.len());
        assert!(references || pieces[1] == [entry.value_type.0]);
        if length <= SMALL {
            let whole = pieces.concat();
            let (covered, crc) = whole.split_last_chunk::<8>().expect("a footer");
            assert!(covered.ends_with(&[9, 0]));
            assert_eq!(crc64(covered).to_le_bytes(), *crc);
        }
    }
}

/// The terms of a destination that takes everything.
pub(crate) static EVERYTHING: LazyLock<Terms> = LazyLock::new(|| {
    let mut terms = Terms::refusing("");
    for number in 0..=u8::MAX {
        for dialect in [Dialect::Redis, Dialect::Valkey, Dialect::Dragonfly] {
            terms.set(ValueType(number), dialect, TypeTerms::Take(9));
        }
    }
    terms.key_meta = Some(13);
    terms
});

/// The command fits its payload; what is not sent has an outcome that fits the entry.
fn judge_command(entry: &Entry<'_>, terms: &Terms) {
    let policies = Policies {
        now_ms: NOW_MS,
        replace: true,
        ..Policies::default()
    };
    match replay::decide(entry, terms, &policies) {
        Decision::Send(restore) => {
            assert!(
                entry.expire_at_ms.is_none_or(|at| at > NOW_MS),
                "an expiry that is past would be sent"
            );
            let mut out = Vec::new();
            restore
                .with_args("RESTORE", b"k", NOW_MS, |args| {
                    pack::command(&mut out, args)
                })
                .expect("a command in memory");
            let spent = out.len() as u64 - restore.payload.len();
            assert!(spent < 250, "{spent} bytes around the payload");
        }
        Decision::Skip(Outcome::Expired, _) => {
            assert!(entry.expire_at_ms.is_some_and(|at| at <= NOW_MS));
        }
        Decision::Skip(outcome @ (Outcome::Empty | Outcome::Refused), reason) => {
            assert!(outcome == Outcome::Empty || !reason.is_empty());
        }
        Decision::Commands(by) => panic!("by commands: {by:?}"),
        Decision::Skip(outcome, reason) => panic!("{outcome:?} before sending: {reason}"),
    }
}
