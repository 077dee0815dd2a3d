//! When the core reads the direction and the time from its host.

use crate::common;
use crate::common::spans::{configured, get};
use crate::common::{Headers, Host, Info, Nowhere, Response};
use allocation_counter::measure;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use sidespan_core::headers::header_map::Injector;
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::request_info::{Direction, RequestInfo};
use sidespan_core::recording::stream::StreamTracer;
use sidespan_core::source::Started;
use sidespan_core::tracer::Tracer;
use std::cell::Cell;

const START: u64 = 1_000;
const END: u64 = 5_000;

/// A host that counts how often each value is read.
struct CountingHost {
    direction: Direction,
    now: Cell<u64>,
    direction_reads: Cell<u32>,
    time_reads: Cell<u32>,
}

impl CountingHost {
    fn new(direction: Direction) -> Self {
        Self {
            direction,
            now: Cell::new(START),
            direction_reads: Cell::new(0),
            time_reads: Cell::new(0),
        }
    }
}

impl RequestInfo for CountingHost {
    fn listener_direction(&self) -> Direction {
        self.direction_reads.set(self.direction_reads.get() + 1);
        self.direction
    }

    fn now(&self) -> u64 {
        self.time_reads.set(self.time_reads.get() + 1);
        self.now.get()
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

fn start(keys: &Value, host: &CountingHost) -> (Tracer, StreamTracer, Headers) {
    let mut tracer = Tracer::new(configured(keys), &Host::default(), [7; 32]);
    let lines = get("/orders/4711");
    let mut upstream = lines.clone();
    let started = tracer.on_request(&lines, host, &mut upstream);
    (tracer, started.stream.expect("sampled"), upstream)
}

/// The spans of the stream, that of the call upstream last.
fn end(mut tracer: Tracer, stream: StreamTracer, direction: Direction) -> Vec<Span> {
    let response = Response {
        direction: Some(direction),
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
fn direction_is_read_at_the_end_when_no_decision_needs_it() {
    for (direction, kinds) in [
        (Direction::Outbound, vec![SpanKind::Client]),
        (Direction::Inbound, vec![SpanKind::Server]),
        (
            Direction::Unspecified,
            vec![SpanKind::Server, SpanKind::Client],
        ),
    ] {
        let host = CountingHost::new(direction);
        let (tracer, stream, upstream) = start(&json!({}), &host);
        assert_eq!(host.direction_reads.get(), 0);
        let spans = end(tracer, stream, direction);
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

/// B3 says what the next span's parent hangs below, so the span upstream must
/// be known of when the request goes on.
#[test]
fn b3_names_the_span_that_the_call_upstream_hangs_below() {
    let keys = json!({"propagation": {"inject": ["b3"]}});
    for (direction, has_call) in [(Direction::Unspecified, true), (Direction::Inbound, false)] {
        let (tracer, stream, upstream) = start(&keys, &CountingHost::new(direction));
        let spans = end(tracer, stream, direction);
        assert_eq!(spans.len() == 2, has_call);
        assert_eq!(spans.last().unwrap().span_id, id_in(&upstream, "b3", 1));
        if has_call {
            assert_eq!(spans[0].span_id, id_in(&upstream, "b3", 3));
        }
    }
}

/// The direction that a decision read is read once, and is that of the spans.
#[test]
fn direction_is_read_once_when_a_rule_needs_it() {
    let rules = json!([{"match": {"direction": "outbound"}, "action": "force"}]);
    let keys = json!({"sampler": {"ratio": 0}, "rules": rules});
    let host = CountingHost::new(Direction::Outbound);
    let (tracer, stream, _) = start(&keys, &host);
    assert_eq!(host.direction_reads.get(), 1);
    let spans = end(tracer, stream, Direction::Inbound);
    assert_eq!(spans[0].kind(), SpanKind::Client);
}

#[test]
fn time_is_not_read_for_a_request_without_a_span() {
    let disabled = json!([{"match": {"path": {"prefix": "/"}}, "action": "disable"}]);
    for keys in [
        json!({"sampler": {"ratio": 0}}),
        json!({"rules": disabled}),
        json!({"propagation": {"incoming": "require"}}),
    ] {
        let mut tracer = Tracer::new(configured(&keys), &Host::default(), [7; 32]);
        let host = CountingHost::new(Direction::Inbound);
        let started = tracer.on_request(&get("/orders/4711"), &host, &mut Nowhere);
        assert!(started.stream.is_none(), "{keys}");
        assert_eq!(host.time_reads.get(), 0, "{keys}");
    }
}

/// A span starts when its request comes, and not when it goes on.
#[test]
fn time_is_read_once_before_headers_are_written() {
    struct Slow<'a>(&'a CountingHost);
    impl Injector for Slow<'_> {
        fn set(&mut self, _: &'static str, _: &str) {
            self.0.now.set(self.0.now.get() + 1);
        }
        fn remove(&mut self, _: &'static str) {}
    }
    // The limit reads it first.
    for keys in [json!({}), json!({"sampler": {"max_traces_per_second": 10}})] {
        let host = CountingHost::new(Direction::Inbound);
        let mut tracer = Tracer::new(configured(&keys), &Host::default(), [7; 32]);
        let started = tracer.on_request(&get("/orders/4711"), &host, &mut Slow(&host));
        assert_eq!(host.time_reads.get(), 1);
        assert_eq!(host.now.get(), START + 1, "one header was written");
        let spans = end(tracer, started.stream.expect("sampled"), Direction::Inbound);
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
            end(tracer, stream.expect("sampled"), Direction::Inbound).remove(0)
        };
        let info = Info::default();
        let info = info.at(Direction::Inbound, START);
        let pairs = Pairs(lines.in_one_buffer());
        let of_pairs = span_of(&|tracer| tracer.on_request(&pairs, &info, &mut Nowhere));
        let of_lines = span_of(&|tracer| tracer.on_request(&lines, &info, &mut Nowhere));
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
