//! The module's callbacks, called as Envoy calls them.

use crate::fake_host::{self, PLUGIN_CONFIGURATION, REQUEST_HEADERS, RESPONSE_HEADERS};
use sidespan_proxy_wasm as _;

unsafe extern "C" {
    safe fn proxy_on_context_create(context_id: u32, parent_id: u32);
    safe fn proxy_on_configure(root_id: u32, size: u32) -> u32;
    safe fn proxy_on_tick(root_id: u32);
    safe fn proxy_on_request_headers(context_id: u32, count: u32, end: u32) -> u32;
    safe fn proxy_on_request_body(context_id: u32, size: usize, end: u32) -> u32;
    safe fn proxy_on_response_headers(context_id: u32, count: u32, end: u32) -> u32;
    safe fn proxy_on_log(context_id: u32);
    safe fn proxy_on_done(context_id: u32) -> u32;
    safe fn proxy_on_http_call_response(
        root_id: u32,
        token: u32,
        headers: u32,
        body: u32,
        trailers: u32,
    );
}

/// The root context of most tests.
pub(crate) const ROOT: u32 = 1;
const CONTINUE: u32 = 0;

/// A callback of a context.
fn callback<T>(context_id: u32, f: impl FnOnce() -> T) -> T {
    fake_host::with(|host| host.current = context_id);
    f()
}

pub(crate) fn create(context_id: u32, parent_id: u32) {
    callback(context_id, || {
        proxy_on_context_create(context_id, parent_id);
    });
}

/// Whether the module takes the configuration.
pub(crate) fn configure(root_id: u32, document: &[u8]) -> bool {
    fake_host::with(|host| {
        let document = document.to_vec();
        host.buffers.insert(PLUGIN_CONFIGURATION, document);
    });
    callback(root_id, || proxy_on_configure(root_id, 1) == 1)
}

pub(crate) fn tick(root_id: u32) {
    callback(root_id, || proxy_on_tick(root_id));
}

/// The callback says `Continue`.
pub(crate) fn request_headers(context_id: u32) {
    let action = callback(context_id, || proxy_on_request_headers(context_id, 3, 1));
    assert_eq!(action, CONTINUE);
}

/// The callback says `Continue`.
pub(crate) fn request_body(context_id: u32, size: usize) {
    let action = callback(context_id, || proxy_on_request_body(context_id, size, 0));
    assert_eq!(action, CONTINUE);
}

/// The callback says `Continue`.
pub(crate) fn response_headers(context_id: u32) {
    let action = callback(context_id, || proxy_on_response_headers(context_id, 1, 1));
    assert_eq!(action, CONTINUE);
}

pub(crate) fn log(context_id: u32) {
    callback(context_id, || proxy_on_log(context_id));
}

/// Whether the context may go.
pub(crate) fn done(context_id: u32) -> bool {
    callback(context_id, || proxy_on_done(context_id) == 1)
}

/// An export's response. None of the counts is zero but that of the headers, if
/// there was no response.
pub(crate) fn http_call_response(root_id: u32, token: u32, headers: u32) {
    callback(root_id, || {
        proxy_on_http_call_response(root_id, token, headers, 1, 1);
    });
}

/// A root context with a configuration. `keys` are added to a valid document.
pub(crate) fn configured(keys: &str) {
    describe_inbound();
    create(ROOT, 0);
    assert!(configure(ROOT, document(keys).as_bytes()));
    let logs = fake_host::with(|host| host.logs.clone());
    let is_error = |(level, _): &(u32, String)| *level >= fake_host::ERROR;
    assert!(!logs.iter().any(is_error), "{logs:?}");
}

pub(crate) fn document(keys: &str) -> String {
    format!(
        r#"{{"exporter": {{"otlp_grpc": {{"cluster": "collector"}}}}, "service_name": "shop"{keys}}}"#
    )
}

/// The properties of an ordinary request to an inbound listener, answered by
/// the upstream.
pub(crate) fn describe_inbound() {
    for (path, value) in [
        ("plugin_name", "shop.sidespan"),
        ("xds.route_name", "orders"),
        ("xds.cluster_name", "inbound|8080||"),
        ("upstream.address", "10.0.0.5:8080"),
        ("request.protocol", "HTTP/1.1"),
        ("request.path", "/orders/4711"),
        ("request.host", "shop.example:8080"),
        ("source.address", "192.0.2.7:50123"),
    ] {
        fake_host::set_property(path, value.as_bytes());
    }
    for (path, value) in [
        ("response.code", 200),
        ("response.flags", 0),
        ("response.size", 10),
        ("upstream.request_attempt_count", 1),
        ("upstream.cx_pool_ready_duration", 1_000_000),
        ("response.backend_latency", 5_000_000),
        ("xds.listener_direction", 1),
    ] {
        fake_host::set_number(path, value);
    }
    fake_host::set_property("connection.mtls", &[0]);
}

/// Headers of a request, and more of them.
pub(crate) fn set_request(more: &[(&str, &str)]) {
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/orders/4711"),
        (":authority", "shop.example:8080"),
    ];
    fake_host::set_map(REQUEST_HEADERS, &[&head, more].concat());
}

/// All callbacks of a stream that was answered by its upstream.
pub(crate) fn stream(context_id: u32, root_id: u32) {
    create(context_id, root_id);
    request_headers(context_id);
    fake_host::advance(7_000_000);
    fake_host::set_map(RESPONSE_HEADERS, &[(":status", "200")]);
    response_headers(context_id);
    log(context_id);
    assert!(done(context_id));
}
