//! The calls of one span of the tracer, in their order.

use crate::fake_envoy;
use crate::module::{document_of, request, start};
use crate::tracer_module::Tracer;

/// All hooks of a span, and the calls that they made.
fn calls_of(is_traced: bool, more: &[(&str, &str)]) -> Vec<String> {
    let _serial = start();
    let tracer = Tracer::load("sidespan", &document_of("tracer-calls", "", "")).unwrap();
    fake_envoy::take_calls();
    let span = tracer.start(request(more), is_traced);
    span.inject(request(more));
    for (key, value) in [
        ("component", "proxy"),
        ("http.protocol", "HTTP/1.1"),
        ("http.status_code", "200"),
    ] {
        span.tag(key, value);
    }
    span.finish();
    drop(span);
    fake_envoy::take_calls()
}

/// The context that came. Of B3 in several headers, the two that say nothing
/// without a trace id are not read.
const EXTRACT: [&str; 6] = [
    "get_trace_context_value traceparent",
    "get_trace_context_value tracestate",
    "get_trace_context_value b3",
    "get_trace_context_value x-b3-traceid",
    "get_trace_context_value x-b3-sampled",
    "get_trace_context_value x-b3-flags",
];

/// Which of the formats that are not wanted the request has: they must not
/// disagree.
const INJECT: [&str; 4] = [
    "get_trace_context_value x-b3-traceid",
    "get_trace_context_value tracestate",
    "get_trace_context_value b3",
    // The context of the upstream.
    "set_trace_context_value traceparent",
];

#[test]
fn sampled_span_without_context_makes_17_calls() {
    // What the attributes of the request are made of.
    let request = [
        "get_trace_context_method",
        "get_trace_context_value :scheme",
        "get_trace_context_host",
        "get_trace_context_path",
        "get_trace_context_value user-agent",
        "get_trace_context_value content-type",
        "get_trace_context_value content-length",
    ];
    let expected = [&EXTRACT[..], &request, &INJECT].concat();
    assert_eq!(expected.len(), 17);
    assert_eq!(calls_of(true, &[]), expected);
}

/// The second time of the request that goes upstream: a context that it has and
/// that may go on as it is stays.
#[test]
fn unsampled_span_without_context_makes_16_calls() {
    let expected = [&EXTRACT[..], &EXTRACT, &INJECT].concat();
    assert_eq!(expected.len(), 16);
    assert_eq!(calls_of(false, &[]), expected);
}

#[test]
fn unsampled_span_with_canonical_context_makes_12_calls() {
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let expected = [EXTRACT, EXTRACT].concat();
    assert_eq!(calls_of(true, &[("traceparent", context)]), expected);
}

/// Envoy tells tags of every span, and `finish` takes the time from the system.
#[test]
fn tags_and_the_end_of_a_span_make_no_call() {
    let _serial = start();
    let tracer = Tracer::load("sidespan", &document_of("tracer-calls", "", "")).unwrap();
    let span = tracer.start(request(&[]), true);
    fake_envoy::take_calls();
    span.tag("http.status_code", "200");
    span.set_operation("GET /orders");
    span.finish();
    drop(span);
    assert_eq!(fake_envoy::take_calls(), [""; 0]);
}
