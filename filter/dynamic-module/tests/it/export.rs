//! Exports as streams of the newest configuration, in the main thread's turns.

use crate::exports::{acknowledge, complete, data, headers, nothing, reset, trailers};
use crate::fake_envoy::{self, Export, WARN};
use crate::module::{Filter, document, document_of, inbound, start};
use crate::spans::spans;

const CLUSTER_NOT_FOUND: u32 = 2;
const DISCONNECTED: u32 = 1;

fn requests(filter: &Filter, count: usize) {
    for _ in 0..count {
        filter.whole_stream(inbound(&[]));
    }
}

/// The only export since the last.
fn sent() -> Export {
    let mut exports = fake_envoy::take_exports();
    let export = exports.pop().expect("an export");
    assert!(exports.is_empty(), "{exports:?}");
    export
}

/// One span is on its way.
fn under_way(filter: &Filter) -> Export {
    requests(filter, 1);
    filter.turn();
    sent()
}

/// Turns until a retry is due, which comes after a millisecond.
fn next_sent(filter: &Filter) -> Export {
    loop {
        filter.turn();
        if fake_envoy::with(|envoy| !envoy.exports.is_empty()) {
            return sent();
        }
        std::thread::yield_now();
    }
}

/// A document whose exports are retried at once.
fn eager(cluster: &str) -> String {
    let exporter = r#", "batch": {"max_export_batch_size": 1}, "retry": {"initial_interval": "1ms", "max_interval": "1ms"}"#;
    document_of(cluster, exporter, "")
}

#[test]
fn turn_sends_what_workers_have() {
    let _serial = start();
    let exporter = r#", "batch": {"max_export_batch_size": 32}"#;
    let filter = Filter::new(&document_of("turn", exporter, ""));
    requests(&filter, 32);
    assert!(fake_envoy::take_exports().is_empty(), "workers cannot");
    filter.turn();
    let export = sent();
    assert_eq!(
        (&*export.cluster, export.config, export.timeout),
        ("turn", filter.address, 10_000)
    );
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    for line in [
        (":method", "POST"),
        (":path", path),
        (":authority", "turn"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "10000m"),
    ] {
        let is_it = |(name, value): &(String, String)| (&**name, &**value) == line;
        assert!(export.headers.iter().any(is_it), "{line:?}");
    }
    assert_eq!(spans(&export).len(), 32);
}

#[test]
fn full_batch_calls_the_main_thread() {
    let _serial = start();
    let exporter = r#", "batch": {"max_export_batch_size": 32}"#;
    let filter = Filter::new(&document_of("wakeup", exporter, ""));
    let commits = || fake_envoy::with(|envoy| envoy.commits.clone());
    // Of the configuration that came.
    fake_envoy::wait_until(|envoy| !envoy.commits.is_empty());
    let first = commits().len();
    requests(&filter, 32);
    fake_envoy::wait_until(|envoy| envoy.commits.len() > first);
    assert!(commits().iter().all(|address| *address == filter.address));
}

#[test]
fn response_acknowledges_the_spans() {
    let _serial = start();
    let filter = Filter::new(&document("response", ""));
    let export = under_way(&filter);
    assert_eq!(filter.metric("spans_in_flight"), 1);
    acknowledge(&export);
    assert_eq!(filter.metric("spans_in_flight"), 0);
    assert_eq!(filter.metric("spans_acknowledged"), 1);
    assert_eq!(filter.metric("exports.accepted"), 1);
    assert_eq!(filter.metric("export_time"), 1);
}

/// Of a collector that answers with headers alone.
#[test]
fn refused_spans_are_dropped_and_counted() {
    let _serial = start();
    let filter = Filter::new(&document("refused", ""));
    let export = under_way(&filter);
    fake_envoy::take_logs();
    headers(&export, &[(":status", "200"), ("grpc-status", "16")]);
    complete(&export);
    assert_eq!(filter.metric("spans_dropped.permanent"), 1);
    let logs = fake_envoy::take_logs();
    let [(WARN, line)] = &logs[..] else {
        panic!("{logs:?}");
    };
    assert!(
        line.starts_with("sidespan: ") && line.contains("\"refused\""),
        "{line}"
    );
}

/// `ExportTraceServiceResponse{partial_success{rejected_spans: 1}}`, in parts.
#[test]
fn partial_success_is_read_from_a_body_in_parts() {
    let _serial = start();
    let filter = Filter::new(&document("partial", ""));
    let export = under_way(&filter);
    headers(&export, &[(":status", "200")]);
    data(&export, &[0, 0, 0, 0, 4]);
    data(&export, &[0x0a, 2, 8, 1]);
    trailers(&export, &[("grpc-status", "0")]);
    complete(&export);
    assert_eq!(filter.metric("spans_rejected"), 1);
    assert_eq!(filter.metric("exports.partial"), 1);
}

#[test]
fn export_that_was_reset_is_sent_again() {
    let _serial = start();
    let filter = Filter::new(&eager("reset"));
    let first = under_way(&filter);
    reset(first.config, first.id);
    let second = next_sent(&filter);
    assert_eq!(second.body, first.body);
    acknowledge(&second);
    assert_eq!(filter.metric("retries"), 1);
    assert_eq!(filter.metric("spans_acknowledged"), 1);
}

#[test]
fn export_without_its_cluster_is_logged_and_sent_again() {
    let _serial = start();
    let filter = Filter::new(&eager("no-cluster"));
    fake_envoy::take_logs();
    fake_envoy::with(|envoy| envoy.refusal = Some(CLUSTER_NOT_FOUND));
    requests(&filter, 1);
    filter.turn();
    let logs = fake_envoy::take_logs();
    assert!(logs[0].1.contains("no such cluster"), "{logs:?}");
    fake_envoy::with(|envoy| envoy.refusal = None);
    acknowledge(&next_sent(&filter));
    assert_eq!(filter.metric("spans_acknowledged"), 1);
}

#[test]
fn export_that_is_not_started_is_logged_otherwise() {
    let _serial = start();
    let filter = Filter::new(&eager("disconnected"));
    fake_envoy::take_logs();
    fake_envoy::with(|envoy| envoy.refusal = Some(DISCONNECTED));
    requests(&filter, 1);
    filter.turn();
    let logs = fake_envoy::take_logs();
    assert_eq!(logs.len(), 1);
    assert!(!logs[0].1.contains("no such cluster"), "{logs:?}");
}

#[test]
fn response_of_an_unknown_stream_changes_nothing() {
    let _serial = start();
    let filter = Filter::new(&document("unknown", ""));
    let export = under_way(&filter);
    let stranger = Export {
        id: export.id + 1000,
        ..export.clone()
    };
    acknowledge(&stranger);
    reset(0, export.id);
    nothing(stranger.config, stranger.id);
    filter.turn();
    assert_eq!(filter.metric("spans_in_flight"), 1);
    assert_eq!(filter.metric("exports.failed"), 0);
}

/// Null where there are lines or data.
#[test]
fn response_without_anything_is_a_failure() {
    let _serial = start();
    let filter = Filter::new(&document("nothing", ""));
    let export = under_way(&filter);
    nothing(export.config, export.id);
    assert_eq!(filter.metric("spans_in_flight"), 0);
    assert_eq!(filter.metric("exports.accepted"), 0);
    assert_eq!(
        filter.metric("exports.refused") + filter.metric("exports.failed"),
        1
    );
}

#[test]
fn accounts_balance_over_many_streams() {
    let _serial = start();
    let filter = Filter::new(&document("accounts", ""));
    requests(&filter, 5);
    crate::exports::flush(&filter);
    assert_eq!(filter.metric("sampled"), 5);
    assert_eq!(filter.metric("spans_created"), 5);
    assert_eq!(filter.metric("spans_acknowledged"), 5);
    assert_eq!(filter.metric("spans_queued"), 0);
}
