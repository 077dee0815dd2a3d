//! The hooks of exports, on the main thread.

use crate::envoy::abi::{Buffer, ConfigPtr, HeaderLine};
use crate::envoy::filter_config::Config;
use crate::export::{calls, turn};
use sidespan_runtime::process::panic_guard;
use std::ffi::c_void;

/// The exporter's turn, by [`Scheduler::commit`](crate::envoy::scheduler::Scheduler::commit); main thread.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    _config: ConfigPtr,
    _module: *const c_void,
    _event: u64,
) {
    panic_guard::call((), turn::on_turn);
}

/// # Safety
///
/// There must be that many lines, valid for `'a`.
unsafe fn lines<'a>(lines: *const HeaderLine, count: usize) -> Vec<(&'a [u8], &'a [u8])> {
    if lines.is_null() {
        return Vec::new();
    }
    // SAFETY: as the caller says.
    let lines = unsafe { std::slice::from_raw_parts(lines, count) };
    // SAFETY: as the caller says.
    let read = |buffer: Buffer| unsafe { buffer.read() };
    lines
        .iter()
        .map(|line| (read(line.key), read(line.value)))
        .collect()
}

/// The answer to an export begins; main thread, as all five. With
/// `end_of_stream` it is all there is, trailers included.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_headers(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
    headers: *const HeaderLine,
    count: usize,
    _end_of_stream: bool,
) {
    panic_guard::call((), || {
        // SAFETY: they are valid during this hook.
        calls::on_headers(Config(config), stream, &unsafe { lines(headers, count) });
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_data(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
    data: *const Buffer,
    count: usize,
    _end_of_stream: bool,
) {
    panic_guard::call((), || {
        if data.is_null() {
            return;
        }
        // SAFETY: there are that many, valid during this hook.
        for chunk in unsafe { std::slice::from_raw_parts(data, count) } {
            // SAFETY: as above.
            calls::on_data(Config(config), stream, unsafe { chunk.read() });
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
    trailers: *const HeaderLine,
    count: usize,
) {
    panic_guard::call((), || {
        // SAFETY: they are valid during this hook.
        calls::on_trailers(Config(config), stream, &unsafe { lines(trailers, count) });
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_complete(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
) {
    panic_guard::call((), || calls::on_end(Config(config), stream, true));
}

/// The reason is always the same one.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_reset(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
    _reason: u32,
) {
    panic_guard::call((), || calls::on_end(Config(config), stream, false));
}
