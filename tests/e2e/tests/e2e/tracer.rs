//! The native module as Envoy's tracer: Envoy decides and tags, the rest is
//! ours.

use crate::module::stage::{EXPORTER, PATIENCE, QUICK_EXPORTER, Stage};
use harness::otlp::trace::v1::span::SpanKind;
use harness::otlp::trace::v1::status::StatusCode;
use harness::{EnvoyBuilder, ReceivedSpan, client, load, workspace_root};
use std::collections::BTreeMap;

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn stage(change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Stage {
    Stage::start("envoy-configs/module-tracer.yaml", 10000, |edge| {
        change(edge.replace(EXPORTER, QUICK_EXPORTER))
    })
}

fn of(spans: &[ReceivedSpan], kind: SpanKind) -> &ReceivedSpan {
    let mut found = spans.iter().filter(|span| span.kind() == kind);
    found.next().expect("a span of each kind")
}

fn texts(span: &ReceivedSpan) -> BTreeMap<String, String> {
    let attributes = span.span.attributes.iter();
    attributes
        .map(|attribute| {
            let value = attribute.value.clone().and_then(|value| value.value);
            let text = format!("{:?}", value.expect("a value"));
            (attribute.key.clone(), text)
        })
        .collect()
}

#[test]
fn the_request_and_the_call_upstream_have_spans_by_the_conventions() {
    let stage = stage(|edge| edge);
    let headers: &[(&str, &[u8])] = &[
        ("host", b"shop.example"),
        ("user-agent", b"test/1.0"),
        ("traceparent", SAMPLED),
        ("tracestate", b"vendor=1"),
    ];
    client::request(stage.addr(), "POST", "/a?page=2&token=x", headers, b"hello").unwrap();
    let spans = stage.collector.wait_spans(2, PATIENCE);
    let (server, call) = (of(&spans, SpanKind::Server), of(&spans, SpanKind::Client));
    assert_eq!(server.trace_id_hex(), TRACE_ID);
    assert_eq!(server.parent_span_id_hex(), "00f067aa0ba902b7");
    assert_eq!(call.parent_span_id_hex(), server.span_id_hex());
    let seen = stage.upstream.last();
    let expected = format!("00-{TRACE_ID}-{}-01", call.span_id_hex());
    assert_eq!(seen.header("traceparent"), [expected]);
    assert_eq!(seen.header("tracestate"), ["vendor=1"]);
    assert_eq!((server.name(), call.name()), ("POST", "POST"));
    assert_eq!(server.service_name(), "edge");
    let texts = texts(server);
    let keys: Vec<_> = texts.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "client.address",
            "component",
            "http.request.body.size",
            "http.request.method",
            "http.response.body.size",
            "http.response.status_code",
            "network.protocol.version",
            "server.address",
            "server.port",
            "sidespan.upstream.cluster",
            "url.path",
            "url.query",
            "url.scheme",
            "user_agent.original",
        ]
    );
    assert_eq!(server.str_attr("url.query"), Some("page=2&token=REDACTED"));
    assert_eq!(server.int_attr("http.request.body.size"), Some(5));
    assert_eq!(server.int_attr("http.response.status_code"), Some(200));
    let port = i64::from(stage.upstream.port());
    assert_eq!(call.int_attr("network.peer.port"), Some(port));
    assert_eq!(
        call.str_attr("url.full"),
        Some("http://shop.example/a?page=2&token=REDACTED")
    );
}

/// A span for each attempt, of which each is what its upstream continues.
#[test]
fn each_attempt_has_a_span_of_its_own() {
    let retrying = "route: { cluster: service, retry_policy: { retry_on: reset, num_retries: 2 } }";
    let stage = stage(|edge| edge.replace("route: { cluster: service }", retrying));
    assert_eq!(client::get(stage.addr(), "/reset").status, 503);
    let spans = stage.collector.wait_spans(4, PATIENCE);
    let server = of(&spans, SpanKind::Server);
    let calls: Vec<_> = spans
        .iter()
        .filter(|span| span.kind() == SpanKind::Client)
        .collect();
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!(call.parent_span_id_hex(), server.span_id_hex());
        assert_eq!(call.status_code(), StatusCode::Error);
    }
    let seen: Vec<_> = stage
        .upstream
        .requests()
        .iter()
        .map(|request| request.header("traceparent")[0][36..52].to_owned())
        .collect();
    let ids: Vec<_> = calls.iter().map(|call| call.span_id_hex()).collect();
    assert_eq!(seen.len(), 3);
    for id in &ids {
        assert!(seen.contains(id), "{id} of {seen:?}");
    }
    assert_eq!(server.str_attr("error.type"), Some("503"));
}

#[test]
fn a_caller_counts_and_else_envoy_decides() {
    let stage =
        stage(|edge| edge.replace("spawn_upstream_span: true", "random_sampling: { value: 0 }"));
    let with = |traceparent: &[u8]| {
        client::request(
            stage.addr(),
            "GET",
            "/",
            &[("traceparent", traceparent)],
            b"",
        )
        .unwrap();
        stage.upstream.last().header("traceparent").remove(0)
    };
    client::get(stage.addr(), "/");
    assert!(stage.upstream.last().header("traceparent")[0].ends_with("-02"));
    assert!(with(NOT_SAMPLED).ends_with("-00"));
    assert!(with(SAMPLED).ends_with("-01"));
    let spans = stage.collector.wait_spans(1, PATIENCE);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].trace_id_hex(), TRACE_ID);
    stage.wait_stat("sampled", |n| n == 1);
    stage.wait_stat("not_sampled", |n| n == 2);
}

/// A call's span says where the request was sent, and the request's span what
/// the caller asked for.
#[test]
fn a_rewritten_call_says_what_its_upstream_was_sent() {
    let route = "route: { cluster: service, prefix_rewrite: /v2/, host_rewrite_literal: \"backend.internal:9000\" }";
    let stage = stage(|edge| edge.replace("route: { cluster: service }", route));
    let host: &[(&str, &[u8])] = &[("host", b"shop.example")];
    client::request(stage.addr(), "GET", "/orders?page=2", host, b"").unwrap();
    let spans = stage.collector.wait_spans(2, PATIENCE);
    let (server, call) = (of(&spans, SpanKind::Server), of(&spans, SpanKind::Client));
    assert_eq!(server.str_attr("server.address"), Some("shop.example"));
    assert_eq!(server.str_attr("url.path"), Some("/orders"));
    assert_eq!(call.str_attr("server.address"), Some("backend.internal"));
    assert_eq!(call.int_attr("server.port"), Some(9000));
    assert_eq!(
        call.str_attr("url.full"),
        Some("http://backend.internal:9000/v2/orders?page=2")
    );
}

/// A caller's context that is not sampled goes on as it came.
#[test]
fn a_context_that_is_not_sampled_goes_on_as_it_came() {
    let stage = stage(|edge| edge);
    let headers: &[(&str, &[u8])] = &[("traceparent", NOT_SAMPLED), ("tracestate", b"a=1,b=2")];
    client::request(stage.addr(), "GET", "/", headers, b"").unwrap();
    let seen = stage.upstream.last();
    for (name, value) in headers {
        let value = std::str::from_utf8(value).expect("a text");
        assert_eq!(seen.header(name), [value], "{name}");
    }
    stage.wait_stat("not_sampled", |n| n == 1);
}

#[test]
fn b3_goes_on_and_what_envoy_tags_is_there() {
    let tags = "custom_tags:\n            - { tag: tenant, request_header: { name: x-tenant } }\n            spawn_upstream_span: true";
    let stage = stage(|edge| {
        edge.replace("spawn_upstream_span: true", tags).replace(
            QUICK_EXPORTER,
            format!("propagation: {{ inject: [b3] }}\n                    {QUICK_EXPORTER}"),
        )
    });
    let b3 = format!("{TRACE_ID}-00f067aa0ba902b7-1");
    let headers: &[(&str, &[u8])] = &[("b3", b3.as_bytes()), ("x-tenant", b"acme")];
    client::request(stage.addr(), "GET", "/", headers, b"").unwrap();
    let spans = stage.collector.wait_spans(2, PATIENCE);
    let (server, call) = (of(&spans, SpanKind::Server), of(&spans, SpanKind::Client));
    assert_eq!(server.str_attr("tenant"), Some("acme"));
    let expected = format!(
        "{TRACE_ID}-{}-1-{}",
        call.span_id_hex(),
        server.span_id_hex()
    );
    assert_eq!(stage.upstream.last().header("b3"), [expected]);
}

/// What another filter asks for the request has a span, too, which says what
/// that filter asks and not what the request does.
#[test]
fn the_call_of_another_filter_has_a_span() {
    let authz = "http_filters:
          - name: envoy.filters.http.ext_authz
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              transport_api_version: V3
              http_service: { path_prefix: /check, server_uri: { uri: http://authz, cluster: service, timeout: 5s } }
";
    let stage = stage(|edge| edge.replace("http_filters:\n", authz));
    assert_eq!(client::get(stage.addr(), "/orders").status, 200);
    let spans = stage.collector.wait_spans(3, PATIENCE);
    let server = of(&spans, SpanKind::Server);
    let mut calls = spans.iter().filter(|span| span.kind() == SpanKind::Client);
    let check = calls.find(|span| span.name() == "async service egress");
    let check = check.expect("a span of the check");
    assert_eq!(check.parent_span_id_hex(), server.span_id_hex());
    assert_eq!(check.str_attr("ext_authz_status"), Some("ext_authz_ok"));
    assert_eq!(check.int_attr("http.response.status_code"), Some(200));
    assert_eq!(check.attr("url.full"), None, "it is not the request's");
    let asked = stage.upstream.requests();
    let asked = asked.iter().find(|request| request.path == "/check/orders");
    let context = asked.expect("the check").header("traceparent").remove(0);
    assert!(context.contains(&check.span_id_hex()), "{context}");
}

/// Access logs name the trace.
#[test]
fn access_logs_have_the_trace_id() {
    let log = "stat_prefix: edge\n          access_log:\n          - name: envoy.access_loggers.stdout\n            typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog\n              log_format: { text_format_source: { inline_string: \"trace=%TRACE_ID%;\\n\" } }";
    let stage = stage(|edge| edge.replace("stat_prefix: edge", log));
    client::request(stage.addr(), "GET", "/", &[("traceparent", SAMPLED)], b"").unwrap();
    stage
        .envoy
        .wait_log(&format!("trace={TRACE_ID};"), PATIENCE);
}

#[test]
fn every_request_has_its_spans() {
    const REQUESTS: u64 = 20_000;
    let stage = stage(|edge| edge.concurrency(2));
    stage.upstream.record(false);
    stage.collector.keep_only_ids();
    let report = load::run(stage.addr(), "/", 16, REQUESTS, &[]);
    assert_eq!((report.ok, report.failed), (REQUESTS, 0));
    stage.wait_stat("spans_created", |n| n == 2 * REQUESTS);
    stage.wait_stat("spans_acknowledged", |n| n == 2 * REQUESTS);
    assert_eq!(stage.collector.distinct_span_count() as u64, 2 * REQUESTS);
}

/// Without the filter nothing can be sent: a line says so, what does not fit
/// is counted, and requests notice nothing.
#[test]
fn a_tracer_without_a_filter_says_so_and_counts() {
    const REQUESTS: u64 = 3000;
    let text = std::fs::read_to_string(workspace_root().join("envoy-configs/module-tracer.yaml"));
    let text = text.unwrap();
    let start = text
        .find("          - name: sidespan\n")
        .expect("the filter");
    let end = text
        .find("          - name: envoy.filters.http.router")
        .expect("the router");
    let stage = stage(|edge| edge.replace(&text[start..end], ""));
    stage.upstream.record(false);
    let report = load::run(stage.addr(), "/", 4, REQUESTS, &[]);
    assert_eq!((report.ok, report.failed), (REQUESTS, 0));
    stage.envoy.wait_log(
        "no span is exported, they wait: the tracer sends its spans by way of the HTTP filter",
        PATIENCE,
    );
    stage.wait_stat("spans_created", |n| n == 2 * REQUESTS);
    stage.wait_stat("spans_dropped.queue_full", |n| n == 2 * REQUESTS - 2048);
    assert!(stage.collector.calls().is_empty());
}

/// What Envoy decides here is no business of the document's.
#[test]
fn what_is_envoys_to_decide_is_told_to_be_ignored() {
    let stage = stage(|edge| {
        edge.replace(
            QUICK_EXPORTER,
            format!(
                "rules: []\n                    propagation: {{ incoming: restart }}\n                    {QUICK_EXPORTER}"
            ),
        )
    });
    client::get(stage.addr(), "/");
    for (key, instead) in [
        ("rules", "random_sampling"),
        (
            "propagation.incoming",
            "use the filter to restart or link traces",
        ),
    ] {
        let line = format!("sidespan: {key} has no effect in a tracer, ");
        let line = stage.envoy.wait_log(&line, PATIENCE);
        assert!(line.contains(instead), "{line}");
    }
    stage.collector.wait_spans(2, PATIENCE);
}
