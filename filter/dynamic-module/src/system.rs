//! Time, entropy, and the numbers of worker threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// Unix time in nanoseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// 32 bytes of entropy.
pub(crate) fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        // Ids need to be unique, not secret.
        let (time, place) = (now().to_le_bytes(), (&raw const seed).addr().to_le_bytes());
        for (byte, noise) in seed.iter_mut().zip(time.into_iter().chain(place)) {
            *byte = noise;
        }
    }
    seed
}

/// A number of this thread, for workers that Envoy gives none.
pub(crate) fn worker() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static WORKER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    WORKER.with(|worker| *worker)
}
