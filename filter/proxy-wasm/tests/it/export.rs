//! Exports: HTTP calls and their responses.

use crate::fake_host::{
    self, BAD_ARGUMENT, CALL_BODY, CALL_HEADERS, CALL_TRAILERS, HttpCall, SECOND, WARN,
};
use crate::module::{self, ROOT, configured, document, http_call_response, set_request, stream};
use crate::spans::spans;

const BATCH: usize = 32;
const NO_ENDPOINT: u32 = 10;

/// A root that exports batches of 32 spans.
fn configured_for_batches() {
    configured("");
    let exporter =
        r#"{"otlp_grpc": {"cluster": "collector"}, "batch": {"max_export_batch_size": 32}}"#;
    configure_exporter(exporter);
}

fn configure_exporter(exporter: &str) {
    let document = format!(r#"{{"exporter": {exporter}, "service_name": "shop"}}"#);
    assert!(module::configure(ROOT, document.as_bytes()));
    module::tick(ROOT);
}

fn requests(count: usize) {
    for n in 0..count {
        set_request(&[]);
        stream(100 + u32::try_from(n).unwrap(), ROOT);
    }
}

/// The only call since the last.
fn sent() -> HttpCall {
    let mut calls = fake_host::take_http_calls();
    let call = calls.pop().expect("an HTTP call");
    assert!(calls.is_empty(), "{calls:?}");
    call
}

/// What a collector answers that took everything.
fn acknowledge(call: &HttpCall) {
    let headers = [(":status", "200"), ("content-type", "application/grpc")];
    fake_host::set_map(CALL_HEADERS, &headers);
    fake_host::set_map(CALL_TRAILERS, &[("grpc-status", "0")]);
    fake_host::with(|host| host.buffers.insert(CALL_BODY, vec![0; 5]));
    http_call_response(ROOT, call.token, 2);
}

fn metric(name: &str) -> i64 {
    fake_host::metric(&format!("sidespan.{name}")).expect("a metric")
}

#[test]
fn full_batch_is_one_http_call() {
    configured_for_batches();
    requests(BATCH);
    let call = sent();
    assert_eq!(
        (&*call.cluster, call.context_id, call.timeout),
        ("collector", ROOT, 10_000)
    );
    let header = |name: &str| {
        let mut lines = call.headers.iter().filter(|(known, _)| known == name);
        lines.next().map(|(_, value)| &**value)
    };
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    for (name, value) in [
        (":method", "POST"),
        (":path", path),
        (":authority", "collector"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "10000m"),
    ] {
        assert_eq!(header(name), Some(value), "{name}");
    }
    assert!(header("user-agent").is_some());
    assert_eq!(call.headers.len(), 7, "{:?}", call.headers);
    assert!(call.trailers.is_empty());
    assert_eq!(spans(&call).len(), BATCH);
}

/// The call would end with the stream in whose callback it is made.
#[test]
fn http_call_is_made_by_the_root() {
    configured_for_batches();
    requests(BATCH);
    let calls = fake_host::take_calls();
    let at = calls.iter().position(|call| call == "http_call collector");
    let at = at.expect("an HTTP call");
    assert_eq!(calls[at - 1], "set_effective_context 1");
}

#[test]
fn response_acknowledges_the_spans() {
    configured_for_batches();
    requests(BATCH);
    module::tick(ROOT);
    assert_eq!(
        (metric("spans_in_flight"), metric("spans_acknowledged")),
        (32, 0)
    );
    acknowledge(&sent());
    assert_eq!(
        (metric("spans_in_flight"), metric("spans_acknowledged")),
        (0, 32)
    );
    assert_eq!(
        (metric("spans_created"), metric("exports.accepted")),
        (32, 1)
    );
    assert_eq!(metric("spans_queued"), 0);
}

#[test]
fn response_with_an_unknown_token_changes_nothing() {
    configured_for_batches();
    requests(BATCH);
    module::tick(ROOT);
    http_call_response(ROOT, 99_999, 2);
    http_call_response(77, sent().token, 2);
    assert_eq!(
        (metric("spans_in_flight"), metric("exports.failed")),
        (32, 0)
    );
}

#[test]
fn export_that_was_reset_is_sent_again() {
    configured_for_batches();
    fake_host::take_logs();
    requests(BATCH);
    let first = sent();
    http_call_response(ROOT, first.token, 0);
    assert_eq!((metric("exports.failed"), metric("spans_queued")), (1, 32));
    let logs = fake_host::take_logs();
    let [(WARN, line)] = &logs[..] else {
        panic!("{logs:?}");
    };
    assert!(
        line.starts_with("sidespan: ") && line.contains("\"collector\""),
        "{line}"
    );
    fake_host::advance(3 * SECOND);
    module::tick(ROOT);
    let second = sent();
    assert_eq!(second.body, first.body);
    acknowledge(&second);
    assert_eq!((metric("retries"), metric("spans_acknowledged")), (1, 32));
}

#[test]
fn refused_spans_are_dropped_and_counted() {
    configured_for_batches();
    requests(BATCH);
    let headers = [(":status", "200"), ("grpc-status", "16")];
    fake_host::set_map(CALL_HEADERS, &headers);
    http_call_response(ROOT, sent().token, 2);
    assert_eq!(
        (metric("exports.refused"), metric("spans_dropped.permanent")),
        (1, 32)
    );
}

#[test]
fn export_without_its_cluster_is_logged_and_sent_again() {
    configured_for_batches();
    fake_host::take_logs();
    fake_host::with(|host| host.refusals.insert("collector".to_owned(), BAD_ARGUMENT));
    requests(BATCH);
    let missing = fake_host::take_logs();
    assert!(missing[0].1.contains("no such cluster"), "{missing:?}");
    fake_host::with(|host| host.refusals.clear());
    fake_host::advance(3 * SECOND);
    module::tick(ROOT);
    assert_eq!(spans(&sent()).len(), BATCH);
}

#[test]
fn export_without_an_endpoint_is_logged_otherwise() {
    configured_for_batches();
    fake_host::take_logs();
    fake_host::with(|host| host.refusals.insert("collector".to_owned(), NO_ENDPOINT));
    requests(BATCH);
    let logs = fake_host::take_logs();
    assert_eq!(logs.len(), 1);
    assert!(!logs[0].1.contains("no such cluster"), "{logs:?}");
}

#[test]
fn tick_sends_a_batch_that_is_not_full() {
    configured_for_batches();
    requests(3);
    assert!(fake_host::take_http_calls().is_empty());
    fake_host::advance(2 * SECOND);
    module::tick(ROOT);
    assert_eq!(spans(&sent()).len(), 3);
}

#[test]
fn otlp_http_is_a_post_of_protobuf_with_headers_of_the_environment() {
    fake_host::set_environment(&[("TOKEN", "secret")]);
    configured("");
    configure_exporter(
        r#"{"otlp_http": {"cluster": "backend", "authority": "otlp.example", "headers": [{"name": "x-token", "environment": "TOKEN"}]}}"#,
    );
    requests(1);
    fake_host::advance(2 * SECOND);
    module::tick(ROOT);
    let call = sent();
    assert_eq!(call.cluster, "backend");
    for line in [
        (":method", "POST"),
        (":path", "/v1/traces"),
        (":authority", "otlp.example"),
        ("content-type", "application/x-protobuf"),
        ("x-token", "secret"),
    ] {
        let is_it = |(name, value): &(String, String)| (&**name, &**value) == line;
        assert!(call.headers.iter().any(is_it), "{line:?}");
    }
}

#[test]
fn pause_that_the_collector_asks_for_is_a_gauge() {
    configured("");
    configure_exporter(
        r#"{"otlp_http": {"cluster": "backend"}, "batch": {"max_export_batch_size": 2}}"#,
    );
    requests(2);
    fake_host::take_logs();
    let headers = [(":status", "429"), ("retry-after", "60")];
    fake_host::set_map(CALL_HEADERS, &headers);
    http_call_response(ROOT, sent().token, 2);
    let until = i64::try_from(fake_host::with(|host| host.now) / SECOND).unwrap() + 60;
    assert!(metric("exports.paused_until") >= until);
    let logs = fake_host::take_logs();
    assert!(
        logs.iter().any(|(_, line)| line.contains("pause until")),
        "{logs:?}"
    );
    requests(2);
    module::tick(ROOT);
    assert!(fake_host::take_http_calls().is_empty());
}

#[test]
fn root_has_a_tick_each_second() {
    configured("");
    let period = || fake_host::with(|host| host.tick_periods[&ROOT]);
    assert_eq!(period(), 1, "the first comes at once");
    module::tick(ROOT);
    assert_eq!(period(), 1000);
    assert!(module::configure(ROOT, document("").as_bytes()));
    assert_eq!(period(), 1);
}
