//! The proxy-wasm ABI 0.2.1: the one file that names what the host calls and
//! what it offers (<https://github.com/proxy-wasm/spec>).
//!
//! Written by hand rather than taken from an SDK for three reasons. A host
//! calls every callback that a module exports, so a module exports only those
//! it needs. A host's unexpected status is a value here, never a panic. And
//! headers are read in place, from one buffer.
#![allow(unsafe_code)]

use crate::types::{Buffer, Map, MetricType};
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_runtime::dispatch::DispatchError;
use sidespan_runtime::logger::LogLevel;
use std::alloc::Layout;
use std::time::Duration;

/// `size_t` of wasm32.
type Word = usize;

/// `proxy_status_t`; whatever is not `OK` is an error.
type Status = u32;

const OK: Status = 0;

const BAD_ARGUMENT: Status = 2;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, size: Word) -> Status;
    fn proxy_get_log_level(level: *mut u32) -> Status;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> Status;
    fn proxy_set_tick_period_milliseconds(period: u32) -> Status;
    fn proxy_set_effective_context(context_id: u32) -> Status;
    fn proxy_done() -> Status;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: Word,
        max_size: Word,
        data: *mut *mut u8,
        size: *mut Word,
    ) -> Status;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut Word) -> Status;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: Word,
        value: *const u8,
        value_size: Word,
    ) -> Status;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: Word) -> Status;
    fn proxy_get_property(
        path: *const u8,
        path_size: Word,
        data: *mut *mut u8,
        size: *mut Word,
    ) -> Status;
    fn proxy_set_property(
        path: *const u8,
        path_size: Word,
        value: *const u8,
        value_size: Word,
    ) -> Status;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: Word,
        data: *mut *mut u8,
        size: *mut Word,
        cas: *mut u32,
    ) -> Status;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: Word,
        value: *const u8,
        value_size: Word,
        cas: u32,
    ) -> Status;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: Word,
        argument: *const u8,
        argument_size: Word,
        data: *mut *mut u8,
        size: *mut Word,
    ) -> Status;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: Word, id: *mut u32) -> Status;
    fn proxy_increment_metric(id: u32, offset: i64) -> Status;
    fn proxy_record_metric(id: u32, value: u64) -> Status;
    fn proxy_get_metric(id: u32, value: *mut u64) -> Status;
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: Word,
        headers: *const u8,
        headers_size: Word,
        body: *const u8,
        body_size: Word,
        trailers: *const u8,
        trailers_size: Word,
        timeout_milliseconds: u32,
        token: *mut u32,
    ) -> Status;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(buffer: *mut u8, size: Word) -> u32;
    fn environ_sizes_get(count: *mut Word, size: *mut Word) -> u32;
    fn environ_get(pointers: *mut *mut u8, strings: *mut u8) -> u32;
}

/// Memory for a value that the host returns; taken over by [`returned`].
#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: Word) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the layout's size is not zero.
        Ok(layout) if size > 0 => unsafe { std::alloc::alloc(layout) },
        _ => std::ptr::null_mut(),
    }
}

/// Calls a function that returns a buffer.
///
/// `None` if it has none: a header that is not there, a property that this
/// version of the host does not know.
fn returned(call: impl FnOnce(*mut *mut u8, *mut Word) -> Status) -> Option<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    if call(&raw mut data, &raw mut size) != OK {
        return None;
    }
    if data.is_null() || size == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the host asked `proxy_on_memory_allocate` for exactly `size`
    // bytes, filled them, and now gives them away.
    Some(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// Writes a line to the proxy's log.
pub(crate) fn log(level: LogLevel, text: &str) {
    // SAFETY: the host copies the text before it returns.
    unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// Whether the proxy writes lines of the level debug.
pub(crate) fn is_debug() -> bool {
    let mut level = LogLevel::Info as u32;
    // SAFETY: the host writes a number.
    unsafe { proxy_get_log_level(&raw mut level) };
    level <= LogLevel::Debug as u32
}

/// Unix time in nanoseconds.
pub(crate) fn now() -> u64 {
    let mut time = 0;
    // SAFETY: the host writes eight bytes.
    unsafe { proxy_get_current_time_nanoseconds(&raw mut time) };
    time
}

/// 32 bytes of entropy.
pub(crate) fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    // SAFETY: the host writes no more than the size it is given.
    unsafe { random_get(seed.as_mut_ptr(), seed.len()) };
    seed
}

/// The variables that the VM was configured with. What is no UTF-8 is left
/// out.
pub(crate) fn environment() -> Vec<(String, String)> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: the host writes two words.
    if unsafe { environ_sizes_get(&raw mut count, &raw mut size) } != 0 {
        return Vec::new();
    }
    let mut pointers = vec![std::ptr::null_mut(); count];
    let mut strings = vec![0; size];
    // SAFETY: the host writes as much as it said before.
    if unsafe { environ_get(pointers.as_mut_ptr(), strings.as_mut_ptr()) } != 0 {
        return Vec::new();
    }
    // Each is `NAME=value` and a zero byte; the pointers say nothing more.
    strings
        .split(|&b| b == 0)
        .filter_map(|variable| std::str::from_utf8(variable).ok()?.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// How often the root in whose callback this is called gets a tick.
pub(crate) fn set_tick_period(period: Duration) {
    let millis = u32::try_from(period.as_millis()).unwrap_or(u32::MAX);
    // SAFETY: takes a number.
    unsafe { proxy_set_tick_period_milliseconds(millis) };
}

/// Makes the calls that follow, up to the end of this callback, those of
/// another context. Whether there is such a context.
pub(crate) fn set_effective_context(context_id: u32) -> bool {
    // SAFETY: takes a number.
    unsafe { proxy_set_effective_context(context_id) == OK }
}

/// The root that asked to be kept in `on_done` may go.
pub(crate) fn done() {
    // SAFETY: takes nothing.
    unsafe { proxy_done() };
}

/// A buffer, up to `max_size` bytes of it.
pub(crate) fn buffer(buffer: Buffer, max_size: usize) -> Vec<u8> {
    returned(|data, size| {
        // SAFETY: `returned` gives places to write to.
        unsafe { proxy_get_buffer_bytes(buffer as u32, 0, max_size, data, size) }
    })
    .unwrap_or_default()
}

/// All headers of a map.
pub(crate) fn header_pairs(map: Map) -> Pairs {
    let pairs = returned(|data, size| {
        // SAFETY: `returned` gives places to write to.
        unsafe { proxy_get_header_map_pairs(map as u32, data, size) }
    });
    Pairs(pairs.unwrap_or_default())
}

/// Sets a header in place of every line it has.
pub(crate) fn replace_header(map: Map, name: &str, value: &str) {
    // SAFETY: the host copies both before it returns.
    unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

/// Removes every line of a header.
pub(crate) fn remove_header(map: Map, name: &str) {
    // SAFETY: the host reads the name before it returns.
    unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

/// A property, as text or as the bytes of a little-endian number. `path` has
/// a zero byte between its parts.
pub(crate) fn property(path: &str) -> Option<Vec<u8>> {
    returned(|data, size| {
        // SAFETY: the host reads the path before it returns.
        unsafe { proxy_get_property(path.as_ptr(), path.len(), data, size) }
    })
}

/// Sets the filter state `wasm.NAME` of the current stream.
pub(crate) fn set_filter_state(name: &str, value: &str) {
    // SAFETY: the host copies both before it returns.
    unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// Calls a function that is the host's own.
fn foreign_function(name: &str, argument: &[u8]) -> Option<Vec<u8>> {
    returned(|data, size| {
        // SAFETY: the host reads the name and the argument before it returns.
        unsafe {
            proxy_call_foreign_function(
                name.as_ptr(),
                name.len(),
                argument.as_ptr(),
                argument.len(),
                data,
                size,
            )
        }
    })
}

/// An expression of properties (CEL) that Envoy evaluates. It belongs to the
/// current root and goes with it.
pub(crate) struct Expression(Vec<u8>);

impl Expression {
    /// `None` where the host has none, or cannot read this one.
    pub(crate) fn new(text: &str) -> Option<Self> {
        foreign_function("expr_create", text.as_bytes()).map(Self)
    }

    /// Its value for the current stream: of a list, each one as the name in a
    /// pair of [`Pairs`]. `None` if any part of it has no value.
    pub(crate) fn evaluate(&self) -> Option<Vec<u8>> {
        foreign_function("expr_evaluate", &self.0)
    }
}

/// What every worker of the proxy sees under a key, and its version.
pub(crate) fn shared_data(key: &str) -> Option<(Vec<u8>, u32)> {
    let mut version = 0;
    let value = returned(|data, size| {
        // SAFETY: the host reads the key before it returns.
        unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &raw mut version) }
    })?;
    Some((value, version))
}

/// Shares a value, if it still has this version (0: whatever it has). Whether
/// it did.
pub(crate) fn set_shared_data(key: &str, value: &[u8], version: u32) -> bool {
    // SAFETY: the host copies both before it returns.
    unsafe {
        proxy_set_shared_data(
            key.as_ptr(),
            key.len(),
            value.as_ptr(),
            value.len(),
            version,
        ) == OK
    }
}

/// A stat of the proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric(u32);

impl Metric {
    /// The stat with this name, new or not.
    pub(crate) fn define(kind: MetricType, name: &str) -> Option<Self> {
        let mut id = 0;
        // SAFETY: the host reads the name before it returns.
        let status =
            unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) };
        (status == OK).then_some(Self(id))
    }

    /// Adds to a counter or a gauge; a gauge goes down by what is negative.
    pub(crate) fn add(self, n: i64) {
        // SAFETY: takes numbers.
        unsafe { proxy_increment_metric(self.0, n) };
    }

    /// Records a value in a histogram, or sets a gauge of the whole proxy.
    pub(crate) fn record(self, value: u64) {
        // SAFETY: takes numbers.
        unsafe { proxy_record_metric(self.0, value) };
    }

    /// The value of a gauge.
    pub(crate) fn value(self) -> u64 {
        let mut value = 0;
        // SAFETY: the host writes a number.
        unsafe { proxy_get_metric(self.0, &raw mut value) };
        value
    }
}

/// Starts an HTTP request of the current context and gives its token.
/// `headers` is a [serialized map](sidespan_core::headers::serialized_map).
pub(crate) fn http_call(
    cluster: &str,
    headers: &[u8],
    body: &[u8],
    timeout: Duration,
) -> Result<u32, DispatchError> {
    let mut token = 0;
    // A map of no pairs is their number alone.
    let trailers = 0u32.to_le_bytes();
    // SAFETY: the host copies all of it before it returns.
    let status = unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            &raw mut token,
        )
    };
    match status {
        OK => Ok(token),
        BAD_ARGUMENT => Err(DispatchError::NoCluster),
        _ => Err(DispatchError::NoEndpoint),
    }
}
