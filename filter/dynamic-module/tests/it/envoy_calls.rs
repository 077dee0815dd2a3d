//! The calls of one stream of the filter, in their order, on Envoy 1.40. Every
//! request pays for each, so that a longer list is a decision, never an accident.

use crate::fake_envoy::{self, FakeStream};
use crate::module::{Filter, document_of, edge, failed, inbound, start};

const KEEP_ERRORS: &str = r#", "sampler": {"ratio": 0}, "keep": {"errors": true}"#;

/// The calls of a stream that is not the first of its worker.
fn calls_of(keys: &str, stream: FakeStream) -> Vec<String> {
    let _serial = start();
    let filter = Filter::new(&document_of("calls", "", keys));
    filter.whole_stream(inbound(&[]));
    fake_envoy::take_calls();
    filter.whole_stream(stream);
    fake_envoy::take_calls()
}

#[test]
fn unsampled_stream_without_context_makes_five_calls() {
    assert_eq!(
        calls_of(r#", "sampler": {"ratio": 0}"#, inbound(&[])),
        [
            // Which worker's tracer is used.
            "http_filter_get_worker_index",
            // The context that came, and what rules match: room for the lines,
            // and the lines.
            "http_get_headers_size request_headers",
            "http_get_headers request_headers",
            // Its decision. Only its own stream can count it without a lock.
            "increment_counter sidespan.not_sampled",
            // The upstream must not start a trace of its own.
            "http_set_header request_headers traceparent",
        ]
    );
}

#[test]
fn unsampled_stream_with_canonical_context_makes_four_calls() {
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    assert_eq!(
        calls_of("", inbound(&[("traceparent", context)])),
        [
            "http_filter_get_worker_index",
            "http_get_headers_size request_headers",
            "http_get_headers request_headers",
            // The context goes on as it is.
            "increment_counter sidespan.not_sampled",
        ]
    );
}

/// The beginning of a sampled stream, up to the response's size.
const SAMPLED: [&str; 14] = [
    "http_filter_get_worker_index",
    "http_get_headers_size request_headers",
    "http_get_headers request_headers",
    "increment_counter sidespan.sampled",
    // The context of the upstream.
    "http_set_header request_headers traceparent",
    // Whether this is a cluster's filter, which Envoy answers nothing at its end.
    "get_attribute_int upstream.request_attempt_count",
    // Whether the span can be built later: no flags, one attempt, no certificates,
    // an ordinary status.
    "get_attribute_int response.flags",
    "get_attribute_int upstream.request_attempt_count",
    "get_attribute_string connection.uri_san_peer_certificate",
    "get_attribute_string connection.subject_peer_certificate",
    "get_attribute_string upstream.uri_san_peer_certificate",
    "get_attribute_string upstream.subject_peer_certificate",
    "http_get_header response_headers :status",
    "get_attribute_int response.size",
];

/// The end of a sampled stream: the attributes of its span.
const ATTRIBUTES: [&str; 6] = [
    "get_attribute_string request.protocol",
    "get_attribute_string source.address",
    "get_attribute_string xds.route_name",
    "http_get_cluster_name",
    "get_attribute_string upstream.address",
    "http_get_timing_info",
];

#[test]
fn sampled_stream_of_an_inbound_listener_makes_20_calls() {
    let expected = [&SAMPLED[..], &ATTRIBUTES].concat();
    assert_eq!(expected.len(), 20);
    assert_eq!(calls_of("", inbound(&[])), expected);
}

#[test]
fn sampled_stream_of_an_unspecified_listener_makes_22_calls() {
    let _serial = start();
    let filter = Filter::new(&document_of("calls", "", ""));
    filter.whole_stream(edge(&[]));
    fake_envoy::take_calls();
    filter.whole_stream(edge(&[]));
    // The CLIENT span has what was sent, which filters and routes rewrite.
    let sent = [
        "http_get_header request_headers :path",
        "http_get_header request_headers :authority",
    ];
    let expected = [&SAMPLED[..], &sent, &ATTRIBUTES].concat();
    assert_eq!(fake_envoy::take_calls(), expected);
}

#[test]
fn stream_that_is_not_kept_makes_nine_calls() {
    assert_eq!(calls_of(KEEP_ERRORS, inbound(&[])), NOT_KEPT);
}

const NOT_KEPT: [&str; 9] = [
    "http_filter_get_worker_index",
    "http_get_headers_size request_headers",
    "http_get_headers request_headers",
    "increment_counter sidespan.not_sampled",
    "http_set_header request_headers traceparent",
    "get_attribute_int upstream.request_attempt_count",
    // Whether it is kept: the status, the flags, and how often it was tried.
    "http_get_header response_headers :status",
    "get_attribute_int response.flags",
    "get_attribute_int upstream.request_attempt_count",
];

#[test]
fn stream_kept_for_its_error_makes_22_calls() {
    let mut expected = NOT_KEPT.to_vec();
    expected.extend([
        // The attributes of every span.
        "get_attribute_string xds.route_name",
        "get_attribute_string request.protocol",
        "get_attribute_string source.address",
        "get_attribute_int response.size",
        // Why it failed. An ordinary span does not have it.
        "get_attribute_string response.code_details",
        "get_attribute_string connection.uri_san_peer_certificate",
        "get_attribute_string connection.subject_peer_certificate",
        "http_get_cluster_name",
        "get_attribute_string upstream.address",
        "http_get_timing_info",
        // Why the connection to the upstream failed.
        "get_attribute_string upstream.transport_failure_reason",
        "get_attribute_string upstream.uri_san_peer_certificate",
        "get_attribute_string upstream.subject_peer_certificate",
    ]);
    assert_eq!(calls_of(KEEP_ERRORS, failed(&[])), expected);
}

/// All requests of a worker come from listeners of one direction.
#[test]
fn first_stream_of_a_worker_also_reads_the_direction() {
    let _serial = start();
    let filter = Filter::new(&document_of("calls", "", r#", "sampler": {"ratio": 0}"#));
    let calls_of_next = || {
        fake_envoy::take_calls();
        filter.whole_stream(inbound(&[]));
        fake_envoy::take_calls()
    };
    let (first, second) = (calls_of_next(), calls_of_next());
    let added: Vec<_> = first.iter().filter(|call| !second.contains(call)).collect();
    assert_eq!(added, ["get_attribute_int xds.listener_direction"]);
    assert_eq!(first.len(), second.len() + 1);
}
