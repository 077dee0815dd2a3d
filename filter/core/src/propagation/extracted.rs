//! The context headers of a request, and what they say about its trace.

use crate::context::span_context::SpanContext;
use crate::context::trace_state::TraceState;
use crate::headers::header_map::Extractor;
use crate::propagation::b3;
use crate::propagation::format::{Field, Malformed, Parsed, SamplingState};

/// What a request says about its trace.
#[derive(Clone, Debug)]
pub struct Extraction<'a> {
    /// The caller's span; `None` if a trace starts here.
    pub parent: Option<SpanContext>,
    /// The caller's word on sampling, which can come without a parent.
    pub sampling: SamplingState,
    /// The trace state that belongs to `parent`.
    pub trace_state: TraceState<'a>,
    /// The first context that came and was not believed.
    pub malformed: Option<Malformed>,
    pub(super) carried: Carried,
}

/// The headers of each format that came with the request, valid or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    pub(super) traceparent: bool,
    pub(super) tracestate: bool,
    pub(super) b3: bool,
    pub(super) b3_multi: b3::MultiCarried,
}

/// The context headers of a request.
#[derive(Default)]
pub(crate) struct ContextHeaders<'a> {
    pub(super) traceparent: Field<'a>,
    pub(super) tracestate: Field<'a>,
    pub(super) b3: Field<'a>,
    pub(super) b3_multi: b3::MultiHeaders<'a>,
}

impl<'a> ContextHeaders<'a> {
    /// Takes a header, if it is one of them. Most are told apart by the length
    /// of their names.
    pub(crate) fn add(&mut self, name: &[u8], value: &'a [u8]) {
        match (name.len(), name) {
            (11, b"traceparent") => self.traceparent.add(value),
            (10, b"tracestate") => self.tracestate.add(value),
            (2, b"b3") => self.b3.add(value),
            (10..=17, _) => {
                if let Some(suffix) = name.strip_prefix(b"x-b3-") {
                    self.b3_multi.add(suffix, value);
                }
            }
            _ => {}
        }
    }
}

impl<'a> Extraction<'a> {
    /// One that outlives the request.
    pub(crate) fn into_owned(self) -> Extraction<'static> {
        Extraction {
            trace_state: self.trace_state.into_owned(),
            ..self
        }
    }

    /// Forgets what came, so that a trace starts here. Its headers are still
    /// known, and written over or removed by [`Propagator::inject`](crate::propagation::composite::Propagator::inject).
    pub fn restart(&mut self) {
        self.parent = None;
        self.sampling = SamplingState::Deferred;
        self.trace_state = TraceState::EMPTY;
    }

    /// Takes over the `tracestate`, and the random flag, if the `traceparent`
    /// beside it names the trace that goes on, whichever format won:
    ///
    /// > If the vendor failed to parse `traceparent`, it MUST NOT attempt to
    /// > parse `tracestate`.
    ///
    /// > If the \[random\] flag is set in the incoming `traceparent` header, it
    /// > MUST also be set in all outgoing `traceparent` headers which use the
    /// > same `trace-id`.
    pub(super) fn add_trace_state(
        &mut self,
        traceparent: Parsed,
        tracestate: Field<'a>,
        request: &'a impl Extractor,
    ) {
        let Some(parent) = &mut self.parent else {
            return;
        };
        let Parsed::Context(beside, _) = traceparent else {
            return;
        };
        if beside.trace_id != parent.trace_id {
            return;
        }
        parent.flags = parent.flags.with_random(beside.flags.is_random());
        if self.carried.tracestate {
            // Only for more lines than one all headers are read again.
            let is_line =
                |(name, value): (&[u8], &'a [u8])| (name == b"tracestate").then_some(value);
            let all = (!tracestate.is_clean()).then(|| request.headers().filter_map(is_line));
            let one = tracestate.clean_value();
            let lines = one.into_iter().chain(all.into_iter().flatten());
            self.trace_state = TraceState::parse(lines).unwrap_or(TraceState::EMPTY);
        }
    }
}
