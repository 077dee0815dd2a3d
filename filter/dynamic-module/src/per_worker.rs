//! What each worker has for itself.

use crate::exporter::lock;
use crate::ffi;
use std::sync::{Mutex, MutexGuard};

/// One for each worker of the process.
#[derive(Debug)]
pub(crate) struct PerWorker<T>(Vec<Mutex<T>>);

impl<T> PerWorker<T> {
    /// As many as there are workers; main thread.
    pub(crate) fn new(make: impl FnMut() -> T) -> Self {
        let all = std::iter::repeat_with(make).map(Mutex::new);
        Self(all.take(ffi::workers()).collect())
    }

    /// A worker's own. A thread with a higher number, such as the main one's,
    /// shares with another.
    pub(crate) fn of(&self, worker: usize) -> Option<MutexGuard<'_, T>> {
        self.0.get(worker % self.0.len().max(1)).map(lock)
    }

    /// Each in turn, for the main thread.
    pub(crate) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        self.0.iter().map(lock)
    }
}
