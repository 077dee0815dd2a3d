//! Calls to Envoy's main thread.

use crate::envoy::abi::*;
use std::ffi::c_void;

/// Calls the main thread on behalf of a configuration that may be gone.
#[derive(Debug)]
pub(crate) struct Scheduler(pub(super) *mut c_void);

// SAFETY: `commit` may be called from any thread.
unsafe impl Send for Scheduler {}

// SAFETY: `commit` only reads the weak reference; `drop` has it alone.
unsafe impl Sync for Scheduler {}

impl Scheduler {
    /// Has the hook `config_scheduled` called soon.
    pub(crate) fn commit(&self) {
        // SAFETY: it was not deleted yet.
        unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_commit(self.0, 0) };
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_delete(self.0) };
    }
}
