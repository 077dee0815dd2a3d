//! A request as two spans: the proxy's own, and a CLIENT below it for the call
//! upstream. Who has the second one, which of the two says what, and what the
//! upstream is told.

use crate::common;
use crate::common::spans::{END, Proxy, START, answered, get, grpc, grpc_status, send, with};
use crate::common::{Headers, Info, Response};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind::{Client, Server};
use serde_json::{Value, json};
use sidespan_core::host::request_info::Direction::{Inbound, Outbound, Unspecified};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
const IS_REMOTE: u32 = 0x200;

/// A caller who speaks every format.
fn of_a_caller(sampled: bool) -> Headers {
    let digit = if sampled { "1" } else { "0" };
    with(
        get("/cart"),
        &[
            ("traceparent", &format!("00-{TRACE}-{CALLER}-0{digit}")),
            ("tracestate", "rojo=1,congo=2"),
            ("b3", &format!("{TRACE}-{CALLER}-{digit}")),
            ("x-b3-traceid", TRACE),
            ("x-b3-spanid", CALLER),
            ("x-b3-sampled", digit),
        ],
    )
}

/// What Envoy says where no connection to the upstream came about.
fn no_connection() -> Response {
    Response {
        attempts: 1,
        flags: 1 << 5,
        details: Some("upstream_reset_before_response_started{connection_failure,TLS_error}"),
        cluster: Some("cart"),
        upstream: Some("10.1.2.3:9000"),
        ..Response::status(503)
    }
}

// ----------------------------------------------------------------- the pair

/// The caller, the gateway's SERVER span, its CLIENT span and the upstream are
/// one line of parents.
#[test]
fn the_pair_stands_between_the_caller_and_the_upstream() {
    let sent = send(json!({}), Unspecified, &of_a_caller(true), &answered(200));
    let (own, call) = (sent.own(), sent.call());

    assert_eq!((own.kind, call.kind), (Server, Client));
    assert_eq!(own.trace_id, TRACE);
    assert_eq!(call.trace_id, TRACE);
    assert_eq!(own.parent_id, CALLER);
    assert_eq!(call.parent_id, own.span_id);
    assert_ne!(call.span_id, own.span_id);

    let seen = common::read_upstream(&sent.headers).unwrap();
    assert_eq!(seen.trace_id, TRACE);
    assert_eq!(seen.span_id, call.span_id, "what goes upstream is the call");
    assert!(seen.sampled);
}

/// Every format that goes upstream names the call, and those that know a
/// parent name the SERVER span.
#[test]
fn every_format_names_the_call() {
    let sent = send(json!({}), Unspecified, &of_a_caller(true), &answered(200));
    let (own, call) = (&sent.own().span_id, &sent.call().span_id);
    let one = |name| sent.headers.one(name).unwrap();
    assert_eq!(one("traceparent"), format!("00-{TRACE}-{call}-01"));
    assert_eq!(one("tracestate"), "rojo=1,congo=2");
    assert_eq!(one("b3"), format!("{TRACE}-{call}-1-{own}"));
    assert_eq!(one("x-b3-traceid"), TRACE);
    assert_eq!(one("x-b3-spanid"), call);
    assert_eq!(one("x-b3-parentspanid"), own);
    assert_eq!(one("x-b3-sampled"), "1");
}

/// Where a trace starts here, the upstream still has a parent to name.
#[test]
fn a_new_trace_has_a_parent_for_its_call() {
    let keys = json!({"propagation": {"inject": ["tracecontext", "b3", "b3multi"]}});
    let sent = send(keys, Unspecified, &get("/"), &answered(200));
    let (own, call) = (sent.own(), sent.call());
    assert_eq!(own.parent_id, "", "the SERVER span is the root");
    assert_eq!(call.parent_id, own.span_id);
    assert_eq!(sent.headers.one("x-b3-parentspanid"), Some(&*own.span_id));
    let b3 = format!("{}-{}-1-{}", own.trace_id, call.span_id, own.span_id);
    assert_eq!(sent.headers.one("b3"), Some(&*b3));
}

/// Without a call of its own the request goes on under the one span, whose
/// parent is the caller's.
#[test]
fn a_single_span_goes_upstream_itself() {
    for direction in [Inbound, Outbound] {
        let sent = send(json!({}), direction, &of_a_caller(true), &answered(200));
        let own = &sent.own().span_id;
        assert!(sent.call.is_none(), "{direction:?}");
        assert_eq!(
            sent.headers.one("traceparent"),
            Some(&*format!("00-{TRACE}-{own}-01"))
        );
        assert_eq!(sent.headers.one("x-b3-parentspanid"), Some(CALLER));
    }
}

/// > `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: […] The bit is set if the span's
/// > parent is remote (opentelemetry-proto, SpanFlags).
///
/// The caller is another process; the SERVER span is not.
#[test]
fn only_the_caller_is_remote() {
    let sent = send(json!({}), Unspecified, &of_a_caller(true), &answered(200));
    assert_eq!(sent.own().flags, 0x01 | HAS_IS_REMOTE | IS_REMOTE);
    assert_eq!(sent.call().flags, 0x01 | HAS_IS_REMOTE);

    let sent = send(json!({}), Unspecified, &get("/"), &answered(200));
    assert_eq!(sent.own().flags, 0x03 | HAS_IS_REMOTE);
    assert_eq!(sent.call().flags, 0x03 | HAS_IS_REMOTE);
}

/// Both spans belong to the same trace and are as long as the stream.
///
/// > `http.route` for HTTP Server spans
///
/// so that only the one is named by it.
#[test]
fn the_pair_shares_what_is_of_the_trace() {
    let response = Response {
        route: Some("/cart/{id}"),
        ..answered(200)
    };
    let sent = send(json!({}), Unspecified, &of_a_caller(true), &response);
    assert_eq!(sent.own().name, "GET /cart/{id}");
    assert_eq!(sent.call().name, "GET");
    for span in sent.spans() {
        assert_eq!(span.trace_state, "rojo=1,congo=2");
        assert_eq!(span.times, (START, END));
    }

    // A threshold that the sampler sets is of the trace too.
    let keys = json!({"sampler": {"type": "parentbased_traceidratio", "ratio": 0.9999}});
    let sent = send(keys, Unspecified, &get("/"), &answered(200));
    let upstream = sent.headers.one("tracestate").unwrap();
    assert!(upstream.starts_with("ot=th:"), "{upstream}");
    for span in sent.spans() {
        assert_eq!(span.trace_state, upstream);
    }
}

/// The link to a context that was dropped stands on the span that took its
/// place, and not a second time below it.
#[test]
fn only_the_own_span_links() {
    let keys = json!({"propagation": {"incoming": "link"}});
    let sent = send(keys, Unspecified, &of_a_caller(true), &answered(200));
    assert_eq!(sent.own().links, 1);
    assert_eq!(sent.call().links, 0);
}

/// The rule that decided is named once.
#[test]
fn only_the_own_span_names_the_rule() {
    let rule = json!({"name": "carts", "match": {"path": {"prefix": "/cart"}}, "action": "force"});
    let keys = json!({"rules": [rule]});
    let sent = send(keys, Unspecified, &get("/cart"), &answered(200));
    assert_eq!(sent.own().str("sidespan.rule"), "carts");
    assert_eq!(sent.call().get("sidespan.rule"), None);
}

// -------------------------------------------------------------- who has one

/// Everything that decides: the two keys and the direction, and the kinds of
/// the spans that come of it.
#[test]
fn who_has_a_call_of_its_own() {
    let directions = [Inbound, Outbound, Unspecified];
    let own_kind = |kind: &str, direction| match (kind, direction) {
        ("server", _) | ("auto", Inbound | Unspecified) => Server,
        _ => Client,
    };
    // > upstream_span: auto = where the direction is unspecified (gateways,
    // > edges)
    // A gateway that is configured to be a client has its call already.
    let has_call_by_itself = |kind: &str, direction| direction == Unspecified && kind != "client";
    for kind in ["auto", "server", "client"] {
        for direction in directions {
            for (choice, has_call) in [
                (json!(true), true),
                (json!(false), false),
                (json!("auto"), has_call_by_itself(kind, direction)),
                (Value::Null, has_call_by_itself(kind, direction)),
            ] {
                let mut span = json!({"kind": kind, "upstream_span": choice});
                if choice.is_null() {
                    span.as_object_mut().unwrap().remove("upstream_span");
                }
                let what = format!("{span} {direction:?}");
                let keys = json!({"span": span});
                let sent = send(keys, direction, &of_a_caller(true), &answered(200));
                assert_eq!(sent.own().kind, own_kind(kind, direction), "{what}");
                assert_eq!(sent.call.is_some(), has_call, "{what}");
                if let Some(call) = &sent.call {
                    assert_eq!(call.kind, Client, "{what}");
                    assert_eq!(call.parent_id, sent.own().span_id, "{what}");
                }
                let last = sent.call.as_ref().unwrap_or(sent.own());
                let upstream = common::read_upstream(&sent.headers).unwrap();
                assert_eq!(upstream.span_id, last.span_id, "{what}");
            }
        }
    }
}

/// A request that went nowhere has no span for the way there.
#[test]
fn what_was_never_sent_has_no_call() {
    for (why, response) in [
        (
            "denied by a filter",
            Response {
                details: Some("rbac_access_denied_matched_policy[none]"),
                ..Response::status(403)
            },
        ),
        (
            "answered by the route",
            Response {
                details: Some("direct_response"),
                ..Response::status(200)
            },
        ),
        (
            "no host to send it to",
            Response {
                details: Some("no_healthy_upstream"),
                flags: 1 << 1,
                cluster: Some("cart"),
                ..Response::status(503)
            },
        ),
        (
            "the client went away before",
            Response {
                details: Some("downstream_remote_disconnect"),
                flags: 1 << 14,
                ..Response::default()
            },
        ),
    ] {
        for choice in [json!("auto"), json!(true)] {
            let keys = json!({"span": {"upstream_span": choice}});
            let sent = send(keys, Unspecified, &get("/"), &response);
            assert!(sent.call.is_none(), "{why}");
            assert_eq!(sent.own().kind, Server, "{why}");
            let cluster = sent.own().get("sidespan.upstream.cluster");
            assert_eq!(
                cluster.and_then(Value::as_str),
                response.cluster,
                "{why}: where it was meant to go"
            );
        }
    }
}

// ----------------------------------------------------------- who says what

fn whole_request() -> Headers {
    Headers::from_wire([
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "shop.example:8443"),
        (":path", "/cart/7?item=1&sig=hidden"),
        ("user-agent", "curl/8.1"),
        ("content-length", "2"),
    ])
}

const WHOLE_INFO: Info = Info {
    protocol: Some("HTTP/2"),
    source_address: Some("192.0.2.7:50123"),
    route: Value::Null,
};

fn whole_response() -> Response {
    let mut response = Response {
        route: Some("/cart/{id}"),
        cluster: Some("outbound|9000||cart.shop"),
        upstream: Some("10.1.2.3:9000"),
        connection_wait: Some(std::time::Duration::from_micros(1500)),
        upstream_latency: Some(std::time::Duration::from_millis(12)),
        transport_failure: Some("delayed connect error: 111"),
        tls_peers: [
            Some("spiffe://east/ns/web/sa/web"),
            Some("spiffe://east/ns/shop/sa/cart"),
        ],
        workloads: [
            [
                ("workload", "web"),
                ("namespace", "web"),
                ("service", "web.web"),
            ]
            .into(),
            [
                ("workload", "cart"),
                ("namespace", "shop"),
                ("service", "cart.shop"),
            ]
            .into(),
        ],
        ..answered(201)
    };
    response.attempts = 2;
    (response.request_size, response.response_size) = (Some(2), Some(17));
    let length = ("content-length", b"17".to_vec());
    response.headers.push(length);
    response
}

/// Everything that the two spans of a gateway have, and nothing else: what is
/// of the caller and of the stream on the one, what is of the call on the
/// other.
#[test]
fn the_two_spans_of_a_gateway() {
    let mut proxy = Proxy::on(&common::spans::istio(), json!({}));
    let sent = proxy.send(
        Unspecified,
        &whole_request(),
        &WHOLE_INFO,
        &whole_response(),
    );
    sent.own().is(
        &json!({
            "component": "proxy",
            "http.request.method": "POST",
            "url.scheme": "https",
            "url.path": "/cart/7",
            "url.query": "item=1&sig=REDACTED",
            "server.address": "shop.example",
            "server.port": 8443,
            "user_agent.original": "curl/8.1",
            "network.protocol.version": "2",
            "client.address": "192.0.2.7",
            "network.peer.address": "192.0.2.7",
            "network.peer.port": 50123,
            "http.response.status_code": 201,
            "http.route": "/cart/{id}",
            "http.request.body.size": 2,
            "http.response.body.size": 17,
            "sidespan.downstream.tls_peer": "spiffe://east/ns/web/sa/web",
            "sidespan.source.workload": "web",
            "sidespan.source.namespace": "web",
            "sidespan.source.service": "web.web",
        }),
        "SERVER",
    );
    sent.call().is(
        &json!({
            "component": "proxy",
            "http.request.method": "POST",
            "url.full": "https://shop.example:8443/cart/7?item=1&sig=REDACTED",
            "server.address": "shop.example",
            "server.port": 8443,
            "network.peer.address": "10.1.2.3",
            "network.peer.port": 9000,
            "http.response.status_code": 201,
            "http.request.resend_count": 1,
            "sidespan.upstream.cluster": "outbound|9000||cart.shop",
            "sidespan.upstream.attempts": 2,
            "sidespan.upstream.connection_wait_ms": 1.5,
            "sidespan.upstream.latency_ms": 12.0,
            "sidespan.upstream.transport_failure": "delayed connect error: 111",
            "sidespan.upstream.tls_peer": "spiffe://east/ns/shop/sa/cart",
            "sidespan.destination.workload": "cart",
            "sidespan.destination.namespace": "shop",
            "sidespan.destination.service": "cart.shop",
        }),
        "CLIENT",
    );
    assert!(!sent.own().is_error && !sent.call().is_error);
    assert!(!sent.contains("hidden"), "a secret is exported");
}

/// A sidecar that is asked for a pair has the same one.
#[test]
fn the_two_spans_of_a_sidecar() {
    let keys = json!({"span": {"upstream_span": true}});
    let host = common::spans::istio();
    let edge = Proxy::on(&host, json!({})).send(
        Unspecified,
        &whole_request(),
        &WHOLE_INFO,
        &whole_response(),
    );
    let inbound =
        Proxy::on(&host, keys).send(Inbound, &whole_request(), &WHOLE_INFO, &whole_response());
    assert_eq!(inbound.own().attributes, edge.own().attributes);
    assert_eq!(inbound.call().attributes, edge.call().attributes);
}

/// > For HTTP status codes in the 4xx range span status MUST be left unset in
/// > case of SpanKind.SERVER and SHOULD be set to Error in case of
/// > SpanKind.CLIENT.
#[test]
fn each_side_judges_the_status_for_itself() {
    for (status, on_server, on_client) in [
        (200, None, None),
        (304, None, None),
        (404, None, Some("404")),
        (429, None, Some("429")),
        (500, Some("500"), Some("500")),
        (503, Some("503"), Some("503")),
    ] {
        let sent = send(json!({}), Unspecified, &get("/"), &answered(status));
        for (span, error) in [(sent.own(), on_server), (sent.call(), on_client)] {
            let found = span.get("error.type").and_then(Value::as_str);
            assert_eq!(found, error, "{status} {:?}", span.kind);
            assert_eq!(span.is_error, error.is_some(), "{status} {:?}", span.kind);
            assert_eq!(span.get("http.response.status_code"), Some(&json!(status)));
        }
    }
}

/// The same for gRPC, whose conventions have two lists of errors.
#[test]
fn each_side_judges_a_grpc_status_for_itself() {
    for (code, name, on_server, on_client) in [
        ("0", "OK", false, false),
        ("5", "NOT_FOUND", false, true),
        ("8", "RESOURCE_EXHAUSTED", false, true),
        ("14", "UNAVAILABLE", true, true),
    ] {
        let lines = grpc("/shop.Cart/Add");
        let sent = send(json!({}), Unspecified, &lines, &grpc_status(code));
        for (span, is_error) in [(sent.own(), on_server), (sent.call(), on_client)] {
            let error = is_error.then_some(name);
            let found = span.get("error.type").and_then(Value::as_str);
            assert_eq!(found, error, "{name} {:?}", span.kind);
            assert_eq!(span.is_error, is_error, "{name} {:?}", span.kind);
            assert_eq!(span.name, "shop.Cart/Add");
            span.has(
                &json!({
                    "rpc.system.name": "grpc",
                    "rpc.method": "shop.Cart/Add",
                    "rpc.status_code": name,
                }),
                name,
            );
        }
    }
}

// ------------------------------------------------ what the upstream never said

/// > `http.response.status_code`: If and only if one was received/sent.
///
/// A 503 or 504 of the proxy's own was sent to the caller and received from
/// nobody; why is in the proxy's own words.
#[test]
fn a_local_reply_is_no_answer_of_the_upstream() {
    for (status, flags, details, error) in [
        (
            503,
            1 << 5,
            "upstream_reset_before_response_started{connection_failure,TLS_error}",
            "upstream_reset_before_response_started",
        ),
        (
            503,
            1 << 6,
            "upstream_reset_before_response_started{connection_termination}",
            "upstream_reset_before_response_started",
        ),
        (504, 1 << 2, "response_timeout", "response_timeout"),
        (
            504,
            1 << 2,
            "upstream_response_timeout",
            "upstream_response_timeout",
        ),
        (
            503,
            1 << 7,
            "upstream_reset_before_response_started{overflow}",
            "upstream_reset_before_response_started",
        ),
    ] {
        let response = Response {
            attempts: 1,
            flags,
            details: Some(details),
            ..Response::status(status)
        };
        let sent = send(json!({}), Unspecified, &get("/"), &response);
        let (own, call) = (sent.own(), sent.call());
        assert!(own.is_error && call.is_error, "{details}");
        let text = status.to_string();
        own.has(
            &json!({
                "http.response.status_code": status,
                "error.type": text,
                "sidespan.response_code_details": details,
            }),
            details,
        );
        call.has(
            &json!({
                "http.response.status_code": null,
                "error.type": error,
                "sidespan.response_code_details": null,
                "sidespan.response_flags": null,
            }),
            details,
        );
    }
}

/// Everything that the spans say of a call for which no connection came about.
#[test]
fn no_connection_to_the_upstream() {
    let response = Response {
        transport_failure: Some("TLS_error: certificate verify failed"),
        ..no_connection()
    };
    let sent = send(json!({}), Unspecified, &get("/"), &response);
    sent.own().is(
        &json!({
            "component": "proxy",
            "http.request.method": "GET",
            "url.scheme": "http",
            "url.path": "/",
            "server.address": "shop.example",
            "server.port": 80,
            "http.response.status_code": 503,
            "error.type": "503",
            "sidespan.response_flags": "UF",
            "sidespan.response_code_details":
                "upstream_reset_before_response_started{connection_failure,TLS_error}",
        }),
        "SERVER",
    );
    sent.call().is(
        &json!({
            "component": "proxy",
            "http.request.method": "GET",
            "url.full": "http://shop.example/",
            "server.address": "shop.example",
            "server.port": 80,
            "network.peer.address": "10.1.2.3",
            "network.peer.port": 9000,
            "error.type": "upstream_reset_before_response_started",
            "sidespan.upstream.cluster": "cart",
            "sidespan.upstream.transport_failure": "TLS_error: certificate verify failed",
        }),
        "CLIENT",
    );
}

/// A 5xx that the upstream gave itself is its answer.
#[test]
fn an_error_of_the_upstream_is_its_answer() {
    for status in [500, 502, 503, 504] {
        let sent = send(json!({}), Unspecified, &get("/"), &answered(status));
        let text = status.to_string();
        for span in sent.spans() {
            let wanted = json!({
                "http.response.status_code": status,
                "error.type": text,
                "sidespan.response_code_details": null,
            });
            span.has(&wanted, &text);
        }
    }
}

/// > `rpc.status_code`: the status code returned by the server or generated by
/// > the client.
///
/// To the caller of a gRPC method the proxy's own UNAVAILABLE is a status like
/// any other; only the HTTP status came from nobody.
#[test]
fn a_local_reply_to_a_grpc_call() {
    let mut response = Response {
        attempts: 1,
        flags: 1 << 5,
        details: Some("upstream_reset_before_response_started{connection_failure}"),
        ..Response::status(200)
    };
    response.headers.push(("grpc-status", b"14".to_vec()));
    let sent = send(json!({}), Unspecified, &grpc("/shop.Cart/Add"), &response);
    for (span, status) in [(sent.own(), json!(200)), (sent.call(), Value::Null)] {
        assert!(span.is_error);
        span.has(
            &json!({
                "rpc.status_code": "UNAVAILABLE",
                "error.type": "UNAVAILABLE",
                "http.response.status_code": status,
            }),
            &format!("{:?}", span.kind),
        );
    }
}

/// A response that the router began to pass on.
fn begun(status: u16) -> Response {
    let mut response = answered(status);
    let header = ("x-envoy-upstream-service-time", b"1".to_vec());
    response.headers.push(header);
    response
}

/// > If the HTTP client instrumentation can detect that the request was
/// > cancelled intentionally by the caller […], the cancellation SHOULD NOT be
/// > treated as an error.
///
/// Nor is it one that a client stops to listen to server-sent events: the
/// upstream answered 200.
#[test]
fn a_client_that_leaves_a_stream_is_no_error_of_the_upstream() {
    let response = Response {
        flags: 1 << 14,
        details: Some("downstream_remote_disconnect"),
        ..begun(200)
    };
    let sent = send(json!({}), Unspecified, &get("/events"), &response);
    for span in sent.spans() {
        assert!(!span.is_error, "{:?}", span.kind);
        span.has(
            &json!({"http.response.status_code": 200, "error.type": null}),
            &format!("{:?}", span.kind),
        );
    }
}

/// An upgraded connection (WebSocket) ends when either side closes it: 101 was
/// the upstream's answer, and its end is no error on either span.
#[test]
fn the_end_of_a_websocket_is_no_error_of_the_upstream() {
    for (flags, details) in [
        (1 << 14, "downstream_remote_disconnect"),
        (
            1 << 6,
            "upstream_reset_after_response_started{connection_termination}",
        ),
        (1 << 16, "stream_idle_timeout"),
    ] {
        let response = Response {
            flags,
            details: Some(details),
            ..begun(101)
        };
        let sent = send(json!({}), Unspecified, &get("/ws"), &response);
        for span in sent.spans() {
            assert!(!span.is_error, "{details} {:?}", span.kind);
            span.has(&json!({"http.response.status_code": 101}), details);
        }
    }
}

/// > `http.response.status_code`: If and only if one was received/sent.
///
/// A response of the upstream that was cut short began with its status, and
/// both spans are errors for the reason.
#[test]
fn a_response_cut_short_had_a_status() {
    for (flags, details, error) in [
        (
            1 << 4,
            "upstream_reset_after_response_started{remote_reset}",
            "upstream_reset_after_response_started",
        ),
        (1 << 16, "stream_idle_timeout", "stream_idle_timeout"),
        (
            1 << 19,
            "upstream_max_stream_duration_reached",
            "upstream_max_stream_duration_reached",
        ),
    ] {
        let response = Response {
            flags,
            details: Some(details),
            ..begun(200)
        };
        let sent = send(json!({}), Unspecified, &get("/"), &response);
        for span in sent.spans() {
            assert!(span.is_error);
            span.has(
                &json!({"http.response.status_code": 200, "error.type": error}),
                &format!("{:?}", span.kind),
            );
        }
    }
}

/// A filter that answers in place of what the upstream said (an external
/// processor that refuses a response) leaves no flag, only its details.
#[test]
fn a_filter_may_answer_in_place_of_the_upstream() {
    let response = Response {
        details: Some("ext_proc_immediate_response"),
        ..answered(403)
    };
    let sent = send(json!({}), Unspecified, &get("/"), &response);
    sent.own().has(
        &json!({
            "http.response.status_code": 403,
            "sidespan.response_code_details": "ext_proc_immediate_response",
        }),
        "SERVER",
    );
    sent.call()
        .has(&json!({"http.response.status_code": null}), "CLIENT");
}

// ------------------------------------------------------ what is not sampled

/// Kept is the whole of a request, and the reason is told once.
#[test]
fn both_spans_are_kept() {
    let keys = json!({"keep": {"errors": true}});
    let lines = of_a_caller(false);
    let sent = send(keys, Unspecified, &lines, &answered(503));
    let (own, call) = (sent.own(), sent.call());
    assert_eq!(sent.kept, 2);
    assert_eq!((own.kind, call.kind), (Server, Client));
    assert_eq!(own.parent_id, CALLER);
    assert_eq!(call.parent_id, own.span_id);
    assert_eq!(own.flags, HAS_IS_REMOTE | IS_REMOTE);
    assert_eq!(call.flags, HAS_IS_REMOTE);
    assert_eq!(own.str("sidespan.keep_reason"), "error");
    assert_eq!(call.get("sidespan.keep_reason"), None);
    assert_eq!(
        sent.headers.one("traceparent"),
        Some(&*format!("00-{TRACE}-{}-00", call.span_id))
    );
}

/// A span that is kept for its outcome tells no threshold: it would say that
/// the span stands for others.
#[test]
fn kept_spans_tell_no_threshold() {
    let keys = json!({"keep": {"errors": true}});
    let mut lines = of_a_caller(false);
    lines.0.retain(|(name, _)| name != b"tracestate");
    let lines = with(lines, &[("tracestate", "ot=th:8;rv:01234567890123,rojo=1")]);
    let sent = send(keys, Unspecified, &lines, &answered(503));
    for span in [sent.own(), sent.call()] {
        assert_eq!(span.trace_state, "ot=rv:01234567890123,rojo=1");
    }
}

/// What is neither sampled nor kept leaves nothing.
#[test]
fn neither_span_of_what_is_not_kept() {
    let keys = json!({"keep": {"errors": true}});
    let sent = send(keys, Unspecified, &of_a_caller(false), &answered(200));
    assert!(sent.own.is_none() && sent.call.is_none());
    assert_eq!(sent.kept, 0);
}

/// A request of which nothing can be recorded goes on as it would without the
/// pair: no id is made that no span has.
#[test]
fn what_is_not_recorded_makes_no_second_id() {
    let ids_upstream = |choice: bool| {
        let mut proxy = Proxy::new(json!({
            "sampler": {"type": "always_off"},
            "span": {"upstream_span": choice},
        }));
        let mut ids = Vec::new();
        for _ in 0..4 {
            let sent = proxy.send(Unspecified, &get("/"), &Info::default(), &answered(200));
            assert!(sent.own.is_none());
            ids.push(sent.headers.one("traceparent").unwrap().to_owned());
        }
        ids
    };
    assert_eq!(ids_upstream(true), ids_upstream(false));
}

/// Where one of the two must be left out, it is the one that nothing else hangs
/// below: a call without its SERVER span would have a parent that nobody knows.
#[test]
fn the_last_place_in_the_queue_is_for_the_own_span() {
    let batch = json!({"max_queue_size": 1});
    let mut proxy = Proxy::new(json!({"exporter": {"batch": batch}}));
    let lines = of_a_caller(true);
    let sent = proxy.send(Unspecified, &lines, &Info::default(), &answered(200));
    let spans: Vec<_> = sent.spans().collect();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].kind, Server);
    assert_eq!(spans[0].parent_id, CALLER);
}

/// No two spans have one id, whichever stream they are of.
#[test]
fn ids_of_many_requests_are_all_different() {
    let mut proxy = Proxy::new(json!({}));
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let sent = proxy.send(Unspecified, &get("/"), &Info::default(), &answered(200));
        for span in sent.spans() {
            assert!(
                ids.insert(span.span_id.clone()),
                "{} is there twice",
                span.span_id
            );
        }
    }
    assert_eq!(ids.len(), 400);
}

/// A template names the call as it names the stream, in every direction.
#[test]
fn a_template_names_both() {
    let keys = json!({"span": {"name": "{method} {host}{path} to {cluster}"}});
    let response = Response {
        cluster: Some("cart"),
        ..answered(200)
    };
    for direction in [Unspecified, Inbound, Outbound] {
        let sent = send(keys.clone(), direction, &get("/a?b"), &response);
        for span in sent.spans() {
            assert_eq!(span.name, "GET shop.example/a to cart");
        }
    }
}

/// Istio calls the listeners of its gateways outbound, though nobody behind
/// them calls: `router~…` says what they are.
#[test]
fn istios_gateways_are_edges() {
    let host = |id: &str, version: Value| common::Host {
        node: json!({"id": id, "metadata": {"ISTIO_VERSION": version}}),
        ..common::Host::default()
    };
    let version = json!("1.30.3");
    for (host, kinds) in [
        (
            host("router~10.0.0.1~gw.istio-system~x", version.clone()),
            vec![Server, Client],
        ),
        (host("sidecar~10.0.0.1~cart.shop~x", version), vec![Client]),
        (host("router~10.0.0.1~gw~x", Value::Null), vec![Client]),
    ] {
        let mut proxy = Proxy::on(&host, json!({}));
        let sent = proxy.send(Outbound, &get("/"), &Info::default(), &answered(200));
        let seen: Vec<_> = sent.spans().map(|span| span.kind).collect();
        assert_eq!(seen, kinds, "{:?}", host.node);
    }
}

// --------------------------------------------------- the request that was sent

/// > `url.full`: […] Absolute URL describing a network resource according to
/// > RFC3986 […] of the request that was sent (HTTP spans, notes 2 and 4)
#[test]
fn client_span_of_rewritten_request_describes_what_was_sent() {
    let response = Response {
        sent: Some(["/v2/cart?page=2", "backend.internal:9000"]),
        ..answered(200)
    };
    let lines = get("/api/cart?page=2");
    let sent = send(json!({}), Unspecified, &lines, &response);
    let (own, call) = (sent.own(), sent.call());
    assert_eq!(own.str("url.path"), "/api/cart");
    assert_eq!(own.str("server.address"), "shop.example");
    assert_eq!(
        call.str("url.full"),
        "http://backend.internal:9000/v2/cart?page=2"
    );
    assert_eq!(call.str("server.address"), "backend.internal");
    assert_eq!(call.get("server.port"), Some(&json!(9000)));

    let only = send(json!({}), Outbound, &lines, &response);
    assert_eq!(only.own().kind, Client);
    assert_eq!(
        only.own().str("url.full"),
        "http://backend.internal:9000/v2/cart?page=2"
    );
    let never_sent = Response {
        attempts: 0,
        flags: 1 << 3,
        ..response
    };
    let only = send(json!({}), Outbound, &lines, &never_sent);
    let full = only.own().str("url.full");
    assert_eq!(full, "http://shop.example/api/cart?page=2");
}

#[test]
fn client_span_of_rewritten_grpc_call_names_the_method_that_was_sent() {
    let response = Response {
        sent: Some(["/shop.v2.Cart/Get", "shop.example"]),
        ..grpc_status("0")
    };
    let sent = send(json!({}), Unspecified, &grpc("/shop.Cart/Get"), &response);
    assert_eq!(sent.own().str("rpc.method"), "shop.Cart/Get");
    assert_eq!(sent.call().str("rpc.method"), "shop.v2.Cart/Get");
    assert_eq!(sent.call().name, "shop.v2.Cart/Get");
}

/// A filter behind this one may hand the context on, as an authorizer does, and
/// then answer: the id that was handed on is exported.
#[test]
fn only_span_of_request_that_was_not_sent_has_the_id_that_was_handed_on() {
    for direction in [Inbound, Outbound, Unspecified] {
        let denied = Response {
            attempts: 0,
            details: Some("ext_authz_denied"),
            ..Response::status(403)
        };
        let sent = send(json!({}), direction, &of_a_caller(true), &denied);
        assert!(sent.call.is_none());
        let seen = common::read_upstream(&sent.headers).unwrap();
        assert_eq!(sent.own().span_id, seen.span_id, "{direction:?}");
        assert_eq!(sent.own().parent_id, CALLER);
    }
}

#[test]
fn internal_redirect_is_the_upstreams_answer() {
    for flags in [0, 1 << 9] {
        let redirected = Response {
            flags,
            details: Some("internal_redirect"),
            ..answered(302)
        };
        let sent = send(json!({}), Unspecified, &get("/old"), &redirected);
        for span in sent.spans() {
            assert!(!span.is_error, "flags {flags}");
            let status = span.get("http.response.status_code");
            assert_eq!(status, Some(&json!(302)), "flags {flags}");
        }
    }
}

/// An attribute that could not be valid is not there.
#[test]
fn request_without_host_or_scheme_has_no_invalid_attribute() {
    let lines = Headers::from_wire([
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", ""),
        (":path", "/cart"),
    ]);
    let sent = send(json!({}), Unspecified, &lines, &answered(200));
    assert_eq!(sent.call().get("url.full"), None);
    assert_eq!(sent.call().get("server.address"), None);
    let lines = Headers::from_wire([(":method", "GET")]);
    let sent = send(json!({}), Unspecified, &lines, &answered(400));
    for key in ["url.scheme", "url.path", "url.full"] {
        assert!(sent.spans().all(|span| span.get(key).is_none()), "{key}");
    }
}
