//! The callbacks of the proxy-wasm ABI 0.2.1 that this module exports. A host
//! calls every callback that a module exports, so there are no others.
#![allow(unsafe_code)]

use crate::{http_context, root_context};

/// Says which ABI this module speaks.
#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context_id: u32, parent_id: u32) {
    match parent_id {
        0 => root_context::on_create(context_id),
        root_id => http_context::on_create(context_id, root_id),
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root_id: u32, _configuration_size: u32) -> u32 {
    u32::from(root_context::on_configure(root_id))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root_id: u32) {
    root_context::on_tick(root_id);
}

/// Gives `Continue`: tracing never holds a request.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context_id: u32, _count: u32, _end: u32) -> u32 {
    http_context::on_request_headers(context_id);
    0
}

/// Gives `Continue`: no byte is held.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context_id: u32, size: usize, _end: u32) -> u32 {
    http_context::on_request_body(context_id, size);
    0
}

/// Gives `Continue`.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context_id: u32, _count: u32, _end: u32) -> u32 {
    http_context::on_response_headers(context_id);
    0
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context_id: u32) {
    http_context::on_log(context_id);
}

/// Whether the context may be deleted. A root may ask to be kept until it
/// calls `done`.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context_id: u32) -> u32 {
    http_context::on_done(context_id);
    u32::from(root_context::on_done(context_id))
}

/// Without headers, none came: the call was cut off.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(
    root_id: u32,
    token: u32,
    header_count: u32,
    _body_size: u32,
    _trailer_count: u32,
) {
    root_context::on_http_call_response(root_id, token, header_count > 0);
}
