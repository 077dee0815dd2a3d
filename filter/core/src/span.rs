//! The span being recorded, and its limits.

use crate::attribute::{Value, put_key_value};
use crate::id::SpanId;
use crate::span_context::SpanContext;
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

/// The longest string value in bytes: enough for a long URL, and a peer that
/// sends 60 KiB of it fills no queue.
pub const MAX_ATTRIBUTE_LENGTH: usize = 1024;

/// The field of OTLP's `Span` that holds its attributes.
const ATTRIBUTES: u32 = 9;

/// A span from its start to its end.
///
/// Attributes are encoded as they are set, so that the end of the span only
/// copies them.
#[derive(Debug)]
pub struct Span {
    /// Its own ids.
    pub context: SpanContext,
    /// The caller's span.
    pub parent: Option<SpanId>,
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
    pub(crate) attributes: Vec<u8>,
    pub(crate) dropped_attributes: u32,
}

impl Span {
    /// A span that starts at `start_unix_nanos`.
    pub fn new(context: SpanContext, kind: SpanKind, start_unix_nanos: u64) -> Self {
        Self {
            context,
            parent: None,
            trace_state: String::new(),
            kind,
            name: Cow::Borrowed(""),
            start_unix_nanos,
            link: None,
            is_error: false,
            // What an ordinary request fills: about ten attributes.
            attributes: Vec::with_capacity(512),
            dropped_attributes: 0,
        }
    }

    /// Sets a string, cut to [`MAX_ATTRIBUTE_LENGTH`] at a character's
    /// boundary. Each key must be set once only.
    pub fn set_str(&mut self, key: &str, value: &str) {
        let cut = value.floor_char_boundary(MAX_ATTRIBUTE_LENGTH);
        self.set(key, Value::Str(value.get(..cut).unwrap_or_default()));
    }

    /// Sets a string from a peer's bytes; what is no UTF-8 is replaced.
    pub fn set_bytes(&mut self, key: &str, value: &[u8]) {
        // No byte behind the cut can be seen, so none is looked at.
        let seen = value.get(..MAX_ATTRIBUTE_LENGTH + 3).unwrap_or(value);
        self.set_str(key, &String::from_utf8_lossy(seen));
    }

    /// Sets an integer.
    pub fn set_int(&mut self, key: &str, value: i64) {
        self.set(key, Value::Int(value));
    }

    fn set(&mut self, key: &str, value: Value<'_>) {
        put_key_value(ATTRIBUTES, key, value, &mut self.attributes);
    }
}
