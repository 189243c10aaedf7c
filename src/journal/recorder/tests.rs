use std::collections::BTreeMap;

use super::*;
use crate::journal::InputId;
use crate::outcome::{Outcome, Road};

fn record(entries: u64) -> Record {
    Record {
        phase: Phase::Running,
        stopped: None,
        written: String::new(),
        runs: 1,
        elapsed_ms: 0,
        destination: "redis://h:1".into(),
        product: String::new(),
        run_ids: BTreeMap::new(),
        keys_before: None,
        inputs: vec![InputId::of("dump.rdb", b"REDIS0011")],
        entries: vec![entries],
        options: BTreeMap::new(),
        instant_ms: 0,
        clock_ahead_ms: None,
        ttl_shift_ms: None,
        staging: "0123456789ab".to_owned(),
        functions: Counted::default(),
        ledger: None,
        evicted: 0,
        sent: 0,
        uncertain: None,
        acknowledged: Progress::default(),
        settled: Progress::default(),
    }
}

fn restored(recorder: &Recorder, positions: std::ops::Range<u64>) {
    let mut outcomes = Tally::default();
    outcomes.add_many(
        Outcome::Restored(Road::Raw),
        positions.end - positions.start,
    );
    let mut lifetimes = Lifetimes::default();
    positions.clone().for_each(|_| lifetimes.add(None));
    recorder
        .finished(&Ranges::of(positions), &outcomes, &lifetimes, &[])
        .unwrap();
}

#[test]
fn what_is_on_disk_never_promises_more_than_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let recorder = Recorder::new(record(100), Some(JournalFile::lock(&path).unwrap()), None);
    recorder.reserve(50).unwrap();
    let on_disk = || JournalFile::read(&path).unwrap().unwrap();
    assert_eq!(
        on_disk().uncertain(),
        Ranges::of(0..50),
        "all of it may have been sent"
    );
    restored(&recorder, 0..20);
    restored(&recorder, 30..40);
    recorder.doubt(&Ranges::of(40..45));
    recorder
        .settle(recorder.acknowledged(), &[Cover::Unknown])
        .unwrap();
    let killed = on_disk();
    assert_eq!(
        killed.uncertain().iter().collect::<Vec<_>>(),
        [20..30, 40..50],
        "after a kill: everything that was reserved and not finished"
    );
    let ended = recorder
        .end(Phase::Stopped, Some("interrupted".into()))
        .unwrap();
    assert_eq!(ended.uncertain(), Ranges::of(40..45), "in order: exactly");
    assert_eq!(on_disk(), ended);
    let again = Recorder::new(on_disk(), None, None);
    let (finished, doubtful) = again.standing();
    assert_eq!((finished.total(), doubtful), (30, Ranges::of(40..45)));
    restored(&again, 40..45);
    assert!(again.standing().1.is_empty());
    again.reserve(1000).unwrap();
    assert_eq!(again.sent(), 100, "never more than there are");
}

#[test]
fn settled_is_what_every_replica_had_when_it_was_asked() {
    let recorder = Recorder::new(record(100), None, None);
    recorder.reserve(100).unwrap();
    restored(&recorder, 0..10);
    let at = |now, covered| Cover::Offset { now, covered };
    recorder
        .settle(recorder.acknowledged(), &[at(1000, 900)])
        .unwrap();
    assert_eq!(recorder.record().settled.finished.total(), 0);
    restored(&recorder, 10..30);
    recorder
        .settle(recorder.acknowledged(), &[at(3000, 1000)])
        .unwrap();
    assert_eq!(recorder.record().settled.finished, Ranges::of(0..10));
    assert_eq!(recorder.forget_unsettled().unwrap(), 20);
    assert_eq!(recorder.standing(), (Ranges::of(0..10), Ranges::of(10..30)));
    restored(&recorder, 10..12);
    assert_eq!(
        recorder.record().acknowledged.outcomes.total(),
        12,
        "counted once, though they were finished before"
    );
}

#[test]
fn settled_by_time_by_a_snapshot_or_at_once() {
    for (cover, settled) in [
        (Cover::Unknown, 0),
        (Cover::AtOnce, 5),
        (Cover::After(Duration::ZERO), 5),
        (Cover::After(Duration::from_secs(3600)), 0),
        (Cover::SavedBefore(1), 0),
        (Cover::SavedBefore(u64::MAX), 5),
    ] {
        let recorder = Recorder::new(record(100), None, None);
        restored(&recorder, 0..5);
        recorder.settle(recorder.acknowledged(), &[cover]).unwrap();
        assert_eq!(
            recorder.record().settled.finished.total(),
            settled,
            "{cover:?}"
        );
    }
}

#[test]
fn nothing_is_reserved_that_could_not_be_written_down() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gone").join("j");
    std::fs::create_dir(dir.path().join("gone")).unwrap();
    let recorder = Recorder::new(record(100), Some(JournalFile::lock(&path).unwrap()), None);
    std::fs::remove_dir_all(dir.path().join("gone")).unwrap();
    assert!(recorder.reserve(50).is_err());
    assert_eq!(recorder.sent(), 0);
}

fn miss(key: &str) -> Miss {
    Miss {
        key_there: None,
        input: "dump.rdb".into(),
        db: 0,
        key: key.into(),
        value_type: "string".into(),
        bytes: 1,
        offset: 9,
        road: Some(Road::Raw),
        outcome: Outcome::Conflict.name(),
        reason: "the destination has this key".into(),
    }
}

/// What is tried again may fail again: it stands there once.
#[test]
fn lines_of_keys_that_are_uncertain_again_are_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, lines) = (dir.path().join("j"), dir.path().join("failures.ndjson"));
    let file = JournalFile::lock(&path).unwrap();
    let ledger = Ledger::open(&lines, None).unwrap();
    let recorder = Recorder::new(record(100), Some(file), Some(ledger));
    recorder.reserve(100).unwrap();
    let conflict = |position: u64, key: &str| {
        let mut outcomes = Tally::default();
        outcomes.add(Outcome::Conflict);
        let positions = Ranges::of(position..position + 1);
        recorder
            .finished(&positions, &outcomes, &Lifetimes::default(), &[miss(key)])
            .unwrap();
    };
    let in_file = || -> Vec<String> {
        let text = std::fs::read_to_string(&lines).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["key"].as_str().unwrap().to_owned())
            .collect()
    };
    conflict(3, "kept");
    recorder
        .settle(recorder.acknowledged(), &[Cover::AtOnce])
        .unwrap();
    conflict(5, "once");
    conflict(6, "twice");
    recorder
        .settle(recorder.acknowledged(), &[Cover::Unknown])
        .unwrap();
    assert_eq!(in_file(), ["kept", "once", "twice"]);
    conflict(7, "not yet written down");
    assert_eq!(recorder.forget_unsettled().unwrap(), 3);
    assert_eq!(in_file(), ["kept"]);
    conflict(5, "once");
    recorder.end(Phase::Done, None).unwrap();
    assert_eq!(in_file(), ["kept", "once"]);
    let on_disk = JournalFile::read(&path).unwrap().unwrap();
    let length = std::fs::metadata(&lines).unwrap().len();
    assert_eq!(on_disk.ledger, Some(length));
    assert_eq!(
        (on_disk.acknowledged.ledger, on_disk.settled.ledger < length),
        (length, true)
    );
}
