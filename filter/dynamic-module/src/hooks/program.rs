//! The hook of the module itself.

use crate::envoy::version::{Version, version};
use crate::logger;
use sidespan_runtime::process::panic_guard;
use std::ffi::{c_char, c_void};

/// Has the loader keep this file for good: a thread of ours may run in it
/// while Envoy closes its last handle, even by way of that thread's own call.
fn stay_loaded() {
    // SAFETY: a struct of pointers, to be filled.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: looks up which file a function is in.
    let found = unsafe { libc::dladdr(stay_loaded as *const c_void, &raw mut info) };
    if found != 0 && !info.dli_fname.is_null() {
        let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: the file is loaded; this changes how it is kept.
        unsafe { libc::dlopen(info.dli_fname, flags) };
    }
}

/// Once, when the file is loaded. Gives the ABI that this module speaks; every
/// Envoy takes another one's with a warning, so each is told its own.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    let abi = match version() {
        Version::V1_38 | Version::V1_39 => c"v0.1.0",
        Version::V1_40 => c"v0.2.0",
    };
    panic_guard::call((), || {
        stay_loaded();
        logger::install();
    });
    abi.as_ptr()
}
