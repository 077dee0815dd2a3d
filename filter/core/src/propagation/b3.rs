//! B3, single and multi header (openzipkin/b3-propagation).

use crate::context::id::{SpanId, TraceId, decode_hex, put_hex};
use crate::context::span_context::SpanContext;
use crate::headers::header_map::Injector;
use crate::propagation::format::{Field, Malformed, Parsed, SamplingState, flags_of};

const B3: &str = "b3";
pub(super) const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const PARENT_SPAN_ID: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";

/// Reads `b3: {TraceId}-{SpanId}-{SamplingState}-{ParentSpanId}`, whose last
/// two fields are optional, or a sampling state alone.
pub(super) fn parse_single(field: Field<'_>) -> Parsed {
    let value = match field.single() {
        Ok(None) => return Parsed::Absent,
        Ok(Some(value)) => value,
        Err(reason) => return Parsed::Malformed(reason),
    };
    match parse_single_value(value) {
        Ok(parsed) => parsed,
        Err(reason) => Parsed::Malformed(reason),
    }
}

fn parse_single_value(value: &[u8]) -> Result<Parsed, Malformed> {
    let mut fields = value.split(|&b| b == b'-');
    let first = fields.next().unwrap_or_default();
    let Some(span_id) = fields.next() else {
        // "When the trace identifiers are absent, the single header is the
        // sampling state alone."
        return sampling_state(first).map(Parsed::Decision);
    };
    let (state, parent) = (fields.next(), fields.next());
    if fields.next().is_some() {
        return Err(Malformed::Length);
    }
    if let (b"", b"", Some(state), None | Some(b"")) = (first, span_id, state, parent) {
        // Both ids are absent, as empty headers are.
        return match state {
            b"" => Ok(Parsed::Absent),
            state => sampling_state(state).map(Parsed::Decision),
        };
    }
    let trace_id = trace_id(first)?;
    let span_id = SpanId::from_hex(span_id).ok_or(Malformed::SpanId)?;
    // An empty field is an absent one, as an empty header is.
    let sampling = match state {
        None | Some(b"") => SamplingState::Deferred,
        Some(state) => sampling_state(state)?,
    };
    if let Some(parent) = parent.filter(|parent| !parent.is_empty()) {
        parent_span_id(parent)?;
    }
    Ok(context(trace_id, span_id, sampling))
}

/// The context of a single header that says "not sampled" in full:
/// `{TraceId}-{SpanId}-0`, with or without a parent.
pub(super) fn canonical_unsampled_single(value: &[u8]) -> Option<SpanContext> {
    let state = value.split(|&b| b == b'-').nth(2);
    let is_whole = state == Some(b"0") && !value.ends_with(b"-");
    match parse_single_value(value) {
        Ok(Parsed::Context(context, SamplingState::Deny)) if is_whole => Some(context),
        _ => None,
    }
}

fn context(trace_id: TraceId, span_id: SpanId, sampling: SamplingState) -> Parsed {
    let context = SpanContext {
        trace_id,
        span_id,
        flags: flags_of(sampling),
    };
    Parsed::Context(context, sampling)
}

/// 32 digits, or 16 of an older tracer, which are the right half of an id.
fn trace_id(hex: &[u8]) -> Result<TraceId, Malformed> {
    let id = match hex.len() {
        16 => decode_hex::<8>(hex)
            .and_then(|low| TraceId::from_bytes(u128::from(u64::from_be_bytes(low)).to_be_bytes())),
        _ => TraceId::from_hex(hex),
    };
    id.ok_or(Malformed::TraceId)
}

/// Only checked: the caller's parent is no parent of ours.
fn parent_span_id(hex: &[u8]) -> Result<(), Malformed> {
    match decode_hex::<8>(hex) {
        Some(_) => Ok(()),
        None => Err(Malformed::ParentSpanId),
    }
}

/// `1`, `0` or `d`; `true` and `false` are what old tracers send.
fn sampling_state(value: &[u8]) -> Result<SamplingState, Malformed> {
    match value {
        b"1" | b"true" => Ok(SamplingState::Accept),
        b"0" | b"false" => Ok(SamplingState::Deny),
        b"d" => Ok(SamplingState::Debug),
        _ => Err(Malformed::Sampling),
    }
}

/// The `x-b3-*` headers of a request.
#[derive(Default)]
pub(super) struct MultiHeaders<'a> {
    trace_id: Field<'a>,
    span_id: Field<'a>,
    parent_span_id: Field<'a>,
    sampled: Field<'a>,
    flags: Field<'a>,
}

/// Which `x-b3-*` headers came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MultiCarried {
    ids: bool,
    parent_span_id: bool,
    sampled: bool,
    flags: bool,
}

impl MultiCarried {
    /// Those that are there.
    pub(super) fn seen(is_there: impl Fn(&str) -> bool) -> Self {
        Self {
            ids: is_there(TRACE_ID) || is_there(SPAN_ID),
            parent_span_id: is_there(PARENT_SPAN_ID),
            sampled: is_there(SAMPLED),
            flags: is_there(FLAGS),
        }
    }

    pub(super) fn any(self) -> bool {
        self.ids || self.parent_span_id || self.sampled || self.flags
    }
}

impl<'a> MultiHeaders<'a> {
    /// Takes the header `x-b3-{suffix}`, if B3 has it.
    pub(super) fn add(&mut self, suffix: &[u8], value: &'a [u8]) {
        match suffix {
            b"traceid" => self.trace_id.add(value),
            b"spanid" => self.span_id.add(value),
            b"parentspanid" => self.parent_span_id.add(value),
            b"sampled" => self.sampled.add(value),
            b"flags" => self.flags.add(value),
            _ => {}
        }
    }

    pub(super) fn carried(&self) -> MultiCarried {
        MultiCarried {
            ids: self.trace_id.is_present() || self.span_id.is_present(),
            parent_span_id: self.parent_span_id.is_present(),
            sampled: self.sampled.is_present(),
            flags: self.flags.is_present(),
        }
    }

    pub(super) fn parse(&self) -> Parsed {
        if !self.carried().any() {
            return Parsed::Absent;
        }
        match self.parse_present() {
            Ok(parsed) => parsed,
            Err(reason) => Parsed::Malformed(reason),
        }
    }

    /// The context of headers that say "not sampled" in full, each on one line.
    pub(super) fn canonical_unsampled(&self) -> Option<SpanContext> {
        let all = [
            self.trace_id,
            self.span_id,
            self.parent_span_id,
            self.sampled,
            self.flags,
        ];
        let is_clean = all.iter().all(Field::is_clean);
        let is_unsampled = self.sampled.value == Some(b"0") && !self.flags.is_present();
        match self.parse() {
            Parsed::Context(context, SamplingState::Deny) if is_clean && is_unsampled => {
                Some(context)
            }
            _ => None,
        }
    }

    fn parse_present(&self) -> Result<Parsed, Malformed> {
        let sampling = self.sampling()?;
        if let Some(parent) = self.parent_span_id.single()? {
            parent_span_id(parent)?;
        }
        match (self.trace_id.single()?, self.span_id.single()?) {
            (Some(trace), Some(span)) => {
                let span_id = SpanId::from_hex(span).ok_or(Malformed::SpanId)?;
                Ok(context(trace_id(trace)?, span_id, sampling))
            }
            (None, None) if sampling != SamplingState::Deferred => Ok(Parsed::Decision(sampling)),
            (None, None) if self.parent_span_id.value.is_none() => Ok(Parsed::Absent),
            _ => Err(Malformed::Incomplete),
        }
    }

    /// > Debug implies an accept decision, so don't also send the
    /// > `X-B3-Sampled` header.
    ///
    /// Who sends both means debug. Of flags, "absent or any other values can
    /// be ignored", and of a repeated state "the first value wins".
    fn sampling(&self) -> Result<SamplingState, Malformed> {
        if self.flags.value == Some(b"1") {
            return Ok(SamplingState::Debug);
        }
        match self.sampled.value {
            None => Ok(SamplingState::Deferred),
            // The debug state has a header of its own here.
            Some(b"d") => Err(Malformed::Sampling),
            Some(value) => sampling_state(value),
        }
    }
}

pub(super) fn write_single(
    context: &SpanContext,
    parent: Option<SpanId>,
    debug: bool,
    injector: &mut impl Injector,
) {
    let state = match (debug, context.flags.is_sampled()) {
        (true, _) => b'd',
        (false, true) => b'1',
        (false, false) => b'0',
    };
    const PARENT: usize = 32 + 1 + 16 + 2 + 1;
    let mut value = [b'-'; PARENT + 16];
    put_hex(&mut value, 0, context.trace_id.as_bytes());
    put_hex(&mut value, 33, context.span_id.as_bytes());
    let mut len = PARENT - 1;
    if let Some(parent) = parent {
        put_hex(&mut value, PARENT, parent.as_bytes());
        len = value.len();
    }
    if let Some(place) = value.get_mut(PARENT - 2) {
        *place = state;
    }
    if let Some(Ok(value)) = value.get(..len).map(std::str::from_utf8) {
        injector.set(B3, value);
    }
}

pub(super) fn write_multi(
    context: &SpanContext,
    parent: Option<SpanId>,
    debug: bool,
    carried: MultiCarried,
    injector: &mut impl Injector,
) {
    set_hex(TRACE_ID, &context.trace_id.to_hex(), injector);
    set_hex(SPAN_ID, &context.span_id.to_hex(), injector);
    match parent {
        Some(parent) => set_hex(PARENT_SPAN_ID, &parent.to_hex(), injector),
        None if carried.parent_span_id => injector.remove(PARENT_SPAN_ID),
        None => {}
    }
    if debug {
        injector.set(FLAGS, "1");
        if carried.sampled {
            injector.remove(SAMPLED);
        }
    } else {
        let sampled = context.flags.is_sampled();
        injector.set(SAMPLED, if sampled { "1" } else { "0" });
        if carried.flags {
            injector.remove(FLAGS);
        }
    }
}

fn set_hex(name: &'static str, hex: &[u8], injector: &mut impl Injector) {
    if let Ok(hex) = std::str::from_utf8(hex) {
        injector.set(name, hex);
    }
}
