//! What a span must not show, and how much it may hold: user info, secrets in
//! queries, and values of any length.
//!
//! <https://opentelemetry.io/docs/specs/semconv/registry/attributes/url/>

use crate::common::spans::{answered, get, grpc, grpc_status, send, with};
use crate::common::{Headers, Response};
use serde_json::json;
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::request_info::Direction::{Inbound, Outbound, Unspecified};

const DIRECTIONS: [Direction; 3] = [Inbound, Outbound, Unspecified];
const VOCABULARIES: [&str; 3] = ["stable", "envoy", "both"];

/// The same request for another authority.
fn of(authority: &str, mut lines: Headers) -> Headers {
    for (name, value) in &mut lines.0 {
        if name == b":authority" {
            *value = authority.into();
        }
    }
    lines
}

// ---------------------------------------------------------------- user info

const WITH_USER_INFO: [&str; 7] = [
    "name:hidden@a.example",
    "hidden@a.example:80",
    "name:hidden@[::1]:80",
    "name:p@hidden@a.example",
    ":hidden@",
    "hidden%40@a.example",
    "käse:hidden@🧀.example",
];

/// > `url.full` MUST NOT contain credentials passed via URL in form of
/// > `https://username:password@www.example.com/`.
///
/// Nor does anything else that is exported, whatever attributes and names are
/// made of.
#[test]
fn user_info_is_nowhere() {
    for authority in WITH_USER_INFO {
        for vocabulary in VOCABULARIES {
            for direction in DIRECTIONS {
                for query in [json!("redact"), json!("keep")] {
                    let keys = json!({
                        "span": {"attributes": vocabulary, "name": "{method} {host}{path} {cluster}"},
                        "url_query": query,
                    });
                    let lines = of(authority, get("/a?b=c"));
                    let sent = send(keys, direction, &lines, &answered(200));
                    assert!(
                        !sent.contains("hidden"),
                        "{authority} {vocabulary}: {:?}",
                        sent.own().attributes
                    );
                }
            }
        }
    }
}

/// The same of a gRPC call with OpenTelemetry's names.
#[test]
fn user_info_of_a_grpc_call_is_nowhere() {
    for authority in WITH_USER_INFO {
        for direction in DIRECTIONS {
            let lines = of(authority, grpc("/a.B/C"));
            let sent = send(json!({}), direction, &lines, &grpc_status("0"));
            assert!(!sent.contains("hidden"), "{:?}", sent.own().attributes);
        }
    }
}

/// And with Envoy's.
#[test]
fn user_info_of_a_grpc_call_with_envoys_names_is_nowhere() {
    for vocabulary in ["envoy", "both"] {
        let lines = of("name:hidden@a.example:80", grpc("/a.B/C"));
        let keys = json!({"span": {"attributes": vocabulary}});
        let sent = send(keys, Inbound, &lines, &grpc_status("0"));
        assert!(!sent.contains("hidden"), "{:?}", sent.own().attributes);
    }
}

// ------------------------------------------------------------------ queries

/// The conventions' list, and ours.
pub(crate) const SECRETS: [&str; 32] = [
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
    "access_key",
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "authorization",
    "client_assertion",
    "client_secret",
    "code_verifier",
    "credentials",
    "id_token",
    "id_token_hint",
    "jwt",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "refresh_token",
    "secret",
    "session_token",
    "sessionid",
    "token",
    "X-Goog-Credential",
];

/// Every way in which a key can be written.
fn spellings(key: &str) -> Vec<String> {
    let percent = |upper: bool| -> String {
        let encode = |b: u8| match upper {
            true => format!("%{b:02X}"),
            false => format!("%{b:02x}"),
        };
        key.bytes().map(encode).collect()
    };
    let (first, rest) = key.split_at(1);
    let one = format!("%{:02x}{rest}", first.as_bytes()[0]);
    vec![
        key.to_owned(),
        key.to_ascii_lowercase(),
        key.to_ascii_uppercase(),
        percent(true),
        percent(false),
        one,
    ]
}

/// Where a span shows the query.
fn shown_in(vocabulary: &str, direction: Direction) -> &'static [&'static str] {
    match (vocabulary, direction) {
        ("envoy", _) => &["http.url"],
        ("stable", Outbound) => &["url.full"],
        ("stable", _) => &["url.query"],
        (_, Outbound) => &["url.full", "http.url"],
        _ => &["url.query", "http.url"],
    }
}

/// > Query string values for the following keys SHOULD be redacted by default
/// > and replaced by the value `REDACTED`. […] When a query string value is
/// > redacted, the query string key SHOULD still be preserved.
#[test]
fn values_of_secrets_are_replaced_everywhere() {
    for key in SECRETS.iter().flat_map(|key| spellings(key)) {
        for (query, expected) in [
            (format!("{key}=hidden"), format!("{key}=REDACTED")),
            (
                format!("a=b&{key}=hidden&c=d"),
                format!("a=b&{key}=REDACTED&c=d"),
            ),
            (
                format!("a=b;{key}=hidden;c=d"),
                // To some servers the rest is a part of the value.
                format!("a=b;{key}=REDACTED"),
            ),
            (format!("{key}="), format!("{key}=REDACTED")),
            (format!("&&{key}=hidden&"), format!("&&{key}=REDACTED&")),
            (
                format!("q=caf\u{e9}&{key}=hidden"),
                format!("q=caf\u{e9}&{key}=REDACTED"),
            ),
            (
                format!("{key}=hidden=hidden&{key}=hidden"),
                format!("{key}=REDACTED&{key}=REDACTED"),
            ),
        ] {
            for vocabulary in VOCABULARIES {
                for direction in [Inbound, Outbound] {
                    let keys = json!({"span": {"attributes": vocabulary}});
                    let lines = get(&format!("/b?{query}"));
                    let sent = send(keys, direction, &lines, &answered(200));
                    assert!(!sent.contains("hidden"), "{query}");
                    for attribute in shown_in(vocabulary, direction) {
                        let shown = sent.own().str(attribute);
                        assert!(shown.ends_with(&expected), "{attribute} is {shown}");
                    }
                }
            }
        }
    }
}

/// A gateway shows a query twice and a secret not once.
#[test]
fn values_of_secrets_are_replaced_on_both_spans() {
    for vocabulary in VOCABULARIES {
        let keys = json!({"span": {"attributes": vocabulary}});
        let lines = get("/b?a=b&token=hidden");
        let sent = send(keys, Unspecified, &lines, &answered(200));
        assert!(!sent.contains("hidden"), "{vocabulary}");
        if vocabulary != "envoy" {
            assert_eq!(sent.own().str("url.query"), "a=b&token=REDACTED");
            let url = "http://shop.example/b?a=b&token=REDACTED";
            assert_eq!(sent.call().str("url.full"), url);
        }
    }
}

/// What only looks like a secret's key is as it came.
#[test]
fn what_is_no_secret_stays() {
    for query in [
        "design=1",
        "sig2=1&asig=2",
        "tokens=1",
        "a=token=b",
        "token",
        "a=b&token&c",
        "token%20=1",
        "%=1&%z=2",
        "a;b;c",
        "&&;;",
        "q=käse&r=%F0%9F%A7%80",
    ] {
        let sent = send(
            json!({}),
            Inbound,
            &get(&format!("/?{query}")),
            &answered(200),
        );
        assert_eq!(sent.own().str("url.query"), query);
    }
}

/// `url_query`: redact (values of known secrets), drop, keep, or these keys
/// and no other; wherever the query would stand.
#[test]
fn as_much_of_a_query_as_is_allowed() {
    let query = "page=2&token=s3cret&sort=up;q&%70age=3";
    for (policy, expected) in [
        (
            json!("redact"),
            Some("page=2&token=REDACTED&sort=up;q&%70age=3"),
        ),
        (json!("keep"), Some(query)),
        (json!("drop"), None),
        (
            json!({"allow": ["page", "sort"]}),
            Some("page=2&sort=up&%70age=3"),
        ),
        (json!({"allow": ["token"]}), Some("token=s3cret")),
        (json!({"allow": ["Page"]}), None),
        (json!({"allow": []}), None),
    ] {
        let keys = json!({"url_query": policy, "span": {"attributes": "both"}});
        let url = match expected {
            Some(query) => format!("http://shop.example/b?{query}"),
            None => "http://shop.example/b".to_owned(),
        };
        let lines = get(&format!("/b?{query}"));
        let sent = send(keys, Unspecified, &lines, &answered(200));
        sent.own().has(
            &json!({"url.query": expected, "http.url": url}),
            &policy.to_string(),
        );
        assert_eq!(sent.call().str("url.full"), url, "{policy}");
    }
}

/// `drop` leaves nothing of a query anywhere.
#[test]
fn a_query_that_is_dropped_is_nowhere() {
    for direction in DIRECTIONS {
        for vocabulary in VOCABULARIES {
            let keys = json!({
                "url_query": "drop",
                "span": {"attributes": vocabulary, "name": "{method} {path}"},
            });
            let lines = with(
                get("/b?hidden=hidden#hidden"),
                &[("x-envoy-original-path", "/c?hidden")],
            );
            let sent = send(keys, direction, &lines, &answered(200));
            assert!(!sent.contains("hidden"), "{vocabulary}");
        }
    }
}

/// A gRPC path has a query as seldom as it has a secret, and is redacted all
/// the same.
#[test]
fn secrets_in_a_grpc_path() {
    for direction in DIRECTIONS {
        let lines = grpc("/a.B/C?token=hidden");
        let sent = send(json!({}), direction, &lines, &grpc_status("0"));
        assert!(!sent.contains("hidden"));
        assert_eq!(sent.own().name, "a.B/C");
    }
}

/// And with Envoy's names.
#[test]
fn secrets_in_a_grpc_path_with_envoys_names() {
    for vocabulary in ["envoy", "both"] {
        let keys = json!({"span": {"attributes": vocabulary}});
        let lines = grpc("/a.B/C?token=hidden");
        let sent = send(keys, Inbound, &lines, &grpc_status("0"));
        assert!(!sent.contains("hidden"));
    }
}

// ------------------------------------------------------------------- limits

/// > max_attribute_length: the longest string in bytes
///
/// At a character's boundary, counted, on the attributes of both vocabularies,
/// on tags and on the name.
#[test]
fn every_text_is_cut() {
    for limit in [1, 2, 7, 16, 100, 1024, 5000] {
        let long = "aä€🧀".repeat(2000);
        let mut response = Response {
            route: Some("/aä€🧀aä€🧀aä€🧀aä€🧀aä€🧀"),
            cluster: Some("aä€🧀aä€🧀aä€🧀aä€🧀aä€🧀"),
            details: Some("aä€🧀aä€🧀aä€🧀aä€🧀aä€🧀"),
            attempts: 1,
            ..Response::status(503)
        };
        response.headers.push(("x-b", long.clone().into_bytes()));
        let cut = |whole: &str| json!(whole[..whole.floor_char_boundary(limit)]);
        let long_headers = [("user-agent", &*long), ("x-request-id", &*long)];
        let (path, call) = (format!("/{long}"), format!("/a.B/{long}"));
        let requests = [
            (&path, get(&format!("{path}?{long}"))),
            (&call, grpc(&call)),
        ]
        .map(|(path, lines)| (path, with(of(&long, lines), &long_headers)));
        for (vocabulary, (path, lines)) in VOCABULARIES
            .iter()
            .flat_map(|vocabulary| requests.iter().map(move |request| (vocabulary, request)))
        {
            for direction in DIRECTIONS {
                let keys = json!({
                    "span": {
                        "attributes": vocabulary,
                        "max_attribute_length": limit,
                        "name": "{method} {host}{path} {route} {cluster}",
                    },
                    "custom_tags": [{"tag": "tag", "response_header": {"name": "x-b"}}],
                });
                let sent = send(keys, direction, lines, &response);
                for span in sent.spans() {
                    assert!(span.name.len() <= limit, "{}", span.name);
                    let mut full = 0;
                    for (key, value) in &span.attributes {
                        let Some(text) = value.as_str() else { continue };
                        assert!(text.len() <= limit, "{key} is {} long", text.len());
                        full += u32::from(text.len() + 4 > limit);
                    }
                    for (key, whole) in [("user_agent.original", &long), ("url.path", *path)] {
                        if let Some(shown) = span.get(key) {
                            assert_eq!(*shown, cut(whole), "{key}");
                        }
                    }
                    assert!(span.dropped >= 1, "what is cut is counted");
                    assert!(span.dropped <= full, "what is whole is not");
                }
            }
        }
    }
}

/// A value as long as the limit is whole, and one that is longer by a
/// character is cut by no more than that character.
#[test]
fn at_the_limit() {
    for (agent, shown, dropped) in [
        ("1234567", "1234567", 0),
        ("12345678", "12345678", 0),
        ("123456789", "12345678", 1),
        ("123456ä", "123456ä", 0),
        ("1234567ä", "1234567", 1),
        ("12345🧀", "12345", 1),
        ("1234🧀", "1234🧀", 0),
        ("🧀🧀🧀", "🧀🧀", 1),
    ] {
        let keys = json!({"span": {"max_attribute_length": 8}, "url_query": "drop"});
        let lines = with(of("a", get("/")), &[("user-agent", agent)]);
        let sent = send(keys, Inbound, &lines, &answered(200));
        assert_eq!(sent.own().str("user_agent.original"), shown);
        assert_eq!(sent.own().dropped, dropped, "{agent}");
    }
}

/// What is cut is cut after its secrets were replaced, at every length.
#[test]
fn no_secret_at_a_cut() {
    for limit in 1..60 {
        for vocabulary in VOCABULARIES {
            let keys = json!({"span": {"max_attribute_length": limit, "attributes": vocabulary}});
            let lines = of(":hidden@a", get("/b?a=b&sig=hidden&c=d"));
            let sent = send(keys, Unspecified, &lines, &answered(200));
            assert!(!sent.contains("hid"), "{limit} {vocabulary}");
        }
    }
}

// -------------------------------------------------------------------- names

/// Each field of a template, where it is known and where it is not.
#[test]
fn names_by_template() {
    let named = |template: &str, lines: &Headers, route: Option<&'static str>, cluster| {
        let response = Response {
            route,
            cluster,
            ..answered(200)
        };
        let keys = json!({"span": {"name": template}});
        let sent = send(keys, Inbound, lines, &response);
        sent.own().name.clone()
    };
    let lines = of("shop.example:8443", get("/users/7?a=b#c"));
    let (route, cluster) = (Some("/users/{id}"), Some("outbound|80||users"));
    for (template, name) in [
        ("{method}", "GET"),
        ("{host}", "shop.example"),
        ("{path}", "/users/7"),
        ("{route}", "/users/{id}"),
        ("{cluster}", "outbound|80||users"),
        ("{method} {route}", "GET /users/{id}"),
        ("{method}{method}", "GETGET"),
        ("to {cluster}: {method}", "to outbound|80||users: GET"),
        ("ingress", "ingress"),
        ("käse 🧀 {method}", "käse 🧀 GET"),
        ("}{method}}", "}GET}"),
        ("auto", "GET /users/{id}"),
    ] {
        assert_eq!(named(template, &lines, route, cluster), name, "{template}");
    }
    // What a template leaves empty is named as by itself.
    let unknown = Headers::from_wire([(":method", "PURGE"), (":path", "")]);
    for (template, name) in [
        ("{method} {route}", "HTTP"),
        ("{route} {method}", "HTTP"),
        ("{route}", "HTTP"),
        ("{host}{path}{cluster}", "HTTP"),
        (" {path} ", "HTTP"),
        ("to {cluster}", "to"),
        ("{method} to {cluster}", "HTTP to"),
    ] {
        assert_eq!(named(template, &unknown, None, None), name, "{template}");
    }
    // A name that is no template's is still in the braces of its route.
    assert_eq!(named("{route}", &lines, Some("{method}"), None), "{method}");
    assert_eq!(named("{route}", &lines, Some("default"), None), "default");
}

/// A template names gRPC calls and requests alike.
#[test]
fn a_template_wins_over_the_conventions() {
    let keys = json!({"span": {"name": "{host}"}});
    let sent = send(keys, Inbound, &grpc("/a.B/C"), &grpc_status("0"));
    assert_eq!(sent.own().name, "shop.example");
}

/// A host that is no UTF-8 is none, here as for the rules.
#[test]
fn a_name_of_bytes_that_are_no_text() {
    let mut lines = get("/");
    for (name, value) in &mut lines.0 {
        match name.as_slice() {
            b":authority" => *value = b"a\xff".to_vec(),
            b":path" => *value = b"/b\xff?c".to_vec(),
            _ => {}
        }
    }
    let keys = json!({"span": {"name": "{method} {path}{host}"}});
    let sent = send(keys, Inbound, &lines, &answered(200));
    assert_eq!(sent.own().name, "GET /b\u{fffd}");
}

/// > `name`: This field is semantically required to be set to non-empty string
/// > (opentelemetry-proto, `trace.proto`).
#[test]
fn no_request_has_an_empty_name() {
    for template in [
        "auto",
        "{route}",
        "{path}",
        "{host}",
        "{cluster}",
        "{method}",
    ] {
        for lines in [
            Headers::default(),
            get(""),
            grpc(""),
            of("", get("")),
            Headers::from_wire([("content-type", "application/grpc")]),
        ] {
            for response in [answered(200), Response::default()] {
                for direction in DIRECTIONS {
                    let keys = json!({"span": {"name": template}});
                    let sent = send(keys, direction, &lines, &response);
                    for span in sent.spans() {
                        assert!(!span.name.is_empty(), "{template}");
                    }
                }
            }
        }
    }
}

/// The host is the one that rules see: without user and port.
#[test]
fn hosts_of_names() {
    for (authority, host) in [
        ("shop.example", "shop.example"),
        ("shop.example:80", "shop.example"),
        ("[::1]:80", "::1"),
        ("[::1]", "::1"),
        ("name:hidden@shop.example:80", "shop.example"),
        ("shop.example:", "shop.example"),
    ] {
        let keys = json!({"span": {"name": "{host}"}});
        let sent = send(keys, Inbound, &of(authority, get("/")), &answered(200));
        assert_eq!(sent.own().name, host, "{authority}");
        assert_eq!(sent.own().str("server.address"), host, "{authority}");
    }
}
