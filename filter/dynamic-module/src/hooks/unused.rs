//! Hooks that Envoy demands and has no reason to call.

use crate::envoy::abi::{Buffer, HeaderLine, StreamPtr};
use std::ffi::c_void;

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
    _stream: StreamPtr,
    _filter: *const c_void,
    _event: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
    _stream: StreamPtr,
    _filter: *const c_void,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
    _stream: StreamPtr,
    _filter: *const c_void,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_callout_done(
    _stream: StreamPtr,
    _filter: *const c_void,
    _callout: u64,
    _result: u32,
    _headers: *const HeaderLine,
    _header_count: usize,
    _chunks: *const Buffer,
    _chunk_count: usize,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_headers(
    _stream: StreamPtr,
    _filter: *const c_void,
    _id: u64,
    _headers: *const HeaderLine,
    _count: usize,
    _end_of_stream: bool,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_data(
    _stream: StreamPtr,
    _filter: *const c_void,
    _id: u64,
    _chunks: *const Buffer,
    _count: usize,
    _end_of_stream: bool,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
    _stream: StreamPtr,
    _filter: *const c_void,
    _id: u64,
    _trailers: *const HeaderLine,
    _count: usize,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_complete(
    _stream: StreamPtr,
    _filter: *const c_void,
    _id: u64,
) {
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_reset(
    _stream: StreamPtr,
    _filter: *const c_void,
    _id: u64,
    _reason: u32,
) {
}
