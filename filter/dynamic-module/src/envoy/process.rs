//! Envoy's log, and what it knows of its process.

use crate::envoy::abi::*;
use sidespan_runtime::logger::LogLevel;
use std::sync::OnceLock;

/// Writes a line to Envoy's log, from any thread.
pub(crate) fn log(level: LogLevel, text: &str) {
    // SAFETY: Envoy copies the text.
    unsafe { envoy_dynamic_module_callback_log(level as u32, Buffer::of(text)) };
}

/// Whether Envoy writes lines of the level debug.
pub(crate) fn is_debug() -> bool {
    // SAFETY: takes a number.
    unsafe { envoy_dynamic_module_callback_log_enabled(LogLevel::Debug as u32) }
}

/// How many workers there are, at least one. Envoy 1.38 crashes where a worker
/// asks, so the main thread must have asked before.
pub(crate) fn workers() -> usize {
    static WORKERS: OnceLock<usize> = OnceLock::new();
    *WORKERS.get_or_init(|| {
        // SAFETY: takes nothing.
        let count = unsafe { envoy_dynamic_module_callback_get_concurrency() as usize };
        count.max(1)
    })
}

/// Whether this process only validates its configuration; main thread.
pub(crate) fn is_validation() -> bool {
    // SAFETY: takes nothing.
    unsafe { envoy_dynamic_module_callback_is_validation_mode() }
}
