//! One HTTP stream as a span: OpenTelemetry's conventions, as tables.
//!
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/> and
//! <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>

use crate::common;
use crate::common::{Headers, Info, Response, attributes, request};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Map, Value, json};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::request_info::Direction::{Inbound, Outbound, Unspecified};

/// What a test looks at.
#[derive(Debug)]
struct Seen {
    name: String,
    is_error: bool,
    attributes: Map<String, Value>,
    /// The whole export.
    bytes: Vec<u8>,
}

impl Seen {
    fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.get(key)
    }

    fn str(&self, key: &str) -> &str {
        let value = self.get(key).unwrap_or_else(|| panic!("{key} is missing"));
        value.as_str().unwrap()
    }

    /// Asserts that each of `wanted` is there so, or not there if it is null.
    fn has(&self, wanted: &Value, what: &str) {
        for (key, value) in wanted.as_object().unwrap() {
            let found = self.get(key).unwrap_or(&Value::Null);
            assert_eq!(found, value, "{what}: {key}");
        }
    }

    fn error_type(&self) -> Option<&str> {
        self.get("error.type").map(|v| v.as_str().unwrap())
    }
}

/// A stream from its start to the bytes of its export.
fn stream(direction: Direction, lines: &Headers, info: &Info, response: &Response) -> Seen {
    let mut tracer = common::tracer_of_single_spans();
    let (stream, _) = request(&mut tracer, lines, info, direction, 1);
    // What was never sent has no method that anybody knows.
    let is_grpc = lines
        .0
        .iter()
        .any(|(name, value)| name == b"content-type" && value.starts_with(b"application/grpc"));
    let response = Response {
        attempts: u64::from(is_grpc),
        ..response.to(info)
    };
    tracer.on_end(stream.expect("sampled"), &response, 2);
    let callout = tracer.next_callout(2).expect("a batch of one is full");
    let span = common::spans(&callout).remove(0);
    let code = span.status.clone().unwrap_or_default().code();
    let seen = Seen {
        name: span.name,
        is_error: code == StatusCode::Error,
        attributes: attributes(&span.attributes).into_iter().collect(),
        bytes: common::message(&callout).to_vec(),
    };
    assert_eq!(
        seen.is_error,
        seen.get("error.type").is_some(),
        "an error has a type, and only an error has"
    );
    seen
}

fn get(scheme: &str, authority: &str, path: &str) -> Headers {
    Headers::from_wire([
        (":method", "GET"),
        (":scheme", scheme),
        (":authority", authority),
        (":path", path),
    ])
}

fn ok() -> Response {
    Response::status(200)
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|w| w == needle.as_bytes())
}

// ------------------------------------------------------------- whole spans

fn whole_request() -> Headers {
    Headers::from_wire([
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "shop.example:8443"),
        (":path", "/cart/7?item=1&n=2#top"),
        ("user-agent", "curl/8.1"),
        ("content-type", "application/json"),
        ("cookie", "session=hidden"),
        ("authorization", "Bearer hidden"),
    ])
}

const WHOLE_INFO: Info = Info {
    protocol: Some("HTTP/1.1"),
    source_address: Some("192.0.2.7:50123"),
    route: serde_json::Value::Null,
};

fn whole_response() -> Response {
    Response {
        upstream: Some("10.1.2.3:9000"),
        details: Some("via_upstream"),
        ..Response::status(201)
    }
}

/// Everything that a server's span has, and nothing else.
#[test]
fn a_server_span() {
    for direction in [Inbound, Unspecified] {
        let seen = stream(direction, &whole_request(), &WHOLE_INFO, &whole_response());
        assert_eq!(seen.name, "POST");
        assert!(!seen.is_error);
        let expected = json!({
            "component": "proxy",
            "http.request.method": "POST",
            "url.scheme": "https",
            "url.path": "/cart/7",
            "url.query": "item=1&n=2",
            "server.address": "shop.example",
            "server.port": 8443,
            "user_agent.original": "curl/8.1",
            "network.protocol.version": "1.1",
            "client.address": "192.0.2.7",
            "network.peer.address": "192.0.2.7",
            "network.peer.port": 50123,
            "http.response.status_code": 201,
        });
        assert_eq!(Value::from(seen.attributes), expected);
        assert!(!contains(&seen.bytes, "hidden"), "a credential is exported");
    }
}

/// Everything that a client's span has, and nothing else.
#[test]
fn a_client_span() {
    let seen = stream(Outbound, &whole_request(), &WHOLE_INFO, &whole_response());
    assert_eq!(seen.name, "POST");
    assert!(!seen.is_error);
    let expected = json!({
        "component": "proxy",
        "http.request.method": "POST",
        "url.full": "https://shop.example:8443/cart/7?item=1&n=2",
        "server.address": "shop.example",
        "server.port": 8443,
        "user_agent.original": "curl/8.1",
        "network.peer.address": "10.1.2.3",
        "network.peer.port": 9000,
        "http.response.status_code": 201,
    });
    assert_eq!(Value::from(seen.attributes), expected);
    assert!(!contains(&seen.bytes, "hidden"), "a credential is exported");
}

/// A request of which nothing is known still makes a span that can be read.
#[test]
fn nothing_is_known() {
    for direction in [Inbound, Outbound, Unspecified] {
        let none = Headers::default();
        let seen = stream(direction, &none, &Info::default(), &Response::default());
        assert_eq!(seen.name, "HTTP");
        assert!(seen.is_error, "no response is an error");
        let wanted = json!({
            "http.request.method": "_OTHER",
            "error.type": "_OTHER",
            "server.address": null,
            "server.port": null,
            "client.address": null,
            "network.peer.address": null,
            "network.peer.port": null,
            "network.protocol.version": null,
            "user_agent.original": null,
            "url.query": null,
            "http.response.status_code": null,
        });
        seen.has(&wanted, &format!("{direction:?}"));
    }
}

// ------------------------------------------------------------------ method

/// > This convention defines "known" methods as the ones listed in RFC9110,
/// > the PATCH method defined in RFC5789 and the QUERY method.
///
/// > HTTP method names are case-sensitive.
#[test]
fn methods() {
    for known in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
    ] {
        let lines = Headers::from_wire([(":method", known), (":path", "/")]);
        let seen = stream(Inbound, &lines, &Info::default(), &ok());
        assert_eq!(seen.name, known);
        seen.has(
            &json!({"http.request.method": known, "http.request.method_original": null}),
            known,
        );
    }
    for other in [
        "get", "Get", "PROPFIND", "GETT", "GE", " GET", "_OTHER", "HTTP", "G\u{e9}T",
    ] {
        let mut lines = Headers::from_wire([(":path", "/")]);
        lines.0.push((b":method".to_vec(), other.into()));
        let seen = stream(Inbound, &lines, &Info::default(), &ok());
        assert_eq!(seen.name, "HTTP", "{other}");
        seen.has(
            &json!({"http.request.method": "_OTHER", "http.request.method_original": other}),
            other,
        );
    }
}

/// > Instrumentation MUST NOT default to using URI path as a `{target}`.
#[test]
fn names_have_no_path() {
    for direction in [Inbound, Outbound, Unspecified] {
        let lines = get("http", "a", "/users/4711?x=y");
        let seen = stream(direction, &lines, &Info::default(), &ok());
        assert_eq!(seen.name, "GET");
    }
}

// --------------------------------------------------------------------- URL

struct Url {
    why: &'static str,
    /// Scheme, authority, path.
    request: (&'static str, &'static str, &'static str),
    server: Value,
    client: Value,
}

fn urls() -> Vec<Url> {
    let row = |why, request, server, client| Url {
        why,
        request,
        server,
        client,
    };
    vec![
        row(
            "a plain one",
            ("http", "a.example", "/b"),
            json!({"url.scheme": "http", "url.path": "/b", "url.query": null, "server.address": "a.example", "server.port": 80}),
            json!({"url.full": "http://a.example/b", "server.address": "a.example", "server.port": 80}),
        ),
        row(
            "https has a default port of its own",
            ("https", "a.example", "/"),
            json!({"url.scheme": "https", "server.port": 443}),
            json!({"url.full": "https://a.example/", "server.port": 443}),
        ),
        row(
            "a port that is given wins over the default",
            ("https", "a.example:80", "/"),
            json!({"server.address": "a.example", "server.port": 80}),
            json!({"url.full": "https://a.example:80/", "server.address": "a.example", "server.port": 80}),
        ),
        row(
            "the brackets of IPv6 belong to the URL, not to the address",
            ("http", "[2001:db8::1]:8080", "/"),
            json!({"server.address": "2001:db8::1", "server.port": 8080}),
            json!({"url.full": "http://[2001:db8::1]:8080/", "server.address": "2001:db8::1", "server.port": 8080}),
        ),
        row(
            "IPv6 without a port",
            ("https", "[::1]", "/"),
            json!({"server.address": "::1", "server.port": 443}),
            json!({"url.full": "https://[::1]/", "server.address": "::1", "server.port": 443}),
        ),
        row(
            "IPv4",
            ("http", "192.0.2.1:81", "/"),
            json!({"server.address": "192.0.2.1", "server.port": 81}),
            json!({"url.full": "http://192.0.2.1:81/"}),
        ),
        row(
            "the query is what stands behind the first mark",
            ("http", "a", "/b?c=d?e&f"),
            json!({"url.path": "/b", "url.query": "c=d?e&f"}),
            json!({"url.full": "http://a/b?c=d?e&f"}),
        ),
        row(
            "url.query if and only if one was received",
            ("http", "a", "/b?"),
            json!({"url.path": "/b", "url.query": null}),
            json!({"url.full": "http://a/b"}),
        ),
        row(
            "a fragment is not transmitted over HTTP",
            ("http", "a", "/b?c#d?e"),
            json!({"url.path": "/b", "url.query": "c"}),
            json!({"url.full": "http://a/b?c"}),
        ),
        row(
            "a fragment may hold a question mark",
            ("http", "a", "/b#c?d"),
            json!({"url.path": "/b", "url.query": null}),
            json!({"url.full": "http://a/b"}),
        ),
        row(
            "a path stays encoded as it came",
            ("http", "a", "/b%2Fc/../d//e;f"),
            json!({"url.path": "/b%2Fc/../d//e;f"}),
            json!({"url.full": "http://a/b%2Fc/../d//e;f"}),
        ),
        row(
            "a server may be asked about itself",
            ("http", "a", "*"),
            json!({"url.path": "*"}),
            json!({}),
        ),
        row(
            "an authority that is missing names no server",
            ("http", "", "/b"),
            json!({"server.address": null, "server.port": null, "url.path": "/b"}),
            json!({"server.address": null, "server.port": null}),
        ),
        row(
            "credentials are no part of an address",
            ("http", "me:secret@a:81", "/"),
            json!({"server.address": "a", "server.port": 81}),
            json!({"server.address": "a", "server.port": 81}),
        ),
    ]
}

#[test]
fn urls_of_servers() {
    for url in urls() {
        let (scheme, authority, path) = url.request;
        let lines = get(scheme, authority, path);
        let seen = stream(Inbound, &lines, &Info::default(), &ok());
        seen.has(&url.server, url.why);
        assert_eq!(seen.get("url.full"), None, "{}", url.why);
    }
}

#[test]
fn urls_of_clients() {
    for url in urls() {
        let (scheme, authority, path) = url.request;
        let lines = get(scheme, authority, path);
        let seen = stream(Outbound, &lines, &Info::default(), &ok());
        seen.has(&url.client, url.why);
        for key in ["url.scheme", "url.path", "url.query"] {
            assert_eq!(seen.get(key), None, "{}", url.why);
        }
    }
}

/// > `url.full` MUST NOT contain credentials passed via URL in form of
/// > `https://username:password@www.example.com/`.
///
/// Nothing else that is exported has them either.
#[test]
fn no_credentials_of_an_authority() {
    for authority in [
        "name:secret@a.example",
        "secret@a.example:80",
        "name:secret@[::1]:80",
        "name:p@secret@a.example",
        ":secret@",
    ] {
        for direction in [Inbound, Outbound, Unspecified] {
            let lines = get("https", authority, "/b");
            let seen = stream(direction, &lines, &Info::default(), &ok());
            assert!(
                !contains(&seen.bytes, "secret"),
                "{authority}: {:?}",
                seen.attributes
            );
        }
    }
}

/// RFC 9110 7.1: with the asterisk-form the target has no path.
#[test]
fn the_url_of_options_asterisk() {
    let mut lines = get("http", "a", "*");
    lines.0[0].1 = b"OPTIONS".to_vec();
    let seen = stream(Outbound, &lines, &Info::default(), &ok());
    assert!(
        matches!(seen.str("url.full"), "http://a" | "http://a/"),
        "{}",
        seen.str("url.full")
    );
}

/// > `url.full`: Absolute URL describing a network resource according to
/// > RFC3986.
///
/// Where there is no scheme (CONNECT, a host that knows nothing) there is no
/// absolute URL, and `://a:443` is not one.
#[test]
fn no_url_without_a_scheme() {
    for authority in ["a:443", ""] {
        let lines = Headers::from_wire([(":method", "CONNECT"), (":authority", authority)]);
        let seen = stream(Outbound, &lines, &Info::default(), &ok());
        let url = seen.get("url.full").and_then(Value::as_str);
        assert!(url.is_none_or(|url| !url.starts_with("://")), "{url:?}");
    }
}

/// RFC 3986 3.2.3: a port may be empty, and then it is the default.
#[test]
fn an_empty_port() {
    let lines = get("http", "a.example:", "/");
    let seen = stream(Inbound, &lines, &Info::default(), &ok());
    seen.has(
        &json!({"server.address": "a.example", "server.port": 80}),
        "a.example:",
    );
}

// ------------------------------------------------------------------- peers

/// > `network.protocol.version`: the actual version: `1.0`, `1.1`, `2`, `3`.
/// > If the actual protocol version is not known, this attribute SHOULD NOT be
/// > set.
#[test]
fn protocol_versions() {
    for (protocol, expected) in [
        (Some("HTTP/1.0"), json!("1.0")),
        (Some("HTTP/1.1"), json!("1.1")),
        (Some("HTTP/2"), json!("2")),
        (Some("HTTP/3"), json!("3")),
        (Some("SPDY"), Value::Null),
        (Some(""), Value::Null),
        (None, Value::Null),
    ] {
        let info = Info {
            protocol,
            source_address: None,
            route: serde_json::Value::Null,
        };
        let seen = stream(Inbound, &get("http", "a", "/"), &info, &ok());
        seen.has(
            &json!({"network.protocol.version": expected}),
            &format!("{protocol:?}"),
        );
    }
}

/// The client is who the proxy says it is; the peer is only known where the
/// address is the connection's, which then has a port.
#[test]
fn clients() {
    for (source, client, peer, port) in [
        (
            "192.0.2.7:1234",
            "192.0.2.7",
            json!("192.0.2.7"),
            json!(1234),
        ),
        (
            "[2001:db8::7]:1234",
            "2001:db8::7",
            json!("2001:db8::7"),
            json!(1234),
        ),
        ("192.0.2.7:0", "192.0.2.7", Value::Null, Value::Null),
        ("[2001:db8::7]:0", "2001:db8::7", Value::Null, Value::Null),
        (
            "192.0.2.7:65535",
            "192.0.2.7",
            json!("192.0.2.7"),
            json!(65535),
        ),
    ] {
        let info = Info {
            protocol: None,
            source_address: Some(source),
            route: serde_json::Value::Null,
        };
        let wanted = json!({
            "client.address": client,
            "network.peer.address": peer,
            "network.peer.port": port,
        });
        let seen = stream(Inbound, &get("http", "a", "/"), &info, &ok());
        seen.has(&wanted, source);
        // On a client's span the peer is the upstream, not the workload.
        let seen = stream(Outbound, &get("http", "a", "/"), &info, &ok());
        let none = json!({
            "client.address": null,
            "network.peer.address": null,
            "network.peer.port": null,
        });
        seen.has(&none, source);
    }
}

#[test]
fn upstreams() {
    for (upstream, address, port) in [
        (Some("10.0.0.1:80"), json!("10.0.0.1"), json!(80)),
        (Some("[fd00::1]:8080"), json!("fd00::1"), json!(8080)),
        (
            Some("/var/run/app.sock"),
            json!("/var/run/app.sock"),
            Value::Null,
        ),
        (None, Value::Null, Value::Null),
    ] {
        let response = Response { upstream, ..ok() };
        let wanted = json!({"network.peer.address": address, "network.peer.port": port});
        let lines = get("http", "a", "/");
        let seen = stream(Outbound, &lines, &Info::default(), &response);
        seen.has(&wanted, &format!("{upstream:?}"));
        // What lies behind a server is no peer of the one who called it.
        let seen = stream(Inbound, &lines, &Info::default(), &response);
        let none = json!({"network.peer.address": null, "network.peer.port": null});
        seen.has(&none, &format!("{upstream:?}"));
    }
}

// ------------------------------------------------------------------ status

/// > Span Status MUST be left unset if HTTP status code was in the 1xx, 2xx or
/// > 3xx ranges, unless there was another error. For HTTP status codes in the
/// > 4xx range span status MUST be left unset in case of SpanKind.SERVER and
/// > SHOULD be set to Error in case of SpanKind.CLIENT. For HTTP status codes
/// > in the 5xx range […] span status SHOULD be set to Error.
#[test]
fn status_codes() {
    let not_an_error = [100, 101, 103, 200, 204, 206, 226, 300, 301, 304, 308, 399];
    let a_clients_error = [400, 401, 404, 418, 429, 499];
    let an_error = [500, 501, 502, 503, 504, 511, 599];
    let lists: [(&[u16], bool, bool); 3] = [
        (&not_an_error, false, false),
        (&a_clients_error, false, true),
        (&an_error, true, true),
    ];
    for (codes, on_servers, on_clients) in lists {
        for &code in codes {
            for (direction, is_error) in [
                (Inbound, on_servers),
                (Unspecified, on_servers),
                (Outbound, on_clients),
            ] {
                let response = Response::status(code);
                let lines = get("http", "a", "/");
                let seen = stream(direction, &lines, &Info::default(), &response);
                assert_eq!(seen.is_error, is_error, "{direction:?} {code}");
                let number = code.to_string();
                let expected = is_error.then_some(number.as_str());
                assert_eq!(seen.error_type(), expected, "{direction:?} {code}");
                assert_eq!(seen.get("http.response.status_code"), Some(&json!(code)));
            }
        }
    }
}

/// An answer that the proxy gives itself is judged by its status, which says
/// more to most than the proxy's own words.
#[test]
fn local_replies() {
    for (code, details, flags, server, client) in [
        (503, "no_healthy_upstream", 1 << 1, Some("503"), Some("503")),
        (504, "response_timeout", 1 << 2, Some("504"), Some("504")),
        (
            503,
            "upstream_reset_before_response_started{connection_failure}",
            1 << 5,
            Some("503"),
            Some("503"),
        ),
        (404, "route_not_found", 1 << 8, None, Some("404")),
        (429, "request_rate_limited", 1 << 11, None, Some("429")),
        (
            403,
            "rbac_access_denied_matched_policy[none]",
            0,
            None,
            Some("403"),
        ),
        (301, "https_redirect", 0, None, None),
        (200, "direct_response", 0, None, None),
    ] {
        let response = Response {
            details: Some(details),
            flags,
            ..Response::status(code)
        };
        for (direction, expected) in [(Inbound, server), (Outbound, client)] {
            let lines = get("http", "a", "/");
            let seen = stream(direction, &lines, &Info::default(), &response);
            assert_eq!(seen.error_type(), expected, "{direction:?} {details}");
            assert_eq!(seen.get("http.response.status_code"), Some(&json!(code)));
        }
    }
}

/// > If the request fails with an error before response status code was sent
/// > or received, `error.type` SHOULD be set to […] a component-specific low
/// > cardinality error identifier.
#[test]
fn no_response_at_all() {
    for (details, expected) in [
        (
            Some("downstream_remote_disconnect"),
            "downstream_remote_disconnect",
        ),
        (
            Some("upstream_reset_before_response_started{connection_termination}"),
            "upstream_reset_before_response_started",
        ),
        (Some("http2.remote_reset"), "http2.remote_reset"),
        (Some("{only_braces}"), "_OTHER"),
        (Some(""), "_OTHER"),
        (None, "_OTHER"),
    ] {
        for direction in [Inbound, Outbound] {
            for flags in [0, 1 << 14, u64::MAX] {
                let response = Response {
                    details,
                    flags,
                    ..Response::default()
                };
                let lines = get("http", "a", "/");
                let seen = stream(direction, &lines, &Info::default(), &response);
                // "[…] the cancellation SHOULD NOT be treated as an error", of
                // a client.
                let is_cancelled = direction == Outbound && flags & 1 << 14 != 0;
                let expected = Some(expected).filter(|_| !is_cancelled);
                assert_eq!(seen.error_type(), expected, "{details:?} {flags:#x}");
                assert_eq!(seen.get("http.response.status_code"), None);
            }
        }
    }
}

/// A status that is no number was not received in any sense that helps.
#[test]
fn a_status_that_is_no_number() {
    for status in [
        "",
        "abc",
        "-200",
        "2e2",
        "99999",
        "200 OK",
        "\u{662}\u{660}\u{660}",
    ] {
        let response = Response::status(status);
        let seen = stream(Inbound, &get("http", "a", "/"), &Info::default(), &response);
        assert_eq!(seen.get("http.response.status_code"), None, "{status:?}");
        assert!(seen.is_error, "{status:?}");
    }
}

/// Envoy's response flags by bit (`CoreResponseFlag`), and whether they say of
/// a response that began well that it did not come whole.
const FLAGS: [(u32, &str, bool); 30] = [
    (0, "failed local health check", false),
    (1, "no healthy upstream", false),
    (2, "upstream request timeout", true),
    (3, "local reset", true),
    (4, "upstream remote reset", true),
    (5, "upstream connection failure", false),
    (6, "upstream connection termination", true),
    (7, "upstream overflow", false),
    (8, "no route found", false),
    (9, "delay injected", false),
    (10, "fault injected", false),
    (11, "rate limited", false),
    (12, "unauthorized by an external service", false),
    (13, "rate limit service error", false),
    (14, "downstream connection termination", false),
    (15, "upstream retry limit exceeded", false),
    (16, "stream idle timeout", true),
    (17, "invalid request headers", false),
    (18, "downstream protocol error", false),
    (19, "upstream max stream duration reached", true),
    (20, "response from a cache", false),
    (21, "no filter configuration found", false),
    (22, "duration timeout", true),
    (23, "upstream protocol error", true),
    (24, "no cluster found", false),
    (25, "overload manager", false),
    (26, "DNS resolution failed", false),
    (27, "drop overload", false),
    (28, "downstream remote reset", false),
    (29, "unconditional drop overload", false),
];

/// > HTTP request may fail if an error occurred preventing the client or
/// > server from sending/receiving the request/response fully. When
/// > instrumentation detects such errors it SHOULD set span status to `Error`
/// > and SHOULD set the `error.type` attribute.
///
/// A client that goes away is none (server-sent events, downloads).
#[test]
fn responses_that_were_cut_short() {
    for (bit, flag, is_error) in FLAGS {
        for direction in [Inbound, Outbound] {
            for code in [200, 206, 302] {
                let response = Response {
                    flags: 1 << bit,
                    details: Some("cut_short{somehow}"),
                    ..Response::status(code)
                };
                let lines = get("http", "a", "/");
                let seen = stream(direction, &lines, &Info::default(), &response);
                let expected = is_error.then_some("cut_short");
                assert_eq!(seen.error_type(), expected, "{flag}, {code}");
                assert_eq!(seen.get("http.response.status_code"), Some(&json!(code)));
            }
        }
    }
}

/// Flags beside one that counts do not hide it.
#[test]
fn several_flags_at_once() {
    let response = Response {
        flags: 1 << 14 | 1 << 4 | 1 << 15,
        details: Some("upstream_reset_after_response_started{remote reset}"),
        ..ok()
    };
    let seen = stream(Inbound, &get("http", "a", "/"), &Info::default(), &response);
    assert_eq!(
        seen.error_type(),
        Some("upstream_reset_after_response_started")
    );
}

/// An upgraded connection (WebSocket) ends when either side closes it, which
/// is how it is meant to end.
#[test]
fn an_upgrade_has_no_bad_end() {
    for (bit, flag, _) in FLAGS {
        for direction in [Inbound, Outbound] {
            let response = Response {
                flags: 1 << bit,
                details: Some("upstream_reset_after_response_started"),
                ..Response::status(101)
            };
            let lines = get("http", "a", "/ws");
            let seen = stream(direction, &lines, &Info::default(), &response);
            assert!(!seen.is_error, "{flag}");
        }
    }
}

// -------------------------------------------------------------------- gRPC

fn grpc(content_type: &str, path: &str) -> Headers {
    Headers::from_wire([
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop:50051"),
        (":path", path),
        ("content-type", content_type),
        ("te", "trailers"),
    ])
}

fn grpc_response(status: &str) -> Response {
    Response {
        trailers: vec![("grpc-status", status.into())],
        ..ok()
    }
}

/// The codes, their names, and whether a server's span is an error with them
/// (conventions for gRPC, Server, `rpc.status_code`).
const GRPC: [(&str, &str, bool); 17] = [
    ("0", "OK", false),
    ("1", "CANCELLED", false),
    ("2", "UNKNOWN", true),
    ("3", "INVALID_ARGUMENT", false),
    ("4", "DEADLINE_EXCEEDED", true),
    ("5", "NOT_FOUND", false),
    ("6", "ALREADY_EXISTS", false),
    ("7", "PERMISSION_DENIED", false),
    ("8", "RESOURCE_EXHAUSTED", false),
    ("9", "FAILED_PRECONDITION", false),
    ("10", "ABORTED", false),
    ("11", "OUT_OF_RANGE", false),
    ("12", "UNIMPLEMENTED", true),
    ("13", "INTERNAL", true),
    ("14", "UNAVAILABLE", true),
    ("15", "DATA_LOSS", true),
    ("16", "UNAUTHENTICATED", false),
];

#[test]
fn grpc_statuses() {
    for (code, name, is_a_servers_error) in GRPC {
        for in_trailers in [true, false] {
            // A response without a message is one of headers only.
            let response = match in_trailers {
                true => grpc_response(code),
                false => Response {
                    headers: vec![(":status", b"200".to_vec()), ("grpc-status", code.into())],
                    ..Response::default()
                },
            };
            // "All status codes except OK SHOULD be considered errors" (Client)
            for (direction, is_error) in [
                (Inbound, is_a_servers_error),
                (Unspecified, is_a_servers_error),
                (Outbound, name != "OK"),
            ] {
                let lines = grpc("application/grpc", "/shop.Cart/Add");
                let seen = stream(direction, &lines, &Info::default(), &response);
                let what = format!("{direction:?} {name}");
                assert_eq!(seen.is_error, is_error, "{what}");
                assert_eq!(seen.error_type(), is_error.then_some(name), "{what}");
                // "When the method is not recognized […] the attribute MUST be
                // set to `_OTHER`", and who is called says that it is not.
                let (method, original, span_name) = match name {
                    "UNIMPLEMENTED" => ("_OTHER", json!("shop.Cart/Add"), "grpc"),
                    _ => ("shop.Cart/Add", Value::Null, "shop.Cart/Add"),
                };
                seen.has(
                    &json!({
                        "rpc.system.name": "grpc",
                        "rpc.method": method,
                        "rpc.method_original": original,
                        "rpc.status_code": name,
                        "http.response.status_code": 200,
                        "server.address": "shop",
                        "server.port": 50051,
                    }),
                    &what,
                );
                assert_eq!(seen.name, span_name);
            }
        }
    }
}

/// gRPC over HTTP2: a status that stands in the trailers is the call's.
#[test]
fn the_trailers_have_the_last_word() {
    let response = Response {
        headers: vec![(":status", b"200".to_vec()), ("grpc-status", b"0".to_vec())],
        ..grpc_response("13")
    };
    let lines = grpc("application/grpc", "/a.B/C");
    let seen = stream(Inbound, &lines, &Info::default(), &response);
    assert_eq!(seen.error_type(), Some("INTERNAL"));
}

/// gRPC's list of codes: an implementation that meets another one takes it for
/// UNKNOWN.
#[test]
fn grpc_statuses_that_nobody_knows() {
    for code in ["17", "99", "4294967296"] {
        let lines = grpc("application/grpc", "/a.B/C");
        let seen = stream(Outbound, &lines, &Info::default(), &grpc_response(code));
        assert_eq!(seen.error_type(), Some("UNKNOWN"), "{code}");
        assert_eq!(seen.str("rpc.status_code"), "UNKNOWN", "{code}");
    }
}

/// A call that never got a gRPC status is judged as HTTP is.
#[test]
fn grpc_without_a_status() {
    let lines = grpc("application/grpc", "/a.B/C");
    for (response, expected) in [
        (Response::status(503), Some("503")),
        (Response::status(200), None),
        (
            Response {
                flags: 1 << 4,
                details: Some("upstream_reset_after_response_started{remote reset}"),
                ..Response::status(200)
            },
            Some("upstream_reset_after_response_started"),
        ),
        (
            Response {
                details: Some("downstream_remote_disconnect"),
                ..Response::default()
            },
            Some("downstream_remote_disconnect"),
        ),
    ] {
        let seen = stream(Inbound, &lines, &Info::default(), &response);
        assert_eq!(seen.error_type(), expected, "{response:?}");
        assert_eq!(seen.get("rpc.status_code"), None);
    }
}

/// gRPC over HTTP2: `"application/grpc" [("+proto" / "+json" / {custom})]`.
/// gRPC-Web is the same call; its trailers may be in the body, where no host
/// sees them.
#[test]
fn what_is_grpc() {
    for (content_type, is_grpc) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc+json", true),
        ("application/grpc;charset=utf-8", true),
        ("application/grpc-web", true),
        ("application/grpc-web-text", true),
        ("application/grpc-web-text+proto", true),
        ("application/grpc-website", false),
        ("application/grpc-web+proto", true),
        ("application/grpcx", false),
        ("application/json", false),
        ("text/plain; application/grpc", false),
        ("", false),
    ] {
        let lines = grpc(content_type, "/a.B/C");
        let seen = stream(Inbound, &lines, &Info::default(), &grpc_response("13"));
        assert_eq!(seen.is_error, is_grpc, "{content_type:?}");
        assert_eq!(seen.get("rpc.system.name").is_some(), is_grpc);
        let name = if is_grpc { "a.B/C" } else { "POST" };
        assert_eq!(seen.name, name, "{content_type:?}");
    }
}

/// Where nobody says that there is such a method, it is nobody's: strangers
/// must not grow the number of names.
#[test]
fn methods_that_nobody_knows() {
    let spoken = ("content-type", b"application/grpc".to_vec());
    let response = |attempts, status: u16, more: &[(&'static str, Vec<u8>)]| {
        let mut response = Response::status(status);
        response.headers.extend_from_slice(more);
        response.attempts = attempts;
        response
    };
    for (why, response, is_known) in [
        ("HTTP's own 404", response(1, 404, &[]), false),
        ("an answer that is no gRPC", response(1, 200, &[]), false),
        (
            "denied before it was sent",
            response(0, 200, &[spoken.clone(), ("grpc-status", b"7".to_vec())]),
            false,
        ),
        ("cut short", response(1, 200, &[spoken]), true),
        (
            "no answer at all",
            Response {
                attempts: 1,
                ..Response::default()
            },
            true,
        ),
    ] {
        let mut tracer = common::tracer_of_single_spans();
        let lines = grpc("application/grpc", "/a.B/C");
        let (stream, _) = request(&mut tracer, &lines, &Info::default(), Inbound, 1);
        tracer.on_end(stream.expect("sampled"), &response, 2);
        let span = common::only_span(&mut tracer);
        let (name, method) = if is_known {
            ("a.B/C", "a.B/C")
        } else {
            ("grpc", "_OTHER")
        };
        assert_eq!(span.name, name, "{why}");
        assert_eq!(attributes(&span.attributes)["rpc.method"], method, "{why}");
    }
}

/// A `grpc-status` says nothing where the request was no gRPC.
#[test]
fn a_grpc_status_of_other_calls() {
    let lines = get("http", "a", "/");
    let seen = stream(Outbound, &lines, &Info::default(), &grpc_response("13"));
    assert!(!seen.is_error);
    assert_eq!(seen.get("rpc.status_code"), None);
}

/// > If `rpc.method` is unavailable or set to `_OTHER`, the span name SHOULD be
/// > `{rpc.system.name}`.
///
/// > `name`: This field is semantically required to be set to non-empty string
/// > (opentelemetry-proto, `trace.proto`).
#[test]
fn a_grpc_call_without_a_method() {
    for path in ["/", "", "/?a=b"] {
        let lines = grpc("application/grpc", path);
        let seen = stream(Inbound, &lines, &Info::default(), &grpc_response("12"));
        assert_eq!(seen.name, "grpc", "{path:?}");
    }
}

// ------------------------------------------------------- bytes from a peer

/// Strings in OTLP are UTF-8. The decoder of these tests refuses a message
/// with any that is not.
#[test]
fn headers_that_are_not_utf8() {
    let lines = Headers(
        [
            (&b":method"[..], &b"G\xffT"[..]),
            (b":scheme", b"ht\xfftp"),
            (b":authority", b"a\xff.example:80"),
            (b":path", b"/b\xc3(\xff?c=\x80&sig=\xfe"),
            (b"user-agent", b"curl\xf0\x9f"),
            (b"content-type", b"application/grpc\xff"),
        ]
        .map(|(n, v)| (n.to_vec(), v.to_vec()))
        .to_vec(),
    );
    for direction in [Inbound, Outbound] {
        let seen = stream(direction, &lines, &Info::default(), &ok());
        seen.has(
            &json!({
                "http.request.method_original": "G\u{fffd}T",
                "server.address": "a\u{fffd}.example",
                "server.port": 80,
                "user_agent.original": "curl\u{fffd}",
            }),
            "",
        );
    }
    let seen = stream(Inbound, &lines, &Info::default(), &ok());
    assert_eq!(seen.str("url.path"), "/b\u{fffd}(\u{fffd}");
    assert_eq!(seen.str("url.query"), "c=\u{fffd}&sig=REDACTED");
}

/// A gRPC path and status are a peer's bytes too.
#[test]
fn grpc_bytes_that_are_not_utf8() {
    let mut lines = grpc("application/grpc", "/");
    lines.0[3].1 = b"/a.B/\xff".to_vec();
    let mut response = grpc_response("");
    response.trailers[0].1 = b"\xff1".to_vec();
    let content_type = ("content-type", b"application/grpc".to_vec());
    response.headers.push(content_type);
    let seen = stream(Inbound, &lines, &Info::default(), &response);
    assert_eq!(seen.name, "a.B/\u{fffd}");
    assert_eq!(seen.str("rpc.method"), "a.B/\u{fffd}");
    assert_eq!(seen.get("rpc.status_code"), None);
}

/// Bytes that are no text at all grow when they are replaced, and are cut all
/// the same.
#[test]
fn long_values_that_are_not_utf8() {
    for broken in [
        &b"\xff"[..],
        b"\xf0\x9f\x98",
        b"\xe2\x82",
        b"a\xff",
        b"\xc3\xa9\xff",
    ] {
        let long = broken.repeat(60 << 10);
        let mut lines = get("http", "a", "/");
        lines.0.push((b"user-agent".to_vec(), long.clone()));
        lines.0[3].1 = [b"/", &long[..]].concat();
        for direction in [Inbound, Outbound] {
            let seen = stream(direction, &lines, &Info::default(), &ok());
            let whole = String::from_utf8_lossy(&long);
            let cut = whole.floor_char_boundary(1024);
            assert_eq!(seen.str("user_agent.original"), &whole[..cut]);
            for value in seen.attributes.values().filter_map(Value::as_str) {
                assert!(value.len() <= 1024);
            }
        }
    }
}

/// What the host tells is cut as well.
#[test]
fn long_words_of_the_host() {
    let details: &'static str = Box::leak("d".repeat(60 << 10).into_boxed_str());
    let response = Response {
        details: Some(details),
        upstream: Some(details),
        ..Response::default()
    };
    let info = Info {
        protocol: Some("HTTP/2"),
        source_address: Some(details),
        route: serde_json::Value::Null,
    };
    for direction in [Inbound, Outbound] {
        let seen = stream(direction, &get("http", "a", "/"), &info, &response);
        assert_eq!(seen.error_type().unwrap().len(), 1024);
        assert!(seen.bytes.len() < 8 << 10);
    }
}
