//! Contexts in headers: which format is believed, and what is written so that
//! no two formats on one request ever disagree.

use crate::context::id::SpanId;
use crate::context::span_context::SpanContext;
use crate::context::trace_state::TraceState;
use crate::headers::header_map::{Extractor, Injector};
use crate::propagation::extracted::{Carried, ContextHeaders, Extraction};
use crate::propagation::format::{Format, Parsed, SamplingState};
use crate::propagation::settings::UnsampledContext;
use crate::propagation::{b3, w3c};

/// Reads and writes contexts in the configured formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagator {
    /// Tried in this order; the first valid one wins.
    pub extract: Vec<Format>,
    /// Written always.
    pub inject: Vec<Format>,
    /// What becomes of the contexts of requests that are not sampled.
    pub unsampled: UnsampledContext,
}

impl Default for Propagator {
    fn default() -> Self {
        Self {
            extract: Format::ALL.to_vec(),
            inject: vec![Format::TraceContext],
            unsampled: UnsampledContext::default(),
        }
    }
}

impl Propagator {
    /// Reads the context that came with a request.
    pub fn extract<'a>(&self, request: &'a impl Extractor) -> Extraction<'a> {
        let mut headers = ContextHeaders::default();
        for (name, value) in request.headers() {
            headers.add(name, value);
        }
        self.extract_found(&headers, request)
    }

    /// Whether a format is read or written. The headers of any other format
    /// are none of this configuration's business: they are neither read nor
    /// written.
    pub(super) fn handles(&self, format: Format) -> bool {
        self.extract.contains(&format) || self.inject.contains(&format)
    }

    /// Reads the context in headers that were found already.
    pub(crate) fn extract_found<'a>(
        &self,
        headers: &ContextHeaders<'a>,
        request: &'a impl Extractor,
    ) -> Extraction<'a> {
        let mut extraction = Extraction {
            parent: None,
            sampling: SamplingState::Deferred,
            trace_state: TraceState::EMPTY,
            malformed: None,
            carried: self.handled(Carried {
                traceparent: headers.traceparent.is_present(),
                tracestate: headers.tracestate.is_present(),
                b3: headers.b3.is_present(),
                b3_multi: headers.b3_multi.carried(),
            }),
        };
        let traceparent = w3c::parse(headers.traceparent);
        for &format in &self.extract {
            let parsed = match format {
                Format::TraceContext => traceparent,
                Format::B3 => b3::parse_single(headers.b3),
                Format::B3Multi => headers.b3_multi.parse(),
            };
            match parsed {
                Parsed::Absent => continue,
                Parsed::Malformed(reason) => {
                    extraction.malformed.get_or_insert(reason);
                    continue;
                }
                Parsed::Decision(sampling) => extraction.sampling = sampling,
                Parsed::Context(context, sampling) => {
                    extraction.parent = Some(context);
                    extraction.sampling = sampling;
                }
            }
            break;
        }
        extraction.add_trace_state(traceparent, headers.tracestate, request);
        extraction
    }

    /// What of these headers is of formats that are read or written.
    fn handled(&self, carried: Carried) -> Carried {
        let is_w3c_handled = self.handles(Format::TraceContext);
        Carried {
            traceparent: carried.traceparent && is_w3c_handled,
            tracestate: carried.tracestate && is_w3c_handled,
            b3: carried.b3 && self.handles(Format::B3),
            b3_multi: match self.handles(Format::B3Multi) {
                true => carried.b3_multi,
                false => b3::MultiCarried::default(),
            },
        }
    }

    /// Whether [`inject`](Self::inject) will tell the parent: B3 has a place
    /// for it.
    pub(crate) fn tells_parent(&self, extraction: &Extraction<'_>) -> bool {
        let carried = &extraction.carried;
        let is_wanted = self.inject.iter().any(|f| *f != Format::TraceContext);
        is_wanted || carried.b3 || carried.b3_multi.any()
    }

    /// Writes `context`, whose parent is `parent`, in every format to inject
    /// and every other format that came in, so that a reader of any of them
    /// sees the same trace; and drops what is left of the old context.
    /// `trace_state` is the new one, if it is not as it came.
    pub fn inject(
        &self,
        context: &SpanContext,
        parent: Option<SpanId>,
        trace_state: Option<&str>,
        extraction: &Extraction<'_>,
        injector: &mut impl Injector,
    ) {
        let carried = &extraction.carried;
        let wanted = |format| self.inject.contains(&format);
        let came = (carried.tracestate, &extraction.trace_state);
        if wanted(Format::TraceContext) || carried.traceparent {
            w3c::write(context, injector);
            w3c::write_trace_state(came, trace_state, injector);
        } else {
            // It says nothing without a `traceparent` beside it.
            w3c::write_trace_state(came, Some(""), injector);
        }
        let debug = extraction.sampling == SamplingState::Debug && context.flags.is_sampled();
        if wanted(Format::B3) || carried.b3 {
            b3::write_single(context, parent, debug, injector);
        }
        if wanted(Format::B3Multi) || carried.b3_multi.any() {
            b3::write_multi(context, parent, debug, carried.b3_multi, injector);
        }
    }

    /// The same, some time after the context was read: others may have written
    /// or removed some of it meanwhile, or an earlier call of this; and a call
    /// that is made on the way has headers of its own.
    pub(crate) fn inject_later(
        &self,
        context: &SpanContext,
        parent: Option<SpanId>,
        came: &Extraction<'_>,
        headers: &mut (impl Extractor + Injector),
    ) {
        let is_there = |name: &str| headers.header(name.as_bytes()).is_some();
        let wanted = |format| self.inject.contains(&format);
        let is_multi =
            wanted(Format::B3Multi) || came.carried.b3_multi.any() || is_there(b3::TRACE_ID);
        let carried = self.handled(Carried {
            traceparent: !wanted(Format::TraceContext) && is_there("traceparent"),
            tracestate: is_there("tracestate"),
            b3: !wanted(Format::B3) && is_there("b3"),
            b3_multi: match is_multi {
                true => b3::MultiCarried::seen(is_there),
                false => b3::MultiCarried::default(),
            },
        });
        let is_lost = !came.trace_state.is_empty() && !carried.tracestate;
        let state = is_lost.then(|| came.trace_state.as_str());
        let seen = Extraction {
            carried,
            ..came.clone()
        };
        self.inject(context, parent, state, &seen, headers);
    }
}
