//! Spans reach the collector, each once, and what does not is counted.

use crate::stage::{PATIENCE, Stage};
use harness::{Behaviour, Code, MockCollector, client, load};
use std::collections::HashSet;
use std::time::Duration;

#[test]
fn a_hundred_thousand_requests_give_a_hundred_thousand_spans() {
    const REQUESTS: u64 = 100_000;
    let stage = Stage::edge_with(|edge| edge.concurrency(2));
    stage.upstream.record(false);
    stage.collector.keep_only_ids();
    let report = load::run(stage.addr(), "/bytes/10", 32, REQUESTS, &[]);
    assert_eq!(
        (report.ok, report.failed),
        (REQUESTS, 0),
        "{:?}",
        report.statuses
    );
    stage.collector.wait_count(REQUESTS as usize, PATIENCE);
    stage.wait_stat("spans_acknowledged", |n| n == REQUESTS);

    let ids = stage.collector.ids();
    assert_eq!(ids.len(), REQUESTS as usize, "no span comes twice");
    let spans: HashSet<_> = ids.iter().map(|(_, span)| span).collect();
    let traces: HashSet<_> = ids.iter().map(|(trace, _)| trace).collect();
    assert_eq!(spans.len(), REQUESTS as usize);
    assert_eq!(traces.len(), REQUESTS as usize);
    for lost in [
        "spans_rejected",
        "spans_dropped.queue_full",
        "spans_dropped.export_failed",
    ] {
        assert_eq!(stage.stat(lost), 0, "{lost}");
    }
}

#[test]
fn spans_go_in_batches_of_the_configured_size() {
    let stage = Stage::edge_exporting(
        "exporter: { otlp_grpc: { cluster: otel-collector }, \
         batch: { max_export_batch_size: 10, schedule_delay: 5m } }",
    );
    load::run(stage.addr(), "/", 1, 35, &[]);
    let calls = stage.collector.wait_calls(3, PATIENCE);
    assert!(calls.iter().all(|call| call.span_count == 10), "{calls:?}");
    // The last five wait for the delay, which is not over.
    stage.wait_stat("spans_created", |n| n == 35);
    assert_eq!(stage.stat("spans_acknowledged"), 30);
}

#[test]
fn the_authority_is_explicit() {
    let default = Stage::edge();
    client::get(default.addr(), "/");
    assert_eq!(
        default.collector.wait_calls(1, PATIENCE)[0].authority,
        "otel-collector"
    );

    let configured = Stage::edge_exporting(
        "exporter: { otlp_grpc: { cluster: otel-collector, authority: \"traces.example:4317\" } }",
    );
    client::get(configured.addr(), "/");
    assert_eq!(
        configured.collector.wait_calls(1, PATIENCE)[0].authority,
        "traces.example:4317"
    );

    // A name as Istio gives it, longer than what fits a length of one byte.
    let host = format!("{}.svc.cluster.local", "a-very-long-name.".repeat(12));
    let cluster = format!("outbound|4317||{host}");
    let istio = Stage::edge_with(|edge| {
        edge.replace(
            "cluster: otel-collector }",
            format!("cluster: \"{cluster}\" }}"),
        )
        .replace("name: otel-collector", format!("name: \"{cluster}\""))
    });
    client::get(istio.addr(), "/");
    assert_eq!(istio.collector.wait_calls(1, PATIENCE)[0].authority, host);
}

#[test]
fn a_cluster_that_does_not_exist_costs_spans_and_one_warning() {
    let stage = Stage::edge_with(|edge| {
        edge.concurrency(2).replace(
            "exporter: { otlp_grpc: { cluster: otel-collector } }",
            "exporter: { otlp_grpc: { cluster: nowhere }, batch: { schedule_delay: 50ms } }",
        )
    });
    let report = load::run(stage.addr(), "/", 16, 400, &[]);
    assert_eq!((report.ok, report.failed), (400, 0));
    stage.wait_stat("spans_dropped.export_failed", |n| n == 400);
    let log = stage.envoy.log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("sidespan:"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("[warning]"), "{}", warnings[0]);
    assert!(warnings[0].contains("\"nowhere\""), "{}", warnings[0]);
    assert!(
        warnings[0].contains("there is no such cluster"),
        "{}",
        warnings[0]
    );
}

#[test]
fn a_collector_that_fails_and_comes_back_is_reported_once_each() {
    let stage = Stage::edge();
    let refuse = || Behaviour::Fail(Code::Unavailable, "busy just now".to_owned());
    stage.collector.script(vec![refuse(), refuse()]);
    for n in 1..=2 {
        client::get(stage.addr(), "/");
        stage.wait_stat("spans_dropped.export_failed", |dropped| dropped == n);
    }
    client::get(stage.addr(), "/");
    stage.wait_stat("spans_acknowledged", |n| n == 1);
    let line = stage.envoy.wait_log("works again", PATIENCE);
    assert!(line.contains("otel-collector"), "{line}");
    let log = stage.envoy.log();
    let failing: Vec<_> = log
        .lines()
        .filter(|line| line.contains("spans are dropped"))
        .collect();
    assert_eq!(failing.len(), 1, "{failing:#?}");
    assert!(failing[0].contains("busy just now"), "{}", failing[0]);
    assert_eq!(stage.stat("exports_failed"), 2);
}

#[test]
fn what_the_collector_rejects_is_counted_as_such() {
    let stage = Stage::edge();
    stage.collector.script(vec![Behaviour::PartialSuccess {
        rejected: 1,
        message: "no room".to_owned(),
    }]);
    client::get(stage.addr(), "/");
    stage.wait_stat("spans_rejected", |n| n == 1);
    let line = stage.envoy.wait_log("rejected 1 spans", PATIENCE);
    assert!(line.contains("no room"), "{line}");

    // One that says nothing of why is reported all the same.
    let silent = Stage::edge();
    silent.collector.script(vec![Behaviour::PartialSuccess {
        rejected: 1,
        message: String::new(),
    }]);
    client::get(silent.addr(), "/");
    silent.envoy.wait_log("rejected 1 spans", PATIENCE);
}

/// Two exports hang, the queue fills behind them, and what finds it full is
/// counted; no request waits for any of it.
#[test]
fn the_queue_is_bounded_and_its_losses_are_counted() {
    let stage = Stage::edge_exporting(
        "exporter: { otlp_grpc: { cluster: otel-collector, timeout: 5m }, \
         batch: { max_queue_size: 100, max_export_batch_size: 10, schedule_delay: 50ms } }",
    );
    stage.collector.set_behaviour(Behaviour::Hang);
    let report = load::run(stage.addr(), "/", 4, 500, &[]);
    assert_eq!((report.ok, report.failed), (500, 0));
    stage.wait_stat("spans_created", |n| n == 500);
    // Two calls of ten are under way, a hundred wait.
    stage.wait_stat("spans_dropped.queue_full", |n| n == 380);
    assert_eq!(stage.stat("spans_acknowledged"), 0);
}

/// The collector is not there at all; it comes later.
#[test]
fn a_collector_that_comes_late_gets_what_comes_after() {
    let mut collector = MockCollector::start();
    let addr = collector.addr();
    collector.stop();
    let stage = Stage::edge_with(|edge| {
        edge.replace(
            "exporter: { otlp_grpc: { cluster: otel-collector } }",
            "exporter: { otlp_grpc: { cluster: otel-collector, timeout: 1s }, batch: { schedule_delay: 50ms } }",
        )
        .port(4317, addr.port())
    });
    assert_eq!(client::get(stage.addr(), "/").status, 200);
    stage.wait_stat("spans_dropped.export_failed", |n| n == 1);
    let collector = MockCollector::start_on(addr);
    let span = harness::eventually(PATIENCE, "a span at the late collector", || {
        client::get(stage.addr(), "/again");
        collector.settled(Duration::from_millis(100)).pop()
    });
    assert_eq!(span.str_attr("url.path"), Some("/again"));
}
