//! What the two spans of a gateway say of a request that other filters and the
//! route answer, rewrite, redirect or cut short.

use super::stage::{EXPORTER, PATIENCE, QUICK_EXPORTER, Stage, Told, is_told, stat_name};
use harness::otlp::trace::v1::span::SpanKind;
use harness::otlp::trace::v1::status::StatusCode;
use harness::{Behaviour, EnvoyBuilder, ReceivedSpan, Upstream, client};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ROUTER: &str = "          - name: envoy.filters.http.router";
const ROUTES: &str = "[{ match: { prefix: / }, route: { cluster: service } }]";

/// The gateway with a filter behind Sidespan.
fn with_filter(edge: EnvoyBuilder, filter: &str) -> EnvoyBuilder {
    edge.replace(ROUTER, format!("{filter}{ROUTER}"))
        .replace(EXPORTER, QUICK_EXPORTER)
}

fn of_kind(spans: &[ReceivedSpan], kind: SpanKind) -> &ReceivedSpan {
    let found = spans.iter().find(|span| span.kind() == kind);
    found.unwrap_or_else(|| panic!("no {kind:?} in {spans:#?}"))
}

/// Sends bytes and reads until the other end is quiet or closes.
fn send_raw(stage: &Stage, bytes: &[u8]) {
    let mut socket = TcpStream::connect(stage.addr()).expect("open");
    socket.write_all(bytes).expect("sent");
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("a timeout");
    let _ = socket.read(&mut [0; 1024]);
}

#[test]
fn authorizer_that_denies_has_a_parent_that_is_exported() {
    let authorizer = Upstream::start();
    let filter = r#"          - name: authorizer
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              http_service:
                server_uri: { uri: "http://authorizer", cluster: authorizer, timeout: 2s }
                authorization_request: { allowed_headers: { patterns: [{ exact: traceparent }] } }
"#;
    let cluster = format!(
        "  clusters:\n  - name: authorizer\n    type: STATIC\n    load_assignment: {{ cluster_name: authorizer, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {} }} }} }} }}] }}] }}\n",
        authorizer.port()
    );
    let stage =
        Stage::gateway_with(|edge| with_filter(edge, filter).replace("  clusters:\n", cluster));
    for (path, status, spans) in [("/allowed", 200, 2), ("/status/403", 403, 1)] {
        stage.collector.clear();
        assert_eq!(client::get(stage.addr(), path).status, status);
        let context = authorizer.last().header("traceparent").remove(0);
        let exported = stage.collector.wait_spans(spans, PATIENCE);
        assert_eq!(exported.len(), spans, "{path}");
        let is_parent = |span: &ReceivedSpan| context.contains(&span.span_id_hex());
        assert!(exported.iter().any(is_parent), "{path}: {context}");
    }
}

#[test]
fn client_span_of_rewritten_request_describes_what_was_sent() {
    let routes = "[{ match: { prefix: /api/ }, route: { cluster: service, prefix_rewrite: /v2/, host_rewrite_literal: \"backend.internal:9000\" } }]";
    let stage = Stage::gateway_with(|edge| {
        edge.replace(EXPORTER, QUICK_EXPORTER)
            .replace(ROUTES, routes)
    });
    // An ordinary end, and one that is not.
    for path in ["/api/x?y=1", "/api/status/503"] {
        stage.collector.clear();
        client::get(stage.addr(), path);
        let spans = stage.collector.wait_spans(2, PATIENCE);
        let sent = stage.upstream.last();
        let full = format!("http://{}{}", sent.header("host")[0], sent.path);
        let call = of_kind(&spans, SpanKind::Client);
        assert_eq!(call.str_attr("url.full"), Some(&*full));
        assert_eq!(call.str_attr("server.address"), Some("backend.internal"));
        assert_eq!(call.int_attr("server.port"), Some(9000));
        let server = of_kind(&spans, SpanKind::Server);
        let received = path.split('?').next();
        assert_eq!(server.str_attr("url.path"), received);
        assert_ne!(server.str_attr("server.address"), Some("backend.internal"));
    }
}

#[test]
fn grpc_web_is_a_grpc_call() {
    let filter = r#"          - name: grpc-web
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb
"#;
    let stage = Stage::gateway_with(|edge| super::stage::http2_upstream(with_filter(edge, filter)));
    let headers: &[(&str, &[u8])] = &[("content-type", b"application/grpc-web+proto")];
    let path = "/shop.Cart/TrailersOnly";
    let body = [0, 0, 0, 0, 0];
    client::request(stage.addr(), "POST", path, headers, &body).expect("an answer");
    let spans = stage.collector.wait_spans(2, PATIENCE);
    for kind in [SpanKind::Server, SpanKind::Client] {
        let span = of_kind(&spans, kind);
        assert_eq!(span.str_attr("rpc.system.name"), Some("grpc"));
        assert_eq!(span.str_attr("rpc.status_code"), Some("NOT_FOUND"));
    }
    let call = of_kind(&spans, SpanKind::Client);
    assert_eq!(call.status_code(), StatusCode::Error);
}

#[test]
fn body_that_was_cut_short_has_no_size() {
    let stage = Stage::gateway_with(|edge| {
        edge.replace(EXPORTER, QUICK_EXPORTER).replace(
            "          use_remote_address: true\n",
            "          use_remote_address: true\n          request_timeout: 0.3s\n",
        )
    });
    // A timeout in place of the rest; an answer before the rest; all of it.
    let cases: [(&[u8], Option<i64>); 3] = [
        (
            b"POST /u HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc",
            None,
        ),
        (
            b"POST /status/413 HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc",
            None,
        ),
        (
            b"POST /u HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
            Some(3),
        ),
    ];
    for (request, size) in cases {
        stage.collector.clear();
        send_raw(&stage, request);
        stage.collector.wait_spans(1, PATIENCE);
        let spans = stage.collector.settled(Duration::from_millis(300));
        let span = of_kind(&spans, SpanKind::Server);
        let what = String::from_utf8_lossy(request);
        assert_eq!(span.int_attr("http.request.body.size"), size, "{what}");
    }
}

#[test]
fn request_without_a_host_has_no_invalid_url() {
    let stage = Stage::gateway();
    send_raw(
        &stage,
        b"GET /h HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n",
    );
    let spans = stage.collector.wait_spans(2, PATIENCE);
    assert_eq!(of_kind(&spans, SpanKind::Client).str_attr("url.full"), None);
}

/// A redirect that Envoy follows is the upstream's answer, whatever else Envoy
/// has to say of the request.
#[test]
fn internal_redirect_is_no_error_of_the_call() {
    if !is_told(Told::Flags) {
        return;
    }
    let delay = r#"          - name: delay
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              delay: { fixed_delay: 0.05s, percentage: { numerator: 100, denominator: HUNDRED } }
"#;
    let routes = "[{ match: { prefix: /status/302 }, route: { cluster: service, internal_redirect_policy: { redirect_response_codes: [302] } } }, { match: { prefix: / }, route: { cluster: service } }]";
    for filter in ["", delay] {
        let stage = Stage::gateway_with(|edge| with_filter(edge, filter).replace(ROUTES, routes));
        client::get(stage.addr(), "/status/302");
        let spans = stage.collector.wait_spans(2, PATIENCE);
        let call = of_kind(&spans, SpanKind::Client);
        assert_eq!(call.int_attr("http.response.status_code"), Some(302));
        assert_eq!(call.status_code(), StatusCode::Unset);
    }
}

/// What a collector asks for is honoured up to `max_elapsed_time`, and a line
/// and a gauge say until when.
#[test]
fn retry_after_of_a_day_is_cut_and_reported() {
    let exporter = "exporter: { otlp_http: { cluster: otel-collector }, batch: { schedule_delay: 50ms }, retry: { initial_interval: 100ms, max_elapsed_time: 2s } }";
    let stage = Stage::edge_with(|edge| edge.replace(EXPORTER, exporter));
    stage.collector.script(vec![Behaviour::FailHttp {
        status: 503,
        retry_after: Some("86400".to_owned()),
        body: String::new(),
    }]);
    client::get(stage.addr(), "/first");
    stage.wait_stat("spans_dropped.retry_exhausted", |n| n == 1);
    let line = stage.envoy.wait_log("pause until", PATIENCE);
    assert!(
        line.contains(
            "the collector asked for 86400 s, of which retry.max_elapsed_time allows 2 s"
        ),
        "{line}"
    );
    let gauge = stat_name("exports.paused_until");
    let until = stage.envoy.wait_stat(&gauge, |n| n > 0, PATIENCE);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("now")
        .as_secs();
    assert!(now.abs_diff(until) < 60, "{until} at {now}");
    for _ in 0..5 {
        client::get(stage.addr(), "/later");
    }
    let spans = stage.collector.wait_spans(5, PATIENCE);
    assert!(
        spans
            .iter()
            .all(|span| span.str_attr("url.path") == Some("/later"))
    );
}

#[test]
fn tag_of_a_variable_that_is_not_there_is_reported() {
    let tags = format!(
        "{QUICK_EXPORTER}\n                    custom_tags: [{{ tag: pod, environment: {{ name: SIDESPAN_TEST_POD }} }}]"
    );
    let stage = Stage::edge_with(|edge| edge.replace(EXPORTER, tags));
    let line = stage.envoy.wait_log("SIDESPAN_TEST_POD", PATIENCE);
    assert!(line.contains("spans go without the tag pod"), "{line}");
}
