//! What a bug costs: a counter and a line, never a request.

use crate::ffi::{self, LogLevel};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

/// Panics that were caught and not published yet.
static CAUGHT: AtomicU64 = AtomicU64::new(0);

/// Has a panic write one line to Envoy's log in place of its standard error;
/// only the first one, as the next is most likely the same.
pub(crate) fn install() {
    static FIRST: Once = Once::new();
    std::panic::set_hook(Box::new(|panic| {
        FIRST.call_once(|| {
            ffi::log(
                LogLevel::Critical,
                &format!("sidespan: internal error, a request is not traced: {panic}"),
            );
        });
    }));
}

/// Calls `f`, and gives `otherwise` if it panics: no panic may cross into
/// Envoy.
pub(crate) fn call<T>(otherwise: T, f: impl FnOnce() -> T) -> T {
    // What a panic leaves behind is locked data of which each part is valid by
    // itself, and a stream that is not looked at again.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
        // A payload may panic as it goes.
        std::mem::forget(panic);
        otherwise
    })
}

/// Panics since this was asked the last time.
pub(crate) fn take_caught() -> u64 {
    if CAUGHT.load(Ordering::Relaxed) == 0 {
        return 0;
    }
    CAUGHT.swap(0, Ordering::Relaxed)
}
