//! Batches on their way from one thread to several others.
//!
//! Nobody goes to sleep for every batch: see [`Patience`]; and who sleeps for room sleeps until half of it is there.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::patience::Patience;

/// A queue with room for so many items.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    most: usize,
    /// There is an item, or nothing will come any more.
    filled: Condvar,
    /// Half of the room is free, or nobody takes anything any more.
    drained: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    /// No more will come.
    is_closed: bool,
    /// Threads that wait for an item, and for room: nobody else is to be woken, which takes a call of the kernel.
    takers: usize,
    givers: usize,
}

impl<T> Queue<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                is_closed: false,
                takers: 0,
                givers: 0,
            }),
            most,
            filled: Condvar::new(),
            drained: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item behind the others, once there is room. `false`, and the item is gone, where the queue is closed.
    pub(super) fn push(&self, item: T, patience: &mut Patience) -> bool {
        let has_room = |state: &State<T>| state.items.len() < self.most || state.is_closed;
        let soon = patience.soon(|| Some(self.state()).filter(|state| has_room(state)));
        let mut state = soon.unwrap_or_else(|| self.state());
        if state.items.len() >= self.most {
            let is_full =
                |state: &mut State<T>| state.items.len() > self.most / 2 && !state.is_closed;
            state.givers = state.givers.saturating_add(1);
            state = self
                .drained
                .wait_while(state, is_full)
                .unwrap_or_else(PoisonError::into_inner);
            state.givers = state.givers.saturating_sub(1);
        }
        if state.is_closed {
            return false;
        }
        state.items.push_back(item);
        let is_awaited = state.takers > 0;
        drop(state);
        if is_awaited {
            self.filled.notify_one();
        }
        true
    }

    /// The next item, once there is one; `None` when the queue is closed and empty.
    pub(super) fn pop(&self, patience: &mut Patience) -> Option<T> {
        let is_empty = |state: &mut State<T>| state.items.is_empty() && !state.is_closed;
        let soon = patience.soon(|| {
            let mut state = self.state();
            (!is_empty(&mut state)).then_some(state)
        });
        let mut state = soon.unwrap_or_else(|| self.state());
        if is_empty(&mut state) {
            state.takers = state.takers.saturating_add(1);
            state = self
                .filled
                .wait_while(state, is_empty)
                .unwrap_or_else(PoisonError::into_inner);
            state.takers = state.takers.saturating_sub(1);
        }
        let item = state.items.pop_front();
        let is_awaited = state.givers > 0 && state.items.len() <= self.most / 2;
        drop(state);
        if is_awaited {
            self.drained.notify_one();
        }
        item
    }

    /// No more will come: what is there is still taken.
    pub(super) fn close(&self) {
        self.end(false);
    }

    /// Nobody wants any more of it: what is there is dropped.
    pub(super) fn abandon(&self) {
        self.end(true);
    }

    fn end(&self, drops: bool) {
        let mut state = self.state();
        state.is_closed = true;
        let dropped = match drops {
            true => std::mem::take(&mut state.items),
            false => VecDeque::new(),
        };
        drop(state);
        drop(dropped);
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// Abandons the queue when what is returned is dropped by a panic.
    pub(super) fn abandoned_on_panic(&self) -> AbandonedOnPanic<'_, T> {
        AbandonedOnPanic(self)
    }

    /// Abandons the queue when what is returned is dropped.
    pub(super) fn abandoned_at_end(&self) -> AbandonedAtEnd<'_, T> {
        AbandonedAtEnd(self)
    }
}

/// See [`Queue::abandoned_on_panic`].
#[derive(Debug)]
pub(super) struct AbandonedOnPanic<'q, T>(&'q Queue<T>);

impl<T> Drop for AbandonedOnPanic<'_, T> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.abandon();
        }
    }
}

/// See [`Queue::abandoned_at_end`].
#[derive(Debug)]
pub(super) struct AbandonedAtEnd<'q, T>(&'q Queue<T>);

impl<T> Drop for AbandonedAtEnd<'_, T> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn everything_is_taken_once_whatever_the_room() {
        for most in [1, 2, 3, 16] {
            let (queue, sum) = (Queue::new(most), AtomicU64::new(0));
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let mut patience = Patience::default();
                        while let Some(item) = queue.pop(&mut patience) {
                            sum.fetch_add(item, Ordering::Relaxed);
                        }
                    });
                }
                let mut patience = Patience::default();
                for item in 1..=5000 {
                    assert!(queue.push(item, &mut patience));
                    assert!(queue.state().items.len() <= most);
                }
                queue.close();
            });
            assert_eq!(sum.into_inner(), 5000 * 5001 / 2);
        }
    }

    #[test]
    fn nobody_waits_where_everybody_else_has_panicked() {
        let queue = Queue::new(2);
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _abandons = queue.abandoned_on_panic();
                queue.pop(&mut Patience::default());
                std::panic::resume_unwind(Box::new("as asked"));
            });
            while queue.push(0, &mut Patience::default()) {}
            assert!(thread.join().is_err());
        });
        assert_eq!(queue.pop(&mut Patience::default()), None);
    }
}
