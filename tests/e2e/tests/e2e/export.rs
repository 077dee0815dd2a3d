//! Spans reach the collector, each once, and what does not is counted.

use super::stage::{EXPORTER, LOGGER, PATIENCE, Stage, handed_down, stat_name};
use harness::{Behaviour, Code, Garbage, MockCollector, client, load};
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
        "spans_dropped.retry_exhausted",
        "spans_dropped.permanent",
        "spans_dropped.shutdown",
        "spans_dropped.encoding",
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

/// Its spans wait for the cluster to come, and are counted when that takes too
/// long.
#[test]
fn a_cluster_that_does_not_exist_costs_spans_and_one_warning() {
    let stage = Stage::edge_with(|edge| {
        edge.concurrency(2).replace(
            "exporter: { otlp_grpc: { cluster: otel-collector } }",
            "exporter: { otlp_grpc: { cluster: nowhere }, batch: { schedule_delay: 50ms }, \
             retry: { initial_interval: 50ms, max_elapsed_time: 200ms } }",
        )
    });
    let report = load::run(stage.addr(), "/", 16, 400, &[]);
    assert_eq!((report.ok, report.failed), (400, 0));
    stage.wait_stat("spans_dropped.retry_exhausted", |n| n == 400);
    let log = stage.envoy.log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("sidespan:") && !line.contains("configuration loaded"))
        .collect();
    assert!(warnings.iter().all(|line| line.contains("[warning]")));
    let failing: Vec<_> = warnings
        .iter()
        .filter(|line| line.contains("fails, spans wait"))
        .collect();
    assert_eq!(failing.len(), 1, "{warnings:#?}");
    assert!(failing[0].contains("\"nowhere\""), "{}", failing[0]);
    assert!(
        failing[0].contains("there is no such cluster"),
        "{}",
        failing[0]
    );
    let lost = "spans are lost, their exports failed for max_elapsed_time; \
                see the stat sidespan.spans_dropped.retry_exhausted";
    assert_eq!(log.matches(lost).count(), 1, "{warnings:#?}");
}

#[test]
fn a_collector_that_fails_and_comes_back_is_reported_once_each() {
    let stage = Stage::edge_exporting(
        "exporter: { otlp_grpc: { cluster: otel-collector }, batch: { schedule_delay: 50ms }, \
         retry: { initial_interval: 50ms } }",
    );
    let refuse = || Behaviour::Fail(Code::Unavailable, "busy just now".to_owned());
    stage.collector.script(vec![refuse(), refuse()]);
    client::get(stage.addr(), "/");
    stage.wait_stat("spans_acknowledged", |n| n == 1);
    let line = stage.envoy.wait_log("works again", PATIENCE);
    assert!(line.contains("otel-collector"), "{line}");
    let log = stage.envoy.log();
    let failing: Vec<_> = log
        .lines()
        .filter(|line| line.contains("fails, spans wait"))
        .collect();
    assert_eq!(failing.len(), 1, "{failing:#?}");
    assert!(
        failing[0].contains("gRPC status 14 UNAVAILABLE: \"busy just now\""),
        "{}",
        failing[0]
    );
    assert_eq!(stage.stat("exports.failed"), 2);
    assert_eq!(stage.stat("retries"), 2);
    assert_eq!(stage.stat("exports.accepted"), 1);
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

/// The collector is not there at all; it comes later, and misses nothing.
#[test]
fn a_collector_that_comes_late_gets_what_waited_for_it() {
    let mut collector = MockCollector::start();
    let addr = collector.addr();
    collector.stop();
    let stage = Stage::edge_with(|edge| {
        edge.replace(
            "exporter: { otlp_grpc: { cluster: otel-collector } }",
            "exporter: { otlp_grpc: { cluster: otel-collector, timeout: 1s }, \
             batch: { schedule_delay: 50ms }, retry: { initial_interval: 100ms } }",
        )
        .port(4317, addr.port())
    });
    assert_eq!(client::get(stage.addr(), "/early").status, 200);
    stage.wait_stat("exports.failed", |n| n > 0);
    let collector = MockCollector::start_on(addr);
    let span = collector.wait_spans(1, PATIENCE).remove(0);
    assert_eq!(span.str_attr("url.path"), Some("/early"));
}

/// The gateway with a collector cluster that speaks HTTP/1.1, as OTLP/HTTP
/// needs no more.
fn over_http(keys: &str) -> Stage {
    let exporter = format!(
        "exporter: {{ otlp_http: {{ cluster: otel-collector{keys} }}, \
         batch: {{ schedule_delay: 50ms }}, retry: {{ initial_interval: 100ms }} }}"
    );
    Stage::edge_with(|edge| {
        edge.replace(EXPORTER, exporter)
            .replace("http2_protocol_options: {}", "http_protocol_options: {}")
    })
}

#[test]
fn otlp_http_carries_the_same_spans() {
    let stage = over_http("");
    client::get(stage.addr(), "/here");
    assert_eq!(stage.span().str_attr("url.path"), Some("/here"));
    let call = stage.collector.calls().remove(0);
    assert_eq!((call.path.as_str(), call.is_grpc), ("/v1/traces", false));
    let content_type = call
        .metadata
        .iter()
        .find(|(name, _)| name == "content-type");
    assert_eq!(content_type.unwrap().1, "application/x-protobuf");
    stage.wait_stat("spans_acknowledged", |n| n == 1);

    let named = over_http(", path: /otlp/v1/traces, authority: \"traces.example\"");
    client::get(named.addr(), "/");
    let call = named.collector.wait_calls(1, PATIENCE).remove(0);
    assert_eq!(
        (call.path.as_str(), call.authority.as_str()),
        ("/otlp/v1/traces", "traces.example")
    );
}

#[test]
fn otlp_http_is_compressed_if_asked_for() {
    const REQUESTS: u64 = 2000;
    let lengths = ["", ", compression: gzip"].map(|keys| {
        let stage = over_http(keys);
        let report = load::run(stage.addr(), "/bytes/10", 4, REQUESTS, &[]);
        assert_eq!((report.ok, report.failed), (REQUESTS, 0));
        stage.wait_stat("spans_acknowledged", |n| n == REQUESTS);
        assert_eq!(stage.collector.distinct_span_count() as u64, REQUESTS);
        let calls = stage.collector.calls();
        let encoding = if keys.is_empty() { "" } else { "gzip" };
        assert!(calls.iter().all(|call| call.content_encoding == encoding));
        calls.iter().map(|call| call.message_len).sum::<usize>()
    });
    assert!(lengths[1] < lengths[0] / 3, "{lengths:?}");
}

#[test]
fn otlp_http_is_sent_again_when_the_answer_says_so() {
    let stage = over_http("");
    let busy = |status| Behaviour::FailHttp {
        status,
        retry_after: Some("1".to_owned()),
        body: "overloaded".to_owned(),
    };
    stage
        .collector
        .script(vec![busy(503), Behaviour::Accept, busy(400)]);
    client::get(stage.addr(), "/");
    stage.wait_stat("spans_acknowledged", |n| n == 1);
    let calls = stage.collector.calls();
    assert!(
        calls[1].at - calls[0].at >= Duration::from_secs(1),
        "as it asked"
    );
    client::get(stage.addr(), "/");
    stage.wait_stat("spans_dropped.permanent", |n| n == 1);
    assert_eq!(stage.collector.calls().len(), 3);
    let line = stage.envoy.wait_log("refused an export", PATIENCE);
    assert!(line.contains("HTTP status 400: \"overloaded\""), "{line}");
}

/// A token reaches the collector and nobody else.
#[test]
fn headers_arrive_and_their_values_are_nowhere_else() {
    const SECRETS: [&str; 2] = ["s3cret-of-the-file", "s3cret-of-the-vm"];
    for protocol in ["otlp_grpc", "otlp_http"] {
        let stage = Stage::edge_with(|edge| {
            handed_down(edge, "SIDESPAN_E2E_TOKEN")
                .env("SIDESPAN_E2E_TOKEN", SECRETS[1])
                .log_level("info")
                .arg("--component-log-level")
                .arg(format!("{LOGGER}:trace"))
                .replace(
                    EXPORTER,
                    format!(
                        "exporter: {{ {protocol}: {{ cluster: otel-collector, headers: [\
                         {{ name: X-Plain, value: {} }}, \
                         {{ name: x-token, environment: SIDESPAN_E2E_TOKEN }}, \
                         {{ name: x-missing, environment: SIDESPAN_E2E_NONE }}] }}, \
                         batch: {{ schedule_delay: 50ms }} }}",
                        SECRETS[0]
                    ),
                )
        });
        let refuse = Behaviour::Fail(Code::Unauthenticated, "no".to_owned());
        stage.collector.script(vec![Behaviour::Accept, refuse]);
        client::get(stage.addr(), "/");
        stage.wait_stat("spans_acknowledged", |n| n == 1);
        client::get(stage.addr(), "/");
        stage.wait_stat("spans_dropped.permanent", |n| n == 1);
        let call = stage.collector.calls().remove(0);
        let sent = |name: &str| {
            let header = call.metadata.iter().find(|(n, _)| n == name);
            header.map(|(_, value)| value.as_str())
        };
        assert_eq!(sent("x-plain"), Some(SECRETS[0]), "{protocol}");
        assert_eq!(sent("x-token"), Some(SECRETS[1]), "{protocol}");
        assert_eq!(sent("x-missing"), None, "{protocol}");
        let log = stage.envoy.log();
        let warning = "SIDESPAN_E2E_NONE is not in the environment that the filter sees, \
                       exports go without the header x-missing";
        assert_eq!(log.matches(warning).count(), 1, "{protocol}");
        let stats = stage.envoy.admin("/stats");
        for secret in SECRETS {
            assert!(!log.contains(secret), "{protocol}: in the log");
            assert!(!stats.contains(secret), "{protocol}: in the stats");
        }
    }
}

/// Three replicas behind one cluster: all get exports, and one that dies under
/// load costs nothing but retries.
#[test]
fn a_tier_of_collectors_shares_the_load_and_one_may_die() {
    const REQUESTS: u64 = 20_000;
    let others = [MockCollector::start(), MockCollector::start()];
    let stage = Stage::edge_with(|edge| {
        let endpoint =
            "- endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 4317 } } }";
        let endpoints = [4317, 4318, 4319].map(|port| endpoint.replace("4317", &port.to_string()));
        edge.concurrency(2)
            .replace(
                EXPORTER,
                "exporter: { otlp_grpc: { cluster: otel-collector }, \
                 batch: { max_queue_size: 100000, max_queue_bytes: 256MiB, schedule_delay: 50ms }, \
                 retry: { initial_interval: 100ms } }",
            )
            .replace(endpoint, endpoints.join("\n        "))
            .port(4318, others[0].port())
            .port(4319, others[1].port())
    });
    stage.upstream.record(false);
    let addr = stage.addr();
    let load = std::thread::spawn(move || load::run(addr, "/bytes/10", 16, REQUESTS, &[]));
    let mut dying = stage.collector;
    dying.wait_calls(2, PATIENCE);
    dying.stop();
    let report = load.join().unwrap();
    assert_eq!((report.ok, report.failed), (REQUESTS, 0));
    let acknowledged = || stage.envoy.stat(&stat_name("spans_acknowledged"));
    harness::eventually(PATIENCE, "that every span is acknowledged", || {
        (acknowledged() == Some(REQUESTS)).then_some(())
    });
    let mut ids = HashSet::new();
    for collector in others.iter().chain([&dying]) {
        assert!(collector.calls().len() > 1, "each had its part");
        ids.extend(collector.ids());
    }
    assert_eq!(ids.len() as u64, REQUESTS);
    assert!(stage.envoy.stat(&stat_name("retries")) > Some(0));
}

/// The ends of the line, as the operators' page explains them.
#[test]
fn the_line_says_why_exports_fail() {
    let docs = std::fs::read_to_string(harness::workspace_root().join("docs/operations.md"));
    let docs = docs.expect("the operators' page");
    let nobody = {
        let mut collector = MockCollector::start();
        collector.stop();
        collector.port()
    };
    let garbage = Garbage::start();
    let endpoints = "- lb_endpoints:\n        - endpoint: \
                     { address: { socket_address: { address: 127.0.0.1, port_value: 4317 } } }";
    for (change, words) in [
        (
            (
                "cluster: otel-collector, timeout",
                "cluster: nowhere, timeout",
            ),
            vec!["there is no such cluster"],
        ),
        (
            (endpoints, "- lb_endpoints: []"),
            vec!["the cluster has no endpoint that takes it"],
        ),
        (
            ("port_value: 4317", &format!("port_value: {nobody}")),
            vec![
                "gRPC status 14 UNAVAILABLE: \"upstream connect error",
                "remote connection failure",
            ],
        ),
        (
            (
                "port_value: 4317",
                &format!("port_value: {}", garbage.addr().port()),
            ),
            vec![
                "gRPC status 14 UNAVAILABLE: \"upstream connect error",
                "protocol error",
            ],
        ),
        (
            ("timeout: 10s", "timeout: 100ms"),
            vec!["gRPC status 14 UNAVAILABLE: \"upstream request timeout\""],
        ),
    ] {
        let stage = Stage::edge_with(|edge| {
            edge.replace(
                EXPORTER,
                "exporter: { otlp_grpc: { cluster: otel-collector, timeout: 10s }, batch: { schedule_delay: 50ms } }",
            )
            .replace(change.0, change.1)
        });
        stage.collector.set_behaviour(Behaviour::Hang);
        client::get(stage.addr(), "/");
        let line = stage.envoy.wait_log("fails, spans wait", PATIENCE);
        for words in words {
            assert!(line.contains(words), "{words:?}: {line}");
            assert!(docs.contains(words), "{words:?} is not explained");
        }
    }
}
