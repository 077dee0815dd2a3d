//! What a bug costs: a counter and a line, never a request.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Panics that were caught and not published yet.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// Calls `f`, and returns `otherwise` if it panics: no panic may cross into the
/// host.
pub fn call<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    // What a panic leaves behind is locked data of which each part is valid by
    // itself, and a stream that is not looked at again.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
        // A payload may panic when it is dropped.
        std::mem::forget(panic);
        otherwise
    })
}

/// Returns the number of panics since the last call.
pub fn take_caught() -> u64 {
    if CAUGHT.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    CAUGHT.swap(0, Ordering::Relaxed)
}
