//! What a wrong configuration does: nothing to requests.

use super::stage::{ARTEFACT, PATIENCE, Stage, variable};
use harness::{Envoy, client};

const RIGHT: &str = "exporter: { otlp_grpc: { cluster: otel-collector } }";
const WRONG: &str = "exporter: { otlp_grpc: { cluster: \"\", timeout: 10, color: red } }";

#[test]
fn a_wrong_document_is_reported_once_and_requests_go_on_untouched() {
    let stage = Stage::edge_with(|edge| edge.concurrency(2).replace(RIGHT, WRONG));
    let headers: &[(&str, &[u8])] = &[("traceparent", b"as it was"), ("b3", b"0")];
    for _ in 0..20 {
        let answer = client::request(stage.addr(), "GET", "/", headers, b"").unwrap();
        assert_eq!(answer.status, 200);
    }
    let seen = stage.upstream.last();
    assert_eq!(seen.header("traceparent"), ["as it was"]);
    assert_eq!(seen.header("b3"), ["0"]);
    stage.wait_stat("config_rejected", |n| n == 1);

    let log = stage.envoy.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("sidespan:"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    for part in [
        "[error]",
        "requests go through untraced",
        "exporter.otlp_grpc.cluster: \"\" is not the name of a cluster",
        "exporter.otlp_grpc.timeout: 10 is not a string",
        "exporter.otlp_grpc.color: unknown key",
    ] {
        assert!(lines[0].contains(part), "{part:?} is not in {}", lines[0]);
    }
}

#[test]
fn strict_refuses_a_wrong_document() {
    let strict = |file| variable(super::stage::envoy(file), "SIDESPAN_STRICT", "1");
    let wrong = strict("envoy-configs/edge.yaml").replace(RIGHT, WRONG);
    let error = wrong
        .clone()
        .try_start()
        .err()
        .expect("Envoy refuses to start");
    assert!(
        error.log.contains("refused, SIDESPAN_STRICT is 1"),
        "{}",
        error.log
    );
    assert!(
        error.log.contains("exporter.otlp_grpc.color"),
        "{}",
        error.log
    );
    // The same in a right one changes nothing.
    strict("envoy-configs/edge.yaml").start();
}

#[test]
fn a_document_may_be_json_in_a_string() {
    let text =
        std::fs::read_to_string(harness::workspace_root().join("envoy-configs/edge.yaml")).unwrap();
    let (before, rest) = text
        .split_once("                  \"@type\": type.googleapis.com/google.protobuf.Struct")
        .unwrap();
    let (_, after) = rest.split_once(RIGHT).unwrap();
    let json = r#"{"service_name": "json", "exporter": {"otlp_grpc": {"cluster": "otel-collector"}, "batch": {"schedule_delay": "50ms", "max_queue_size": 4096}}}"#;
    let yaml = format!(
        "{before}                  \"@type\": type.googleapis.com/google.protobuf.StringValue\n                  value: '{json}'{after}"
    );
    let collector = harness::MockCollector::start();
    let upstream = harness::Upstream::start();
    let envoy = Envoy::from_yaml(yaml)
        .artefact(ARTEFACT)
        .port(4317, collector.port())
        .port(8080, upstream.port())
        .start();
    client::get(envoy.addr(10000), "/");
    assert_eq!(collector.wait_spans(1, PATIENCE)[0].service_name(), "json");
}

/// Numbers in a protobuf Struct are doubles on the way.
#[test]
fn a_document_may_be_a_struct_with_numbers() {
    let stage = Stage::edge_exporting(
        "exporter: { otlp_grpc: { cluster: otel-collector }, batch: { max_export_batch_size: 2, schedule_delay: 5m } }",
    );
    client::get(stage.addr(), "/");
    client::get(stage.addr(), "/");
    stage.collector.wait_spans(2, PATIENCE);
}

#[test]
fn the_service_is_named_by_the_environment_or_the_node_if_the_document_does_not() {
    let by_env = Stage::edge_with(|edge| {
        variable(edge, "OTEL_SERVICE_NAME", "from-env")
            .replace("service_name: edge", "service_name: \"\"")
    });
    client::get(by_env.addr(), "/");
    assert_eq!(by_env.span().service_name(), "from-env");

    let by_node = Stage::edge_with(|edge| {
        edge.replace("service_name: edge", "service_name: \"\"")
            .arg("--service-cluster")
            .arg("from-node")
            .arg("--service-node")
            .arg("node-1")
    });
    client::get(by_node.addr(), "/");
    assert_eq!(by_node.span().service_name(), "from-node");

    let by_nobody =
        Stage::edge_with(|edge| edge.replace("service_name: edge", "service_name: \"\""));
    client::get(by_nobody.addr(), "/");
    assert_eq!(by_nobody.span().service_name(), "unknown_service:envoy");
}
