//! The headers of a request, `name: value` on each line of the input: B3 and
//! its neighbours.

#![no_main]

// Each target uses a part of what the tests share.
#[allow(dead_code)]
#[path = "../../tests/it/common/headers.rs"]
mod headers;
#[allow(dead_code)]
#[path = "../../tests/it/common/twin.rs"]
mod twin;

use headers::{Headers, hex, read_upstream, split};
use libfuzzer_sys::fuzz_target;
use sidespan_core::context::id_generator::IdGenerator;
use sidespan_core::context::span_context::{SpanContext, TraceFlags};
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::propagation::format::Format::{B3, B3Multi, TraceContext};
use sidespan_core::propagation::format::SamplingState;
use sidespan_core::sampling::sampler::Sampler;

fn propagators() -> [Propagator; 5] {
    let of = |extract: &[_], inject: &[_]| Propagator {
        extract: extract.to_vec(),
        inject: inject.to_vec(),
        ..Propagator::default()
    };
    [
        Propagator::default(),
        of(&[B3, B3Multi, TraceContext], &[TraceContext, B3, B3Multi]),
        of(&[B3Multi, TraceContext], &[B3]),
        of(&[B3], &[]),
        of(&[], &[B3Multi]),
    ]
}

fuzz_target!(|input: &[u8]| {
    let lines = input.split(|&b| b == b'\n').map(|line| {
        let colon = line.iter().position(|&b| b == b':').unwrap_or(line.len());
        (&line[..colon], line.get(colon + 1..).unwrap_or_default())
    });
    let request = Headers::from_wire(lines);
    for propagator in propagators() {
        through(&propagator, &request);
    }

    // What the single header says, alone.
    if let [value] = request.lines("b3")[..] {
        let extraction = propagators()[3].extract(&request);
        let twin = twin::b3(value);
        assert_eq!(extraction.malformed.is_some(), twin.is_none());
        let (ids, sampling) = twin.unwrap_or((None, SamplingState::Deferred));
        assert_eq!(extraction.sampling, sampling);
        let read = extraction
            .parent
            .map(|p| (hex(p.trace_id.as_bytes()), hex(p.span_id.as_bytes())));
        assert_eq!(read, ids);
    }
});

fn through(propagator: &Propagator, request: &Headers) {
    let extraction = propagator.extract(request);
    let mut ids = IdGenerator::new([1; 32]);
    let parent = extraction.parent;
    let trace_id = parent.map_or_else(|| ids.trace_id(), |parent| parent.trace_id);
    let (has_parent, state) = (parent.is_some(), &extraction.trace_state);
    let sampled = Sampler::default()
        .decide(extraction.sampling, has_parent, trace_id, state, || 0)
        .sampled;
    let context = SpanContext {
        trace_id,
        span_id: ids.span_id(),
        flags: parent
            .map_or(TraceFlags::default(), |parent| parent.flags)
            .with_sampled(sampled),
    };
    let parent = parent.map(|parent| parent.span_id);
    let mut upstream = request.clone();
    propagator.inject(&context, parent, None, &extraction, &mut upstream);

    assert_eq!(upstream.others(), request.others());
    // A format that is neither read nor written goes upstream as it came.
    let (upstream, left) = split(upstream, propagator);
    assert_eq!(left, split(request.clone(), propagator).1);
    let Some(seen) = read_upstream(&upstream) else {
        assert!(propagator.inject.is_empty());
        return;
    };
    assert_eq!(seen.trace_id.as_bytes(), context.trace_id.to_hex());
    assert_eq!(seen.span_id.as_bytes(), context.span_id.to_hex());
    assert_eq!(seen.sampled, sampled);

    // The next hop believes it.
    let next = Propagator::default().extract(&upstream);
    assert_eq!(next.malformed, None);
    let read = next.parent.expect("a context went upstream");
    assert_eq!(read.trace_id, context.trace_id);
    assert_eq!(read.span_id, context.span_id);
}
