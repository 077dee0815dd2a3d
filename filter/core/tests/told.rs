//! What a host tells with a request, when the stream ends, or only if asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    missing_docs
)]

mod common;

use common::spans::{configured, get};
use common::{Headers, Host, Info, Response};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use sidespan_core::request::{Direction, Told};
use sidespan_core::stream::StreamTracer;
use sidespan_core::tracer::Tracer;

const START: u64 = 1_000;
const END: u64 = 5_000;

fn nobody_asks<T>() -> T {
    panic!("it need not be known yet")
}

fn start(
    keys: &Value,
    direction: Told<Direction>,
    start: Told<u64>,
) -> (Tracer, StreamTracer, Headers) {
    let mut tracer = Tracer::new(configured(keys), &Host::default(), [7; 32]);
    let lines = get("/orders/4711");
    let mut upstream = lines.clone();
    let started = tracer.on_request(&lines, &Info::default(), direction, start, &mut upstream);
    (tracer, started.stream.expect("sampled"), upstream)
}

/// The spans of the stream, that of the call upstream last.
fn end(mut tracer: Tracer, stream: StreamTracer) -> Vec<Span> {
    let response = Response {
        attempts: 1,
        ..Response::status(200)
    };
    tracer.on_end(stream, &response, END);
    common::spans(&common::flush(&mut tracer).expect("an export"))
}

/// The id in a header that went upstream.
fn id_in(headers: &Headers, name: &str, field: usize) -> Vec<u8> {
    let mut lines = headers.0.iter();
    let (_, value) = lines.find(|(n, _)| n == name.as_bytes()).expect(name);
    let text = std::str::from_utf8(value).unwrap();
    let hex = text.split('-').nth(field).unwrap();
    let digits = (0..hex.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn what_is_told_at_the_end_need_not_be_asked_for() {
    for (direction, kinds) in [
        (Direction::Outbound, vec![SpanKind::Client]),
        (Direction::Inbound, vec![SpanKind::Server]),
        (
            Direction::Unspecified,
            vec![SpanKind::Server, SpanKind::Client],
        ),
    ] {
        let asked = (Told::Ask(nobody_asks), Told::Ask(nobody_asks));
        let (tracer, mut stream, upstream) = start(&json!({}), asked.0, asked.1);
        stream.tell(direction, START);
        let spans = end(tracer, stream);
        let seen: Vec<_> = spans.iter().map(Span::kind).collect();
        assert_eq!(seen, kinds, "{direction:?}");
        for span in &spans {
            assert_eq!(span.start_time_unix_nano, START);
            assert_eq!(span.end_time_unix_nano, END);
        }
        // What lies behind hangs below the last of them.
        let last = spans.last().unwrap();
        assert_eq!(last.span_id, id_in(&upstream, "traceparent", 2));
        if let [own, call] = &spans[..] {
            assert_eq!(call.parent_span_id, own.span_id);
        }
    }
}

#[test]
fn what_nobody_told_is_asked_for() {
    let asked = (Told::Ask(|| Direction::Outbound), Told::Ask(|| START));
    let (tracer, stream, _) = start(&json!({}), asked.0, asked.1);
    let spans = end(tracer, stream);
    assert_eq!(spans[0].kind(), SpanKind::Client);
    assert_eq!(spans[0].start_time_unix_nano, START);
}

#[test]
fn what_was_known_is_told_by_nobody_else() {
    let known = (Told::Known(Direction::Inbound), Told::Known(START));
    let (tracer, mut stream, _) = start(&json!({}), known.0, known.1);
    stream.tell(Direction::Outbound, START + 1);
    let spans = end(tracer, stream);
    assert_eq!(spans[0].kind(), SpanKind::Server);
    assert_eq!(spans[0].start_time_unix_nano, START);
}

/// B3 says what the next span's parent hangs below, so the span upstream must
/// be known of when the request goes on.
#[test]
fn b3_names_the_span_that_the_call_upstream_hangs_below() {
    let keys = json!({"propagation": {"inject": ["b3"]}});
    for (direction, has_call) in [
        (Told::Ask(|| Direction::Unspecified), true),
        (Told::Ask(|| Direction::Inbound), false),
    ] {
        let (tracer, stream, upstream) = start(&keys, direction, START.into());
        let spans = end(tracer, stream);
        assert_eq!(spans.len() == 2, has_call);
        assert_eq!(spans.last().unwrap().span_id, id_in(&upstream, "b3", 1));
        if has_call {
            assert_eq!(spans[0].span_id, id_in(&upstream, "b3", 3));
        }
    }
}

/// What decides asks when the request comes, and what was asked once is known.
#[test]
fn a_rule_asks_for_the_direction() {
    let rules = json!([{"match": {"direction": "outbound"}, "action": "force"}]);
    let keys = json!({"sampler": {"ratio": 0}, "rules": rules});
    let asked = (Told::Ask(|| Direction::Outbound), Told::Ask(nobody_asks));
    let (tracer, mut stream, _) = start(&keys, asked.0, asked.1);
    stream.tell(Direction::Inbound, START);
    assert_eq!(end(tracer, stream)[0].kind(), SpanKind::Client);
}
