//! Text made from items on several threads, written in the order of the items.
//!
//! The caller's thread reads items and writes text; the others make text of batches of items. A batch has a channel of its
//! own for what it makes, and the caller empties these one after the other: a thread that is ahead waits at its channel, so
//! memory is flat, and the text of a value of several gigabytes passes in pieces like any other.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::{self, Receiver, RecvError, SyncSender, TryRecvError};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::{Error, ErrorKind, Result};
use crate::json::{PIECE, Spill};
use crate::verbs::patience::Patience;
use crate::verbs::queue::Queue;

/// Items of one batch, at most.
const BATCH: usize = 1024;

/// A batch ends when its items weigh so many bytes.
const BATCH_BYTES: u64 = 128 * 1024;

/// Batches that are under way for each thread: one that it works on, and others that wait, so that neither it nor the caller
/// has to wait for every batch.
const UNDER_WAY: usize = 3;

/// Pieces that a batch can have made before the caller takes them.
const PIECES: usize = 8;

/// What a thread does with an item: appends its text to the buffer, calls the spill where the buffer is full, and answers
/// what the caller should know of the item.
pub(super) trait Make<T, N>:
    FnMut(&T, &mut Vec<u8>, &mut Spill<'_>) -> Result<Option<N>>
{
}

impl<T, N, F> Make<T, N> for F where F: FnMut(&T, &mut Vec<u8>, &mut Spill<'_>) -> Result<Option<N>> {}

/// Where text and notes go.
pub(super) struct Ends<'a, T, N> {
    /// The text, in order.
    pub(super) out: &'a mut dyn Write,
    /// What was answered of an item, in order.
    pub(super) note: &'a mut dyn FnMut(&T, N) -> Result<()>,
}

impl<T, N> Ends<'_, T, N> {
    fn write(&mut self, text: &[u8]) -> Result<()> {
        self.out.write_all(text).map_err(unwritable)
    }

    /// Writes what was spilled. Less than a piece is spilled only where more will take long: it goes out at once.
    fn spill(&mut self, text: &[u8]) -> Result<()> {
        self.write(text)?;
        if text.len() < PIECE {
            self.out.flush().map_err(unwritable)?;
        }
        Ok(())
    }
}

/// Makes text of everything that `next` puts behind the items that stand there, until it answers `false`, on `threads`
/// threads besides the caller's; with less than two, on the caller's alone. `weight` is about how many bytes an item is to be walked; `maker` makes what each thread works with.
///
/// # Errors
/// Those of `next`, after the text of all items before; those of the makers, of the writer and of `note`. `Limit` where a thread
/// ended unexpectedly.
pub(super) fn run<T, N, M>(
    threads: usize,
    next: impl FnMut(&mut Vec<T>) -> Result<bool>,
    weight: impl Fn(&T) -> u64,
    maker: impl Fn() -> M,
    ends: Ends<'_, T, N>,
) -> Result<()>
where
    T: Copy + Send,
    N: Send,
    M: Make<T, N> + Send,
{
    if threads < 2 {
        return alone(next, maker(), ends);
    }
    // The caller sees to it that there are never many.
    let queue = Queue::new(usize::MAX);
    let spare = Spare::default();
    thread::scope(|scope| {
        // When this returns, for whatever reason, the threads find the queue closed.
        let _ends = queue.abandoned_at_end();
        let made: Vec<_> = (0..threads)
            .map(|_| {
                let (make, queue, spare) = (maker(), &queue, &spare);
                scope.spawn(move || serve(make, queue, spare))
            })
            .collect();
        let led = lead(threads, next, weight, &queue, &spare, ends);
        queue.abandon();
        // A thread that has panicked has not ended its batch, which is the error then.
        made.into_iter().fold(led, |led, thread| {
            led.and(thread.join().map_err(|_| lost_thread()))
        })
    })
}

fn alone<T, N>(
    mut next: impl FnMut(&mut Vec<T>) -> Result<bool>,
    mut make: impl Make<T, N>,
    mut ends: Ends<'_, T, N>,
) -> Result<()> {
    let (mut text, mut items) = (Vec::new(), Vec::new());
    let result = loop {
        items.clear();
        let goes_on = next(&mut items);
        for item in &items {
            let made = make(item, &mut text, &mut |text| {
                ends.spill(text)?;
                text.clear();
                Ok(())
            });
            if let Some(note) = made? {
                (ends.note)(item, note)?;
            }
        }
        match goes_on {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    ends.write(&text)?;
    result
}

/// Items, and where their text goes.
struct Batch<T, N> {
    items: Vec<T>,
    pieces: SyncSender<Piece<T, N>>,
}

enum Piece<T, N> {
    /// What the batch ends with.
    Text(Vec<u8>),
    Spilled(Vec<u8>),
    Note(T, N),
    Failed(Error),
}

/// Buffers that can be filled again: memory that was touched before costs the kernel nothing.
struct Spare<T> {
    texts: Mutex<Vec<Vec<u8>>>,
    items: Mutex<Vec<Vec<T>>>,
}

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self {
            texts: Mutex::default(),
            items: Mutex::default(),
        }
    }
}

/// Takes a spare buffer.
fn reused<B>(spare: &Mutex<Vec<B>>, fresh: impl FnOnce() -> B) -> B {
    let taken = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
    taken.unwrap_or_else(fresh)
}

/// Gives a buffer back, emptied.
fn put_back<B>(spare: &Mutex<Vec<Vec<B>>>, mut buffer: Vec<B>) {
    buffer.clear();
    spare
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(buffer);
}

fn lead<T, N>(
    threads: usize,
    mut next: impl FnMut(&mut Vec<T>) -> Result<bool>,
    weight: impl Fn(&T) -> u64,
    queue: &Queue<Batch<T, N>>,
    spare: &Spare<T>,
    mut ends: Ends<'_, T, N>,
) -> Result<()> {
    let mut under_way: VecDeque<Receiver<Piece<T, N>>> = VecDeque::new();
    // What the items ended with; known before the text of the last ones is written.
    let mut end: Option<Result<()>> = None;
    let mut patience = Patience::default();
    loop {
        while end.is_none() && under_way.len() < threads.saturating_mul(UNDER_WAY) {
            let mut items = reused(&spare.items, || Vec::with_capacity(BATCH));
            let mut bytes = 0u64;
            while items.len() < BATCH && bytes < BATCH_BYTES {
                let before = items.len();
                let goes_on = next(&mut items);
                let new = items.iter().skip(before).map(&weight);
                bytes = new.fold(bytes, u64::saturating_add);
                match goes_on {
                    Ok(true) => {}
                    Ok(false) => end = Some(Ok(())),
                    Err(error) => end = Some(Err(error)),
                }
                if end.is_some() {
                    break;
                }
            }
            let (pieces, taken) = mpsc::sync_channel(PIECES);
            under_way.push_back(taken);
            queue.push(Batch { items, pieces }, &mut patience);
        }
        let Some(pieces) = under_way.pop_front() else {
            return end.unwrap_or(Ok(()));
        };
        loop {
            // It ends with its text or with an error, and with neither where its thread is lost.
            let look = || match pieces.try_recv() {
                Err(TryRecvError::Empty) => None,
                Ok(piece) => Some(Ok(piece)),
                Err(TryRecvError::Disconnected) => Some(Err(RecvError)),
            };
            let piece = patience.soon(look).unwrap_or_else(|| pieces.recv());
            let Ok(piece) = piece else {
                return Err(lost_thread());
            };
            match piece {
                Piece::Text(text) => {
                    ends.write(&text)?;
                    put_back(&spare.texts, text);
                    break;
                }
                Piece::Spilled(text) => {
                    ends.spill(&text)?;
                    put_back(&spare.texts, text);
                }
                Piece::Note(item, note) => (ends.note)(&item, note)?,
                Piece::Failed(error) => return Err(error),
            }
        }
    }
}

/// Works on batches until there are no more.
fn serve<T: Copy, N>(mut make: impl Make<T, N>, queue: &Queue<Batch<T, N>>, spare: &Spare<T>) {
    let fresh = || reused(&spare.texts, || Vec::with_capacity(PIECE.saturating_mul(2)));
    let _abandons = queue.abandoned_on_panic();
    let mut patience = Patience::default();
    while let Some(Batch { items, pieces }) = queue.pop(&mut patience) {
        let send = |piece| pieces.send(piece).map_err(|_| nobody_writes());
        let mut text = fresh();
        let worked = items.iter().try_for_each(|item| {
            let note = make(item, &mut text, &mut |text| {
                send(Piece::Spilled(std::mem::replace(text, fresh())))
            })?;
            match note {
                Some(note) => send(Piece::Note(*item, note)),
                None => Ok(()),
            }
        });
        put_back(&spare.items, items);
        // Where nobody takes it any more, the caller has another reason to end.
        let _ = match worked {
            Ok(()) => send(Piece::Text(text)),
            Err(error) => send(Piece::Spilled(text)).and_then(|()| send(Piece::Failed(error))),
        };
    }
}

#[cold]
fn unwritable(error: std::io::Error) -> Error {
    Error::io("the output cannot be written", error)
}

#[cold]
fn lost_thread() -> Error {
    Error::new(
        ErrorKind::Limit,
        "a thread that makes text ended unexpectedly",
    )
}

#[cold]
fn nobody_writes() -> Error {
    Error::new(ErrorKind::Interrupted, "nobody writes the text any more")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of very different weight: each makes its number as often as its weight says.
    fn made(
        threads: usize,
        fail_at: Option<u64>,
        end: Result<()>,
    ) -> (Vec<u8>, Vec<u64>, Result<()>) {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut at = 0u64;
        let mut end = Some(end);
        let result = run(
            threads,
            |items| {
                at += 1;
                if at <= 3000 {
                    items.push(at);
                    Ok(true)
                } else {
                    end.take().unwrap_or(Ok(())).map(|()| false)
                }
            },
            |at| if at.is_multiple_of(500) { 500_000 } else { 10 },
            || {
                |item: &u64, text: &mut Vec<u8>, spill: &mut Spill<'_>| {
                    if fail_at == Some(*item) {
                        return Err(Error::new(ErrorKind::Limit, "as asked"));
                    }
                    let times = if item.is_multiple_of(500) { 50_000 } else { 1 };
                    for _ in 0..times {
                        text.extend_from_slice(format!("{item},").as_bytes());
                        if text.len() >= PIECE {
                            spill(text)?;
                        }
                    }
                    Ok(item.is_multiple_of(100).then_some(*item))
                }
            },
            Ends {
                out: &mut out,
                note: &mut |item, note| {
                    assert_eq!(*item, note);
                    notes.push(note);
                    Ok(())
                },
            },
        );
        (out, notes, result)
    }

    fn expected(until: u64) -> Vec<u8> {
        (1..=until)
            .map(|item| {
                format!("{item},").repeat(if item.is_multiple_of(500) { 50_000 } else { 1 })
            })
            .collect::<String>()
            .into_bytes()
    }

    #[test]
    fn any_number_of_threads_writes_the_same() {
        let all = expected(3000);
        for threads in [0, 1, 2, 3, 8] {
            let (out, notes, result) = made(threads, None, Ok(()));
            assert!(result.is_ok() && out == all, "{threads} threads");
            assert!(notes.iter().copied().eq((1..=30).map(|n| n * 100)));
        }
    }

    #[test]
    fn what_stands_before_an_error_is_written() {
        for threads in [1, 2, 4] {
            let end = Err(Error::new(ErrorKind::Corrupt, "cut off"));
            let (out, _, result) = made(threads, None, end);
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt);
            assert!(out == expected(3000));
            let (out, _, result) = made(threads, Some(1234), Ok(()));
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Limit);
            if threads > 1 {
                assert!(out == expected(1233));
            }
        }
    }

    #[test]
    fn threads_that_panic_are_an_error_and_no_end() {
        for (threads, panics_at) in [(2, 1500), (2, 1), (3, 2900), (8, 3000)] {
            let (mut out, mut at) = (Vec::new(), 0u64);
            let result = run(
                threads,
                |items| {
                    at += 1;
                    items.push(at);
                    Ok(at < 3000)
                },
                |_| 100,
                || {
                    move |item: &u64, text: &mut Vec<u8>, _: &mut Spill<'_>| {
                        assert!(*item < panics_at, "as asked");
                        text.extend_from_slice(format!("{item},").as_bytes());
                        Ok(None::<()>)
                    }
                },
                Ends {
                    out: &mut out,
                    note: &mut |_, ()| Ok(()),
                },
            );
            let error = result.unwrap_err();
            assert!(error.to_string().contains("unexpectedly"), "{error}");
        }
    }

    #[test]
    fn a_reader_that_goes_away_ends_everything() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        for threads in [1, 2, 4] {
            let mut at = 0u64;
            let result = run(
                threads,
                |items| {
                    at += 1;
                    items.push(at);
                    Ok(true)
                },
                |_| 1000,
                || {
                    |_: &u64, text: &mut Vec<u8>, spill: &mut Spill<'_>| {
                        text.resize(PIECE, b'x');
                        spill(text).map(|()| None::<()>)
                    }
                },
                Ends {
                    out: &mut Closed,
                    note: &mut |_, ()| Ok(()),
                },
            );
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Io);
        }
    }
}
