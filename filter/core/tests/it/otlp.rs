//! The bytes of an export, read with OTLP's own types.

use crate::common;
use crate::common::{
    Headers, Info, Response, attributes, decode, flush, hex, only_span, request, spans,
};
use opentelemetry_proto::tonic::trace::v1::Status;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use serde_json::{Value, json};
use sidespan_core::host::request_info::Direction;
use sidespan_core::tracer::Tracer;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

fn headers(more: &[(&str, &str)]) -> Headers {
    let plain = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "shop.example"),
        (":path", "/cart"),
    ];
    Headers::from_wire(plain.into_iter().chain(more.iter().copied()))
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// Each field of a span that continues a trace.
#[test]
fn every_field_of_a_continued_span() {
    let mut tracer = common::tracer_of_single_spans();
    let parent = traceparent("03");
    let lines = headers(&[
        ("traceparent", &parent),
        ("tracestate", "rojo=1"),
        ("tracestate", "congo=2"),
    ]);
    let info = Info::default();
    let (stream, upstream) = request(&mut tracer, &lines, &info, Direction::Inbound, 1_000);
    tracer.on_end(stream.unwrap(), &Response::status(204), 2_500);
    let span = only_span(&mut tracer);

    let written = common::read_upstream(&upstream).unwrap();
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.span_id), written.span_id);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    assert_eq!(span.trace_state, "rojo=1,congo=2");
    assert_eq!(span.name, "GET");
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(span.start_time_unix_nano, 1_000);
    assert_eq!(span.end_time_unix_nano, 2_500);
    assert_eq!(span.flags, 0x03 | HAS_IS_REMOTE | IS_REMOTE);
    assert_eq!(span.status.unwrap_or_default(), Status::default());
    assert_eq!(span.dropped_attributes_count, 0);
    assert_eq!((span.events.len(), span.dropped_events_count), (0, 0));
    assert_eq!((span.links.len(), span.dropped_links_count), (0, 0));
    assert_eq!(
        attributes(&span.attributes)["http.response.status_code"],
        204
    );
}

/// A span that starts a trace has no parent; what is not there is not sent.
#[test]
fn every_field_of_a_root_span() {
    let mut tracer = common::tracer_of_single_spans();
    let lines = headers(&[("tracestate", "of=nobody")]);
    let info = Info::default();
    let (stream, upstream) = request(&mut tracer, &lines, &info, Direction::Outbound, 5);
    tracer.on_end(stream.unwrap(), &Response::status(500), 6);
    let span = only_span(&mut tracer);

    let written = common::read_upstream(&upstream).unwrap();
    assert_eq!(hex(&span.trace_id), written.trace_id);
    assert_eq!(hex(&span.span_id), written.span_id);
    assert!(span.parent_span_id.is_empty(), "an empty id means a root");
    assert_eq!(span.trace_state, "");
    assert_eq!(span.kind(), SpanKind::Client);
    // "the parent is not remote" is known, and there is none.
    assert_eq!(span.flags, 0x03 | HAS_IS_REMOTE);
    let status = span.status.expect("an error has a status");
    assert_eq!(status.code(), StatusCode::Error);
    assert_eq!(status.message, "", "what the status code says is not said");
}

/// `flags`: bits 0 to 7 are the W3C flags, 8 and 9 tell of the parent
/// (opentelemetry-proto, SpanFlags).
#[test]
fn flags() {
    for (lines, expected) in [
        (vec![("traceparent", traceparent("01"))], 0x301),
        (vec![("traceparent", traceparent("03"))], 0x303),
        (vec![("traceparent", traceparent("ff"))], 0x303),
        (vec![("b3", format!("{TRACE}-{PARENT}-1"))], 0x301),
        (vec![("b3", format!("{TRACE}-{PARENT}-d"))], 0x301),
        (vec![("b3", format!("{TRACE}-{PARENT}"))], 0x301),
        (vec![("b3", "1".to_owned())], 0x103),
        (vec![("traceparent", "garbage".to_owned())], 0x103),
        (vec![], 0x103),
    ] {
        let mut tracer = common::tracer_of_single_spans();
        let info = Info::default();
        let (stream, _) = request(
            &mut tracer,
            &Headers::from_wire(lines.clone()),
            &info,
            Direction::Inbound,
            1,
        );
        tracer.on_end(stream.unwrap(), &Response::status(200), 2);
        let span = only_span(&mut tracer);
        assert_eq!(span.flags, expected, "{lines:?}");
        let is_root = span.parent_span_id.is_empty();
        assert_eq!(
            span.flags & IS_REMOTE == 0,
            is_root,
            "what came in a header came from another process"
        );
    }
}

/// A span without an error leaves its status unset, for the one who looks at
/// it to decide; OK is not an instrumentation's to say.
#[test]
fn status_is_unset_or_error() {
    for (direction, status, is_error) in [
        (Direction::Inbound, 200, false),
        (Direction::Inbound, 404, false),
        (Direction::Inbound, 503, true),
        (Direction::Outbound, 404, true),
    ] {
        let mut tracer = common::tracer_of_single_spans();
        let (stream, _) = request(&mut tracer, &headers(&[]), &Info::default(), direction, 1);
        tracer.on_end(stream.unwrap(), &Response::status(status), 2);
        let span = only_span(&mut tracer);
        let code = span.status.unwrap_or_default().code();
        let expected = match is_error {
            true => StatusCode::Error,
            false => StatusCode::Unset,
        };
        assert_eq!(code, expected, "{direction:?} {status}");
    }
}

#[test]
fn kinds() {
    for (direction, kind) in [
        (Direction::Inbound, SpanKind::Server),
        (Direction::Outbound, SpanKind::Client),
        (Direction::Unspecified, SpanKind::Server),
    ] {
        let mut tracer = common::tracer_of_single_spans();
        let (stream, _) = request(&mut tracer, &headers(&[]), &Info::default(), direction, 1);
        tracer.on_end(stream.unwrap(), &Response::status(200), 2);
        assert_eq!(only_span(&mut tracer).kind(), kind, "{direction:?}");
    }
}

/// Times are what the host hands in, at every size; a clock that was set back
/// makes no span that ends before it starts.
#[test]
fn times() {
    let now = 1_790_000_000_123_456_789;
    for (start, end, expected_end) in [
        (now, now + 1, now + 1),
        (now, now, now),
        (now, now - 1, now),
        (now, 0, now),
        (1, u64::MAX, u64::MAX),
        (u64::MAX, u64::MAX, u64::MAX),
    ] {
        let mut tracer = common::tracer_of_single_spans();
        let info = Info::default();
        let (stream, _) = request(&mut tracer, &headers(&[]), &info, Direction::Inbound, start);
        tracer.on_end(stream.unwrap(), &Response::status(200), end);
        let span = only_span(&mut tracer);
        assert_eq!(span.start_time_unix_nano, start);
        assert_eq!(span.end_time_unix_nano, expected_end, "{start} {end}");
    }
}

/// Spans go in the order in which they ended, cut where a batch is full, and
/// every export says in full who sends it.
#[test]
fn batches_are_cut_in_order() {
    let config = common::config(
        json!({"max_export_batch_size": 3, "max_concurrent_exports": 9}),
        json!({}),
    );
    let mut tracer = common::tracer(&config);
    let mut ended = Vec::new();
    for i in 0..8_u64 {
        let path = format!("/{}", "x".repeat(1 << i));
        let lines = Headers::from_wire([(":method", "GET"), (":path", path.as_str())]);
        let info = Info::default();
        let (stream, upstream) = request(&mut tracer, &lines, &info, Direction::Inbound, i);
        tracer.on_end(stream.unwrap(), &Response::status(200), 100 + i);
        ended.push((common::read_upstream(&upstream).unwrap().span_id, path));
    }
    let mut sent = Vec::new();
    let mut sizes = Vec::new();
    let mut envelopes = Vec::new();
    for flushed in [false, true] {
        if flushed {
            tracer.on_tick(u64::MAX);
        }
        while let Some(callout) = tracer.next_callout(u64::MAX) {
            let mut message = decode(&callout);
            sizes.push((flushed, spans(&callout).len()));
            for span in spans(&callout) {
                let path = attributes(&span.attributes)["url.path"].clone();
                sent.push((hex(&span.span_id), path.as_str().unwrap().to_owned()));
            }
            message.resource_spans[0].scope_spans[0].spans.clear();
            envelopes.push(message);
        }
    }
    assert_eq!(sizes, [(false, 3), (false, 3), (true, 2)]);
    assert_eq!(sent, ended);
    envelopes.dedup();
    assert_eq!(envelopes.len(), 1, "all exports have one envelope");
}

/// The message is the one that OTLP's own types would write: no field that
/// they do not know, no length that is not the shortest, at every size of a
/// string and of the message around it.
#[test]
fn bytes_are_canonical() {
    // From 90 on, an attribute needs a second byte for one of its lengths.
    let lengths = [0, 1].into_iter().chain(90..130);
    for length in lengths.chain([1000, 1023, 1024, 5000]) {
        for count in [1, 2, 40] {
            let config = common::config(json!({"max_export_batch_size": count}), json!({}));
            let mut tracer = common::tracer(&config);
            let parent = traceparent("01");
            let state = format!("k={}", "v".repeat(length.clamp(1, 256)));
            for i in 0..count {
                let path = "p".repeat(length);
                let mut lines = headers(&[("traceparent", &parent), ("tracestate", &state)]);
                lines.0.push((b"user-agent".to_vec(), path.clone().into()));
                let info = Info {
                    protocol: Some("HTTP/2"),
                    source_address: Some("[2001:db8::1]:65535"),
                    ..Info::default()
                };
                let direction = [Direction::Inbound, Direction::Outbound][i % 2];
                let (stream, _) = request(&mut tracer, &lines, &info, direction, 1 << i);
                let response = Response {
                    upstream: Some("10.0.0.1:80"),
                    ..Response::status(200 + 300 * (i % 2))
                };
                tracer.on_end(stream.unwrap(), &response.to(&info), u64::MAX);
            }
            let callout = tracer.next_callout(u64::MAX).unwrap();
            let message = decode(&callout);
            assert_eq!(spans(&callout).len(), count);
            assert_eq!(
                message.encode_to_vec(),
                common::message(&callout),
                "{count} spans, {length} bytes"
            );
        }
    }
}

/// A failed response is written at its full length: error type and status.
#[test]
fn an_errors_bytes_are_canonical() {
    let mut tracer = common::tracer_of_single_spans();
    let info = Info::default();
    let (stream, _) = request(&mut tracer, &headers(&[]), &info, Direction::Inbound, 1);
    tracer.on_end(stream.unwrap(), &Response::default(), 2);
    let callout = flush(&mut tracer).unwrap();
    assert_eq!(decode(&callout).encode_to_vec(), common::message(&callout));
}

/// Nothing to export is no export.
#[test]
fn no_spans_no_message() {
    let mut tracer = common::tracer_of_single_spans();
    assert!(flush(&mut tracer).is_none());

    let parent = traceparent("00");
    let lines = headers(&[("traceparent", &parent)]);
    let info = Info::default();
    let (stream, _) = request(&mut tracer, &lines, &info, Direction::Inbound, 1);
    assert!(stream.is_none(), "not sampled");
    assert!(flush(&mut tracer).is_none());
}

/// One resource, one scope, and who made the spans.
#[test]
fn resource_and_scope() {
    let mut tracer = common::tracer_of_single_spans();
    let info = Info::default();
    let (stream, _) = request(&mut tracer, &headers(&[]), &info, Direction::Inbound, 1);
    tracer.on_end(stream.unwrap(), &Response::status(200), 2);
    let message = decode(&flush(&mut tracer).unwrap());

    assert_eq!(message.resource_spans.len(), 1);
    let resource_spans = &message.resource_spans[0];
    let resource = resource_spans.resource.as_ref().expect("a resource");
    let expected = json!({
        "service.name": "unknown_service:envoy",
        "telemetry.sdk.name": "sidespan",
        "telemetry.sdk.language": "rust",
        "telemetry.sdk.version": env!("CARGO_PKG_VERSION"),
    });
    assert_eq!(json!(attributes(&resource.attributes)), expected);
    assert_eq!(resource.dropped_attributes_count, 0);

    assert_eq!(resource_spans.scope_spans.len(), 1);
    let scope = resource_spans.scope_spans[0].scope.as_ref();
    let scope = scope.expect("a scope");
    assert_eq!(scope.name, "sidespan");
    assert_eq!(scope.version, env!("CARGO_PKG_VERSION"));
}

/// `service_name`, else OTEL_SERVICE_NAME, else the node's cluster, else
/// unknown_service:envoy; an empty name is none.
#[test]
fn service_names() {
    for (configured, otel, cluster, expected) in [
        ("a", Some("b"), Some("c"), "a"),
        ("", Some("b"), Some("c"), "b"),
        ("", None, Some("c"), "c"),
        ("", Some(""), Some("c"), "c"),
        ("", Some(""), Some(""), "unknown_service:envoy"),
        ("", None, None, "unknown_service:envoy"),
        ("käse 🧀", None, None, "käse 🧀"),
    ] {
        let mut config = common::default_config();
        config.service_name = configured.to_owned();
        let environment = common::Host {
            variables: otel
                .map(|name| ("OTEL_SERVICE_NAME", name))
                .into_iter()
                .collect(),
            node: json!({"cluster": cluster}),
        };
        let mut tracer = Tracer::new(config.clone(), &environment, [1; 32]);
        let info = Info::default();
        let (stream, _) = request(&mut tracer, &headers(&[]), &info, Direction::Inbound, 1);
        tracer.on_end(stream.unwrap(), &Response::status(200), 2);
        let message = decode(&flush(&mut tracer).unwrap());
        let resource = message.resource_spans[0].resource.as_ref().unwrap();
        let name = attributes(&resource.attributes)["service.name"].clone();
        assert_eq!(name, Value::from(expected));
    }
}
