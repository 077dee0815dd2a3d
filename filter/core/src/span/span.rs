//! The span being recorded, and its limits.

use crate::context::id::SpanId;
use crate::context::span_context::SpanContext;
use crate::span::attributes::Attributes;
use std::borrow::Cow;

/// Which side of a call a span stands for (OpenTelemetry specification,
/// SpanKind), with OTLP's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// The proxy answers a call.
    Server = 2,
    /// The proxy makes a call.
    Client = 3,
}

/// What every span is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest string value in bytes, and the longest name.
    pub max_attribute_length: usize,
    /// Custom tags on one span.
    pub max_custom_tags: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Enough for a long URL, and a peer that sends 60 KiB of it fills
            // no queue.
            max_attribute_length: 1024,
            max_custom_tags: 64,
        }
    }
}

/// The span that another one is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its id; the trace is the same.
    pub span_id: SpanId,
    /// Whether another process made it.
    pub is_remote: bool,
}

/// A span from its start to its end.
#[derive(Debug)]
pub struct Span {
    /// Its own ids.
    pub context: SpanContext,
    /// The span that it is a part of.
    pub parent: Option<Parent>,
    /// The value of the `tracestate` that goes on with it.
    pub trace_state: String,
    /// Server or client.
    pub kind: SpanKind,
    /// Of low cardinality.
    pub name: Cow<'static, str>,
    /// Unix time in nanoseconds.
    pub start_unix_nanos: u64,
    /// The foreign span that this one takes the place of, and its trace state.
    pub link: Option<(SpanContext, String)>,
    /// Status ERROR; unset otherwise, as an instrumentation leaves it.
    pub is_error: bool,
    /// What it says.
    pub attributes: Attributes,
}

impl Span {
    /// What an ordinary request fills: some twenty attributes.
    const EXPECTED_BYTES: usize = 896;

    /// A span that starts at `start_unix_nanos`, with room for what an
    /// ordinary one holds.
    pub fn recorded(
        context: SpanContext,
        kind: SpanKind,
        start_unix_nanos: u64,
        limits: Limits,
    ) -> Self {
        Self {
            attributes: Attributes::new(limits.max_attribute_length, Self::EXPECTED_BYTES),
            ..Self::new(context, kind, start_unix_nanos, limits)
        }
    }

    /// A span that starts at `start_unix_nanos`.
    pub fn new(
        context: SpanContext,
        kind: SpanKind,
        start_unix_nanos: u64,
        limits: Limits,
    ) -> Self {
        Self {
            context,
            parent: None,
            trace_state: String::new(),
            kind,
            name: Cow::Borrowed(""),
            start_unix_nanos,
            link: None,
            is_error: false,
            attributes: Attributes::new(limits.max_attribute_length, 0),
        }
    }
}
