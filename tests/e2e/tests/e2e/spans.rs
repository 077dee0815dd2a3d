//! One span a stream, whatever becomes of it.

use super::stage::{EXPORTER, PATIENCE, QUICK_EXPORTER, Stage, Told, http2_upstream, is_told};
use harness::otlp::trace::v1::span::SpanKind;
use harness::otlp::trace::v1::status::StatusCode;
use harness::{MockCollector, Upstream, client};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn unix_nanos() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
}

#[test]
fn a_response_gives_a_server_span_by_the_conventions() {
    let stage = Stage::edge();
    let before = unix_nanos();
    let headers: &[(&str, &[u8])] = &[
        ("host", b"shop.example:8443"),
        ("user-agent", b"test/1.0"),
        ("x-forwarded-for", b"198.51.100.7"),
    ];
    let path = "/delay/20?page=2&sig=s3cret";
    let answer = client::request(stage.addr(), "GET", path, headers, b"").unwrap();
    assert_eq!(answer.status, 200);
    let span = stage.span();
    let after = unix_nanos();

    assert_eq!(span.name(), "GET");
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(span.status_code(), StatusCode::Unset);
    assert_eq!(span.parent_span_id_hex(), "");
    assert_eq!(span.service_name(), "edge");
    assert_eq!(span.scope.name, "sidespan");
    assert!(before <= span.span.start_time_unix_nano);
    assert!(span.span.end_time_unix_nano <= after);
    assert!(
        span.duration() >= Duration::from_millis(20),
        "{:?}",
        span.duration()
    );

    assert_eq!(span.str_attr("http.request.method"), Some("GET"));
    assert_eq!(span.int_attr("http.response.status_code"), Some(200));
    assert_eq!(span.str_attr("url.scheme"), Some("http"));
    assert_eq!(span.str_attr("url.path"), Some("/delay/20"));
    assert_eq!(span.str_attr("url.query"), Some("page=2&sig=REDACTED"));
    assert_eq!(span.str_attr("server.address"), Some("shop.example"));
    assert_eq!(span.int_attr("server.port"), Some(8443));
    assert_eq!(span.str_attr("user_agent.original"), Some("test/1.0"));
    assert_eq!(span.str_attr("network.protocol.version"), Some("1.1"));
    assert_eq!(span.str_attr("client.address"), Some("127.0.0.1"));
    assert_eq!(span.str_attr("network.peer.address"), Some("127.0.0.1"));
    assert!(
        span.int_attr("network.peer.port")
            .is_some_and(|port| port > 0)
    );
    assert_eq!(span.attr("error.type"), None);

    let seen = stage.upstream.last().header("traceparent");
    let expected = format!("00-{}-{}-03", span.trace_id_hex(), span.span_id_hex());
    assert_eq!(seen, [expected], "the upstream continues this span");
}

#[test]
fn a_sidecar_serves_inbound_and_is_a_client_outbound() {
    let (app, mesh) = (Upstream::start(), Upstream::start());
    let collector = MockCollector::start();
    let sidecar = super::stage::envoy("envoy-configs/sidecar.yaml")
        // One plugin for both listeners, as Istio has it.
        .replace("root_id: outbound", "root_id: inbound")
        .port(8080, app.port())
        .port(8081, mesh.port())
        .port(4317, collector.port())
        .start();
    client::get(sidecar.addr(15006), "/in");
    let host: &[(&str, &[u8])] = &[("host", b"me:pw@stock.example")];
    client::request(sidecar.addr(15001), "GET", "/out?a=b", host, b"").unwrap();
    let spans = collector.wait_spans(2, PATIENCE);

    let of = |kind| {
        spans
            .iter()
            .find(|span| span.kind() == kind)
            .expect("a span of each kind")
    };
    assert_eq!(of(SpanKind::Server).str_attr("url.path"), Some("/in"));
    let client = of(SpanKind::Client);
    assert_eq!(
        client.str_attr("url.full"),
        Some("http://stock.example/out?a=b")
    );
    assert_eq!(client.str_attr("server.address"), Some("stock.example"));
    assert_eq!(client.int_attr("server.port"), Some(80));
    assert_eq!(client.str_attr("network.peer.address"), Some("127.0.0.1"));
    assert_eq!(
        client.int_attr("network.peer.port"),
        Some(i64::from(mesh.port()))
    );
}

/// Envoy answers in the upstream's place.
#[test]
fn local_replies_have_spans() {
    let no_route = Stage::edge_with(|edge| edge.replace("{ prefix: / }", "{ prefix: /only }"));
    assert_eq!(client::get(no_route.addr(), "/other").status, 404);
    let span = no_route.span();
    assert_eq!(span.int_attr("http.response.status_code"), Some(404));
    assert_eq!(
        span.status_code(),
        StatusCode::Unset,
        "a 4xx is no server's error"
    );

    let no_host = Stage::edge();
    let mut upstream = no_host.upstream;
    upstream.stop();
    assert_eq!(client::get(no_host.envoy.addr(10000), "/").status, 503);
    let span = no_host.collector.wait_spans(1, PATIENCE).remove(0);
    assert_eq!(span.int_attr("http.response.status_code"), Some(503));
    assert_eq!(span.status_code(), StatusCode::Error);
    assert_eq!(span.str_attr("error.type"), Some("503"));
}

/// A filter before ours answers, which then never sees the request's headers come by.
#[test]
fn a_request_that_is_denied_before_the_filter_has_a_span() {
    let deny = r#"http_filters:
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules: { action: ALLOW, policies: {} }
"#;
    let stage = Stage::edge_with(|edge| edge.replace("http_filters:\n", deny));
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers: &[(&str, &[u8])] = &[("traceparent", parent.as_bytes())];
    let answer = client::request(stage.addr(), "GET", "/secret", headers, b"").unwrap();
    assert_eq!(answer.status, 403);
    let span = stage.span();
    assert_eq!(span.int_attr("http.response.status_code"), Some(403));
    assert_eq!(span.parent_span_id_hex(), "00f067aa0ba902b7");
    assert_eq!(stage.upstream.count(), 0);
}

#[test]
fn an_upstream_that_resets_is_an_error() {
    let stage = Stage::edge();
    assert_eq!(client::get(stage.addr(), "/reset").status, 503);
    let span = stage.span();
    assert_eq!(span.status_code(), StatusCode::Error);
    assert_eq!(span.str_attr("error.type"), Some("503"));
}

#[test]
fn a_response_that_is_cut_short_is_an_error_though_its_status_is_200() {
    if !is_told(Told::Flags) {
        return;
    }
    let mut stage = Stage::edge();
    let mut client = open(&stage, "/stream");
    read_some(&mut client);
    stage.upstream.stop();
    let span = stage.span();
    assert_eq!(span.int_attr("http.response.status_code"), Some(200));
    assert_eq!(span.status_code(), StatusCode::Error);
    assert_eq!(
        span.str_attr("error.type"),
        Some("upstream_reset_after_response_started")
    );
}

/// What ends a response that has begun does not take its status away, neither
/// from the request's span nor from that of the call upstream.
#[test]
fn a_call_that_ends_after_its_response_began_has_its_status() {
    let mut stage = Stage::gateway();
    let mut websocket = client::websocket_upgrade(stage.addr(), "/chat");
    websocket.write_all(b"hello").unwrap();
    websocket.read_exact(&mut [0; 5]).unwrap();
    drop(websocket);
    let mut left = open(&stage, "/stream");
    read_some(&mut left);
    stage.collector.wait_spans(2, PATIENCE);
    drop(left);
    stage.collector.wait_spans(4, PATIENCE);
    let mut cut = open(&stage, "/stream");
    read_some(&mut cut);
    stage.upstream.stop();
    let spans = stage.collector.wait_spans(6, PATIENCE);
    let seen: Vec<_> = spans
        .iter()
        .map(|span| {
            let status = span.int_attr("http.response.status_code");
            (status, span.status_code(), span.str_attr("error.type"))
        })
        .collect();
    let unset = |status| (Some(status), StatusCode::Unset, None);
    let error = "upstream_reset_after_response_started";
    let cut = if is_told(Told::Flags) {
        (Some(200), StatusCode::Error, Some(error))
    } else {
        unset(200)
    };
    assert_eq!(
        seen,
        [unset(101), unset(101), unset(200), unset(200), cut, cut]
    );
}

#[test]
fn a_client_that_leaves_before_the_response_is_an_error_without_a_status() {
    let stage = Stage::edge();
    let client = open(&stage, "/hang");
    stage.upstream.wait_requests(1, PATIENCE);
    drop(client);
    let span = stage.span();
    assert_eq!(span.attr("http.response.status_code"), None);
    assert_eq!(span.status_code(), StatusCode::Error);
    assert_eq!(
        span.str_attr("error.type"),
        Some("downstream_remote_disconnect")
    );
}

#[test]
fn a_stream_without_end_has_its_span_when_the_client_leaves() {
    let stage = Stage::edge();
    let mut client = open(&stage, "/stream");
    read_some(&mut client);
    drop(client);
    let span = stage.span();
    assert_eq!(span.int_attr("http.response.status_code"), Some(200));
    assert_eq!(
        span.status_code(),
        StatusCode::Unset,
        "leaving a stream is no error"
    );
}

#[test]
fn an_upgraded_connection_is_one_span_and_no_error() {
    let stage = Stage::edge();
    let mut socket = client::websocket_upgrade(stage.addr(), "/chat");
    socket.write_all(b"hello").unwrap();
    let mut echo = [0; 5];
    socket.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hello");
    drop(socket);
    let span = stage.span();
    assert_eq!(span.int_attr("http.response.status_code"), Some(101));
    assert_eq!(span.status_code(), StatusCode::Unset);
    assert_eq!(span.attr("error.type"), None);
}

#[test]
fn grpc_calls_are_named_after_their_method_and_tell_their_status() {
    let stage = Stage::edge_with(|edge| http2_upstream(edge.replace(EXPORTER, QUICK_EXPORTER)));
    for (n, (path, status, name, is_error)) in [
        ("/pkg.Svc/Ok", 0, "OK", false),
        ("/pkg.Svc/Fail", 14, "UNAVAILABLE", true),
        // Trailers-only, and no error of the server.
        ("/pkg.Svc/TrailersOnly", 5, "NOT_FOUND", false),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = client::grpc_unary(stage.addr(), path, &[], b"\0\0\0\0\0");
        assert_eq!(reply.grpc_status, Some(status));
        let span = stage.collector.wait_spans(n + 1, PATIENCE).remove(n);
        assert_eq!(span.name(), &path[1..]);
        assert_eq!(span.str_attr("rpc.system.name"), Some("grpc"));
        assert_eq!(span.str_attr("rpc.method"), Some(&path[1..]));
        assert_eq!(span.str_attr("rpc.status_code"), Some(name));
        assert_eq!(span.int_attr("http.response.status_code"), Some(200));
        assert_eq!(span.status_code() == StatusCode::Error, is_error, "{path}");
        assert_eq!(span.str_attr("network.protocol.version"), Some("2"));
    }
}

#[test]
fn a_request_that_its_caller_did_not_sample_has_no_span_and_goes_on_unchanged() {
    let stage = Stage::edge();
    let unsampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    let headers: &[(&str, &[u8])] = &[("traceparent", unsampled.as_bytes())];
    client::request(stage.addr(), "GET", "/", headers, b"").unwrap();
    assert_eq!(stage.upstream.last().header("traceparent"), [unsampled]);
    stage.wait_stat("not_sampled", |n| n == 1);
    assert_eq!(stage.stat("spans_created"), 0);
}

/// What no one would call a request has no span, and does no harm.
#[test]
fn what_is_no_http_is_let_be() {
    let stage = Stage::edge();
    let mut socket = TcpStream::connect(stage.addr()).unwrap();
    socket.write_all(b"\x16\x03\x01 not http\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(client::get(stage.addr(), "/after").status, 200);
    assert_eq!(stage.span().str_attr("url.path"), Some("/after"));
}

fn open(stage: &Stage, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(stage.addr()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(socket, "GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").unwrap();
    socket
}

fn read_some(socket: &mut TcpStream) {
    let mut buffer = [0; 64];
    assert!(socket.read(&mut buffer).unwrap() > 0);
}
