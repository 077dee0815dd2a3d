//! What a span says by default: everything that a host may know, as whole sets
//! of attributes; routes, sizes of bodies and resends; and what only a proxy
//! knows, each attribute when it should be there and only then.
//!
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>

use crate::common;
use crate::common::spans::{Proxy, answered, ask, get, grpc, grpc_status, istio, send, with};
use crate::common::{Headers, Host, Info, Response};
use serde_json::{Value, json};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::request_info::Direction::{Inbound, Outbound, Unspecified};
use std::collections::BTreeMap;
use std::time::Duration;

const DIRECTIONS: [Direction; 3] = [Inbound, Outbound, Unspecified];

// ------------------------------------------------------------- whole spans

fn whole_request() -> Headers {
    Headers::from_wire([
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "cart.shop:8443"),
        (":path", "/cart/7?item=1&n=2#top"),
        ("user-agent", "curl/8.1"),
        ("content-type", "application/json"),
        ("content-length", "2"),
        ("cookie", "session=hidden"),
        ("authorization", "Bearer hidden"),
        ("x-request-id", "hidden"),
        ("x-forwarded-for", "hidden"),
    ])
}

const WHOLE_INFO: Info = Info {
    protocol: Some("HTTP/2"),
    source_address: Some("192.0.2.7:50123"),
    route: Value::Null,
};

/// All that a host may know of a stream that went well at the second attempt.
fn whole_response() -> Response {
    let mut response = Response {
        route: Some("/cart/{id}"),
        cluster: Some("outbound|9000||cart.shop"),
        upstream: Some("10.1.2.3:9000"),
        attempts: 2,
        request_size: Some(2),
        response_size: Some(17),
        connection_wait: Some(Duration::from_micros(1500)),
        upstream_latency: Some(Duration::from_millis(12)),
        transport_failure: Some("delayed connect error: 111"),
        tls_peers: [
            Some("spiffe://east/ns/web/sa/web"),
            Some("spiffe://east/ns/shop/sa/cart"),
        ],
        workloads: [workload("web", "web"), workload("cart", "shop")],
        ..answered(201)
    };
    response.headers.extend([
        ("content-length", b"17".to_vec()),
        ("set-cookie", b"session=hidden".to_vec()),
    ]);
    response
}

fn workload(name: &'static str, namespace: &'static str) -> BTreeMap<&'static str, &'static str> {
    [
        ("workload", name),
        ("namespace", namespace),
        ("service", name),
        ("cluster", "hidden"),
    ]
    .into()
}

/// Everything that the span of a sidecar's inbound request has, and nothing
/// else.
#[test]
fn the_server_span_of_a_sidecar() {
    let mut proxy = Proxy::on(&istio(), json!({}));
    let sent = proxy.send(Inbound, &whole_request(), &WHOLE_INFO, &whole_response());
    assert_eq!(sent.own().name, "POST /cart/{id}");
    assert!(!sent.own().is_error);
    assert_eq!(sent.own().dropped, 0);
    sent.own().is(
        &json!({
            "component": "proxy",
            "http.request.method": "POST",
            "url.scheme": "https",
            "url.path": "/cart/7",
            "url.query": "item=1&n=2",
            "server.address": "cart.shop",
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
            "sidespan.upstream.cluster": "outbound|9000||cart.shop",
            "sidespan.upstream.address": "10.1.2.3:9000",
            "sidespan.upstream.attempts": 2,
            "sidespan.upstream.connection_wait_ms": 1.5,
            "sidespan.upstream.latency_ms": 12.0,
            "sidespan.upstream.transport_failure": "delayed connect error: 111",
            "sidespan.upstream.tls_peer": "spiffe://east/ns/shop/sa/cart",
            "sidespan.downstream.tls_peer": "spiffe://east/ns/web/sa/web",
            "sidespan.source.workload": "web",
            "sidespan.source.namespace": "web",
            "sidespan.source.service": "web",
        }),
        "inbound",
    );
    assert!(!sent.contains("hidden"), "what nobody asked for");
}

/// Everything that the span of a sidecar's outbound request has, and nothing
/// else.
#[test]
fn the_client_span_of_a_sidecar() {
    let mut proxy = Proxy::on(&istio(), json!({}));
    let sent = proxy.send(Outbound, &whole_request(), &WHOLE_INFO, &whole_response());
    assert_eq!(sent.own().name, "POST");
    assert!(!sent.own().is_error);
    assert_eq!(sent.own().dropped, 0);
    sent.own().is(
        &json!({
            "component": "proxy",
            "http.request.method": "POST",
            "url.full": "https://cart.shop:8443/cart/7?item=1&n=2",
            "server.address": "cart.shop",
            "server.port": 8443,
            "user_agent.original": "curl/8.1",
            "network.peer.address": "10.1.2.3",
            "network.peer.port": 9000,
            "http.response.status_code": 201,
            "http.request.resend_count": 1,
            "http.request.body.size": 2,
            "http.response.body.size": 17,
            "sidespan.route": "/cart/{id}",
            "sidespan.upstream.cluster": "outbound|9000||cart.shop",
            "sidespan.upstream.attempts": 2,
            "sidespan.upstream.connection_wait_ms": 1.5,
            "sidespan.upstream.latency_ms": 12.0,
            "sidespan.upstream.transport_failure": "delayed connect error: 111",
            "sidespan.upstream.tls_peer": "spiffe://east/ns/shop/sa/cart",
            "sidespan.downstream.tls_peer": "spiffe://east/ns/web/sa/web",
            "sidespan.destination.workload": "cart",
            "sidespan.destination.namespace": "shop",
            "sidespan.destination.service": "cart",
        }),
        "outbound",
    );
    assert!(!sent.contains("hidden"), "what nobody asked for");
}

/// An ordinary request says no more than what is worth saying of every
/// request: of an Envoy on its own, at the first attempt, without TLS.
#[test]
fn an_ordinary_request() {
    let response = Response {
        route: Some("default"),
        cluster: Some("cart"),
        upstream: Some("10.1.2.3:9000"),
        ..answered(200)
    };
    let mut proxy = Proxy::new(json!({}));
    let sent = proxy.send(Inbound, &get("/cart"), &WHOLE_INFO, &response);
    assert_eq!(sent.own().name, "GET");
    sent.own().is(
        &json!({
            "component": "proxy",
            "http.request.method": "GET",
            "url.scheme": "http",
            "url.path": "/cart",
            "server.address": "shop.example",
            "server.port": 80,
            "network.protocol.version": "2",
            "client.address": "192.0.2.7",
            "network.peer.address": "192.0.2.7",
            "network.peer.port": 50123,
            "http.response.status_code": 200,
            "sidespan.route": "default",
            "sidespan.upstream.cluster": "cart",
            "sidespan.upstream.address": "10.1.2.3:9000",
        }),
        "inbound",
    );
}

/// Everything that the span of a gRPC call has, and nothing else, on each
/// side.
#[test]
fn a_grpc_call() {
    let mut response = grpc_status("5");
    response.request_size = Some(12);
    response.response_size = Some(0);
    response.upstream = Some("10.1.2.3:9000");
    let mut proxy = Proxy::new(json!({}));
    let lines = grpc("/shop.Cart/Add");
    let sent = proxy.send(Inbound, &lines, &Info::default(), &response);
    assert_eq!(sent.own().name, "shop.Cart/Add");
    assert!(!sent.own().is_error, "NOT_FOUND is no error of the server");
    sent.own().is(
        &json!({
            "component": "proxy",
            "http.request.method": "POST",
            "url.scheme": "http",
            "url.path": "/shop.Cart/Add",
            "server.address": "shop.example",
            "server.port": 50051,
            "http.response.status_code": 200,
            "http.request.body.size": 12,
            "http.response.body.size": 0,
            "rpc.system.name": "grpc",
            "rpc.method": "shop.Cart/Add",
            "rpc.status_code": "NOT_FOUND",
            "sidespan.upstream.address": "10.1.2.3:9000",
        }),
        "inbound",
    );
    let sent = proxy.send(Outbound, &lines, &Info::default(), &response);
    assert_eq!(sent.own().name, "shop.Cart/Add");
    assert!(sent.own().is_error);
    sent.own().is(
        &json!({
            "component": "proxy",
            "http.request.method": "POST",
            "url.full": "http://shop.example:50051/shop.Cart/Add",
            "server.address": "shop.example",
            "server.port": 50051,
            "network.peer.address": "10.1.2.3",
            "network.peer.port": 9000,
            "http.response.status_code": 200,
            "http.request.body.size": 12,
            "http.response.body.size": 0,
            "rpc.system.name": "grpc",
            "rpc.method": "shop.Cart/Add",
            "rpc.status_code": "NOT_FOUND",
            "error.type": "NOT_FOUND",
        }),
        "outbound",
    );
}

/// Everything that the span of a method has that the called does not know: no
/// peer can grow the number of span names.
///
/// > When the method is not recognized […] the attribute MUST be set to
/// > `_OTHER`.
#[test]
fn a_grpc_method_that_nobody_knows() {
    let mut proxy = Proxy::new(json!({}));
    let lines = grpc("/shop.Cart/4711");
    let sent = proxy.send(Inbound, &lines, &Info::default(), &grpc_status("12"));
    assert_eq!(sent.own().name, "grpc");
    assert!(sent.own().is_error);
    sent.own().is(
        &json!({
            "component": "proxy",
            "http.request.method": "POST",
            "url.scheme": "http",
            "url.path": "/shop.Cart/4711",
            "server.address": "shop.example",
            "server.port": 50051,
            "http.response.status_code": 200,
            "rpc.system.name": "grpc",
            "rpc.method": "_OTHER",
            "rpc.method_original": "shop.Cart/4711",
            "rpc.status_code": "UNIMPLEMENTED",
            "error.type": "UNIMPLEMENTED",
        }),
        "inbound",
    );
}

/// Every span of every kind is marked as a proxy's, as Envoy's own are.
#[test]
fn every_span_is_a_proxys() {
    for attributes in ["stable", "envoy", "both"] {
        for direction in DIRECTIONS {
            for lines in [get("/"), grpc("/a.B/C"), Headers::default()] {
                for response in [answered(200), answered(503), Response::default()] {
                    let span = json!({"attributes": attributes, "upstream_span": true});
                    let sent = send(json!({"span": span}), direction, &lines, &response);
                    for span in sent.spans() {
                        assert_eq!(span.str("component"), "proxy");
                    }
                }
            }
        }
    }
}

// ------------------------------------------------------------------- routes

/// > HTTP span names SHOULD be `{method} {target}` if there is a
/// > (low-cardinality) `target` available. […] `http.route` for HTTP Server
/// > spans
///
/// > `http.route`: MUST NOT be populated when this is not supported by the HTTP
/// > server framework as the route attribute should have low-cardinality.
///
/// Envoy's routes have names of any kind; one that is the template of a path
/// says so by its first character.
#[test]
fn routes_of_servers() {
    for (method, route, name, http_route, sidespan_route) in [
        (
            "GET",
            Some("/users/{id}"),
            "GET /users/{id}",
            Some("/users/{id}"),
            None,
        ),
        ("GET", Some("/"), "GET /", Some("/"), None),
        ("POST", Some("/a b"), "POST /a b", Some("/a b"), None),
        (
            "PROPFIND",
            Some("/users/{id}"),
            "HTTP /users/{id}",
            Some("/users/{id}"),
            None,
        ),
        ("GET", Some("default"), "GET", None, Some("default")),
        ("GET", Some("users/{id}"), "GET", None, Some("users/{id}")),
        ("GET", Some(" /users"), "GET", None, Some(" /users")),
        ("GET", Some("käse 🧀"), "GET", None, Some("käse 🧀")),
        ("GET", Some(""), "GET", None, None),
        ("GET", None, "GET", None, None),
    ] {
        for direction in [Inbound, Unspecified] {
            let response = Response {
                route,
                ..answered(200)
            };
            let sent = send(json!({}), direction, &ask(method, "/users/7"), &response);
            assert_eq!(sent.own().name, name, "{route:?}");
            sent.own().has(
                &json!({"http.route": http_route, "sidespan.route": sidespan_route}),
                &format!("{route:?}"),
            );
        }
    }
}

/// > `http.route` for HTTP Server spans
///
/// A client's span has no word of the server's template: what its proxy chose
/// is told in our own namespace, and names nothing.
#[test]
fn routes_of_clients() {
    for route in ["/users/{id}", "default"] {
        let response = Response {
            route: Some(route),
            ..answered(200)
        };
        let sent = send(json!({}), Outbound, &get("/users/7"), &response);
        assert_eq!(sent.own().name, "GET");
        sent.own()
            .has(&json!({"http.route": null, "sidespan.route": route}), route);
    }
}

/// > The span name SHOULD be `{rpc.method}` if it is available.
#[test]
fn a_route_does_not_name_a_grpc_call() {
    let response = Response {
        route: Some("/shop.Cart/*"),
        ..grpc_status("0")
    };
    let sent = send(json!({}), Inbound, &grpc("/shop.Cart/Add"), &response);
    assert_eq!(sent.own().name, "shop.Cart/Add");
    assert_eq!(sent.own().str("http.route"), "/shop.Cart/*");
}

/// A route is known of what the proxy answers itself, too.
#[test]
fn the_route_of_what_was_never_sent() {
    let response = Response {
        route: Some("/old/{id}"),
        details: Some("direct_response"),
        ..Response::status(301)
    };
    let sent = send(json!({}), Inbound, &get("/old/7"), &response);
    assert_eq!(sent.own().str("http.route"), "/old/{id}");
    assert_eq!(sent.own().name, "GET /old/{id}");
}

// ------------------------------------------------------------------- bodies

struct Sizes {
    why: &'static str,
    method: &'static str,
    /// `content-length` of the request, and what the host counted of its body.
    request: (Option<&'static str>, Option<u64>),
    status: u16,
    /// The same of the response.
    response: (Option<&'static str>, Option<u64>),
    flags: u64,
    /// `http.request.body.size` and `http.response.body.size`.
    expected: (Option<u64>, Option<u64>),
}

const SIZES: [Sizes; 23] = [
    Sizes {
        why: "often […] present as the Content-Length header",
        method: "POST",
        request: (Some("10"), Some(10)),
        status: 200,
        response: (Some("20"), Some(20)),
        flags: 0,
        expected: (Some(10), Some(20)),
    },
    Sizes {
        why: "what was announced is not what was transferred, where nobody counted",
        method: "POST",
        request: (Some("10"), None),
        status: 200,
        response: (Some("20"), None),
        flags: 0,
        expected: (None, None),
    },
    Sizes {
        why: "a chunked body is as long as the host counted",
        method: "POST",
        request: (None, Some(7)),
        status: 200,
        response: (None, Some(9)),
        flags: 0,
        expected: (Some(7), Some(9)),
    },
    Sizes {
        why: "nobody knows",
        method: "POST",
        request: (None, None),
        status: 200,
        response: (None, None),
        flags: 0,
        expected: (None, None),
    },
    Sizes {
        why: "an empty body is one",
        method: "PUT",
        request: (Some("0"), Some(0)),
        status: 200,
        response: (Some("0"), Some(0)),
        flags: 0,
        expected: (Some(0), Some(0)),
    },
    Sizes {
        why: "a GET has hardly ever a body, and a size of 0 says nothing",
        method: "GET",
        request: (None, Some(0)),
        status: 200,
        response: (None, Some(9)),
        flags: 0,
        expected: (None, Some(9)),
    },
    Sizes {
        why: "the same of a DELETE",
        method: "DELETE",
        request: (None, Some(0)),
        status: 200,
        response: (Some("2"), Some(2)),
        flags: 0,
        expected: (None, Some(2)),
    },
    Sizes {
        why: "a GET that announces a body has one",
        method: "GET",
        request: (Some("3"), Some(3)),
        status: 200,
        response: (None, Some(9)),
        flags: 0,
        expected: (Some(3), Some(9)),
    },
    Sizes {
        why: "a method that nobody knows may have a body",
        method: "PROPFIND",
        request: (None, Some(3)),
        status: 207,
        response: (None, Some(9)),
        flags: 0,
        expected: (Some(3), Some(9)),
    },
    Sizes {
        why: "any response to a HEAD request does not include content; its length is that of a GET",
        method: "HEAD",
        request: (None, Some(0)),
        status: 200,
        response: (Some("1000"), Some(0)),
        flags: 0,
        expected: (None, None),
    },
    Sizes {
        why: "any response with a 204 status code does not include content",
        method: "PUT",
        request: (Some("5"), Some(5)),
        status: 204,
        response: (None, Some(0)),
        flags: 0,
        expected: (Some(5), None),
    },
    Sizes {
        why: "nor with 304, whose length is that of the representation",
        method: "GET",
        request: (None, Some(0)),
        status: 304,
        response: (Some("1000"), Some(0)),
        flags: 0,
        expected: (None, None),
    },
    Sizes {
        why: "nor with 1xx: what follows 101 is another protocol",
        method: "GET",
        request: (None, Some(300)),
        status: 101,
        response: (None, Some(4000)),
        flags: 0,
        expected: (None, None),
    },
    Sizes {
        why: "of a response that was cut short, what came",
        method: "GET",
        request: (None, Some(0)),
        status: 200,
        response: (Some("1000"), Some(400)),
        flags: 1 << 4,
        expected: (None, Some(400)),
    },
    Sizes {
        why: "of a download that the client stopped, what it took",
        method: "GET",
        request: (None, Some(0)),
        status: 200,
        response: (Some("1000"), Some(400)),
        flags: 1 << 14,
        expected: (None, Some(400)),
    },
    Sizes {
        why: "of an upload that was cut short, nobody knows what came: Envoy too has the header",
        method: "PUT",
        request: (Some("1000"), Some(30)),
        status: 408,
        response: (Some("2"), Some(2)),
        flags: 1 << 16,
        expected: (None, Some(2)),
    },
    Sizes {
        why: "cut short, and nobody counted",
        method: "PUT",
        request: (Some("1000"), None),
        status: 200,
        response: (Some("1000"), None),
        flags: 1 << 4,
        expected: (None, None),
    },
    Sizes {
        why: "an early answer, to a request whose body did not arrive",
        method: "POST",
        request: (Some("100"), Some(3)),
        status: 413,
        response: (Some("2"), Some(2)),
        flags: 0,
        expected: (None, Some(2)),
    },
    Sizes {
        why: "a length that is no number",
        method: "POST",
        request: (Some("abc"), Some(7)),
        status: 200,
        response: (Some("1e3"), Some(9)),
        flags: 0,
        expected: (Some(7), Some(9)),
    },
    Sizes {
        why: "an empty length",
        method: "POST",
        request: (Some(""), Some(7)),
        status: 200,
        response: (Some(""), Some(9)),
        flags: 0,
        expected: (Some(7), Some(9)),
    },
    Sizes {
        why: "a list of lengths",
        method: "POST",
        request: (Some("5, 5"), Some(7)),
        status: 200,
        response: (Some("0x10"), Some(9)),
        flags: 0,
        expected: (Some(7), Some(9)),
    },
    Sizes {
        why: "a length that no integer holds",
        method: "POST",
        request: (Some("99999999999999999999"), Some(7)),
        status: 200,
        response: (Some("9223372036854775808"), Some(9)),
        flags: 0,
        expected: (Some(7), Some(9)),
    },
    Sizes {
        why: "a nonsense length is no announcement of a body either",
        method: "POST",
        request: (Some("\u{664}\u{662}"), None),
        status: 200,
        response: (Some("4 2"), None),
        flags: 0,
        expected: (None, None),
    },
];

fn sizes_of(row: &Sizes, direction: Direction) -> (Option<u64>, Option<u64>) {
    let mut lines = ask(row.method, "/");
    if let Some(length) = row.request.0 {
        lines = with(lines, &[("content-length", length)]);
    }
    let mut response = Response {
        flags: row.flags,
        request_size: row.request.1,
        response_size: row.response.1,
        ..answered(row.status)
    };
    if let Some(length) = row.response.0 {
        response.headers.push(("content-length", length.into()));
    }
    let sent = send(json!({}), direction, &lines, &response);
    if let Some(call) = &sent.call {
        let sizes = ["http.request.body.size", "http.response.body.size"];
        assert!(
            sizes.iter().all(|key| call.get(key).is_none()),
            "the call has what the stream has counted"
        );
    }
    let size = |key| sent.own().get(key).map(|size| size.as_u64().unwrap());
    (
        size("http.request.body.size"),
        size("http.response.body.size"),
    )
}

/// > The size of the request payload body in bytes. This is the number of bytes
/// > transferred excluding headers.
///
/// > Any response to a HEAD request and any response with a 1xx, 204, or 304
/// > status code does not include content (RFC 9110, 6.4.1).
#[test]
fn sizes_of_bodies() {
    for row in SIZES {
        for direction in DIRECTIONS {
            let why = row.why;
            assert_eq!(sizes_of(&row, direction), row.expected, "{why}");
        }
    }
}

/// > Content-Length = 1*DIGIT (RFC 9110, 8.6)
#[test]
fn a_length_has_no_sign() {
    for length in ["-5", "+5", "-0"] {
        let row = Sizes {
            why: "a sign is no digit",
            method: "POST",
            request: (Some(length), Some(7)),
            status: 200,
            response: (Some(length), Some(9)),
            flags: 0,
            expected: (Some(7), Some(9)),
        };
        assert_eq!(sizes_of(&row, Inbound), row.expected, "{length}");
    }
}

/// > 2xx responses to a CONNECT request method switch the connection to tunnel
/// > mode instead of having content (RFC 9110, 6.4.1).
#[test]
fn a_tunnel_has_no_body() {
    let response = Response {
        response_size: Some(4000),
        request_size: Some(3000),
        ..answered(200)
    };
    let lines = Headers::from_wire([(":method", "CONNECT"), (":authority", "shop.example:443")]);
    for direction in [Inbound, Outbound] {
        let sent = send(json!({}), direction, &lines, &response);
        sent.own().has(
            &json!({"http.request.body.size": null, "http.response.body.size": null}),
            "CONNECT",
        );
    }
}

/// Without a response there is no body of one; what came of the request is
/// told.
#[test]
fn no_response_no_body() {
    let response = Response {
        flags: 1 << 14,
        request_size: Some(30),
        response_size: Some(0),
        ..Response::default()
    };
    let sent = send(json!({}), Inbound, &ask("POST", "/"), &response);
    sent.own().has(
        &json!({"http.request.body.size": 30, "http.response.body.size": null}),
        "no response",
    );
}

/// A count that OTLP's integers cannot hold is none.
#[test]
fn a_count_that_no_integer_holds() {
    let response = Response {
        request_size: Some(u64::MAX),
        response_size: Some(1 << 63),
        ..answered(200)
    };
    let sent = send(json!({}), Inbound, &ask("POST", "/"), &response);
    sent.own().has(
        &json!({"http.request.body.size": null, "http.response.body.size": null}),
        "",
    );
}

// ------------------------------------------------------------------ resends

/// > `http.request.resend_count`: if and only if request was retried.
///
/// It is of the client's side; how often a server's proxy tried is told in our
/// own namespace.
#[test]
fn resends() {
    for (attempts, resent) in [
        (0, None),
        (1, None),
        (2, Some(1)),
        (3, Some(2)),
        (100, Some(99)),
        (u64::MAX, Some(i64::MAX)),
    ] {
        let response = Response {
            attempts,
            ..Response::status(200)
        };
        let tried = (attempts > 1).then(|| i64::try_from(attempts).unwrap_or(i64::MAX));
        for (direction, resent) in [(Inbound, None), (Outbound, resent)] {
            let sent = send(json!({}), direction, &get("/"), &response);
            sent.own().has(
                &json!({
                    "http.request.resend_count": resent,
                    "sidespan.upstream.attempts": tried,
                }),
                &format!("{attempts} {direction:?}"),
            );
        }
        let sent = send(json!({}), Unspecified, &get("/"), &response);
        let nothing =
            json!({"http.request.resend_count": null, "sidespan.upstream.attempts": null});
        sent.own().has(&nothing, "SERVER");
        if let Some(call) = &sent.call {
            call.has(
                &json!({
                    "http.request.resend_count": resent,
                    "sidespan.upstream.attempts": tried,
                }),
                "CLIENT",
            );
        }
    }
}

// ---------------------------------------------------------------- the agent

/// The user agent is the caller's, in whatever letters it is written, on the
/// span of the stream.
#[test]
fn user_agents() {
    for agent in ["curl/8.1", "", "käse 🧀/1", "a b; (c)"] {
        for direction in DIRECTIONS {
            let lines = with(get("/"), &[("user-agent", agent)]);
            let sent = send(json!({}), direction, &lines, &answered(200));
            assert_eq!(sent.own().str("user_agent.original"), agent);
        }
    }
    let sent = send(json!({}), Inbound, &get("/"), &answered(200));
    assert_eq!(sent.own().get("user_agent.original"), None);
}

/// An upgrade is answered with 101, which is no error, whichever side closes
/// the connection.
#[test]
fn an_upgrade() {
    let response = Response {
        request_size: Some(300),
        response_size: Some(4000),
        ..answered(101)
    };
    for direction in DIRECTIONS {
        let sent = send(json!({}), direction, &get("/ws"), &response);
        for span in sent.spans() {
            assert!(!span.is_error);
            assert_eq!(span.get("http.response.status_code"), Some(&json!(101)));
        }
    }
}

// ------------------------------------------------- what only a proxy knows

/// One attribute of our own: what the host must know for it to be there.
struct Own {
    key: &'static str,
    why: &'static str,
    response: Response,
    /// On a SERVER span and on a CLIENT span without a call of its own.
    expected: (Value, Value),
}

fn own_attributes() -> Vec<Own> {
    let row = |key, why, response, server, client| Own {
        key,
        why,
        response,
        expected: (server, client),
    };
    let same = |key, why, response, value: Value| Own {
        key,
        why,
        response,
        expected: (value.clone(), value),
    };
    let flagged = |flags, response: Response| Response { flags, ..response };
    let detailed = |details, response: Response| Response {
        details: Some(details),
        ..response
    };
    let tried = |attempts| Response {
        attempts,
        ..answered(200)
    };
    let failed = |reason, attempts, flags| Response {
        transport_failure: Some(reason),
        attempts,
        flags,
        ..answered(503)
    };
    const FLAGS: &str = "sidespan.response_flags";
    const DETAILS: &str = "sidespan.response_code_details";
    const CLUSTER: &str = "sidespan.upstream.cluster";
    const ADDRESS: &str = "sidespan.upstream.address";
    const WAIT: &str = "sidespan.upstream.connection_wait_ms";
    const LATENCY: &str = "sidespan.upstream.latency_ms";
    const FAILURE: &str = "sidespan.upstream.transport_failure";
    const UPSTREAM_PEER: &str = "sidespan.upstream.tls_peer";
    const DOWNSTREAM_PEER: &str = "sidespan.downstream.tls_peer";
    vec![
        same(FLAGS, "no flag", answered(200), Value::Null),
        same(
            FLAGS,
            "as access logs have it",
            flagged(1 << 14, answered(200)),
            json!("DC"),
        ),
        same(
            FLAGS,
            "several",
            flagged(1 << 5 | 1 << 15, answered(503)),
            json!("UF,URX"),
        ),
        same(
            FLAGS,
            "a flag of an Envoy that is newer than we are",
            flagged(1 << 8 | 1 << 40, answered(404)),
            json!("NR,40"),
        ),
        same(
            DETAILS,
            "via_upstream is what it is of almost every response",
            answered(200),
            Value::Null,
        ),
        same(
            DETAILS,
            "nor is it worth a word of an error of the upstream",
            answered(503),
            Value::Null,
        ),
        same(
            DETAILS,
            "the proxy answered",
            detailed("no_healthy_upstream", Response::status(503)),
            json!("no_healthy_upstream"),
        ),
        same(
            DETAILS,
            "and with a success",
            detailed("direct_response", Response::status(200)),
            json!("direct_response"),
        ),
        same(
            DETAILS,
            "whole, with what varies",
            detailed(
                "rbac_access_denied_matched_policy[none]",
                Response::status(403),
            ),
            json!("rbac_access_denied_matched_policy[none]"),
        ),
        same(
            DETAILS,
            "no response",
            detailed("downstream_remote_disconnect", Response::default()),
            json!("downstream_remote_disconnect"),
        ),
        same(
            DETAILS,
            "the response was cut short",
            flagged(
                1 << 4,
                detailed("upstream_reset_after_response_started{x}", answered(200)),
            ),
            json!("upstream_reset_after_response_started{x}"),
        ),
        same(
            DETAILS,
            "an empty text is none",
            detailed("", Response::status(503)),
            Value::Null,
        ),
        same(
            DETAILS,
            "the host does not know",
            Response::status(503),
            Value::Null,
        ),
        same(
            CLUSTER,
            "where it went",
            Response {
                cluster: Some("cart"),
                ..answered(200)
            },
            json!("cart"),
        ),
        same(
            CLUSTER,
            "where it was meant to go",
            Response {
                cluster: Some("cart"),
                ..Response::status(503)
            },
            json!("cart"),
        ),
        same(
            CLUSTER,
            "an empty text is none",
            Response {
                cluster: Some(""),
                ..answered(200)
            },
            Value::Null,
        ),
        same(CLUSTER, "no route", Response::status(404), Value::Null),
        row(
            ADDRESS,
            "a client has it as its peer",
            Response {
                upstream: Some("[fd00::1]:80"),
                ..answered(200)
            },
            json!("[fd00::1]:80"),
            Value::Null,
        ),
        same(
            ADDRESS,
            "a host that was chosen and not asked",
            Response {
                upstream: Some("10.1.2.3:80"),
                ..Response::status(503)
            },
            Value::Null,
        ),
        same(
            ADDRESS,
            "an empty text is none",
            Response {
                upstream: Some(""),
                ..answered(200)
            },
            Value::Null,
        ),
        same(
            WAIT,
            "a double, whatever its value",
            Response {
                connection_wait: Some(Duration::from_millis(3)),
                ..answered(200)
            },
            json!(3.0),
        ),
        same(
            WAIT,
            "to the nanosecond",
            Response {
                connection_wait: Some(Duration::from_nanos(1_234_567)),
                ..answered(200)
            },
            json!(1.234_567),
        ),
        same(
            WAIT,
            "a connection that was there",
            Response {
                connection_wait: Some(Duration::ZERO),
                ..answered(200)
            },
            json!(0.0),
        ),
        same(WAIT, "the host does not know", answered(200), Value::Null),
        same(
            WAIT,
            "nothing waited",
            Response {
                connection_wait: Some(Duration::ZERO),
                ..Response::status(503)
            },
            Value::Null,
        ),
        same(
            LATENCY,
            "a double in milliseconds",
            Response {
                upstream_latency: Some(Duration::from_secs(90)),
                ..answered(200)
            },
            json!(90_000.0),
        ),
        same(
            LATENCY,
            "no call, no latency",
            Response {
                upstream_latency: Some(Duration::ZERO),
                ..Response::status(200)
            },
            Value::Null,
        ),
        same(
            FAILURE,
            "why there was no connection",
            failed("TLS_error: expired", 1, 1 << 5),
            json!("TLS_error: expired"),
        ),
        same(
            FAILURE,
            "why there was none at first",
            failed("delayed connect error: 111", 2, 0),
            json!("delayed connect error: 111"),
        ),
        same(
            FAILURE,
            "an empty text is none",
            failed("", 2, 1 << 5),
            Value::Null,
        ),
        same(FAILURE, "nothing failed", tried(2), Value::Null),
        same(
            FAILURE,
            "a first attempt that succeeded did not fail",
            Response {
                transport_failure: Some("of another connection"),
                ..answered(200)
            },
            Value::Null,
        ),
        same(
            FAILURE,
            "there was no attempt that could fail",
            failed("TLS_error", 0, 1 << 1),
            Value::Null,
        ),
        same(
            UPSTREAM_PEER,
            "who answered",
            Response {
                tls_peers: [None, Some("CN=cart")],
                ..answered(200)
            },
            json!("CN=cart"),
        ),
        same(
            UPSTREAM_PEER,
            "nobody was asked",
            Response {
                tls_peers: [None, Some("CN=cart")],
                ..Response::status(403)
            },
            Value::Null,
        ),
        same(
            DOWNSTREAM_PEER,
            "who asks",
            Response {
                tls_peers: [Some("CN=web"), None],
                ..answered(200)
            },
            json!("CN=web"),
        ),
        same(
            DOWNSTREAM_PEER,
            "who is refused",
            Response {
                tls_peers: [Some("CN=web"), None],
                ..Response::status(403)
            },
            json!("CN=web"),
        ),
        same(DOWNSTREAM_PEER, "no TLS", answered(200), Value::Null),
        same(UPSTREAM_PEER, "no TLS", answered(200), Value::Null),
    ]
}

#[test]
fn what_only_a_proxy_knows() {
    for row in own_attributes() {
        let (server, client) = row.expected;
        for (direction, expected) in [(Inbound, server), (Outbound, client)] {
            let sent = send(json!({}), direction, &get("/"), &row.response);
            let found = sent.own().get(row.key).unwrap_or(&Value::Null);
            assert_eq!(found, &expected, "{} {direction:?}: {}", row.key, row.why);
        }
    }
}

/// Nothing of our own is on a span that uses Envoy's names, but for what our
/// own configuration decided.
#[test]
fn our_own_names_are_of_the_stable_vocabulary() {
    let keys = json!({
        "span": {"attributes": "envoy"},
        "rules": [{"name": "all", "match": {"path": {"prefix": "/"}}, "action": "force"}],
    });
    for direction in DIRECTIONS {
        let mut proxy = Proxy::on(&istio(), keys.clone());
        let sent = proxy.send(direction, &whole_request(), &WHOLE_INFO, &whole_response());
        for span in sent.spans() {
            let own = span.keys().into_iter();
            let own: Vec<_> = own.filter(|key| key.starts_with("sidespan.")).collect();
            assert!(own.is_empty() || own == ["sidespan.rule"], "{own:?}");
        }
    }
}

/// Workloads are known in Istio, where the node says which version it is of;
/// elsewhere nobody is asked.
#[test]
fn workloads_are_istios() {
    let plain = Host {
        node: json!({"id": "gateway", "cluster": "edge", "metadata": {"NAMESPACE": "shop"}}),
        ..Host::default()
    };
    let names = |end: &str| {
        ["workload", "namespace", "service"].map(|field| format!("sidespan.{end}.{field}"))
    };
    for (host, is_istio) in [(istio(), true), (plain, false), (Host::default(), false)] {
        for direction in DIRECTIONS {
            for choice in [json!("auto"), json!(true), json!(false)] {
                let keys = json!({"span": {"upstream_span": choice}});
                let mut proxy = Proxy::on(&host, keys);
                let sent = proxy.send(direction, &get("/"), &Info::default(), &whole_response());
                for span in sent.spans() {
                    let is_server = direction != Outbound && span.span_id == sent.own().span_id;
                    for name in names("source") {
                        let expected = is_istio && is_server;
                        assert_eq!(span.get(&name).is_some(), expected, "{name}");
                    }
                    let is_last = sent.call.as_ref().is_none_or(|c| c.span_id == span.span_id);
                    for name in names("destination") {
                        let expected = is_istio && !is_server && is_last;
                        assert_eq!(span.get(&name).is_some(), expected, "{name}");
                    }
                }
            }
        }
    }
}

/// A caller outside the mesh is nobody; a field that is empty says nothing.
#[test]
fn workloads_that_are_not_known() {
    let send = |source: &[(&'static str, &'static str)]| {
        let response = Response {
            workloads: [source.iter().copied().collect(), BTreeMap::new()],
            ..answered(200)
        };
        let mut proxy = Proxy::on(&istio(), json!({}));
        let sent = proxy.send(Inbound, &get("/"), &Info::default(), &response);
        sent.own().clone()
    };
    let wanted = |workload: Value, namespace: Value, service: Value| {
        json!({
            "sidespan.source.workload": workload,
            "sidespan.source.namespace": namespace,
            "sidespan.source.service": service,
        })
    };
    send(&[]).has(&wanted(Value::Null, Value::Null, Value::Null), "nobody");
    send(&[("workload", "web"), ("namespace", ""), ("service", "web")]).has(
        &wanted(json!("web"), Value::Null, json!("web")),
        "no namespace",
    );
    send(&[("workload", ""), ("namespace", "web"), ("service", "")]).has(
        &wanted(Value::Null, json!("web"), Value::Null),
        "a pod without a workload",
    );
}

/// > If instrumentation could end up converting valid HTTP request methods to
/// > `_OTHER`, then it MUST provide a way to override the list of known HTTP
/// > methods.
#[test]
fn known_methods_are_the_environments() {
    let host = common::Host {
        variables: [("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, PURGE,,")].into(),
        ..common::Host::default()
    };
    for (method, name, told) in [
        ("PURGE", "PURGE", "PURGE"),
        ("GET", "GET", "GET"),
        // A full override.
        ("POST", "HTTP", "_OTHER"),
        // "case-sensitive"
        ("purge", "HTTP", "_OTHER"),
    ] {
        let lines = Headers::from_wire([(":method", method), (":scheme", "http"), (":path", "/")]);
        let mut proxy = Proxy::on(&host, json!({}));
        let sent = proxy.send(Inbound, &lines, &Info::default(), &answered(200));
        let span = sent.own();
        assert_eq!(span.name, name, "{method}");
        assert_eq!(span.str("http.request.method"), told, "{method}");
    }
}
