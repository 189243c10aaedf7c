//! The checksum on another core, a little ahead of the scan.
//!
//! The thread reads the same bytes as the scan, so it also takes the page faults and the waits for the disk. It stays at
//! most [`LEAD`] bytes ahead: a file that is larger than memory is still read once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Thread};

use super::{Options, Records, Snapshot};
use crate::wire::crc64;

/// Bytes between two notes of the checksum.
const STEP: usize = 2 << 20;

/// How far it may be ahead of the scan. In a room of 64 MiB, 64 MiB of lead read 1.7 times as many bytes from the disk as the
/// file has (the kernel reads ahead of both threads), 8 MiB read each once.
const LEAD: u64 = 8 << 20;

/// Below this a thread costs more than it saves.
const WORTH_IT: usize = 4 << 20;

/// What the two threads share.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The checksum of all bytes before an offset, for each step: 8 MB for a terabyte.
    notes: Mutex<Notes>,
    noted: Condvar,
    /// How far the scan is.
    scanned: AtomicU64,
    /// Where the scan is to wake the other thread; `u64::MAX` while that one is at work.
    wakes_at: AtomicU64,
    stop: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug, Default)]
struct Notes {
    /// The checksum of the first `(i + 1) * STEP` bytes.
    sums: Vec<u64>,
    /// No more will come.
    done: bool,
}

impl Ahead {
    fn new() -> Self {
        Self {
            notes: Mutex::default(),
            noted: Condvar::new(),
            scanned: AtomicU64::new(0),
            wakes_at: AtomicU64::new(u64::MAX),
            stop: AtomicBool::new(false),
            thread: Mutex::new(None),
        }
    }

    /// The scan is at `offset`.
    pub(super) fn scanned(&self, offset: u64) {
        // Either this sees that the other thread is about to sleep, or that one sees how far the scan is.
        self.scanned.store(offset, Ordering::SeqCst);
        if offset >= self.wakes_at.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    fn wake(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*thread {
            thread.unpark();
        }
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// The other thread.
    fn run(&self, data: &[u8]) {
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        let mut sum = 0;
        let (steps, _) = data.as_chunks::<STEP>();
        let mut at = 0u64;
        for step in steps {
            if at.saturating_sub(self.scanned.load(Ordering::Relaxed)) > LEAD {
                self.wait_for(at.saturating_sub(LEAD / 2));
            }
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            sum = crc64::update(sum, step);
            at = at.saturating_add(STEP as u64);
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.sums.push(sum);
            drop(notes);
            self.noted.notify_one();
        }
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.done = true;
        drop(notes);
        self.noted.notify_one();
    }

    /// Sleeps until the scan is at `offset`. To be woken at each of its steps would cost both threads more than the sums do.
    fn wait_for(&self, offset: u64) {
        self.wakes_at.store(offset, Ordering::SeqCst);
        while self.scanned.load(Ordering::SeqCst) < offset && !self.stop.load(Ordering::SeqCst) {
            thread::park();
        }
        self.wakes_at.store(u64::MAX, Ordering::SeqCst);
    }

    /// The checksum of the bytes of `data` before `end`, which the scan has reached.
    pub(super) fn sum_before(&self, data: &[u8], end: u64) -> u64 {
        self.scanned(end);
        let whole = usize::try_from(end).unwrap_or(usize::MAX) / STEP;
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        while notes.sums.len() < whole && !notes.done {
            notes = self
                .noted
                .wait(notes)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let known = whole.min(notes.sums.len());
        let sum = known
            .checked_sub(1)
            .and_then(|last| notes.sums.get(last))
            .copied()
            .unwrap_or(0);
        drop(notes);
        let from = known.saturating_mul(STEP);
        let until = usize::try_from(end).unwrap_or(usize::MAX);
        crc64::update(sum, data.get(from..until).unwrap_or_default())
    }
}

/// Ends the other thread, also where the scan panics.
struct StopAtEnd<'a>(&'a Ahead);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<'data> Snapshot<'data> {
    /// Hands all records to `read`, as [`Snapshot::records`] would; with [`Options::verify_checksum`] the checksum of a large
    /// file is computed by a second thread meanwhile, where there is a core for it.
    pub fn read<R>(&self, read: impl FnOnce(&mut Records<'data>) -> R) -> R {
        let has_core = || thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        if !self.options.verify_checksum
            || !self.header.has_crc()
            || self.data.len() < WORTH_IT
            || !has_core()
        {
            return read(&mut self.records());
        }
        let ahead = Arc::new(Ahead::new());
        thread::scope(|scope| {
            scope.spawn(|| ahead.run(self.data));
            let _stop = StopAtEnd(&ahead);
            let options = Options {
                verify_checksum: false,
                ..self.options
            };
            let mut records = Records::new(self.data, self.header, options);
            records.verify_with(Arc::clone(&ahead));
            read(&mut records)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ChecksumState, Record, Snapshot};
    use crate::wire::crc64;

    #[test]
    fn the_checksum_waits_for_a_scan_that_stands_still() {
        let data = vec![0; 4 * usize::try_from(LEAD).unwrap()];
        let ahead = Ahead::new();
        let steps = || ahead.notes.lock().unwrap().sums.len();
        let most = usize::try_from(LEAD).unwrap() / STEP + 1;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| ahead.run(&data));
            while steps() < most {
                std::thread::yield_now();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert_eq!(steps(), most);
            ahead.stop();
            thread.join().unwrap();
        });
        assert_eq!(steps(), most);
    }

    fn file(keys: usize) -> Vec<u8> {
        let mut bytes = b"REDIS0011".to_vec();
        for i in 0..keys {
            bytes.extend_from_slice(b"\x00\x04");
            bytes.extend_from_slice(&u32::try_from(i).unwrap().to_le_bytes());
            bytes.extend_from_slice(b"\x52\x00");
            bytes.resize(bytes.len() + 0x1200, b'x');
        }
        bytes.push(0xff);
        let sum = crc64::checksum(&bytes).to_le_bytes();
        bytes.extend_from_slice(&sum);
        bytes
    }

    fn ends(bytes: &[u8]) -> Result<(u64, ChecksumState, usize), String> {
        let snapshot = Snapshot::parse(bytes).unwrap();
        snapshot.read(|records| {
            loop {
                match records.next_record() {
                    Ok(Some(Record::End(end))) => {
                        return Ok((records.entries_seen(), end.checksum, end.trailing.len()));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no end"),
                    Err(error) => return Err(error.to_string()),
                }
            }
        })
    }

    #[test]
    fn the_result_is_that_of_one_thread() {
        for keys in [0, 10, 1000, 2000, 20_000] {
            let mut bytes = file(keys);
            let (entries, state, _) = ends(&bytes).unwrap();
            assert_eq!(entries, keys as u64);
            assert!(matches!(state, ChecksumState::Verified(_)));
            // Bytes behind the end, more than the file itself.
            let long = [&bytes[..], &vec![7; bytes.len() + (9 << 20)]].concat();
            assert_eq!(ends(&long).unwrap().1, state);
            // A flipped bit anywhere.
            for at in [10, bytes.len() / 2, bytes.len() - 10] {
                if keys > 0 && bytes[at] == b'x' {
                    bytes[at] ^= 1;
                    assert!(ends(&bytes).unwrap_err().contains("wrong checksum"), "{at}");
                    bytes[at] ^= 1;
                }
            }
            if keys > 0 {
                // Damage in the middle: the other thread ends too.
                let cut = bytes.len() / 2;
                assert!(ends(&bytes[..cut]).is_err());
            }
        }
    }
}
