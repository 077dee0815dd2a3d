//! A stream whose span is recorded, and the spans of one that has ended.

use crate::context::id::SpanId;
use crate::context::span_context::SpanContext;
use crate::headers::header_map::Extractor;
use crate::host::request_info::Direction;
use crate::host::response_info::ResponseInfo;
use crate::recording::stored_headers::KeptRequest;
use crate::span::span::Span;

/// A stream whose span is recorded, if it is to be exported when it ends.
/// Spans are made then: until then, this is all that is known.
#[derive(Debug)]
pub struct StreamTracer {
    /// What goes on upstream: of the call there, if that has a span of its own.
    pub(crate) passed_on: SpanContext,
    /// For the stream's own span, if the call upstream has that one.
    pub(crate) own_id: SpanId,
    /// The caller's span.
    pub(crate) caller: Option<SpanId>,
    /// The value of the `tracestate` that goes on.
    pub(crate) trace_state: String,
    /// The foreign span whose place the stream's takes, and its trace state.
    pub(crate) link: Option<(SpanContext, String)>,
    /// The rule that decided, if one did.
    pub(crate) rule: Option<usize>,
    /// Known if a decision read it.
    pub(super) direction: Option<Direction>,
    pub(super) start_unix_nanos: u64,
    /// Its spans have only what [`Deferrable`](crate::recording::deferrable::Deferrable)
    /// lists, if it ends as that says.
    pub(super) is_plain: bool,
    pub(super) request: KeptRequest,
    /// Bytes of the request's body that were received.
    pub(super) received: u64,
    /// It is one attempt upstream, seen by an upstream HTTP filter.
    pub(super) is_attempt: bool,
}

/// The spans of a stream that has ended.
#[derive(Debug)]
pub struct Ended {
    pub(crate) span: Span,
    /// For the call upstream, if there was one.
    pub(crate) upstream: Option<Span>,
}

impl StreamTracer {
    /// Whether it has a span whatever becomes of it.
    pub fn is_sampled(&self) -> bool {
        self.passed_on.flags.is_sampled()
    }

    /// Whether headers hold the context that goes upstream.
    pub fn is_context_in(&self, headers: &impl Extractor) -> bool {
        let id = self.passed_on.span_id.to_hex();
        let holds_id = |value: &[u8]| value.windows(id.len()).any(|window| window == id);
        headers.headers().any(|(_, value)| holds_id(value))
    }

    /// The traffic direction of the listener: of the request if a decision read
    /// it, else of the response.
    pub(super) fn direction(&self, response: &(impl ResponseInfo + ?Sized)) -> Direction {
        let of_response = || response.listener_direction();
        self.direction.unwrap_or_else(of_response)
    }

    /// Says that the stream is one attempt upstream: the filter is among a
    /// cluster's HTTP filters. Its one span is a CLIENT span.
    pub fn set_attempt(&mut self) {
        self.is_attempt = true;
    }

    /// Counts bytes of the request's body as the proxy receives them.
    pub fn add_request_body(&mut self, bytes: u64) {
        self.received = self.received.saturating_add(bytes);
    }
}
