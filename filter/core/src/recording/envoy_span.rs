//! A span that Envoy decides and tags.

use crate::context::id::{SpanId, TraceId};
use crate::context::id_generator::IdGenerator;
use crate::context::span_context::SpanContext;
use crate::headers::header_map::Extractor;
use crate::propagation::extracted::Extraction;
use crate::recording::stored_headers::Kept;
use crate::span::span::{Parent, SpanKind};
use crate::span::text::lossy;
use std::sync::Arc;

/// A span that its host tags. What is said of it is only kept until it is made
/// by [`SpanTagger::end`](crate::recording::envoy_tracer::SpanTagger::end), so that a host can have many made in one go.
#[derive(Debug)]
pub struct TaggedSpan {
    pub(super) context: SpanContext,
    pub(super) kind: SpanKind,
    pub(super) parent: Option<Parent>,
    pub(super) start_unix_nanos: u64,
    /// The caller said nothing about sampling, so that the host's word counts.
    pub(super) is_decided_here: bool,
    /// The context that came with the request.
    pub(super) came: Extraction<'static>,
    /// As the host wants it.
    pub(super) name: Option<String>,
    /// What the request asks for, for the spans of all attempts. `None` for a
    /// call of a filter's own, and for a request that was not sampled when it
    /// came.
    pub(super) request: Option<Arc<Kept>>,
    /// The `:path` and `:authority` of the request that was sent upstream, of a
    /// client's span where they are others than those of `request`.
    pub(super) sent: Option<Box<[Vec<u8>; 2]>>,
    /// What the host says, as far as attributes can hold it.
    pub(super) tags: Kept,
    pub(super) max_attribute_length: usize,
}

/// What Envoy's tags of an ordinary request fill; of one that is not sampled
/// there are none.
const EXPECTED_BYTES: usize = 1024;

pub(super) fn room_for_tags(is_sampled: bool) -> Kept {
    Kept::with_capacity(if is_sampled { EXPECTED_BYTES } else { 0 })
}

impl TaggedSpan {
    /// Starts the span of a call that is made for the request: an attempt to
    /// answer it upstream, which Envoy's router names `router CLUSTER egress`,
    /// or one of a filter's own, as ext_authz makes it.
    pub fn child(&self, ids: &mut IdGenerator, name: &[u8], now: u64) -> Self {
        let is_attempt = name.starts_with(b"router ");
        Self {
            context: SpanContext {
                span_id: ids.span_id(),
                ..self.context
            },
            kind: SpanKind::Client,
            parent: Some(Parent {
                span_id: self.context.span_id,
                is_remote: false,
            }),
            start_unix_nanos: now,
            is_decided_here: false,
            came: self.came.clone(),
            name: (!is_attempt).then(|| lossy(name, self.max_attribute_length).into_owned()),
            request: self.request.clone().filter(|_| is_attempt),
            sent: None,
            tags: room_for_tags(self.is_sampled()),
            max_attribute_length: self.max_attribute_length,
        }
    }

    /// Sets the path and the host that a client's span describes to those of
    /// the request that is sent upstream.
    pub fn set_sent_request(&mut self, headers: &impl Extractor) {
        let Some(request) = self.request.as_deref() else {
            return;
        };
        if self.kind != SpanKind::Client {
            return;
        }
        let limit = self.max_attribute_length;
        let names = [b":path".as_slice(), b":authority"];
        let sent = names.map(|name| headers.header(name).unwrap_or_default());
        let is_stored = |name: &[u8], value: &[u8]| request.header(name) == Some(value);
        if names
            .iter()
            .zip(sent)
            .all(|(name, value)| is_stored(name, value))
        {
            return;
        }
        let mut kept = Kept::with_capacity(0);
        for (name, value) in names.iter().zip(sent) {
            kept.add_header(name, value, limit);
        }
        let stored = |name: &[u8]| kept.header(name).unwrap_or_default().to_vec();
        self.sent = Some(Box::new(names.map(stored)));
    }

    /// Whether it is recorded.
    pub fn is_sampled(&self) -> bool {
        self.context.flags.is_sampled()
    }

    /// Whether the host's decision counts.
    pub fn is_decided_here(&self) -> bool {
        self.is_decided_here
    }

    /// The host has decided anew, which counts where it decided before. A span
    /// that was not recorded from its start has what is said of it from here on.
    pub fn set_sampled(&mut self, is_sampled: bool) {
        if self.is_decided_here {
            let flags = &mut self.context.flags;
            *flags = flags.with_sampled(is_sampled);
        }
    }

    /// The name that the host wants.
    pub fn set_name(&mut self, name: &[u8]) {
        if self.is_sampled() {
            self.name = Some(lossy(name, self.max_attribute_length).into_owned());
        }
    }

    /// What the host says of a span that is sampled.
    pub fn tag(&mut self, key: &[u8], value: &[u8]) {
        if self.is_sampled() {
            self.tags.add_value(key, value, self.max_attribute_length);
        }
    }

    /// Its trace.
    pub fn trace_id(&self) -> TraceId {
        self.context.trace_id
    }

    /// Its own id.
    pub fn span_id(&self) -> SpanId {
        self.context.span_id
    }
}
