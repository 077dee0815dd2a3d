//! Streams of the filter, from their creation to their spans.

use crate::exports::{flush, flush_one};
use crate::fake_envoy::{
    self, FakeStream, REQUEST_HEADERS, RESPONSE_HEADERS, RESPONSE_TRAILERS, Value, lines,
};
use crate::module::{Filter, document, edge, failed, inbound, start};
use crate::spans::{CLIENT, SERVER, assert_attributes, hex};
use opentelemetry_proto::tonic::trace::v1::Span;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// The only span of a stream, and the context that went upstream.
fn span_of(cluster: &str, stream: FakeStream) -> (Span, String) {
    let _serial = start();
    let filter = Filter::new(&document(cluster, ""));
    let stream = filter.stream(stream);
    stream.request_headers();
    stream.response_headers();
    stream.complete();
    let context = stream.values(REQUEST_HEADERS, "traceparent").pop();
    (flush_one(&filter), context.expect("a context"))
}

#[test]
fn stream_of_an_inbound_listener_has_a_server_span() {
    let (span, context) = span_of("inbound", inbound(&[("user-agent", "curl/8")]));
    assert_eq!((&*span.name, span.kind), ("GET", SERVER));
    assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
    let own = format!("00-{}-{}-03", hex(&span.trace_id), hex(&span.span_id));
    assert_eq!(context, own);
    assert_attributes(
        &span,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("http.response.body.size", "10"),
            ("url.path", "/orders/4711"),
            ("server.address", "shop.example"),
            ("client.address", "192.0.2.7"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "curl/8"),
            ("sidespan.route", "orders"),
            ("sidespan.upstream.cluster", "inbound|8080||"),
            ("sidespan.upstream.address", "10.0.0.5:8080"),
            ("sidespan.upstream.latency_ms", "5"),
        ],
    );
}

#[test]
fn context_that_came_is_the_parent() {
    let came = format!("00-{TRACE}-{PARENT}-01");
    let (span, context) = span_of("parent", inbound(&[("traceparent", &came)]));
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(context, format!("00-{TRACE}-{}-01", hex(&span.span_id)));
}

/// The fake's lines are overwritten when a header is set. A module that read them
/// afterwards would find another path and parent.
#[test]
fn headers_are_read_before_others_are_written() {
    let _serial = start();
    let keys = r#", "propagation": {"inject": ["tracecontext", "b3multi"]}, "custom_tags": [{"tag": "tenant", "request_header": {"name": "x-tenant"}}]"#;
    let filter = Filter::new(&document("written", keys));
    let came = format!("00-{TRACE}-{PARENT}-01");
    let request = [
        ("traceparent", &*came),
        ("tracestate", "vendor=1"),
        ("x-b3-traceid", TRACE),
        ("x-tenant", "acme"),
    ];
    filter.whole_stream(inbound(&request));
    let span = flush_one(&filter);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(span.trace_state, "vendor=1");
    assert_attributes(&span, &[("url.path", "/orders/4711"), ("tenant", "acme")]);
}

#[test]
fn stream_of_an_edge_has_a_server_and_a_client_span() {
    let _serial = start();
    let filter = Filter::new(&document("edge", ""));
    let stream = filter.stream(edge(&[]));
    stream.request_headers();
    // A route rewrites it.
    stream.change(|stream| {
        stream.maps.get_mut(&REQUEST_HEADERS).unwrap()[2].1 = b"/v2/4711".to_vec()
    });
    stream.response_headers();
    stream.complete();
    let context = stream.values(REQUEST_HEADERS, "traceparent").pop().unwrap();
    let spans = flush(&filter);
    assert_eq!(spans.len(), 2);
    let of_kind = |kind| spans.iter().find(|span| span.kind == kind).expect("a span");
    let (server, client) = (of_kind(SERVER), of_kind(CLIENT));
    assert_eq!(client.parent_span_id, server.span_id);
    let upstream = format!("00-{}-{}-03", hex(&client.trace_id), hex(&client.span_id));
    assert_eq!(context, upstream);
    assert_attributes(server, &[("url.path", "/orders/4711")]);
    assert_attributes(
        client,
        &[
            ("network.peer.address", "10.0.0.5"),
            ("url.full", "http://shop.example:8080/v2/4711"),
        ],
    );
}

#[test]
fn failed_stream_has_an_error_and_its_details() {
    let (span, _) = span_of("failed", failed(&[]));
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

/// Since 1.39 an attribute tells why, so that the hook makes no call.
#[test]
fn local_reply_has_the_details_of_its_attribute() {
    let _serial = start();
    let filter = Filter::new(&document("local-reply", ""));
    let mut request = inbound(&[]);
    request
        .maps
        .insert(RESPONSE_HEADERS, lines(&[(":status", "404")]));
    let details = Value::Text("route_not_found".to_owned());
    request.attributes.extend([
        ("response.code", Value::Number(404)),
        // No route found.
        ("response.flags", Value::Number(0x100)),
        ("response.code_details", details),
    ]);
    let stream = filter.stream(request);
    stream.request_headers();
    fake_envoy::take_calls();
    stream.local_reply("other");
    stream.response_body();
    assert_eq!(fake_envoy::take_calls(), [""; 0]);
    stream.complete();
    drop(stream);
    let span = flush_one(&filter);
    assert_attributes(
        &span,
        &[
            ("http.response.status_code", "404"),
            ("sidespan.response_code_details", "route_not_found"),
            ("sidespan.response_flags", "NR"),
        ],
    );
}

#[test]
fn certificates_of_both_ends_are_attributes() {
    let mut stream = inbound(&[]);
    let (caller, upstream) = ("spiffe://cluster.local/ns/shop/sa/web", "CN=orders");
    stream.of_response.extend([
        (
            "connection.uri_san_peer_certificate",
            Value::Text(caller.to_owned()),
        ),
        (
            "upstream.subject_peer_certificate",
            Value::Text(upstream.to_owned()),
        ),
    ]);
    let (span, _) = span_of("certificates", stream);
    assert_attributes(
        &span,
        &[
            ("sidespan.downstream.tls_peer", caller),
            ("sidespan.upstream.tls_peer", upstream),
        ],
    );
}

#[test]
fn grpc_status_is_read_from_the_trailers() {
    let mut stream = inbound(&[("content-type", "application/grpc")]);
    stream
        .maps
        .insert(RESPONSE_TRAILERS, lines(&[("grpc-status", "14")]));
    let (span, _) = span_of("grpc", stream);
    assert_eq!(span.status.as_ref().expect("a status").code, 2);
    assert_attributes(&span, &[("rpc.status_code", "UNAVAILABLE")]);
}

#[test]
fn stream_answered_by_an_earlier_filter_has_a_span_and_no_write() {
    let _serial = start();
    let filter = Filter::new(&document("answered", ""));
    let stream = filter.stream(inbound(&[]));
    fake_envoy::take_calls();
    stream.complete();
    let is_write = |call: &String| call.contains("set_header");
    assert!(!fake_envoy::take_calls().iter().any(is_write));
    drop(stream);
    assert_eq!(flush_one(&filter).kind, SERVER);
}

#[test]
fn stream_that_is_only_created_has_no_span() {
    let _serial = start();
    let filter = Filter::new(&document("created", ""));
    drop(filter.stream(inbound(&[])));
    assert_eq!(flush(&filter), []);
}

/// Envoy tells such a filter no end but `destroy`, in which it answers nothing.
#[test]
fn stream_of_a_cluster_has_a_client_span() {
    let _serial = start();
    let filter = Filter::new(&document("attempt", ""));
    let came = format!("00-{TRACE}-{PARENT}-01");
    let mut attempt = inbound(&[("traceparent", &came)]);
    attempt
        .maps
        .insert(RESPONSE_HEADERS, lines(&[(":status", "404")]));
    let known = std::mem::take(&mut attempt.of_response);
    attempt.attributes.extend(known);
    let stream = filter.stream(attempt);
    stream.request_headers();
    let written = stream.values(REQUEST_HEADERS, "traceparent").pop().unwrap();
    stream.response_headers();
    fake_envoy::take_calls();
    drop(stream);
    let calls = fake_envoy::take_calls();
    assert_eq!(calls, [""; 0]);
    let span = flush_one(&filter);
    assert_eq!(span.kind, CLIENT);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(written, format!("00-{TRACE}-{}-01", hex(&span.span_id)));
    assert_attributes(
        &span,
        &[
            ("http.response.status_code", "404"),
            ("network.peer.address", "10.0.0.5"),
        ],
    );
}

#[test]
fn request_body_received_as_announced_has_a_size() {
    let _serial = start();
    let filter = Filter::new(&document("body", ""));
    let stream = filter.stream(inbound(&[("content-length", "150")]));
    stream.request_headers();
    stream.request_body(100);
    stream.request_body(50);
    stream.response_headers();
    stream.complete();
    drop(stream);
    let span = flush_one(&filter);
    assert_attributes(&span, &[("http.request.body.size", "150")]);
}

#[test]
fn response_header_has_the_trace_id() {
    let _serial = start();
    let keys = r#", "propagation": {"response_header": "x-trace-id"}"#;
    let filter = Filter::new(&document("response-header", keys));
    let came = format!("00-{TRACE}-{PARENT}-01");
    let stream = filter.stream(inbound(&[("traceparent", &came)]));
    stream.request_headers();
    stream.response_headers();
    assert_eq!(stream.values(RESPONSE_HEADERS, "x-trace-id"), [TRACE]);
}

#[test]
fn metadata_of_the_route_is_read_by_its_type() {
    let _serial = start();
    let tag = |name: &str| {
        format!(
            r#"{{"tag": "{name}", "metadata": {{"kind": "route", "metadata_key": {{"key": "shop", "path": [{{"key": "{name}"}}]}}}}}}"#
        )
    };
    let tags = ["team", "tier", "beta"].map(tag).join(", ");
    let filter = Filter::new(&document(
        "metadata",
        &format!(r#", "custom_tags": [{tags}]"#),
    ));
    let mut request = inbound(&[]);
    for (key, value) in [
        ("route/shop/team", Value::Text("orders".to_owned())),
        ("route/shop/tier", Value::Number(2)),
        ("route/shop/beta", Value::Truth(true)),
    ] {
        request.metadata.insert(key.to_owned(), value);
    }
    filter.whole_stream(request);
    let span = flush_one(&filter);
    assert_attributes(
        &span,
        &[("team", "orders"), ("tier", "2"), ("beta", "true")],
    );
}

#[test]
fn request_without_headers_is_untraced() {
    let _serial = start();
    let filter = Filter::new(&document("no-headers", ""));
    let mut request = inbound(&[]);
    request.maps.remove(&REQUEST_HEADERS);
    filter.whole_stream(request);
    assert_eq!(flush(&filter), []);
}
