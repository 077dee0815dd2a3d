//! OpenTelemetry's check of real spans against the registry of the semantic
//! conventions: `make live-check`.

use crate::wasm::stage::{
    EXPORTER, PATIENCE, QUICK_EXPORTER, Stage, http2_upstream, with_built_in_tracer,
};
use harness::otlp::common::v1::KeyValue;
use harness::otlp::common::v1::any_value::Value;
use harness::otlp::trace::v1::span::SpanKind;
use harness::otlp::trace::v1::status::StatusCode;
use harness::{Envoy, MockCollector, ReceivedSpan, Upstream, client, workspace_root};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Requests of every kind: success, 4xx, 5xx, a reset, and gRPC where the
/// upstream speaks HTTP/2. Their number.
fn traffic(addr: SocketAddr) -> usize {
    let headers: &[(&str, &[u8])] = &[("user-agent", b"test/1.0")];
    for (method, path) in [
        ("GET", "/?page=2&token=s3cret"),
        ("POST", "/orders"),
        ("PURGE", "/"),
        ("GET", "/status/404"),
        ("GET", "/status/503"),
        ("GET", "/reset"),
        ("GET", "/bytes/10"),
    ] {
        let _ = client::request(addr, method, path, headers, b"");
    }
    7
}

fn grpc_traffic(addr: SocketAddr) -> usize {
    let paths = [
        "/pkg.Svc/Ok",
        "/pkg.Svc/Fail",
        "/pkg.Svc/TrailersOnly",
        "/pkg.Svc/None",
    ];
    for path in paths {
        client::grpc_unary(addr, path, &[], b"\0\0\0\0\0");
    }
    paths.len()
}

/// The spans of a gateway, of both sides of a sidecar, and of gRPC.
fn spans() -> Vec<ReceivedSpan> {
    let gateway = Stage::gateway();
    let count = 2 * traffic(gateway.addr());
    let mut spans = gateway.collector.wait_spans(count, PATIENCE);

    let grpc = Stage::gateway_with(|edge| http2_upstream(edge.replace(EXPORTER, QUICK_EXPORTER)));
    let count = 2 * grpc_traffic(grpc.addr());
    spans.extend(grpc.collector.wait_spans(count, PATIENCE));

    let (app, collector) = (Upstream::start(), MockCollector::start());
    let sidecar = Envoy::from_file("envoy-configs/sidecar.yaml")
        .replace(EXPORTER, QUICK_EXPORTER)
        .port(8080, app.port())
        .port(8081, app.port())
        .port(4317, collector.port())
        .start();
    let count = traffic(sidecar.addr(15006)) + traffic(sidecar.addr(15001));
    spans.extend(collector.wait_spans(count, PATIENCE));
    spans
}

fn envoys_own_spans() -> Vec<ReceivedSpan> {
    let (upstream, collector) = (Upstream::start(), MockCollector::start());
    let path = workspace_root().join("envoy-configs/edge.yaml");
    let text = std::fs::read_to_string(path).expect("the configuration");
    let envoy = Envoy::from_yaml(with_built_in_tracer(&text))
        .port(8080, upstream.port())
        .port(4317, collector.port())
        .start();
    let count = traffic(envoy.addr(10000));
    collector.wait_spans(count, PATIENCE)
}

/// As weaver reads samples.
fn sample(span: &ReceivedSpan) -> [serde_json::Value; 2] {
    let attributes = |list: &[KeyValue]| -> Vec<_> {
        list.iter()
            .map(|pair| {
                let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
                let (kind, value) = match value {
                    Some(Value::StringValue(text)) => ("string", json!(text)),
                    Some(Value::IntValue(n)) => ("int", json!(n)),
                    Some(Value::DoubleValue(n)) => ("double", json!(n)),
                    Some(Value::BoolValue(b)) => ("boolean", json!(b)),
                    other => panic!("{}: {other:?}", pair.key),
                };
                json!({"name": pair.key, "value": value, "type": kind})
            })
            .collect()
    };
    let kind = match span.kind() {
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        other => panic!("{other:?}"),
    };
    let status = match span.status_code() {
        StatusCode::Error => "error",
        _ => "unset",
    };
    [
        json!({"resource": {"attributes": attributes(&span.resource)}}),
        json!({"span": {
            "name": span.name(),
            "kind": kind,
            "status": {"code": status, "message": ""},
            "attributes": attributes(&span.span.attributes),
            "span_events": [],
            "span_links": [],
        }}),
    ]
}

/// Findings by their level and text.
type Findings = BTreeMap<(String, String), u64>;

fn live_check(name: &str, spans: &[ReceivedSpan]) -> Findings {
    let dir = std::env::temp_dir().join(format!("sidespan-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a folder");
    let samples: Vec<_> = spans.iter().flat_map(sample).collect();
    let input = dir.join("samples.json");
    std::fs::write(&input, json!(samples).to_string()).expect("the samples");
    let output = Command::new(std::env::var_os("WEAVER").expect("WEAVER"))
        .args(["registry", "live-check", "--input-source"])
        .arg(&input)
        .args(["--input-format", "json", "--format", "json", "--output"])
        .arg(dir.join("report"))
        .arg("--registry")
        .arg(registry(&dir))
        .output()
        .expect("weaver runs");
    let report = std::fs::read_to_string(dir.join("report/live_check.json"))
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let report: serde_json::Value = serde_json::from_str(&report).expect("a report");
    let mut findings = Findings::new();
    collect(&report["samples"], &mut findings);
    std::fs::remove_dir_all(&dir).expect("the folder goes");
    findings
}

fn collect(value: &serde_json::Value, findings: &mut Findings) {
    match value {
        serde_json::Value::Array(list) => {
            list.iter().for_each(|value| collect(value, findings));
        }
        serde_json::Value::Object(object) => {
            let text = |key| object.get(key).and_then(serde_json::Value::as_str);
            if let (Some(level), Some(message)) = (text("level"), text("message")) {
                *findings
                    .entry((level.to_owned(), message.to_owned()))
                    .or_default() += 1;
            }
            object.values().for_each(|value| collect(value, findings));
        }
        _ => {}
    }
}

/// Our own registry, over the conventions that SEMCONV names.
fn registry(dir: &Path) -> PathBuf {
    let ours = workspace_root().join("filter/registry");
    let Some(semconv) = std::env::var_os("SEMCONV") else {
        return ours;
    };
    let copy = dir.join("registry");
    std::fs::create_dir_all(&copy).expect("a folder");
    std::fs::copy(ours.join("attributes.yaml"), copy.join("attributes.yaml")).expect("a copy");
    let manifest = std::fs::read_to_string(ours.join("manifest.yaml")).expect("the manifest");
    let (before, _) = manifest.split_once("  registry_path: ").expect("a path");
    let manifest = format!(
        "{before}  registry_path: {}\n",
        Path::new(&semconv).display()
    );
    std::fs::write(copy.join("manifest.yaml"), manifest).expect("a manifest");
    copy
}

#[test]
#[ignore = "needs weaver: make live-check"]
fn live_check_finds_no_violation() {
    let level = |findings: &Findings, level: &str| -> u64 {
        let of_level = findings.iter().filter(|((l, _), _)| l == level);
        of_level.map(|(_, count)| count).sum()
    };
    let ours = spans();
    let findings = live_check("ours", &ours);
    println!("{} spans", ours.len());
    for ((level, message), count) in &findings {
        println!("{count:6} {level}: {message}");
    }
    let envoys = envoys_own_spans();
    let theirs = live_check("envoys", &envoys);
    println!(
        "Envoy's own tracer: {} violations in {} spans",
        level(&theirs, "violation"),
        envoys.len()
    );
    assert!(level(&theirs, "violation") > 0, "the check sees something");
    assert_eq!(level(&findings, "violation"), 0);
}
