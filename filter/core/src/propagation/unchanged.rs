//! Contexts of unsampled requests that are forwarded byte for byte
//! (`propagation.unsampled: unchanged`).
//!
//! > It MAY mutate the value of the `parent-id` field (W3C Trace Context,
//! > Mutating the traceparent Field)
//!
//! A proxy that makes no span need not: the next hop's parent is then a span
//! that exists. It also saves the header write, which makes Envoy choose the
//! route anew in Wasm.

use crate::context::id::{SpanId, TraceId};
use crate::context::span_context::SpanContext;
use crate::context::trace_state::TraceState;
use crate::headers::header_map::Extractor;
use crate::propagation::composite::Propagator;
use crate::propagation::extracted::{ContextHeaders, Extraction};
use crate::propagation::format::{Format, Parsed, SamplingState};
use crate::propagation::settings::UnsampledContext;
use crate::propagation::{b3, w3c};

/// The caller's span.
type Ids = (TraceId, SpanId);

impl Propagator {
    /// Whether the context of an unsampled request can be forwarded byte for
    /// byte: it is the caller's, unsampled, in canonical form, and in formats
    /// that agree and include those of `inject`.
    pub(crate) fn forwards_unchanged(
        &self,
        headers: &ContextHeaders<'_>,
        extraction: &Extraction<'_>,
    ) -> bool {
        let Some(parent) = extraction.parent else {
            return false;
        };
        let ids = (parent.trace_id, parent.span_id);
        self.unsampled == UnsampledContext::Unchanged
            && Format::ALL.into_iter().all(|format| {
                if !self.handles(format) {
                    return true;
                }
                match headers.canonical_unsampled(format) {
                    Canonical::Absent => !self.inject.contains(&format),
                    Canonical::Context(found) => found == ids,
                    Canonical::No => false,
                }
            })
    }
}

impl Propagator {
    /// Whether headers that an unsampled context is to be written to hold one of
    /// the same trace that can be forwarded byte for byte.
    pub(crate) fn holds_unchanged(&self, context: &SpanContext, headers: &impl Extractor) -> bool {
        if self.unsampled != UnsampledContext::Unchanged {
            return false;
        }
        let mut found = ContextHeaders::default();
        for (name, value) in headers.headers() {
            found.add(name, value);
        }
        let extraction = self.extract_found(&found, headers);
        let is_same = |parent: &SpanContext| parent.trace_id == context.trace_id;
        extraction.parent.as_ref().is_some_and(is_same)
            && self.forwards_unchanged(&found, &extraction)
    }
}

/// The form of the headers of one format.
enum Canonical {
    /// No header of this format.
    Absent,
    /// A complete, unsampled context as this format's specification writes it.
    Context(Ids),
    /// Anything else.
    No,
}

impl Canonical {
    fn of_context(context: Option<SpanContext>) -> Self {
        context.map_or(Self::No, |context| {
            Self::Context((context.trace_id, context.span_id))
        })
    }
}

/// Whether a line of `tracestate` has members, all valid and with keys of their
/// own, which reading does not insist on.
fn is_valid_trace_state(line: &[u8]) -> bool {
    let is_member = |member: &&[u8]| !member.trim_ascii().is_empty();
    let members = line.split(|&b| b == b',').filter(is_member).count();
    TraceState::parse(std::iter::once(line))
        .is_ok_and(|state| !state.is_empty() && state.members().count() == members)
}

impl ContextHeaders<'_> {
    fn canonical_unsampled(&self, format: Format) -> Canonical {
        match format {
            Format::TraceContext => self.canonical_w3c(),
            Format::B3 if !self.b3.is_present() => Canonical::Absent,
            Format::B3 => Canonical::of_context(
                self.b3
                    .clean_value()
                    .and_then(b3::canonical_unsampled_single),
            ),
            Format::B3Multi if !self.b3_multi.carried().any() => Canonical::Absent,
            Format::B3Multi => Canonical::of_context(self.b3_multi.canonical_unsampled()),
        }
    }

    fn canonical_w3c(&self) -> Canonical {
        if !self.traceparent.is_present() && !self.tracestate.is_present() {
            return Canonical::Absent;
        }
        let is_canonical = self
            .traceparent
            .clean_value()
            .is_some_and(w3c::is_canonical_unsampled);
        match w3c::parse(self.traceparent) {
            Parsed::Context(context, SamplingState::Deny)
                if is_canonical && self.has_clean_trace_state() =>
            {
                Canonical::of_context(Some(context))
            }
            _ => Canonical::No,
        }
    }

    /// Whether `tracestate` is absent, or one valid line with a member.
    fn has_clean_trace_state(&self) -> bool {
        match (self.tracestate.is_present(), self.tracestate.clean_value()) {
            (false, _) => true,
            (true, Some(line)) => is_valid_trace_state(line),
            (true, None) => false,
        }
    }
}
