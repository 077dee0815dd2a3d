//! The filter among a cluster's HTTP filters (upstream HTTP filters): a CLIENT
//! span for each attempt, and no memory that stays.

use super::stage::{EXPORTER, PATIENCE, QUICK_EXPORTER, Stage};
use harness::otlp::trace::v1::span::SpanKind;
use harness::{client, workspace_root};

const CALLER: &str = "00-80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-01";

/// A gateway whose only filter of ours is one of the cluster `service`; `route`
/// are more keys of its route action.
fn gateway(route: &str) -> Stage {
    let path = workspace_root().join("envoy-configs/edge.yaml");
    let text = std::fs::read_to_string(path).expect("the gateway");
    let (head, rest) = text.split_once("          - name: sidespan\n").expect("it");
    let (filter, tail) = rest
        .split_once("          - name: envoy.filters.http.router")
        .expect("the router");
    // Small batches: what an allocator keeps of the largest one is no leak.
    let exporter = QUICK_EXPORTER.replace("50ms", "5ms");
    let filter = filter.replace(EXPORTER, &exporter);
    let filters = format!(
        r#"  - name: service
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http_protocol_options: {{}} }}
        http_filters:
          - name: sidespan
{filter}          - name: envoy.filters.http.upstream_codec
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec
    type"#
    );
    let text = format!("{head}          - name: envoy.filters.http.router{tail}")
        .replace("  - name: service\n    type", &filters)
        .replace(
            "route: { cluster: service }",
            &format!("route: {{ cluster: service{route} }}"),
        );
    Stage::of_text(text)
}

fn get(gateway: &Stage, path: &str) -> u16 {
    let headers: &[(&str, &[u8])] = &[("traceparent", CALLER.as_bytes())];
    let answer = client::request(gateway.addr(), "GET", path, headers, b"");
    answer.expect("an answer").status
}

#[test]
fn request_has_the_client_span_that_was_sent_upstream() {
    let gateway = gateway("");
    assert_eq!(get(&gateway, "/cart"), 200);
    let sent = gateway.upstream.last().header("traceparent").remove(0);
    let spans = gateway.collector.wait_spans(1, PATIENCE);
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(span.kind(), SpanKind::Client);
    assert_eq!(sent.split('-').nth(2), Some(&*span.span_id_hex()));
    assert_eq!(CALLER.split('-').nth(2), Some(&*span.parent_span_id_hex()));
    assert_eq!(span.int_attr("http.response.status_code"), Some(200));
    assert!(
        span.str_attr("url.full")
            .is_some_and(|url| url.ends_with("/cart"))
    );
}

#[test]
fn each_attempt_has_a_span_of_its_own() {
    let gateway = gateway(", retry_policy: { retry_on: 5xx, num_retries: 1 }");
    for _ in 0..2 {
        assert_eq!(get(&gateway, "/status/503"), 503);
    }
    let spans = gateway.collector.wait_spans(4, PATIENCE);
    assert_eq!(spans.len(), 4);
    for span in &spans {
        assert_eq!(span.kind(), SpanKind::Client);
        assert_eq!(span.int_attr("http.response.status_code"), Some(503));
        assert_eq!(span.str_attr("error.type"), Some("503"));
    }
    let sent: Vec<_> = gateway.upstream.requests();
    for request in &sent {
        let context = request.header("traceparent").remove(0);
        let is_it = |span: &&harness::ReceivedSpan| context.contains(&span.span_id_hex());
        assert!(spans.iter().any(|span| is_it(&span)), "{context}");
    }
}

/// A stream that Envoy itself starts has no downstream connection: no address of
/// one may be asked for.
#[test]
fn mirrored_request_does_no_harm() {
    let gateway = gateway(", request_mirror_policies: [{ cluster: service }]");
    for _ in 0..3 {
        assert_eq!(get(&gateway, "/cart"), 200);
    }
    let spans = gateway.collector.wait_spans(6, PATIENCE);
    assert_eq!(spans.len(), 6);
    assert!(gateway.envoy.is_running());
}

#[test]
fn memory_is_given_back() {
    let gateway = gateway("");
    let load = |requests: u64| {
        let mut connection = client::Connection::open(gateway.addr()).expect("open");
        let agent = "a".repeat(400);
        let headers: &[(&str, &[u8])] = &[("user-agent", agent.as_bytes())];
        for _ in 0..requests {
            let answer = connection.send("GET", "/some/path?with=query", headers, b"");
            assert_eq!(answer.expect("an answer").status, 200);
        }
    };
    gateway.upstream.record(false);
    gateway.collector.keep_only_ids();
    load(5_000);
    gateway.collector.wait_count(5_000, PATIENCE);
    let before = gateway.envoy.rss_bytes();
    load(10_000);
    gateway.collector.wait_count(15_000, PATIENCE);
    let grown = gateway.envoy.rss_bytes().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes");
}
