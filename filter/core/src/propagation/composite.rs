//! Contexts in headers: which format is believed, and what is written so that
//! no two formats on one request ever disagree.

use crate::propagation::{b3, w3c};

use crate::context::id::SpanId;
use crate::context::span_context::{SpanContext, TraceFlags};
use crate::context::trace_state::TraceState;
use crate::headers::serialized_map::Pairs;

/// Read access to a carrier (OpenTelemetry specification, Propagators API:
/// Getter): the headers of a request, every line of a repeated one, in order.
///
/// Names are lower case, as HTTP/2 has them and Envoy delivers them.
pub trait Extractor {
    /// All header lines. Bytes come from peers and need not be UTF-8.
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The first line with this name.
    fn header(&self, name: &[u8]) -> Option<&[u8]> {
        self.headers().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// All of them in one buffer, if that is how the host gave them.
    fn as_pairs(&self) -> Option<&Pairs> {
        None
    }
}

impl Extractor for Pairs {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines()
    }

    fn as_pairs(&self) -> Option<&Pairs> {
        Some(self)
    }
}

/// Write access to a carrier (OpenTelemetry specification, Propagators API:
/// Setter).
pub trait Injector {
    /// Sets a header to this one value, in place of every line it has.
    fn set(&mut self, name: &'static str, value: &str);
    /// Removes every line of a header.
    fn remove(&mut self, name: &'static str);
}

/// A carrier that takes nothing: for a request that goes no further.
impl Injector for () {
    fn set(&mut self, _name: &'static str, _value: &str) {}

    fn remove(&mut self, _name: &'static str) {}
}

/// A context format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// W3C `traceparent` and `tracestate`.
    TraceContext,
    /// The single header `b3`.
    B3,
    /// The headers `x-b3-*`.
    B3Multi,
}

impl Format {
    /// Every format, in the order in which they are tried by default.
    pub const ALL: [Format; 3] = [Format::TraceContext, Format::B3, Format::B3Multi];

    /// The name in OpenTelemetry's `OTEL_PROPAGATORS` and in the
    /// configuration.
    pub fn name(self) -> &'static str {
        match self {
            Format::TraceContext => "tracecontext",
            Format::B3 => "b3",
            Format::B3Multi => "b3multi",
        }
    }
}

/// What the caller says about sampling, in the words of B3, whose states are
/// a superset of W3C's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingState {
    /// The caller leaves the decision to us.
    Deferred,
    /// The caller recorded the trace.
    Accept,
    /// The caller did not.
    Deny,
    /// As accept, and against every sampler.
    Debug,
}

/// How a context that came in is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Incoming {
    /// It goes on.
    #[default]
    Continue,
    /// A new trace starts; what came is dropped.
    Restart,
    /// As restart, and the new span links to what came.
    Link,
    /// Its trace goes on, and whether it is sampled is decided anew.
    Resample,
    /// As continue, and what comes without a context is not traced.
    Require,
}

/// What becomes of a context that came with a request which is not sampled
/// (`propagation.unsampled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsampledContext {
    /// It is forwarded byte for byte where it is valid and canonical.
    #[default]
    Unchanged,
    /// Each hop writes a span id of its own.
    Rewrite,
}

/// How a host that chooses the route anew for each header write hands the
/// context on (`propagation.carrier`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// In the request's headers.
    #[default]
    Headers,
    /// In the stream's filter state, for a filter behind this one that writes
    /// the headers.
    FilterState,
}

/// Why a context was not believed. The trace starts anew and a stat counts
/// it; the request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A header that must be there once came more than once.
    Repeated,
    /// A length that the format does not have.
    Length,
    /// `-` is not where the format has it.
    Delimiter,
    /// The version of a `traceparent` is not two digits or is `ff`.
    Version,
    /// A trace id that is zero or not lower-case hexadecimal.
    TraceId,
    /// A span id that is zero or not lower-case hexadecimal.
    SpanId,
    /// The parent's span id is not lower-case hexadecimal.
    ParentSpanId,
    /// Flags or a sampling state that the format does not have.
    Sampling,
    /// One id without the other.
    Incomplete,
}

/// What one format says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// No header of this format.
    Absent,
    /// Headers that say nothing valid.
    Malformed(Malformed),
    /// A decision for a trace that has no id yet (B3: `b3: 0`).
    Decision(SamplingState),
    /// A context to continue. `sampling` says more than its flags can.
    Context(SpanContext, SamplingState),
}

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
    carried: Carried,
}

/// The names of all headers that a context can be in, whatever is configured:
/// for hosts that give headers by their names only.
pub const CONTEXT_HEADERS: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// The headers of each format that came with the request, valid or not.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    traceparent: bool,
    tracestate: bool,
    b3: bool,
    b3_multi: b3::MultiCarried,
}

/// The context headers of a request.
#[derive(Default)]
pub(crate) struct ContextHeaders<'a> {
    pub(super) traceparent: Field<'a>,
    pub(super) tracestate: Field<'a>,
    pub(super) b3: Field<'a>,
    pub(super) b3_multi: b3::MultiHeaders<'a>,
}

/// A header that a format knows.
///
/// An empty line has no value: applications that copy a fixed list of headers
/// send those that were absent as empty ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Field<'a> {
    /// The first line that is not empty.
    pub(super) value: Option<&'a [u8]>,
    /// Another line that is not empty follows it.
    repeated: bool,
    has_empty_line: bool,
}

impl<'a> Field<'a> {
    pub(super) fn add(&mut self, value: &'a [u8]) {
        if value.is_empty() {
            self.has_empty_line = true;
        } else if self.value.is_some() {
            self.repeated = true;
        } else {
            self.value = Some(value);
        }
    }

    /// Whether the request has any line of this header.
    pub(super) fn is_present(&self) -> bool {
        self.value.is_some() || self.has_empty_line
    }

    /// Whether the header has at most one line, and none that is empty.
    pub(super) fn is_clean(&self) -> bool {
        !self.repeated && !self.has_empty_line
    }

    /// The value of a header with one line, which is not empty.
    pub(super) fn clean_value(&self) -> Option<&'a [u8]> {
        self.value.filter(|_| self.is_clean())
    }

    /// The one value; a repeated header has none that could be believed.
    pub(super) fn single(&self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.repeated {
            Err(Malformed::Repeated)
        } else {
            Ok(self.value)
        }
    }
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

impl<'a> Extraction<'a> {
    /// One that outlives the request.
    pub(crate) fn into_owned(self) -> Extraction<'static> {
        Extraction {
            trace_state: self.trace_state.into_owned(),
            ..self
        }
    }

    /// Forgets what came, so that a trace starts here. Its headers are still
    /// known, and written over or removed by [`Propagator::inject`].
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
    fn add_trace_state(
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

/// Flags of a context that came in a format which knows no random flag.
pub(super) fn flags_of(sampling: SamplingState) -> TraceFlags {
    let sampled = matches!(sampling, SamplingState::Accept | SamplingState::Debug);
    TraceFlags::default().with_sampled(sampled)
}
