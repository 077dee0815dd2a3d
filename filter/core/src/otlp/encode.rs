//! OTLP messages to bytes, written field by field without a message in
//! between, and what is read of the collector's answer
//! (opentelemetry-proto, `trace/v1/trace.proto`).

use crate::context::span_context::SpanContext;
use crate::otlp::fields::span as field;
use crate::otlp::fields::{envelope, link, status};
use crate::protobuf::wire::{
    DELIMITED, FIXED64, Place, VARINT, key_len, len_delimited_len, next_field, put_bytes,
    put_fixed32, put_len, put_varint, short_key, varint_len,
};
use crate::span::span::Span;

/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`: the next bit means something.
const HAS_IS_REMOTE: u32 = 0x100;
/// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`: the parent came from another process.
const IS_REMOTE: u32 = 0x200;

/// `Status.StatusCode.STATUS_CODE_ERROR`.
const STATUS_CODE_ERROR: u64 = 2;

fn span_flags(span: &Span) -> u32 {
    let remote = match span.parent {
        Some(parent) if parent.is_remote => IS_REMOTE,
        _ => 0,
    };
    u32::from(span.context.flags.bits()) | HAS_IS_REMOTE | remote
}

fn link_len((_, trace_state): &(SpanContext, String)) -> usize {
    let state = match trace_state.len() {
        0 => 0,
        len => len_delimited_len(link::TRACE_STATE, len),
    };
    ids_len() + state + key_len(link::FLAGS) + 4
}

/// What a span links to came from elsewhere, always.
fn link_flags(context: &SpanContext) -> u32 {
    u32::from(context.flags.bits()) | HAS_IS_REMOTE | IS_REMOTE
}

fn status_len() -> usize {
    key_len(status::CODE) + 1
}

fn span_len(span: &Span) -> usize {
    let optional = |field, len| match len {
        0 => 0,
        len => len_delimited_len(field, len),
    };
    ids_len()
        + optional(field::TRACE_STATE, span.trace_state.len())
        + span
            .parent
            .map_or(0, |_| len_delimited_len(field::PARENT_SPAN_ID, 8))
        + optional(field::NAME, span.name.len())
        + key_len(field::KIND)
        + 1
        + 2 * (key_len(field::START_TIME_UNIX_NANO) + 8)
        + span.attributes.as_bytes().len()
        + match span.attributes.dropped() {
            0 => 0,
            n => key_len(field::DROPPED_ATTRIBUTES_COUNT) + varint_len(u64::from(n)),
        }
        + span
            .link
            .as_ref()
            .map_or(0, |link| len_delimited_len(field::LINKS, link_len(link)))
        + if span.is_error {
            len_delimited_len(field::STATUS, status_len())
        } else {
            0
        }
        + key_len(field::FLAGS)
        + 4
}

/// The length of what [`put_span`] appends.
pub(crate) fn scope_span_len(span: &Span) -> usize {
    len_delimited_len(envelope::SPANS, span_len(span))
}

/// The length of what [`put_ids`] appends.
fn ids_len() -> usize {
    len_delimited_len(field::TRACE_ID, 16) + len_delimited_len(field::SPAN_ID, 8)
}

/// Appends the first two fields of a span, and of a link.
fn put_ids(context: &SpanContext, out: &mut Vec<u8>) {
    let mut ids = [0; 2 + 16 + 2 + 8];
    let mut place = Place(&mut ids);
    place.put([short_key(DELIMITED, field::TRACE_ID), 16]);
    place.put(*context.trace_id.as_bytes());
    place.put([short_key(DELIMITED, field::SPAN_ID), 8]);
    place.put(*context.span_id.as_bytes());
    out.extend_from_slice(&ids);
}

/// Appends what stands between a span's name and its attributes.
fn put_kind_and_times(span: &Span, end_unix_nanos: u64, out: &mut Vec<u8>) {
    let mut fields = [0; 2 + 9 + 9];
    let mut place = Place(&mut fields);
    place.put([short_key(VARINT, field::KIND), span.kind as u8]);
    place.put([short_key(FIXED64, field::START_TIME_UNIX_NANO)]);
    place.put(span.start_unix_nanos.to_le_bytes());
    place.put([short_key(FIXED64, field::END_TIME_UNIX_NANO)]);
    place.put(end_unix_nanos.to_le_bytes());
    out.extend_from_slice(&fields);
}

/// Appends a span that ended at `end_unix_nanos` as one of a `ScopeSpans`.
pub(crate) fn put_span(span: &Span, end_unix_nanos: u64, out: &mut Vec<u8>) {
    put_len(envelope::SPANS, span_len(span), out);
    put_ids(&span.context, out);
    if !span.trace_state.is_empty() {
        put_bytes(field::TRACE_STATE, span.trace_state.as_bytes(), out);
    }
    if let Some(parent) = span.parent {
        put_bytes(field::PARENT_SPAN_ID, parent.span_id.as_bytes(), out);
    }
    if !span.name.is_empty() {
        put_bytes(field::NAME, span.name.as_bytes(), out);
    }
    put_kind_and_times(span, end_unix_nanos, out);
    out.extend_from_slice(span.attributes.as_bytes());
    if span.attributes.dropped() > 0 {
        put_varint(
            field::DROPPED_ATTRIBUTES_COUNT,
            u64::from(span.attributes.dropped()),
            out,
        );
    }
    if let Some(link) = &span.link {
        put_len(field::LINKS, link_len(link), out);
        let (context, trace_state) = link;
        put_ids(context, out);
        if !trace_state.is_empty() {
            put_bytes(link::TRACE_STATE, trace_state.as_bytes(), out);
        }
        put_fixed32(link::FLAGS, link_flags(context), out);
    }
    if span.is_error {
        put_len(field::STATUS, status_len(), out);
        put_varint(status::CODE, STATUS_CODE_ERROR, out);
    }
    put_fixed32(field::FLAGS, span_flags(span), out);
}

/// The spans that [`put_span`] wrote, each as it stands there.
pub(crate) fn scope_spans(mut spans: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let all = spans;
        next_field(&mut spans)?;
        all.get(..all.len() - spans.len())
    })
}

/// What is the same in every request of one exporter: the resource and the
/// scope.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// `ResourceSpans.resource`, whole.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`, whole.
    scope: Vec<u8>,
}

impl Envelope {
    /// `resource` is the encoded `Resource` message.
    pub(crate) fn new(resource: &[u8], scope_name: &str, scope_version: &str) -> Self {
        let mut wrapped = Vec::new();
        put_bytes(envelope::RESOURCE, resource, &mut wrapped);
        let mut names = Vec::new();
        put_bytes(envelope::SCOPE_NAME, scope_name.as_bytes(), &mut names);
        put_bytes(
            envelope::SCOPE_VERSION,
            scope_version.as_bytes(),
            &mut names,
        );
        let mut scope = Vec::new();
        put_bytes(envelope::SCOPE, &names, &mut scope);
        Self {
            resource: wrapped,
            scope,
        }
    }

    /// The length of an `ExportTraceServiceRequest` with so many bytes of spans.
    pub(crate) fn len(&self, spans: usize) -> usize {
        len_delimited_len(envelope::RESOURCE_SPANS, self.resource_spans_len(spans))
    }

    /// The most that stands before spans.
    pub(crate) fn overhead(&self) -> usize {
        // The keys and lengths of what holds spans, and of gRPC's message.
        const LENGTHS: usize = 2 * (1 + 5) + 5;
        self.resource.len() + self.scope.len() + LENGTHS
    }

    /// Appends an `ExportTraceServiceRequest` up to its spans, so many bytes,
    /// which [`put_span`] wrote and which end it.
    pub(crate) fn put_head(&self, spans: usize, out: &mut Vec<u8>) {
        put_len(
            envelope::RESOURCE_SPANS,
            self.resource_spans_len(spans),
            out,
        );
        out.extend_from_slice(&self.resource);
        put_len(envelope::SCOPE_SPANS, self.scope.len() + spans, out);
        out.extend_from_slice(&self.scope);
    }

    fn resource_spans_len(&self, spans: usize) -> usize {
        self.resource.len() + len_delimited_len(envelope::SCOPE_SPANS, self.scope.len() + spans)
    }
}

/// `ExportTraceServiceResponse.partial_success`: set if the collector did not
/// take everything.
pub(crate) const PARTIAL_SUCCESS: u32 = 1;
/// `ExportTracePartialSuccess.rejected_spans`: zero with a message is a
/// warning.
pub(crate) const REJECTED_SPANS: u32 = 1;
/// `ExportTracePartialSuccess.error_message`.
pub(crate) const ERROR_MESSAGE: u32 = 2;
