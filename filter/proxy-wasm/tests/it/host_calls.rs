//! The calls of one stream, in their order. Each costs up to 6 µs of every request,
//! so that a longer list is a decision, never an accident.

use crate::fake_host;
use crate::module::{self, ROOT, configured, set_request};

const KEEP_ERRORS: &str = r#", "sampler": {"ratio": 0}, "keep": {"errors": true}"#;

/// All callbacks of a stream, and the calls that they made.
fn calls_of(context_id: u32, request: &[(&str, &str)]) -> Vec<String> {
    set_request(request);
    fake_host::take_calls();
    module::stream(context_id, ROOT);
    fake_host::take_calls()
}

/// A VM whose first stream has shown that it serves listeners.
fn after_first_stream(keys: &str) {
    configured(keys);
    module::tick(ROOT);
    calls_of(2, &[]);
}

#[test]
fn unsampled_stream_without_context_makes_two_calls() {
    after_first_stream(r#", "sampler": {"ratio": 0}"#);
    assert_eq!(
        calls_of(3, &[]),
        [
            // The context that came, and what rules match.
            "get_header_map_pairs request_headers",
            // The upstream must not start a trace of its own.
            "replace_header_map_value request_headers traceparent",
        ]
    );
}

#[test]
fn unsampled_stream_with_canonical_context_makes_one_call() {
    after_first_stream("");
    let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    assert_eq!(
        calls_of(3, &[("traceparent", context)]),
        // The context that came. It goes on as it is.
        ["get_header_map_pairs request_headers"]
    );
}

#[test]
fn sampled_stream_of_an_inbound_listener_makes_five_calls() {
    after_first_stream("");
    assert_eq!(calls_of(3, &[]), SAMPLED);
}

/// Also of an edge: the direction is among the properties at the end.
#[test]
fn sampled_stream_of_an_unspecified_listener_makes_five_calls() {
    after_first_stream("");
    fake_host::set_number("xds.listener_direction", 0);
    assert_eq!(calls_of(3, &[]), SAMPLED);
}

const SAMPLED: [&str; 5] = [
    // The context that came, what rules match, and the span's attributes.
    "get_header_map_pairs request_headers",
    // The span's start.
    "get_current_time",
    // The context of the upstream.
    "replace_header_map_value request_headers traceparent",
    // The span's end.
    "get_current_time",
    // All properties that the spans need, in one call.
    "call_foreign_function expr_evaluate 0",
];

#[test]
fn stream_kept_for_its_error_makes_seven_calls() {
    after_first_stream(KEEP_ERRORS);
    fake_host::set_number("response.code", 503);
    assert_eq!(
        calls_of(3, &[]),
        [
            // As of a sampled stream: its outcome may keep it.
            "get_header_map_pairs request_headers",
            "get_current_time",
            "replace_header_map_value request_headers traceparent",
            "get_current_time",
            // The four properties that decide whether it is kept.
            "call_foreign_function expr_evaluate 1",
            // It is: the properties that its span needs.
            "call_foreign_function expr_evaluate 0",
            // Why it failed. An ordinary span does not have it.
            "get_property response.code_details",
        ]
    );
}

#[test]
fn stream_that_is_not_kept_makes_five_calls() {
    after_first_stream(KEEP_ERRORS);
    assert_eq!(
        calls_of(3, &[]),
        [
            "get_header_map_pairs request_headers",
            "get_current_time",
            "replace_header_map_value request_headers traceparent",
            "get_current_time",
            // The four properties that decide whether it is kept: it is not.
            "call_foreign_function expr_evaluate 1",
        ]
    );
}

/// Until the first stream ends, the VM may serve a cluster, whose streams have
/// no headers left when they end.
#[test]
fn first_stream_of_a_vm_also_reads_the_response_headers() {
    configured("");
    module::tick(ROOT);
    let calls = calls_of(2, &[]);
    assert_eq!(calls.len(), SAMPLED.len() + 1);
    assert_eq!(calls[3], "get_header_map_pairs response_headers");
}

/// Such as one that the proxy answered: not all properties are there.
#[test]
fn expression_without_an_answer_is_evaluated_ever_less() {
    after_first_stream("");
    fake_host::remove_property("upstream.address");
    let has_evaluated = |context_id| {
        let calls = calls_of(context_id, &[]);
        calls.contains(&"call_foreign_function expr_evaluate 0".to_owned())
    };
    let evaluated: Vec<_> = (1..=16).filter(|n| has_evaluated(2 + n)).collect();
    assert_eq!(evaluated, [1, 2, 4, 8, 16]);
}

/// Each second of every worker, whether or not there are requests.
#[test]
fn idle_tick_makes_two_calls() {
    configured("");
    module::tick(ROOT);
    fake_host::advance(fake_host::SECOND);
    fake_host::take_calls();
    module::tick(ROOT);
    assert_eq!(
        fake_host::take_calls(),
        [
            // Envoy's administrator can change the level at any time.
            "get_log_level",
            // What is due.
            "get_current_time",
        ]
    );
}

/// A host without `expr_create`, or a stream whose expression has no answer.
#[test]
fn stream_without_an_expression_reads_each_property_by_itself() {
    fake_host::with(|host| host.has_expressions = false);
    after_first_stream("");
    let calls = calls_of(3, &[]);
    let is_property = |call: &&String| call.starts_with("get_property ");
    let properties: Vec<_> = calls.iter().filter(is_property).collect();
    let expected = PROPERTIES.map(|path| format!("get_property {path}"));
    assert_eq!(properties, expected.iter().collect::<Vec<_>>());
}

/// All of [`SAMPLED`]'s last call, and the certificates that tell whether there
/// is TLS.
const PROPERTIES: [&str; 16] = [
    "response.code",
    "response.flags",
    "upstream.request_attempt_count",
    "xds.listener_direction",
    "xds.route_name",
    "request.protocol",
    "source.address",
    "response.size",
    "connection.uri_san_peer_certificate",
    "connection.subject_peer_certificate",
    "xds.cluster_name",
    "upstream.address",
    "upstream.cx_pool_ready_duration",
    "response.backend_latency",
    "upstream.uri_san_peer_certificate",
    "upstream.subject_peer_certificate",
];
