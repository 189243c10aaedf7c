//! What must hold for any bytes whatever. A violation is a panic with its reason; the worker catches it and names the case.

use rdbridge::error::{Error, ErrorKind};
use rdbridge::snapshot::{Entry, Options, Record, Snapshot};
use rdbridge::wire::Str;

use super::judge_value::judge_values;
use super::judge_verbs::judge_verbs;
use super::reference;

/// Reads `bytes` in every way in which the library reads a file, and holds what it says against what must be. What does not
/// depend on the checksum is done only where `thoroughly` is set: once for each case.
pub(crate) fn judge(bytes: &[u8], thoroughly: bool) {
    let strict = Snapshot::parse(bytes);
    let options = |verify_checksum| Options {
        verify_checksum,
        accept_newer: true,
    };
    let verified = match Snapshot::with_options(bytes, options(true)) {
        Ok(snapshot) => snapshot,
        Err(error) => {
            judge_error(&error, bytes);
            judge_error(&strict.expect_err("strict where lax fails"), bytes);
            return;
        }
    };
    if let Err(error) = strict {
        judge_error(&error, bytes);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let unverified = Snapshot::with_options(bytes, options(false)).expect("the header was read");

    let first = walk(verified, bytes, thoroughly);
    let second = walk(unverified, bytes, false);
    assert_eq!(
        (first.records, first.entries),
        (second.records, second.entries),
        "what is read depends on whether the checksum is computed"
    );
    match (&first.error, &second.error) {
        (Some(a), Some(b)) => assert_eq!(a, b, "errors depend on the checksum"),
        (Some(a), None) => assert!(a.contains("wrong checksum"), "{a}"),
        (None, Some(b)) => panic!("only without the checksum: {b}"),
        (None, None) => {}
    }
    if !thoroughly {
        return;
    }
    let entries = unverified.entries().take_while(Result::is_ok).count() as u64;
    assert_eq!(entries, second.entries, "entries() and records() differ");

    judge_against_reference(unverified, bytes, &second);
    judge_values(unverified, bytes);
    judge_verbs(unverified, bytes, second.entries, second.error.as_ref());

    match unverified.producer() {
        Ok(producer) => assert!(!producer.product.is_empty()),
        Err(error) => judge_error(&error, bytes),
    }
}

/// The second reader finds the same.
fn judge_against_reference(snapshot: Snapshot<'_>, bytes: &[u8], walked: &Walked) {
    let reference = reference::read(bytes).expect("the library takes the header");
    let mut keys = reference.keys.iter();
    let mut trailing = None;
    for record in snapshot.records().map_while(Result::ok) {
        match record {
            Record::Entry(entry) => {
                let found = reference::Key {
                    offset: entry.offset as usize,
                    db: entry.db,
                    value_type: entry.value_type.0,
                    value: entry.value_offset as usize..entry.end() as usize,
                    expire_at_ms: entry.expire_at_ms,
                    idle: entry.idle_seconds,
                    freq: entry.lfu_freq,
                    extra: (
                        entry.key_meta.map_or(0, <[u8]>::len),
                        entry.sub_expires.len(),
                    ),
                };
                let expected = keys.next();
                assert_eq!(
                    Some(&found),
                    expected,
                    "another key than the second reader's"
                );
            }
            Record::End(end) => trailing = Some(end.trailing.len()),
            _ => {}
        }
    }
    assert_eq!(
        keys.next(),
        None,
        "the second reader goes on: {:?}",
        walked.error
    );
    assert_eq!(
        trailing, reference.trailing,
        "one reads to the end: {:?}",
        walked.error
    );
}

/// What one pass said.
#[derive(Debug)]
struct Walked {
    /// Records before the end.
    records: u64,
    entries: u64,
    error: Option<String>,
}

fn walk(snapshot: Snapshot<'_>, bytes: &[u8], thoroughly: bool) -> Walked {
    let mut walked = Walked {
        records: 0,
        entries: 0,
        error: None,
    };
    let mut records = snapshot.records();
    let mut scratch = Vec::new();
    // An entry begins with its first attribute, and between that and its key other records may stand; but never an entry.
    let mut entry_end = 0;
    let mut at = records.offset();
    assert_eq!(at, 9, "records begin behind the magic");
    loop {
        let record = records.next_record();
        let now = records.offset();
        assert!(
            now <= bytes.len() as u64,
            "offset {now} is behind the input"
        );
        match record {
            Ok(Some(record)) => {
                assert!(now > at, "no progress at {at}");
                match record {
                    Record::End(end) => {
                        assert!(end.offset >= at && end.offset < bytes.len() as u64);
                        assert_eq!(now, bytes.len() as u64, "nothing is left behind the end");
                        assert!(bytes.ends_with(end.trailing));
                    }
                    Record::Entry(entry) => {
                        assert_eq!(entry.ordinal, walked.entries);
                        walked.entries += 1;
                        walked.records += 1;
                        assert!(entry.offset >= entry_end, "entries overlap");
                        entry_end = now;
                        judge_entry(&entry, bytes, now, thoroughly, &mut scratch);
                    }
                    record => {
                        walked.records += 1;
                        judge_record(&record, bytes, thoroughly, &mut scratch);
                    }
                }
                at = now;
                if matches!(record, Record::End(_)) {
                    break;
                }
            }
            Ok(None) => panic!("records end without an end"),
            Err(error) => {
                judge_error(&error, bytes);
                walked.error = Some(error.to_string());
                break;
            }
        }
    }
    for _ in 0..2 {
        assert!(
            matches!(records.next_record(), Ok(None)),
            "not fused behind the end"
        );
    }
    assert_eq!(records.entries_seen(), walked.entries);
    walked
}

fn judge_entry(entry: &Entry<'_>, bytes: &[u8], end: u64, thoroughly: bool, scratch: &mut Vec<u8>) {
    assert!(entry.offset < entry.value_offset || entry.value.is_empty());
    assert!(
        entry.end() <= bytes.len() as u64,
        "a value leaves the input"
    );
    assert_eq!(
        entry.end() + entry.sub_expires.len() as u64,
        end,
        "an entry does not end where the next record begins"
    );
    let (from, to) = (entry.value_offset as usize, entry.end() as usize);
    assert!(
        std::ptr::eq(entry.value, &raw const bytes[from..to]),
        "the value is another slice"
    );
    assert_eq!(entry.record_len(), entry.end() - entry.offset);
    assert_ne!(entry.expire_at_ms, Some(-1), "-1 is no expiry");
    assert!(entry.type_info().is_some(), "an entry of an unknown type");
    for part in [entry.key_meta, Some(entry.sub_expires)]
        .into_iter()
        .flatten()
    {
        assert!(part.is_empty() || bytes.as_ptr_range().contains(&part.as_ptr()));
    }
    if let Some(meta) = entry.key_meta {
        assert_eq!(meta.first(), Some(&243));
    }
    if let Some(template) = entry.template {
        assert!(template.fields > 0 && template.fields <= template.names.len() as u64);
    }
    if thoroughly {
        judge_str(&entry.key, bytes, scratch);
        let context = entry.context().to_string();
        assert!(is_one_clean_line(&context), "{context:?}");
        if entry.value_type.0 == 0 {
            let mut cursor = rdbridge::wire::Cursor::new(entry.value, entry.value_offset);
            let value = Str::read(&mut cursor).expect("the extent of a string was found");
            assert!(cursor.is_empty(), "the extent of a string is not its own");
            judge_str(&value, bytes, scratch);
        }
    }
}

fn judge_record(record: &Record<'_>, bytes: &[u8], thoroughly: bool, scratch: &mut Vec<u8>) {
    use rdbridge::snapshot::Function;
    let mut strs: Vec<Str<'_>> = Vec::new();
    match record {
        Record::Aux { name, value, .. } => strs.extend([*name, *value]),
        Record::SlotImport { job, ranges } => {
            assert!(*ranges <= bytes.len() as u64);
            strs.push(*job);
        }
        Record::Function(Function::Source { code, .. }) => strs.push(*code),
        Record::Function(Function::PreGa {
            name,
            engine,
            description,
            code,
            ..
        }) => {
            strs.extend([*name, *engine, *code]);
            strs.extend(*description);
        }
        Record::ModuleAux {
            module,
            bytes: whole,
            offset,
            ..
        } => {
            assert_eq!(module.name().len(), 9);
            assert_eq!(whole.first(), Some(&247));
            assert!(bytes[*offset as usize..].starts_with(whole));
        }
        Record::HashTemplate(template) => {
            let mut names = template.names();
            for _ in 0..template.fields {
                Str::skip(&mut names).expect("names were read");
            }
            assert!(names.is_empty());
        }
        _ => {}
    }
    if thoroughly {
        for string in strs {
            judge_str(&string, bytes, scratch);
        }
    }
}

/// A string says the same by all ways of reading it.
fn judge_str(string: &Str<'_>, bytes: &[u8], scratch: &mut Vec<u8>) {
    let claimed = string.len();
    assert!(string.preview(64).len() <= 64);
    let expected = match string {
        Str::Lzf(packed) => Some(reference::unpack(packed.compressed, packed.ulen)),
        _ => None,
    };
    let mut pieces = string.pieces();
    let mut total = 0u64;
    let walked = loop {
        match pieces.next_piece() {
            Ok(Some(piece)) => {
                assert!(!piece.is_empty(), "an empty piece");
                if let Some(Ok(expected)) = &expected {
                    let expected = &expected[total as usize..];
                    assert!(expected.starts_with(piece), "decompressed to other bytes");
                }
                total += piece.len() as u64;
                assert!(total <= claimed, "more than claimed");
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    // No honest input expands more than this.
    assert!(total <= bytes.len() as u64 * 88 + 11, "{total} bytes made");
    assert!(
        matches!(pieces.next_piece(), Ok(None)),
        "pieces are not fused"
    );
    if let Some(expected) = &expected {
        assert_eq!(
            walked.is_ok(),
            expected.is_ok(),
            "damage is judged otherwise"
        );
    }
    let whole = string.bytes(scratch).map(<[u8]>::len);
    match (&walked, &whole) {
        (Ok(()), Ok(length)) => {
            assert_eq!(total, claimed, "the walk ends early");
            assert_eq!(*length as u64, claimed, "the whole is not what was claimed");
        }
        (Ok(()), Err(error)) => assert_eq!(error.kind(), ErrorKind::Limit, "{error}"),
        (Err(error), Ok(_)) => panic!("damage is not seen in the whole: {error}"),
        (Err(_), Err(_)) => {}
    }
    for error in [walked.err(), whole.err()].into_iter().flatten() {
        judge_error(&error, bytes);
    }
}

/// An error is one line that cannot disturb a terminal, of bounded length, and its place is in the input.
pub(crate) fn judge_error(error: &Error, bytes: &[u8]) {
    let text = error.to_string();
    assert!(is_one_clean_line(&text), "{text:?}");
    assert!(text.len() < 2000, "{} bytes of error", text.len());
    assert!(!text.ends_with('.'), "{text}");
    assert!(
        matches!(
            error.kind(),
            ErrorKind::Corrupt | ErrorKind::Unsupported | ErrorKind::Limit
        ),
        "bytes are to blame, not {:?}: {text}",
        error.kind()
    );
    let place = error
        .place()
        .unwrap_or_else(|| panic!("no place in: {text}"));
    assert!(place.offset <= bytes.len() as u64, "{text}");
}

fn is_one_clean_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
