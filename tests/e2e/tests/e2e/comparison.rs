//! What the README says of the tracer that is built into Envoy, so that it
//! stays true.

use crate::wasm::stage::{PATIENCE, with_built_in_tracer};
use harness::otlp::common::v1::any_value::Value;
use harness::{Envoy, MockCollector, Upstream, client, workspace_root};

fn edge(upstream: &Upstream, collector_port: u16) -> Envoy {
    let path = workspace_root().join("envoy-configs/edge.yaml");
    let text = std::fs::read_to_string(path).expect("the configuration");
    Envoy::from_yaml(with_built_in_tracer(&text))
        .port(8080, upstream.port())
        .port(4317, collector_port)
        .start()
}

#[test]
fn its_attributes_are_strings_under_retired_names_with_secrets_in_clear() {
    let (upstream, collector) = (Upstream::start(), MockCollector::start());
    let envoy = edge(&upstream, collector.port());
    client::get(envoy.addr(10000), "/?sig=s3cret");
    let span = collector.wait_spans(1, PATIENCE).remove(0);
    assert_eq!(span.str_attr("http.status_code"), Some("200"));
    assert_eq!(span.attr("http.response.status_code"), None);
    assert!(
        span.str_attr("http.url")
            .is_some_and(|url| url.contains("s3cret"))
    );
    let typed = span
        .span
        .attributes
        .iter()
        .filter_map(|attribute| attribute.value.as_ref()?.value.as_ref())
        .any(|value| !matches!(value, Value::StringValue(_)));
    assert!(!typed, "{:?}", span.span.attributes);
}

#[test]
fn it_counts_spans_as_sent_that_no_collector_has_seen() {
    let (upstream, mut collector) = (Upstream::start(), MockCollector::start());
    let port = collector.port();
    collector.stop();
    let envoy = edge(&upstream, port);
    for _ in 0..10 {
        client::get(envoy.addr(10000), "/");
    }
    envoy.wait_stat("tracing.opentelemetry.spans_sent", |n| n == 10, PATIENCE);
}

#[test]
fn it_does_not_continue_b3() {
    let (upstream, collector) = (Upstream::start(), MockCollector::start());
    let envoy = edge(&upstream, collector.port());
    let trace_id = "80f198ee56343ba864fe8b2a57d3eff7";
    let b3 = format!("{trace_id}-e457b5a2e4d86bd1-1");
    let multi: &[(&str, &[u8])] = &[
        ("x-b3-traceid", trace_id.as_bytes()),
        ("x-b3-spanid", b"e457b5a2e4d86bd1"),
        ("x-b3-sampled", b"1"),
    ];
    for headers in [&[("b3", b3.as_bytes())], multi] {
        client::request(envoy.addr(10000), "GET", "/", headers, b"").expect("an answer");
    }
    let spans = collector.wait_spans(2, PATIENCE);
    assert!(spans.iter().all(|span| span.trace_id_hex() != trace_id));
}
