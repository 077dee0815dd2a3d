//! The lines of a `tracestate` header, one on each line of the input.

#![no_main]

// Each target uses a part of what the tests share.
#[allow(dead_code)]
#[path = "../../tests/it/common/headers.rs"]
mod headers;
#[allow(dead_code)]
#[path = "../../tests/it/common/twin.rs"]
mod twin;

use headers::Headers;
use libfuzzer_sys::fuzz_target;
use sidespan_core::context::trace_state::TraceState;
use sidespan_core::propagation::composite::Propagator;

const TRACEPARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fuzz_target!(|input: &[u8]| {
    let lines: Vec<Vec<u8>> = input.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
    let twin = twin::tracestate(&lines);
    let parsed = TraceState::parse(lines.iter().map(Vec::as_slice));
    let members = parsed
        .as_ref()
        .ok()
        .map(|state| state.members().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(members, twin);

    if let Ok(state) = parsed {
        let written = state.as_str();
        let again = TraceState::parse([written.as_bytes()].into_iter()).expect("valid");
        assert!(again.members().eq(state.members()));
        assert!(state.members().count() <= 32);
        let is_one = matches!(&lines[..], [line] if line == written.as_bytes());
        assert_eq!(state.is_verbatim(), is_one && !written.is_empty());
    }

    let mut request = Headers(vec![(b"traceparent".to_vec(), TRACEPARENT.to_vec())]);
    for line in &lines {
        request.0.push((b"tracestate".to_vec(), line.clone()));
    }
    let propagator = Propagator::default();
    let extraction = propagator.extract(&request);
    let context = extraction.parent.expect("the traceparent is valid");
    let mut upstream = request.clone();
    propagator.inject(&context, None, None, &extraction, &mut upstream);
    let expected = twin.map(|members| members.join(",")).unwrap_or_default();
    assert_eq!(upstream.one("tracestate").unwrap_or_default(), expected);
    assert_eq!(upstream.one("tracestate").is_some(), !expected.is_empty());
});
