//! Responses to exports, and the spans that were exported.

use crate::abi::{Buffer, HeaderLine};
use crate::fake_envoy::{self, Export, lines};
use crate::module::Filter;
use crate::spans;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::ffi::c_void;
use std::ptr::{null, without_provenance_mut};

unsafe extern "C" {
    safe fn envoy_dynamic_module_on_http_filter_config_http_stream_headers(
        config: *mut c_void,
        module: *const c_void,
        stream: u64,
        headers: *const HeaderLine,
        count: usize,
        end_of_stream: bool,
    );
    safe fn envoy_dynamic_module_on_http_filter_config_http_stream_data(
        config: *mut c_void,
        module: *const c_void,
        stream: u64,
        data: *const Buffer,
        count: usize,
        end_of_stream: bool,
    );
    safe fn envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
        config: *mut c_void,
        module: *const c_void,
        stream: u64,
        trailers: *const HeaderLine,
        count: usize,
    );
    safe fn envoy_dynamic_module_on_http_filter_config_http_stream_complete(
        config: *mut c_void,
        module: *const c_void,
        stream: u64,
    );
    safe fn envoy_dynamic_module_on_http_filter_config_http_stream_reset(
        config: *mut c_void,
        module: *const c_void,
        stream: u64,
        reason: u32,
    );
}

fn config(address: usize) -> *mut c_void {
    without_provenance_mut(address)
}

/// The headers of a response.
pub(crate) fn headers(export: &Export, of: &[(&str, &str)]) {
    let of = lines(of);
    let lines: Vec<_> = of.iter().map(HeaderLine::of).collect();
    envoy_dynamic_module_on_http_filter_config_http_stream_headers(
        config(export.config),
        null(),
        export.id,
        lines.as_ptr(),
        lines.len(),
        false,
    );
}

/// A part of its body.
pub(crate) fn data(export: &Export, chunk: &[u8]) {
    let chunks = [Buffer::of(chunk), Buffer::NULL];
    envoy_dynamic_module_on_http_filter_config_http_stream_data(
        config(export.config),
        null(),
        export.id,
        chunks.as_ptr(),
        chunks.len(),
        false,
    );
}

/// Its trailers.
pub(crate) fn trailers(export: &Export, of: &[(&str, &str)]) {
    let of = lines(of);
    let lines: Vec<_> = of.iter().map(HeaderLine::of).collect();
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
        config(export.config),
        null(),
        export.id,
        lines.as_ptr(),
        lines.len(),
    );
}

pub(crate) fn complete(export: &Export) {
    envoy_dynamic_module_on_http_filter_config_http_stream_complete(
        config(export.config),
        null(),
        export.id,
    );
}

pub(crate) fn reset(address: usize, id: u64) {
    envoy_dynamic_module_on_http_filter_config_http_stream_reset(config(address), null(), id, 0);
}

/// What a collector answers that took everything.
pub(crate) fn acknowledge(export: &Export) {
    headers(
        export,
        &[(":status", "200"), ("content-type", "application/grpc")],
    );
    data(export, &[0; 5]);
    trailers(export, &[("grpc-status", "0")]);
    complete(export);
}

/// A response without headers, lines or data at all.
pub(crate) fn nothing(address: usize, id: u64) {
    let config = config(address);
    envoy_dynamic_module_on_http_filter_config_http_stream_headers(
        config,
        null(),
        id,
        null(),
        3,
        false,
    );
    envoy_dynamic_module_on_http_filter_config_http_stream_data(
        config,
        null(),
        id,
        null(),
        3,
        false,
    );
    envoy_dynamic_module_on_http_filter_config_http_stream_trailers(config, null(), id, null(), 3);
    envoy_dynamic_module_on_http_filter_config_http_stream_complete(config, null(), id);
}

/// Has all that waits exported and acknowledged.
pub(crate) fn flush(filter: &Filter) -> Vec<Span> {
    let mut all = Vec::new();
    filter.turn();
    loop {
        let exports = fake_envoy::take_exports();
        if exports.is_empty() {
            return all;
        }
        for export in exports {
            all.extend(spans::spans(&export));
            acknowledge(&export);
        }
    }
}

/// The only span that waits.
pub(crate) fn flush_one(filter: &Filter) -> Span {
    let mut spans = flush(filter);
    let span = spans.pop().expect("a span");
    assert_eq!(spans, []);
    span
}
