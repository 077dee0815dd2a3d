//! W3C Trace Context, level 2: `traceparent` and `tracestate`.

use crate::context::id::{SpanId, TraceId, decode_hex, put_hex};
use crate::context::span_context::{SpanContext, TraceFlags};
use crate::context::trace_state::TraceState;
use crate::headers::header_map::Injector;
use crate::propagation::format::{Field, Malformed, Parsed, SamplingState};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// `00-` trace-id `-` parent-id `-` trace-flags.
const LEN: usize = 55;

pub(crate) fn parse(field: Field<'_>) -> Parsed {
    match field.single() {
        Ok(None) => Parsed::Absent,
        Ok(Some(value)) => match parse_traceparent(value) {
            Ok(context) if context.flags.is_sampled() => {
                Parsed::Context(context, SamplingState::Accept)
            }
            Ok(context) => Parsed::Context(context, SamplingState::Deny),
            Err(reason) => Parsed::Malformed(reason),
        },
        // "expects a valid traceparent […] with a newly generated trace_id":
        // of two there is none that could be believed.
        Err(reason) => Parsed::Malformed(reason),
    }
}

/// Reads the value of a `traceparent` header.
///
/// Space around the value is no part of a header's value in HTTP and was cut
/// by the host; whatever is left of it is an error.
pub fn parse_traceparent(value: &[u8]) -> Result<SpanContext, Malformed> {
    let (known, rest) = value.split_at_checked(LEN).ok_or(Malformed::Length)?;
    let field = |range: std::ops::Range<usize>| known.get(range).unwrap_or_default();
    let [version] = decode_hex(field(0..2)).ok_or(Malformed::Version)?;
    match version {
        // "Version ff is forbidden."
        0xff => return Err(Malformed::Version),
        0 if !rest.is_empty() => return Err(Malformed::Length),
        // "Vendors MUST check that the 2 characters [of flags] are either at
        // the end of the string or followed by a dash", and "MUST NOT parse
        // or assume anything about unknown fields".
        _ if !matches!(rest.first(), None | Some(b'-')) => return Err(Malformed::Delimiter),
        _ => {}
    }
    if [2, 35, 52].iter().any(|&i| known.get(i) != Some(&b'-')) {
        return Err(Malformed::Delimiter);
    }
    let trace_id = TraceId::from_hex(field(3..35)).ok_or(Malformed::TraceId)?;
    let span_id = SpanId::from_hex(field(36..52)).ok_or(Malformed::SpanId)?;
    let [flags] = decode_hex(field(53..55)).ok_or(Malformed::Sampling)?;
    Ok(SpanContext {
        trace_id,
        span_id,
        flags: TraceFlags::from_bits_truncate(flags),
    })
}

/// Whether a valid `traceparent` says "not sampled" as version 00 writes it:
/// flags 00, or 02 (random), and no reserved bit.
pub(super) fn is_canonical_unsampled(value: &[u8]) -> bool {
    value.starts_with(b"00-") && (value.ends_with(b"-00") || value.ends_with(b"-02"))
}

pub(super) fn write(context: &SpanContext, injector: &mut impl Injector) {
    let mut value = *b"00-00000000000000000000000000000000-0000000000000000-00";
    put_hex(&mut value, 3, context.trace_id.as_bytes());
    put_hex(&mut value, 36, context.span_id.as_bytes());
    put_hex(&mut value, 53, &[context.flags.bits()]);
    if let Ok(value) = std::str::from_utf8(&value) {
        injector.set(TRACEPARENT, value);
    }
}

/// Writes the new state, if there is one, else what came, if that cannot stay
/// as it is.
///
/// > Vendors MUST accept empty `tracestate` headers but SHOULD avoid sending
/// > them.
pub(super) fn write_trace_state(
    (is_there, came): (bool, &TraceState<'_>),
    new: Option<&str>,
    injector: &mut impl Injector,
) {
    match new {
        Some("") if is_there => injector.remove(TRACESTATE),
        Some("") => {}
        Some(state) => injector.set(TRACESTATE, state),
        None if !is_there || came.is_verbatim() => {}
        None if came.is_empty() => injector.remove(TRACESTATE),
        None => injector.set(TRACESTATE, came.as_str()),
    }
}
