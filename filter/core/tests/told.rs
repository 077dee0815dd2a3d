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

use allocation_counter::measure;
use common::spans::{configured, get};
use common::{Headers, Host, Info, Nowhere, Response};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use sidespan_core::headers::header_map::Injector;
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::request_info::{Direction, Told};
use sidespan_core::recording::stream::StreamTracer;
use sidespan_core::source::Started;
use sidespan_core::tracer::Tracer;
use std::cell::Cell;

const START: u64 = 1_000;
const END: u64 = 5_000;

fn nobody_asks() -> Direction {
    panic!("it need not be known yet")
}

fn start(keys: &Value, direction: Told<Direction>) -> (Tracer, StreamTracer, Headers) {
    let mut tracer = Tracer::new(configured(keys), &Host::default(), [7; 32]);
    let lines = get("/orders/4711");
    let mut upstream = lines.clone();
    let started = tracer.on_request(&lines, &Info::default(), direction, START, &mut upstream);
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
        let (tracer, stream, upstream) = start(&json!({}), Told::Ask(nobody_asks));
        stream.tell(direction);
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
fn what_nobody_told_is_asked_for_once() {
    thread_local!(static ASKED: Cell<u32> = const { Cell::new(0) });
    let ask = || {
        ASKED.set(ASKED.get() + 1);
        Direction::Outbound
    };
    let (tracer, stream, _) = start(&json!({}), Told::Ask(ask));
    let spans = end(tracer, stream);
    assert_eq!(spans[0].kind(), SpanKind::Client);
    assert_eq!(ASKED.get(), 1);
}

#[test]
fn what_was_known_is_told_by_nobody_else() {
    let (tracer, stream, _) = start(&json!({}), Told::Known(Direction::Inbound));
    stream.tell(Direction::Outbound);
    assert_eq!(end(tracer, stream)[0].kind(), SpanKind::Server);
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
        let (tracer, stream, upstream) = start(&keys, direction);
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
    let (tracer, stream, _) = start(&keys, Told::Ask(|| Direction::Outbound));
    stream.tell(Direction::Inbound);
    assert_eq!(end(tracer, stream)[0].kind(), SpanKind::Client);
}

/// A host can be dear to ask.
#[test]
fn what_has_no_span_needs_no_time() {
    let nobody_asks = || -> u64 { panic!("it is not needed") };
    let disabled = json!([{"match": {"path": {"prefix": "/"}}, "action": "disable"}]);
    for keys in [
        json!({"sampler": {"ratio": 0}}),
        json!({"rules": disabled}),
        json!({"propagation": {"incoming": "require"}}),
    ] {
        let mut tracer = Tracer::new(configured(&keys), &Host::default(), [7; 32]);
        let (lines, info) = (get("/orders/4711"), Info::default());
        let now = Told::Ask(nobody_asks);
        let started = tracer.on_request(&lines, &info, Direction::Inbound, now, &mut Nowhere);
        assert!(started.stream.is_none(), "{keys}");
    }
}

/// A span starts when its request comes, and not when it goes on.
#[test]
fn the_time_is_asked_for_once_and_before_headers_are_written() {
    thread_local!(static NOW: Cell<u64> = const { Cell::new(START) });
    struct Slow;
    impl Injector for Slow {
        fn set(&mut self, _: &'static str, _: &str) {
            NOW.set(NOW.get() + 1);
        }
        fn remove(&mut self, _: &'static str) {}
    }
    let ask = || NOW.replace(NOW.get() + 1);
    // The limit asks first.
    for keys in [json!({}), json!({"sampler": {"max_traces_per_second": 10}})] {
        NOW.set(START);
        let mut tracer = Tracer::new(configured(&keys), &Host::default(), [7; 32]);
        let (lines, info) = (get("/orders/4711"), Info::default());
        let now = Told::Ask(ask);
        let started = tracer.on_request(&lines, &info, Direction::Inbound, now, &mut Slow);
        assert_eq!(NOW.get(), START + 2, "one question, one header");
        let spans = end(tracer, started.stream.expect("sampled"));
        assert_eq!(spans[0].start_time_unix_nano, START);
    }
}

/// Streams can be open for long, and thousands of them; and of a host that is
/// cut within a user's password, nothing may be told.
#[test]
fn of_a_long_header_little_is_kept() {
    let long = "x".repeat(60_000);
    let kept = |name: &'static str, value: &str| {
        let mut lines = get("/orders/4711");
        lines.0.retain(|(n, _)| n != name.as_bytes());
        lines
            .0
            .push((name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let span_of = |start: &dyn Fn(&mut Tracer) -> Started| {
            let mut tracer = Tracer::new(configured(&json!({})), &Host::default(), [7; 32]);
            let mut stream = None;
            let allocated = measure(|| stream = start(&mut tracer).stream);
            assert!(allocated.bytes_current < 20_000, "{name}: {allocated:?}");
            end(tracer, stream.expect("sampled")).remove(0)
        };
        let (info, direction) = (Info::default(), Direction::Inbound);
        let pairs = Pairs(lines.in_one_buffer());
        let of_pairs =
            span_of(&|tracer| tracer.on_request(&pairs, &info, direction, START, &mut Nowhere));
        let of_lines =
            span_of(&|tracer| tracer.on_request(&lines, &info, direction, START, &mut Nowhere));
        assert_eq!(of_pairs, of_lines, "{name}");
        of_lines
    };
    let text = |span: &Span, key: &str| {
        let found = span.attributes.iter().find(|a| a.key == key);
        found.map(|a| format!("{:?}", a.value))
    };
    let limit = 1024;
    for (name, value, key) in [
        (":path", format!("/{long}?q=1"), "url.path"),
        (":path", format!("/?q={long}"), "url.query"),
        ("user-agent", long.clone(), "user_agent.original"),
    ] {
        let span = kept(name, &value);
        let shown = text(&span, key).expect(key);
        assert!((limit..limit + 100).contains(&shown.len()), "{shown}");
        assert_eq!(span.dropped_attributes_count, 1, "{key} was cut");
    }
    let span = kept(":authority", &format!("me:{long}@shop.example"));
    assert_eq!(text(&span, "server.address"), None);
}
