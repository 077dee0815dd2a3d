//! `attributes: envoy`: what the tracer that is built into Envoy says of a
//! request, the filter says in the same words. Both watch the same requests of
//! the same Envoy.

use super::stage::{EXPORTER, PATIENCE, Stage, http2_upstream};
use harness::otlp::trace::v1::span::SpanKind;
use harness::{EnvoyBuilder, ReceivedSpan, client};
use std::collections::BTreeMap;

const TRACING: &str = r#"          tracing:
            spawn_upstream_span: true
            custom_tags: [{ tag: tenant, request_header: { name: x-tenant } }]
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: { envoy_grpc: { cluster_name: otel-collector } }
                service_name: edge
          http_filters:
"#;

/// A gateway with both tracers.
fn both_tracers(attributes: &str, more: &[(&str, &str)]) -> Stage {
    both_tracers_with(attributes, |edge| {
        more.iter()
            .fold(edge, |edge, (from, to)| edge.replace(from, to))
    })
}

/// A gateway with both tracers and another change to its file.
fn both_tracers_with(attributes: &str, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Stage {
    let ours = format!(
        "exporter: {{ otlp_grpc: {{ cluster: otel-collector }}, batch: {{ schedule_delay: 50ms }} }}\n                    \
         span: {{ attributes: {attributes} }}\n                    \
         custom_tags: [{{ tag: tenant, request_header: {{ name: x-tenant }} }}]"
    );
    Stage::gateway_with(|edge| {
        let edge = edge
            .replace("          http_filters:\n", TRACING)
            .replace(
                "static_resources:\n",
                "node: { id: edge-1, cluster: edges, locality: { zone: eu-1 } }\nstatic_resources:\n",
            )
            .replace(EXPORTER, ours);
        change(edge)
    })
}

fn strings(span: &ReceivedSpan) -> BTreeMap<String, String> {
    let attributes = span.span.attributes.iter();
    attributes
        .map(|attribute| {
            let text = span.str_attr(&attribute.key);
            let text = text.unwrap_or_else(|| panic!("{}: {:?}", attribute.key, attribute.value));
            (attribute.key.clone(), text.to_owned())
        })
        .collect()
}

/// Sends one request and gives the pairs of spans, Envoy's and ours.
fn compare(stage: &Stage, send: impl FnOnce(std::net::SocketAddr), count: usize) {
    let before = stage.collector.spans().len();
    send(stage.addr());
    let spans = stage.collector.wait_spans(before + 2 * count, PATIENCE);
    let spans = &spans[before..];
    for kind in [SpanKind::Server, SpanKind::Client].into_iter().take(count) {
        let of = |is_ours: bool| {
            let mut found = spans
                .iter()
                .filter(|span| (span.scope.name == "sidespan") == is_ours && span.kind() == kind);
            strings(
                found
                    .next()
                    .unwrap_or_else(|| panic!("{kind:?}: {spans:#?}")),
            )
        };
        let mut envoys = of(false);
        if kind == SpanKind::Client {
            // The protocol of the upstream connection, which no filter is told.
            envoys.remove("http.protocol");
        }
        assert_eq!(of(true), envoys, "{kind:?}: ours, Envoy's");
    }
}

#[test]
fn every_attribute_is_as_envoys_own_tracer_has_it() {
    let stage = both_tracers("envoy", &[]);
    compare(
        &stage,
        |addr| {
            let headers: &[(&str, &[u8])] = &[
                ("host", b"shop.example:8443"),
                ("user-agent", b"test/1.0"),
                ("x-tenant", b"acme"),
                ("x-client-trace-id", b"client-1"),
                ("x-envoy-downstream-service-cluster", b"web"),
            ];
            client::request(addr, "POST", "/cart/7?page=2", headers, b"hello").unwrap();
        },
        2,
    );
    for path in ["/status/404", "/status/503", "/reset", "/delay/1"] {
        compare(&stage, |addr| ask(addr, path), 2);
    }
    compare(
        &stage,
        |addr| {
            let headers: &[(&str, &[u8])] = &[("x-forwarded-for", b"198.51.100.7")];
            client::request(addr, "HEAD", "/a%20b?q=%zz", headers, b"").unwrap();
        },
        2,
    );
}

fn ask(addr: std::net::SocketAddr, path: &str) {
    let _ = client::request(addr, "GET", path, &[], b"");
}

#[test]
fn failures_have_envoys_words() {
    let timeout = both_tracers(
        "envoy",
        &[(
            "route: { cluster: service }",
            "route: { cluster: service, timeout: 0.05s }",
        )],
    );
    compare(&timeout, |addr| ask(addr, "/delay/2000"), 2);

    let mut refused = both_tracers("envoy", &[]);
    refused.upstream.stop();
    compare(&refused, |addr| ask(addr, "/"), 2);

    let no_route = both_tracers("envoy", &[("{ prefix: / }", "{ prefix: /only }")]);
    compare(&no_route, |addr| ask(addr, "/other"), 1);
}

#[test]
fn grpc_has_envoys_names() {
    let stage = both_tracers_with("envoy", http2_upstream);
    let mut paths = vec![
        "/pkg.Svc/Fail".to_owned(),
        "/pkg.Svc/TrailersOnly".to_owned(),
    ];
    paths.extend((0..=16).map(|status| format!("/pkg.Svc/Status/{status}")));
    for path in &paths {
        let headers: &[(&str, &[u8])] = &[("grpc-timeout", b"5S")];
        let call = |addr| {
            client::grpc_unary(addr, path, headers, b"\0\0\0\0\0");
        };
        compare(&stage, call, 2);
    }
}
