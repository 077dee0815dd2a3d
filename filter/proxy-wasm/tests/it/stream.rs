//! Streams, from their creation to their spans.

use crate::fake_host::{self, REQUEST_HEADERS, RESPONSE_HEADERS, RESPONSE_TRAILERS, START};
use crate::module::{self, ROOT, configured, create, done, log, set_request, stream};
use crate::spans::{CLIENT, SERVER, assert_attributes, attribute, flush, flush_one, hex};
use opentelemetry_proto::tonic::trace::v1::Span;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The context that the request goes on with.
fn context() -> String {
    let [context] = &fake_host::header(REQUEST_HEADERS, "traceparent")[..] else {
        panic!("one context");
    };
    context.clone()
}

#[test]
fn stream_of_an_inbound_listener_has_a_server_span() {
    configured("");
    set_request(&[("user-agent", "curl/8")]);
    stream(2, ROOT);
    let span = flush_one(ROOT);
    assert_eq!((&*span.name, span.kind), ("GET", SERVER));
    assert_eq!(span.start_time_unix_nano, START);
    assert_eq!(span.end_time_unix_nano, START + 7_000_000);
    assert!(span.parent_span_id.is_empty());
    let own = format!("00-{}-{}-03", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(context(), own);
    assert_attributes(
        &span,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("url.path", "/orders/4711"),
            ("url.scheme", "http"),
            ("server.address", "shop.example"),
            ("server.port", "8080"),
            ("client.address", "192.0.2.7"),
            ("network.peer.port", "50123"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "curl/8"),
        ],
    );
}

#[test]
fn context_that_came_is_the_parent() {
    configured("");
    set_request(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]);
    stream(2, ROOT);
    let span = flush_one(ROOT);
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(context(), format!("00-{TRACE}-{}-01", hex(&span.span_id)));
}

#[test]
fn stream_of_an_edge_has_a_server_and_a_client_span() {
    configured("");
    fake_host::set_number("xds.listener_direction", 0);
    set_request(&[]);
    stream(2, ROOT);
    let spans = flush(ROOT);
    assert_eq!(spans.len(), 2);
    let of_kind = |kind| spans.iter().find(|span| span.kind == kind).expect("a span");
    let (server, client) = (of_kind(SERVER), of_kind(CLIENT));
    assert_eq!(client.parent_span_id, server.span_id);
    let upstream = format!("00-{}-{}-03", hex(&client.trace_id), hex(&client.span_id));
    assert_eq!(context(), upstream);
    assert_attributes(
        client,
        &[
            ("http.response.status_code", "200"),
            ("network.peer.address", "10.0.0.5"),
            ("network.peer.port", "8080"),
            ("url.full", "http://shop.example:8080/orders/4711"),
        ],
    );
}

/// The proxy rewrote the path before it sent the request.
#[test]
fn client_span_of_an_edge_has_what_was_sent() {
    configured("");
    fake_host::set_number("xds.listener_direction", 0);
    fake_host::set_property("request.path", b"/v2/4711");
    fake_host::set_property("request.host", b"orders.internal");
    set_request(&[]);
    stream(2, ROOT);
    let spans = flush(ROOT);
    let client = spans.iter().find(|span| span.kind == CLIENT).unwrap();
    assert_attributes(client, &[("url.full", "http://orders.internal/v2/4711")]);
}

#[test]
fn route_and_cluster_are_attributes() {
    configured("");
    set_request(&[]);
    stream(2, ROOT);
    let span = flush_one(ROOT);
    assert_attributes(
        &span,
        &[
            ("sidespan.route", "orders"),
            ("sidespan.upstream.cluster", "inbound|8080||"),
            ("sidespan.upstream.address", "10.0.0.5:8080"),
        ],
    );
}

#[test]
fn failed_stream_has_an_error_and_its_details() {
    configured("");
    fake_host::set_number("response.code", 503);
    // Upstream connection failure.
    fake_host::set_number("response.flags", 0x20);
    fake_host::set_property("response.code_details", b"upstream_reset");
    set_request(&[]);
    stream(2, ROOT);
    let span = flush_one(ROOT);
    assert_eq!(span.status.as_ref().expect("a status").code, 2);
    assert_attributes(
        &span,
        &[
            ("http.response.status_code", "503"),
            ("sidespan.response_code_details", "upstream_reset"),
            ("sidespan.response_flags", "UF"),
        ],
    );
}

#[test]
fn certificate_of_the_caller_is_an_attribute() {
    configured("");
    fake_host::set_property("connection.mtls", &[1]);
    let caller = "spiffe://cluster.local/ns/shop/sa/web";
    fake_host::set_property("connection.uri_san_peer_certificate", caller.as_bytes());
    set_request(&[]);
    stream(2, ROOT);
    let span = flush_one(ROOT);
    assert_attributes(&span, &[("sidespan.downstream.tls_peer", caller)]);
}

#[test]
fn certificate_of_the_upstream_is_an_attribute() {
    configured("");
    fake_host::set_property("upstream.tls_version", b"TLSv1.3");
    let upstream = "CN=orders";
    fake_host::set_property("upstream.subject_peer_certificate", upstream.as_bytes());
    set_request(&[]);
    stream(2, ROOT);
    let span = flush_one(ROOT);
    assert_attributes(&span, &[("sidespan.upstream.tls_peer", upstream)]);
}

#[test]
fn grpc_status_is_read_from_the_trailers() {
    configured("");
    set_request(&[("content-type", "application/grpc"), ("te", "trailers")]);
    fake_host::set_map(RESPONSE_TRAILERS, &[("grpc-status", "14")]);
    stream(2, ROOT);
    let span = flush_one(ROOT);
    assert_eq!(span.status.as_ref().expect("a status").code, 2, "{span:#?}");
    assert_attributes(
        &span,
        &[
            ("rpc.system.name", "grpc"),
            ("rpc.status_code", "UNAVAILABLE"),
        ],
    );
}

#[test]
fn stream_answered_by_an_earlier_filter_has_a_span_and_no_write() {
    configured("");
    set_request(&[]);
    fake_host::take_calls();
    create(2, ROOT);
    log(2);
    assert!(done(2));
    let is_write = |call: &String| call.contains("replace") || call.contains("remove");
    assert!(!fake_host::take_calls().iter().any(is_write));
    assert_eq!(flush_one(ROOT).kind, SERVER);
}

#[test]
fn stream_without_request_has_no_span_and_makes_no_call() {
    configured("");
    fake_host::take_calls();
    create(2, ROOT);
    assert!(done(2));
    assert_eq!(fake_host::take_calls(), [""; 0]);
    assert_eq!(flush(ROOT), []);
}

/// A response's callback may come for a request that has no stream here.
#[test]
fn callbacks_of_an_unknown_context_make_no_call() {
    configured("");
    fake_host::take_calls();
    module::request_headers(9);
    module::request_body(9, 10);
    module::response_headers(9);
    log(9);
    assert!(done(9));
    assert_eq!(fake_host::take_calls(), [""; 0]);
}

#[test]
fn stream_of_a_cluster_has_a_client_span() {
    configured("");
    set_request(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]);
    create(2, ROOT);
    module::request_headers(2);
    let written = context();
    fake_host::set_map(RESPONSE_HEADERS, &[(":status", "404")]);
    module::response_headers(2);
    // They are gone when the stream is.
    fake_host::set_map(RESPONSE_HEADERS, &[]);
    fake_host::take_calls();
    assert!(done(2));
    let address = "get_property source.address".to_owned();
    assert!(
        !fake_host::take_calls().contains(&address),
        "it would crash Envoy"
    );
    let span = flush_one(ROOT);
    assert_eq!(span.kind, CLIENT);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(written, format!("00-{TRACE}-{}-01", hex(&span.span_id)));
    assert_attributes(&span, &[("http.response.status_code", "404")]);
    // Envoy counts what the downstream got, of all attempts.
    let size = attribute(&span.attributes, "http.response.body.size");
    assert_eq!(size, None);
}

/// A request with a body, of which so many bytes are received.
fn request_with_body(context_id: u32, more: &[(&str, &str)], chunks: &[usize]) -> Span {
    set_request(more);
    fake_host::with(|host| {
        host.maps.get_mut(&REQUEST_HEADERS).unwrap()[0].1 = "POST".to_owned();
    });
    create(context_id, ROOT);
    module::request_headers(context_id);
    for size in chunks {
        module::request_body(context_id, *size);
    }
    log(context_id);
    assert!(done(context_id));
    flush_one(ROOT)
}

#[test]
fn request_body_received_as_announced_has_a_size() {
    configured("");
    let length = [("content-length", "150")];
    let whole = request_with_body(2, &length, &[100, 50]);
    let sizes = [
        ("http.request.body.size", "150"),
        ("http.response.body.size", "10"),
    ];
    assert_attributes(&whole, &sizes);
    let cut = request_with_body(3, &length, &[100]);
    assert_eq!(attribute(&cut.attributes, "http.request.body.size"), None);
}

#[test]
fn request_body_of_unknown_length_has_the_size_that_the_host_counted() {
    configured("");
    fake_host::set_number("request.size", 99);
    let span = request_with_body(2, &[], &[100]);
    assert_attributes(&span, &[("http.request.body.size", "99")]);
}

#[test]
fn response_header_has_the_trace_id() {
    configured(r#", "propagation": {"response_header": "x-trace-id"}"#);
    set_request(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))]);
    stream(2, ROOT);
    assert_eq!(fake_host::header(RESPONSE_HEADERS, "x-trace-id"), [TRACE]);
}

#[test]
fn request_without_headers_is_untraced() {
    configured("");
    fake_host::set_map(REQUEST_HEADERS, &[]);
    stream(2, ROOT);
    assert_eq!(flush(ROOT), []);
}

#[test]
fn streams_at_once_keep_apart() {
    configured("");
    // The map of streams has 256 places.
    let ids = [2, 258, 514];
    for id in ids {
        set_request(&[("user-agent", &format!("agent-{id}"))]);
        create(id, ROOT);
        module::request_headers(id);
    }
    for id in ids {
        log(id);
        assert!(done(id));
    }
    let spans = flush(ROOT);
    let agents: Vec<_> = spans
        .iter()
        .filter_map(|span| attribute(&span.attributes, "user_agent.original"))
        .collect();
    assert_eq!(agents, ["agent-2", "agent-258", "agent-514"]);
}
