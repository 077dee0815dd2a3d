//! Whatever peers send and hosts say, in whatever configuration: an export is
//! OTLP, no longer than it may be, and shows no password.

use crate::common;
use crate::common::Headers;
use crate::common::spans::{Proxy, configured};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message as _;
use serde_json::{Value, json};
use sidespan_core::host::environment::Environment;
use sidespan_core::host::request_info::{Direction, RequestInfo};
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::{End, MetadataKind, ResponseInfo};
use sidespan_core::tracer::Tracer;
use std::borrow::Cow;
use std::collections::HashSet;
use std::time::Duration;

/// What a user would not like to see in a trace.
const PASSWORD: &str = "Pa55w0rd-of-a-user";

/// 60 KiB is what Envoy lets in.
const LONGEST: usize = 60 << 10;

// ---------------------------------------------------------------- the peers

/// Bytes on which what reads them turns.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<&'static [u8]> = vec![
        b"/",
        b"?",
        b"#",
        b"&",
        b";",
        b"=",
        b"%",
        b"%00",
        b"%zz",
        b"%f",
        b"%ff",
        b"%F0%9F%A7%80",
        b"@",
        b":",
        b"[",
        b"]",
        b"[::1]",
        b"*",
        b"..",
        b"//",
        b"://",
        b"http",
        b"https",
        b",",
        b" ",
        b"\t",
        b"\0",
        b"\r\n",
        b"\xff",
        b"\xf0\x9f",
        b"\xc3",
        b"\xed\xa0\x80",
        b"{",
        b"}",
        b"{path}",
        b"\"",
        b"\\",
        b"token=",
        b"sig=",
        b"to%6ben=",
        b"0",
        b"-1",
        b"65536",
        b"443",
        b"99999999999999999999",
        b"true",
        b"gold",
        "ä".as_bytes(),
        "🧀".as_bytes(),
        "🧑‍🚀".as_bytes(),
    ];
    prop_oneof![
        4 => select(known).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..8),
        1 => "[a-zA-Z0-9./_-]{1,12}".prop_map(String::into_bytes),
    ]
}

/// Any bytes; now and then as many as there may be.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let short = prop::collection::vec(piece(), 0..8).prop_map(|pieces| pieces.concat());
    let long = (piece(), 0..4_usize).prop_map(|(piece, shift)| {
        let mut long = b"x".repeat(shift);
        long.extend(piece.repeat(LONGEST / piece.len()));
        long
    });
    prop_oneof![20 => short, 1 => long]
}

fn text() -> impl Strategy<Value = String> {
    bytes().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Something or nothing.
fn maybe<T: std::fmt::Debug + Clone + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Option<T>> {
    prop::option::weighted(0.7, value)
}

/// An authority: any bytes, and now and then a user before them.
fn authority() -> impl Strategy<Value = Vec<u8>> {
    let host = prop_oneof![
        bytes(),
        select(vec!["a.example", "a.example:80", "[::1]:80", ":80", ""])
            .prop_map(|host| host.as_bytes().to_vec()),
    ];
    (any::<bool>(), bytes(), host).prop_map(|(has_user, name, host)| match has_user {
        true => [&name[..], PASSWORD.as_bytes(), b"@", &host].concat(),
        false => host,
    })
}

const NAMES: [&str; 14] = [
    "user-agent",
    "content-length",
    "content-type",
    "x-request-id",
    "x-client-trace-id",
    "x-envoy-original-path",
    "x-envoy-downstream-service-cluster",
    "grpc-timeout",
    "baggage",
    "traceparent",
    "tracestate",
    "b3",
    "x-a",
    "x-b",
];

fn request() -> impl Strategy<Value = Headers> {
    let method = prop_oneof![
        select(vec!["GET", "POST", "HEAD", "CONNECT", "OPTIONS", "get"])
            .prop_map(|method| method.as_bytes().to_vec()),
        bytes(),
    ];
    let scheme = prop_oneof![
        select(vec!["http", "https"]).prop_map(|scheme| scheme.as_bytes().to_vec()),
        bytes(),
    ];
    let path = prop_oneof![
        bytes(),
        bytes().prop_map(|bytes| [&b"/"[..], &bytes].concat()),
    ];
    let grpc = select(vec![
        "application/grpc",
        "application/grpc+proto",
        "text/html",
    ]);
    let head = (
        maybe(method),
        maybe(scheme),
        maybe(authority()),
        maybe(path),
        prop::option::weighted(0.4, grpc),
    );
    let more = prop::collection::vec((select(&NAMES[..]), bytes()), 0..8);
    (head, more).prop_map(|((method, scheme, authority, path, content_type), more)| {
        let mut lines = Vec::new();
        for (name, value) in [
            (":method", method),
            (":scheme", scheme),
            (":authority", authority),
            (":path", path),
            ("content-type", content_type.map(|t| t.as_bytes().to_vec())),
        ] {
            lines.extend(value.map(|value| (name.as_bytes().to_vec(), value)));
        }
        lines.extend(more.into_iter().map(|(name, value)| (name.into(), value)));
        Headers(lines)
    })
}

// ----------------------------------------------------------------- the host

/// A host that says anything.
#[derive(Clone, Debug)]
struct AnyHost {
    /// Answered to each question that has a text for an answer, in turn by
    /// what is asked.
    texts: Vec<Option<String>>,
    headers: Vec<(&'static str, Vec<u8>)>,
    number: Option<u64>,
    attempts: u64,
    flags: u64,
    metadata: Option<Value>,
    direction: Direction,
}

impl AnyHost {
    fn text(&self, question: &str) -> Option<Cow<'_, str>> {
        let index = question.bytes().map(usize::from).sum::<usize>();
        self.texts[index % self.texts.len()]
            .as_deref()
            .map(Cow::Borrowed)
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value.as_slice())
    }
}

impl RequestInfo for AnyHost {
    fn listener_direction(&self) -> Direction {
        self.direction
    }
    fn now(&self) -> u64 {
        1
    }
    fn route_bool(&self, _: &str, _: &str) -> Option<bool> {
        None
    }
    fn route_text(&self, _: &str, _: &str) -> Option<String> {
        None
    }
    fn route_number(&self, _: &str, _: &str) -> Option<f64> {
        None
    }
}

impl ResponseInfo for AnyHost {
    fn listener_direction(&self) -> Direction {
        self.direction
    }
    fn protocol(&self) -> Option<Cow<'_, str>> {
        self.text("protocol")
    }
    fn source_address(&self) -> Option<Cow<'_, str>> {
        self.text("source")
    }
    fn response_header(&self, name: &str) -> Option<&[u8]> {
        self.header(name)
    }
    fn response_trailer(&self, name: &str) -> Option<&[u8]> {
        self.header(name)
    }
    fn response_flags(&self) -> ResponseFlags {
        ResponseFlags(self.flags)
    }
    fn response_code_details(&self) -> Option<Cow<'_, str>> {
        self.text("details")
    }
    fn request_size(&self) -> Option<u64> {
        self.number
    }
    fn response_size(&self) -> Option<u64> {
        self.number
    }
    fn attempt_count(&self) -> u64 {
        self.attempts
    }
    fn route_name(&self) -> Option<Cow<'_, str>> {
        self.text("route")
    }
    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        self.text("cluster")
    }
    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        self.text("upstream")
    }
    fn connection_wait(&self) -> Option<Duration> {
        self.number.map(Duration::from_nanos)
    }
    fn upstream_latency(&self) -> Option<Duration> {
        self.number.map(Duration::from_secs)
    }
    fn transport_failure(&self) -> Option<Cow<'_, str>> {
        self.text("failure")
    }
    fn tls_peer(&self, end: End) -> Option<Cow<'_, str>> {
        self.text(if end == End::Upstream { "up" } else { "down" })
    }
    fn workload(&self, _: End, field: &str) -> Option<Cow<'_, str>> {
        self.text(field)
    }
    fn metadata(&self, _: MetadataKind, _: &str, _: &[String]) -> Option<Value> {
        self.metadata.clone()
    }
    fn property(&self, path: &[String]) -> Option<Vec<u8>> {
        self.text(&path.concat())
            .map(|text| text.into_owned().into_bytes())
    }
}

impl Environment for AnyHost {
    fn variable(&self, name: &str) -> Option<String> {
        self.text(name).map(Cow::into_owned)
    }
    fn node(&self, path: &[&str]) -> Option<String> {
        self.text(&path.concat()).map(Cow::into_owned)
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(select(vec!["a", "b", ""]), inner, 0..3)
                .prop_map(|map| json!(map)),
        ]
    })
}

fn host() -> impl Strategy<Value = AnyHost> {
    let status = prop_oneof![
        select(vec!["200", "101", "204", "404", "503", "", "abc"])
            .prop_map(|status| status.as_bytes().to_vec()),
        bytes(),
    ];
    let grpc_status = prop_oneof![
        (0..20_u8).prop_map(|code| code.to_string().into_bytes()),
        bytes()
    ];
    (
        prop::collection::vec(maybe(text()), 7),
        (
            maybe(status),
            maybe(grpc_status),
            maybe(bytes()),
            maybe(bytes()),
        ),
        prop_oneof![Just(None), any::<u64>().prop_map(Some)],
        prop_oneof![0..4_u64, any::<u64>()],
        prop_oneof![
            2 => Just(0),
            2 => (0..40_u32).prop_map(|bit| 1 << bit),
            1 => any::<u64>(),
        ],
        maybe(json_value()),
    )
        .prop_map(|(texts, headers, number, attempts, flags, metadata)| {
            let (status, grpc_status, length, other) = headers;
            let lines = [
                (":status", status),
                ("grpc-status", grpc_status),
                ("content-length", length),
                ("x-b", other),
            ];
            AnyHost {
                texts,
                headers: lines
                    .into_iter()
                    .filter_map(|(name, value)| Some((name, value?)))
                    .collect(),
                number,
                attempts,
                flags,
                metadata,
                direction: Direction::Unspecified,
            }
        })
}

// -------------------------------------------------------- the configuration

/// A tag of any kind. `:authority` is not among what is asked for: whoever
/// asks for it as it came gets it.
fn tag(index: usize) -> impl Strategy<Value = Value> {
    let source = select(vec![
        json!({"request_header": {"name": "x-a"}}),
        json!({"request_header": {"name": "x-b", "default_value": "7"}}),
        json!({"request_header": {"name": "content-length"}}),
        json!({"response_header": {"name": "x-b"}}),
        json!({"literal": {"value": "1"}}),
        json!({"environment": {"name": "POD_NAME", "default_value": "1"}}),
        json!({"metadata": {"metadata_key": {"key": "a", "path": [{"key": "a"}]}}}),
        json!({"metadata": {"kind": "host", "metadata_key": {"key": "a", "path": [{"key": "b"}, {"key": "a"}]}}}),
        json!({"baggage": {"name": "a"}}),
        json!({"property": ["a", "b"]}),
        json!({"property": ["c"]}),
    ]);
    let name = prop_oneof![
        3 => Just(format!("tag.{index}")),
        1 => select(vec![
            "url.path", "url.full", "http.route", "component", "http.url", "error.type",
            "sidespan.route", "http.response.status_code", "rpc.method", "node_id",
        ])
        .prop_map(move |name| name.to_owned()),
    ];
    let tag_type = select(vec!["string", "int", "double", "bool"]);
    (source, name, tag_type).prop_map(|(mut tag, name, tag_type)| {
        tag["tag"] = name.into();
        // What is written down must be of its type.
        tag["type"] = match tag.pointer("/literal").is_some() || tag.to_string().contains("default")
        {
            true if tag_type == "bool" => "int".into(),
            _ => tag_type.into(),
        };
        tag
    })
}

fn tags() -> impl Strategy<Value = Vec<Value>> {
    let tags = |count| (0..count).map(tag).collect::<Vec<_>>();
    (0..12_usize).prop_flat_map(tags).prop_map(|mut tags| {
        // One name is one tag.
        let mut names = HashSet::new();
        tags.retain(|tag| names.insert(tag["tag"].to_string()));
        tags
    })
}

fn keys() -> impl Strategy<Value = Value> {
    let template = prop_oneof![
        2 => Just("auto".to_owned()),
        3 => prop::collection::vec(
            select(vec!["{method}", "{host}", "{path}", "{route}", "{cluster}", " ", "a", "🧀"]),
            1..6,
        )
        .prop_map(|parts| parts.concat()),
    ];
    let policy = select(vec![
        json!("redact"),
        json!("drop"),
        json!("keep"),
        json!({"allow": ["token", "a", "gold"]}),
    ]);
    let limit = prop_oneof![select(vec![1_u32, 2, 3, 4, 5, 1024]), 1..3000_u32];
    (
        (
            select(vec!["auto", "server", "client"]),
            select(vec![json!("auto"), json!(true), json!(false)]),
            template,
            select(vec!["stable", "envoy", "both"]),
        ),
        (limit, 1..20_u32),
        policy,
        tags(),
        (any::<bool>(), any::<bool>()),
    )
        .prop_map(|(span, limits, policy, tags, (is_off, links))| {
            let (kind, upstream_span, name, attributes) = span;
            json!({
                "span": {
                    "kind": kind,
                    "upstream_span": upstream_span,
                    "name": name,
                    "attributes": attributes,
                    "max_attribute_length": limits.0,
                    "max_custom_tags": limits.1,
                },
                "url_query": policy,
                "custom_tags": tags,
                "sampler": {"type": if is_off { "always_off" } else { "parentbased_always_on" }},
                "keep": {"errors": true, "response_flags": true, "retried": true},
                "propagation": {"incoming": if links { "link" } else { "continue" }},
            })
        })
}

fn direction() -> impl Strategy<Value = Direction> {
    select(vec![
        Direction::Inbound,
        Direction::Outbound,
        Direction::Unspecified,
    ])
}

// ---------------------------------------------------------------- the tests

/// What a span may be long at most: as many attributes as there are at all,
/// each with its key.
fn bound(tags: usize, limit: usize) -> usize {
    (64 + tags) * (limit + 64) + 4096
}

fn check_span(span: &Span, keys: &Value) -> Result<(), TestCaseError> {
    let limit = keys["span"]["max_attribute_length"].as_u64().unwrap() as usize;
    let tags = keys["custom_tags"].as_array().unwrap().len();
    prop_assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    prop_assert!(matches!(span.parent_span_id.len(), 0 | 8));
    prop_assert!(span.name.len() <= limit, "{}", span.name);
    prop_assert!(matches!(span.kind, 2 | 3));
    prop_assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    prop_assert!(span.trace_state.len() <= 32 * 513);
    let mut seen = HashSet::new();
    for attribute in &span.attributes {
        let key = &attribute.key;
        prop_assert!(!key.is_empty());
        prop_assert!(seen.insert(key), "{} is there twice", key);
        let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
        match value {
            Some(AnyValue::StringValue(text)) => {
                prop_assert!(text.len() <= limit, "{} is {} long", key, text.len());
            }
            Some(AnyValue::IntValue(_) | AnyValue::DoubleValue(_) | AnyValue::BoolValue(_)) => {}
            other => prop_assert!(false, "{key} is {other:?}"),
        }
    }
    let is_tag = |key: &&String| {
        let mut tags = keys["custom_tags"].as_array().unwrap().iter();
        tags.any(|tag| tag["tag"].as_str() == Some(key.as_str())) && key.starts_with("tag.")
    };
    let tagged = seen.iter().filter(|key| is_tag(key)).count() as u64;
    prop_assert!(tagged <= keys["span"]["max_custom_tags"].as_u64().unwrap());
    let len = span.encoded_len();
    prop_assert!(len <= bound(tags, limit), "{} bytes", len);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        // A long value is made of few pieces.
        max_shrink_iters: 2000,
        ..ProptestConfig::default()
    })]

    /// The export is OTLP as somebody else's types read it, and would be
    /// written by them so; every string of it is UTF-8 by the reading.
    #[test]
    fn an_export_is_always_otlp(
        keys in keys(),
        lines in request(),
        host in host(),
        direction in direction(),
    ) {
        let host = AnyHost { direction, ..host };
        let mut tracer = Tracer::new(configured(&keys), &host, [7; 32]);
        let mut upstream = lines.clone();
        let started = tracer.on_request(&lines, &host, &mut upstream);
        if let Some(stream) = started.stream {
            tracer.on_end(stream, &host, 2);
        }
        let callout = common::flush(&mut tracer);
        prop_assert!(common::flush(&mut tracer).is_none());
        let Some(callout) = callout else { return Ok(()) };

        let bytes = common::message(&callout);
        let message = ExportTraceServiceRequest::decode(bytes);
        let message = message.map_err(|e| TestCaseError::fail(format!("no OTLP: {e}")))?;
        prop_assert_eq!(message.encode_to_vec(), bytes, "another encoding");

        prop_assert_eq!(message.resource_spans.len(), 1);
        prop_assert_eq!(message.resource_spans[0].scope_spans.len(), 1);
        let resource = message.resource_spans[0].resource.as_ref().unwrap();
        let mut names = HashSet::new();
        for attribute in &resource.attributes {
            prop_assert!(names.insert(&attribute.key), "{} is there twice", attribute.key);
        }
        prop_assert!(names.contains(&"service.name".to_owned()));

        let spans = &message.resource_spans[0].scope_spans[0].spans;
        prop_assert!(matches!(spans.len(), 1 | 2));
        for span in spans {
            check_span(span, &keys)?;
        }
        if let [own, call] = &spans[..] {
            prop_assert_eq!(&call.parent_span_id, &own.span_id);
            prop_assert_eq!(&call.trace_id, &own.trace_id);
        }

        let shown = bytes
            .windows(PASSWORD.len())
            .any(|window| window == PASSWORD.as_bytes());
        prop_assert!(!shown, "a password is exported");
    }

    /// The default configuration of an ordinary host, and only the request is
    /// anything.
    #[test]
    fn a_request_is_always_a_span(lines in request(), direction in direction()) {
        let mut proxy = Proxy::new(json!({"sampler": {"type": "always_on"}}));
        let response = common::spans::answered(200);
        let sent = proxy.send(direction, &lines, &common::Info::default(), &response);
        prop_assert_eq!(sent.spans().count(), if direction == Direction::Unspecified { 2 } else { 1 });
        for span in sent.spans() {
            prop_assert!(!span.name.is_empty());
            prop_assert_eq!(span.str("component"), "proxy");
            prop_assert!(span.get("http.request.method").is_some());
        }
        prop_assert!(!sent.contains(PASSWORD));
    }
}

/// The worst of all at once: each value as long as it may be, of bytes that
/// grow threefold when they are replaced.
#[test]
fn sixty_kibibytes_of_everything() {
    let long = b"\xff".repeat(LONGEST);
    let text = "🧀".repeat(LONGEST / 4);
    let host = AnyHost {
        texts: vec![Some(text)],
        headers: vec![
            (":status", b"503".to_vec()),
            ("content-length", long.clone()),
            ("grpc-status", long.clone()),
            ("x-b", long.clone()),
        ],
        number: Some(u64::MAX),
        attempts: u64::MAX,
        flags: u64::MAX,
        metadata: Some(json!({"a": "x".repeat(LONGEST)})),
        direction: Direction::Unspecified,
    };
    let mut lines = Headers::default();
    for name in [":method", ":scheme", ":authority", ":path"]
        .iter()
        .chain(&NAMES)
    {
        let value = match *name {
            "content-type" => b"application/grpc".to_vec(),
            _ => long.clone(),
        };
        lines.0.push((name.as_bytes().to_vec(), value));
    }
    for attributes in ["stable", "envoy", "both"] {
        let tags: Vec<Value> = (0..64)
            .map(|i| json!({"tag": format!("tag.{i}"), "request_header": {"name": "x-a"}}))
            .collect();
        let keys = json!({
            "service_name": "a",
            "span": {"attributes": attributes, "max_attribute_length": 1024, "max_custom_tags": 64},
            "custom_tags": tags,
        });
        let mut proxy = Proxy::on(&common::Host::default(), keys.clone());
        let sent = proxy.send_by(Direction::Unspecified, &lines, &host, &host);
        assert_eq!(sent.spans().count(), 2);
        assert!(
            sent.bytes.len() <= 2 * bound(64, 1024),
            "{}",
            sent.bytes.len()
        );
        for span in sent.spans() {
            assert_eq!(span.str("tag.0").len(), 1023, "341 times U+FFFD");
            assert!(span.dropped >= 64);
        }
    }
}
