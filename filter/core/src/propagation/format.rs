//! What all context formats share: their names, what one can say, and why a
//! context is not believed.

use crate::context::span_context::{SpanContext, TraceFlags};

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

/// Flags of a context that came in a format which knows no random flag.
pub(super) fn flags_of(sampling: SamplingState) -> TraceFlags {
    let sampled = matches!(sampling, SamplingState::Accept | SamplingState::Debug);
    TraceFlags::default().with_sampled(sampled)
}
