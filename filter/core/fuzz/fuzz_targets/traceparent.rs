//! The value of one `traceparent` header.

#![no_main]

// Each target uses a part of what the tests share.
#[allow(dead_code)]
#[path = "../../tests/it/common/headers.rs"]
mod headers;
#[allow(dead_code)]
#[path = "../../tests/it/common/twin.rs"]
mod twin;

use headers::{Headers, read_upstream};
use libfuzzer_sys::fuzz_target;
use sidespan_core::context::id_generator::IdGenerator;
use sidespan_core::context::span_context::{SpanContext, TraceFlags};
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::propagation::w3c::parse_traceparent;

fuzz_target!(|value: &[u8]| {
    let read = parse_traceparent(value);
    let twin = twin::traceparent(value);
    let fields = read.ok().map(|context| {
        let (trace, span) = (context.trace_id.to_hex(), context.span_id.to_hex());
        (trace.to_vec(), span.to_vec(), context.flags.bits())
    });
    assert_eq!(fields, twin);

    let propagator = Propagator::default();
    let lines = Headers(vec![
        (b"traceparent".to_vec(), value.to_vec()),
        (b"tracestate".to_vec(), b"rojo=1".to_vec()),
    ]);
    let extraction = propagator.extract(&lines);
    // An empty header is an absent one.
    let malformed = read.err().filter(|_| !value.is_empty());
    assert_eq!(extraction.malformed, malformed);
    assert_eq!(extraction.parent, read.ok());

    let mut ids = IdGenerator::new([1; 32]);
    let context = SpanContext {
        trace_id: read.map_or_else(|_| ids.trace_id(), |parent| parent.trace_id),
        span_id: ids.span_id(),
        flags: read.map_or(TraceFlags::default(), |parent| parent.flags),
    };
    let mut upstream = lines.clone();
    let parent = read.ok().map(|parent| parent.span_id);
    propagator.inject(&context, parent, None, &extraction, &mut upstream);
    let seen = read_upstream(&upstream).expect("a traceparent goes upstream");
    assert_eq!(seen.trace_id.as_bytes(), context.trace_id.to_hex());
    assert_eq!(seen.span_id.as_bytes(), context.span_id.to_hex());
    assert_eq!(upstream.one("tracestate").is_some(), twin.is_some());
    assert_eq!(upstream.lines("traceparent")[0].len(), 55);
});
