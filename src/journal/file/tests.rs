use std::collections::BTreeMap;

use super::*;
use crate::journal::{Counted, InputId, Lifetimes, Phase, Progress, Ranges};
use crate::outcome::{Outcome, Road, Tally};

fn record() -> Record {
    let mut outcomes = Tally::default();
    outcomes.add_many(Outcome::Restored(Road::Raw), 7);
    outcomes.add(Outcome::Conflict);
    let mut acknowledged = Progress::default();
    let mut lifetimes = Lifetimes::default();
    (0..3).for_each(|_| lifetimes.add(None));
    acknowledged.add(&Ranges::of(0..6), &Tally::default(), &lifetimes);
    lifetimes.add(Some(1_000_000));
    acknowledged.add(&Ranges::of(10..12), &outcomes, &lifetimes);
    let mut settled = Progress::default();
    let mut three = Tally::default();
    three.add_many(Outcome::Restored(Road::Raw), 3);
    settled.add(&Ranges::of(0..3), &three, &Lifetimes::default());
    Record {
        phase: Phase::Running,
        stopped: None,
        written: "2026-11-23T00:00:00Z".into(),
        runs: 1,
        elapsed_ms: 5,
        destination: "redis://h:1".into(),
        product: "Redis 7.0.15".into(),
        run_ids: [("redis://h:1".to_owned(), "abc".to_owned())].into(),
        keys_before: Some(0),
        inputs: vec![InputId::of("dump.rdb", b"REDIS0011 and more")],
        entries: vec![20],
        options: BTreeMap::from([("--on-conflict".into(), "fail".into())]),
        instant_ms: 1,
        clock_ahead_ms: None,
        ttl_shift_ms: None,
        staging: "0123456789ab".to_owned(),
        functions: Counted::default(),
        ledger: None,
        evicted: 0,
        sent: 15,
        uncertain: None,
        acknowledged,
        settled,
    }
}

#[test]
fn a_lock_of_a_load_that_is_about_to_end_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("j");
    let first = JournalFile::lock(&path).unwrap();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(DYING / 4);
        drop(first);
    });
    let second = JournalFile::lock(&path).unwrap();
    ends.join().unwrap();
    let refused = JournalFile::lock(&path).unwrap_err();
    assert!(refused.to_string().contains("another load"), "{refused}");
    drop(second);
}

#[test]
fn what_was_written_is_read_again_and_one_process_at_a_time_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dump.rdb.journal");
    assert_eq!(JournalFile::read(&path).unwrap(), None);
    let file = JournalFile::lock(&path).unwrap();
    file.write(&record()).unwrap();
    assert_eq!(JournalFile::read(&path).unwrap(), Some(record()));
    let second = JournalFile::lock(&path).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Usage, "{second}");
    drop(file);
    drop(JournalFile::lock(&path).unwrap());
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["dump.rdb.journal"], "no lock and no part is left");
}

#[test]
fn a_journal_that_was_cut_or_changed_anywhere_is_refused() {
    let whole = print(&record()).unwrap();
    assert_eq!(parse(&whole).unwrap(), record());
    for length in 0..whole.len() {
        assert!(parse(&whole[..length]).is_err(), "cut at {length}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(parse(&changed).is_err(), "byte {at} changed");
    }
    let newer = String::from_utf8(whole)
        .unwrap()
        .replacen("journal 1", "journal 2", 1);
    let error = parse(newer.as_bytes()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_journal_that_contradicts_itself_is_refused() {
    let refused = |change: &dyn Fn(&mut Record)| {
        let mut bad = record();
        change(&mut bad);
        parse(&print(&bad).unwrap()).unwrap_err().to_string()
    };
    assert!(refused(&|r| r.acknowledged.outcomes.add(Outcome::Failed)).contains("outcomes"));
    assert!(
        refused(&|r| r.entries = vec![3]).contains("do not have")
            || refused(&|r| r.entries = vec![3]).contains("more was sent")
    );
    assert!(refused(&|r| r.sent = 21).contains("more was sent"));
    assert!(refused(&|r| r.uncertain = Some(Ranges::of(4..30))).contains("uncertain"));
    assert!(refused(&|r| r.entries.push(1)).contains("how many entries"));
}

#[test]
fn what_is_uncertain_after_a_crash_and_after_an_orderly_end() {
    let mut r = record();
    let crash: Vec<_> = r.uncertain().iter().collect();
    assert_eq!(crash, [6..10, 12..15]);
    r.uncertain = Some(Ranges::of(7..8));
    assert_eq!(r.uncertain(), Ranges::of(7..8));
    r.forget_unsettled();
    let back: Vec<_> = r.uncertain().iter().collect();
    assert_eq!(back, [3..6, 7..8, 10..12]);
    assert_eq!(r.acknowledged.finished.low_mark(), 3);
}

#[test]
fn another_load_is_told_apart_by_what_differs() {
    let was = record();
    assert_eq!(was.mismatch(&record()), None);
    let differs = |change: &dyn Fn(&mut Record)| {
        let mut other = record();
        change(&mut other);
        was.mismatch(&other).unwrap()
    };
    assert!(differs(&|r| r.destination = "redis://i:1".into()).contains("redis://i:1"));
    assert!(differs(&|r| r.inputs[0].footer = "0".into()).contains("checksum"));
    assert!(differs(&|r| r.inputs[0].size = 3).contains("3 bytes"));
    assert!(differs(&|r| r.entries = vec![19]).contains("19"));
    let text = differs(&|r| {
        r.options.insert("--on-conflict".into(), "skip".into());
        r.options.insert("--db".into(), "1".into());
    });
    assert_eq!(
        text,
        "--on-conflict was fail, is skip, --db was not given, is 1"
    );
}

#[test]
fn a_place_that_cannot_be_written_is_said() {
    let error = JournalFile::lock(Path::new("/proc/none/journal")).unwrap_err();
    assert!(error.to_string().contains("--no-journal"), "{error}");
}
