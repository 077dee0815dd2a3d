//! Values that each worker thread has for itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose holder may have panicked: what it guards is valid after
/// each statement.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One value for each worker of the process.
#[derive(Debug)]
pub struct PerWorker<T>(Vec<Mutex<T>>);

impl<T> PerWorker<T> {
    /// Makes a value for each of so many workers.
    pub fn new(workers: usize, make: impl FnMut() -> T) -> Self {
        let all = std::iter::repeat_with(make).map(Mutex::new);
        Self(all.take(workers).collect())
    }

    /// Locks a worker's own value. A thread with a higher number, such as the main
    /// one's, shares with another.
    pub fn of(&self, worker: usize) -> Option<MutexGuard<'_, T>> {
        self.0.get(worker % self.0.len().max(1)).map(lock)
    }

    /// Locks each value in turn, for the main thread.
    pub fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.0.iter().map(lock)
    }
}
