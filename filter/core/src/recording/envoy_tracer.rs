//! Spans of a host that decides and tags itself, as Envoy does for its
//! tracers: what it says in its own words is told in the conventions'.
//!
//! What a request asks for is read from its headers, as everywhere. Of what
//! Envoy adds by [`TaggedSpan::tag`], this is what each becomes:
//!
//! | Envoy's tag | attribute |
//! |---|---|
//! | `http.protocol` | `network.protocol.version` |
//! | `http.status_code` | `http.response.status_code` |
//! | `request_size`, `response_size` | `http.request.body.size`, `http.response.body.size` |
//! | `peer.address` | `client.address`; of a client `network.peer.*` |
//! | `upstream_address` | `sidespan.upstream.address`; of a client `network.peer.*` |
//! | `upstream_cluster` | `sidespan.upstream.cluster` |
//! | `response_flags` | `sidespan.response_flags` |
//! | `retry.count` | `http.request.resend_count` |
//! | `grpc.status_code` | `rpc.status_code`, by its name |
//! | `error`, `error.reason` | the status of the span, `error.type` |
//! | any other of its own | nothing: it is told already, or by the resource |
//! | all else: a custom tag | itself |

use crate::context::id_generator::IdGenerator;
use crate::context::span_context::{SpanContext, TraceFlags};
use crate::headers::header_map::{Extractor, Injector};
use crate::headers::request::RequestHead;
use crate::headers::url::{split_host_port, split_target};
use crate::host::environment::Environment;
use crate::propagation::composite::Propagator;
use crate::propagation::format::SamplingState;
use crate::recording::envoy_span::{TaggedSpan, room_for_tags};
use crate::recording::grpc_status::Status;
use crate::recording::http::{Bodies, Methods, record_peer, record_request, record_user_agent};
use crate::recording::settings::SpanConfig;
use crate::recording::span_name::{NameFields, truncate};
use crate::recording::stored_headers::Kept;
use crate::recording::stream::Ended;
use crate::span::semconv;
use crate::span::span::{Parent, Span, SpanKind};
use crate::span::text::{lossy, utf8_lossy};
use std::borrow::Cow;
use std::sync::Arc;

/// Makes such spans.
#[derive(Debug)]
pub struct SpanTagger {
    propagator: Propagator,
    config: SpanConfig,
    methods: Methods,
}

/// A span that is being told, and what is needed at its end of what was said.
struct Telling<'a> {
    span: Span,
    /// `None` as in [`TaggedSpan`].
    head: Option<&'a RequestHead<'a>>,
    cluster: Cow<'a, str>,
    status: Option<u16>,
    grpc_status: Option<Status>,
    is_error: bool,
    reason: Option<String>,
    response_size: Option<i64>,
}

impl SpanTagger {
    /// One for a configuration, for all workers: what each has of its own is
    /// where its ids come from.
    pub fn new(propagator: Propagator, config: SpanConfig, environment: &impl Environment) -> Self {
        Self {
            propagator,
            config,
            methods: Methods::new(environment),
        }
    }

    /// Starts the span of a request. `is_sampled` is the host's decision,
    /// which counts where the caller made none. What the request asks for is
    /// read by name, and only if it is recorded. Gives whether a context came
    /// that was not believed, too.
    pub fn start(
        &self,
        ids: &mut IdGenerator,
        headers: &impl Extractor,
        is_sampled: bool,
        now: u64,
    ) -> (TaggedSpan, bool) {
        let came = self.propagator.extract(headers).into_owned();
        let (trace_id, flags) = match came.parent {
            Some(parent) => (parent.trace_id, parent.flags),
            None => (ids.trace_id(), TraceFlags::default().with_random(true)),
        };
        let is_sampled = match came.sampling {
            SamplingState::Deferred => is_sampled,
            SamplingState::Accept | SamplingState::Debug => true,
            SamplingState::Deny => false,
        };
        let is_malformed = came.malformed.is_some();
        let limit = self.config.limits.max_attribute_length;
        let tagged = TaggedSpan {
            context: SpanContext {
                trace_id,
                span_id: ids.span_id(),
                flags: flags.with_sampled(is_sampled),
            },
            kind: self.config.kind.unwrap_or(SpanKind::Server),
            parent: came.parent.map(|parent| Parent {
                span_id: parent.span_id,
                is_remote: true,
            }),
            start_unix_nanos: now,
            is_decided_here: came.sampling == SamplingState::Deferred,
            came,
            name: None,
            request: is_sampled.then(|| Arc::new(Kept::of_named(headers, limit))),
            sent: None,
            tags: room_for_tags(is_sampled),
            max_attribute_length: limit,
        };
        (tagged, is_malformed)
    }

    /// Writes a span's context to the headers of what goes upstream.
    pub fn inject(&self, tagged: &TaggedSpan, headers: &mut (impl Extractor + Injector)) {
        let TaggedSpan { context, came, .. } = tagged;
        if !tagged.is_sampled() && self.propagator.holds_unchanged(context, headers) {
            return;
        }
        let parent = tagged.parent.map(|parent| parent.span_id);
        self.propagator.inject_later(context, parent, came, headers);
    }

    /// Ends a span. Gives it, to be queued, if it is sampled.
    pub fn end(&self, tagged: TaggedSpan) -> Option<Ended> {
        if !tagged.is_sampled() {
            return None;
        }
        let head = tagged.request.as_deref().map(|request| {
            let head = RequestHead::read(request);
            match tagged.sent.as_deref() {
                Some([path, authority]) => RequestHead {
                    path,
                    authority,
                    ..head
                },
                None => head,
            }
        });
        let limits = self.config.limits;
        let mut span = Span::recorded(tagged.context, tagged.kind, tagged.start_unix_nanos, limits);
        span.parent = tagged.parent;
        span.trace_state = tagged.came.trace_state.as_str().to_owned();
        let mut telling = Telling {
            span,
            head: head.as_ref(),
            cluster: Cow::Borrowed(""),
            status: None,
            grpc_status: None,
            is_error: false,
            reason: None,
            response_size: None,
        };
        let attributes = &mut telling.span.attributes;
        attributes.set_str(semconv::COMPONENT, semconv::PROXY);
        if let Some(head) = &head {
            self.record(head, &mut telling.span);
        }
        for (key, value) in tagged.tags.headers() {
            self.tag(&mut telling, key, utf8_lossy(value));
        }
        let name = self.name(&telling, tagged.name.as_deref());
        let error = telling.error().map(Cow::into_owned);
        let status = telling.status;
        let has_body = |head: &RequestHead<'_>| Bodies::of(head).has_response(status);
        let size = telling
            .response_size
            .filter(|_| head.as_ref().is_none_or(has_body));
        let mut span = telling.span;
        span.name = name;
        span.is_error = error.is_some();
        if self.config.attributes.is_stable() {
            if let Some(error) = error {
                span.attributes.set_str(semconv::ERROR_TYPE, &error);
            }
            if let Some(size) = size {
                span.attributes
                    .set_int(semconv::HTTP_RESPONSE_BODY_SIZE, size);
            }
        }
        Some(Ended {
            span,
            upstream: None,
        })
    }

    /// What the request says.
    fn record(&self, head: &RequestHead<'_>, span: &mut Span) {
        if !self.config.attributes.is_stable() {
            return;
        }
        let method = self.methods.known(head).map(|method| &**method);
        record_request(head, method, &self.config.url_query, span);
        record_user_agent(head, span);
        if let Some(method) = self.grpc_method(head) {
            span.attributes.set_str(semconv::RPC_SYSTEM_NAME, "grpc");
            if !method.is_empty() {
                span.attributes.set_str(semconv::RPC_METHOD, &method);
            }
        }
    }

    /// The method that is called, if it is a call; empty if its path has none.
    fn grpc_method<'a>(&self, head: &RequestHead<'a>) -> Option<Cow<'a, str>> {
        let target = head.path_without_query();
        let method = target.strip_prefix(b"/").unwrap_or(target);
        let limit = self.config.limits.max_attribute_length;
        head.is_grpc().then(|| lossy(method, limit))
    }

    fn tag<'a>(&self, telling: &mut Telling<'a>, key: &[u8], value: Cow<'a, str>) {
        if self.config.attributes.is_envoy() {
            let shown = match key {
                b"http.url" => self.shown(&value),
                _ => Cow::Borrowed(&*value),
            };
            telling.span.attributes.set_str(&utf8_lossy(key), &shown);
        }
        if self.config.attributes.is_stable() || matches!(key, b"error" | b"http.status_code") {
            self.tell(telling, key, value);
        }
    }

    /// A URL with that of its query which the configuration shows.
    fn shown<'a>(&self, url: &'a str) -> Cow<'a, str> {
        let limit = self.config.limits.max_attribute_length;
        match split_target(url) {
            (_, None) => Cow::Borrowed(url),
            (rest, Some(query)) => match self.config.url_query.apply(query, limit) {
                Some(query) => Cow::Owned(format!("{rest}?{query}")),
                None => Cow::Borrowed(rest),
            },
        }
    }

    fn tell<'a>(&self, telling: &mut Telling<'a>, key: &[u8], value: Cow<'a, str>) {
        let is_stable = self.config.attributes.is_stable();
        let has_request = telling.head.is_some();
        let is_child = telling.span.parent.is_some_and(|parent| !parent.is_remote);
        let (kind, attributes) = (telling.span.kind, &mut telling.span.attributes);
        let number = || value.parse::<i64>().ok();
        // What Envoy does not know is a dash.
        let is_said = value != "-" && !value.is_empty();
        match (key, kind) {
            (b"error", _) => telling.is_error = value == "true",
            (b"http.status_code", _) => {
                telling.status = value.parse().ok().filter(|status| *status > 0);
                if let Some(status) = telling.status.filter(|_| is_stable) {
                    attributes.set_int(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
                }
            }
            (b"error.reason", _) => telling.reason = Some(value.replace(' ', "_")),
            (b"http.protocol", SpanKind::Server) => {
                if let Some(version) = value.strip_prefix("HTTP/") {
                    attributes.set_str(semconv::NETWORK_PROTOCOL_VERSION, version);
                }
            }
            // Of a call of a filter's own nobody else tells it.
            (b"http.method", _) if !has_request => {
                attributes.set_str(semconv::HTTP_REQUEST_METHOD, &value);
            }
            (b"http.url", _) if !has_request => {
                attributes.set_str(semconv::URL_FULL, &self.shown(&value));
            }
            (b"request_size", _) => {
                let has_body = telling
                    .head
                    .is_some_and(|head| Bodies::of(head).has_request());
                if let Some(size) = number().filter(|_| has_body) {
                    attributes.set_int(semconv::HTTP_REQUEST_BODY_SIZE, size);
                }
            }
            (b"response_size", _) => telling.response_size = number(),
            (b"peer.address", SpanKind::Server) => {
                attributes.set_str(semconv::CLIENT_ADDRESS, split_host_port(&value).0);
            }
            // Envoy has the caller there on the request's own span.
            (b"peer.address", SpanKind::Client) if is_child => record_peer(&value, attributes),
            (b"upstream_address", SpanKind::Client) if !is_child && is_said => {
                record_peer(&value, attributes);
            }
            (b"upstream_address", SpanKind::Server) if is_said => {
                attributes.set_str(semconv::SIDESPAN_UPSTREAM_ADDRESS, &value);
            }
            (b"upstream_cluster", _) if is_said => {
                attributes.set_str(semconv::SIDESPAN_UPSTREAM_CLUSTER, &value);
                telling.cluster = value;
            }
            (b"response_flags", _) if is_said => {
                attributes.set_str(semconv::SIDESPAN_RESPONSE_FLAGS, &value);
            }
            (b"retry.count", _) => {
                if let Some(count) = number() {
                    attributes.set_int(semconv::HTTP_REQUEST_RESEND_COUNT, count);
                }
            }
            (b"grpc.status_code", _) => {
                telling.grpc_status = Status::read(value.as_bytes());
                if let Some(status) = telling.grpc_status {
                    attributes.set_str(semconv::RPC_STATUS_CODE, status.name());
                }
            }
            // What is told already: by the request, by the resource, or by another tag.
            (
                b"component"
                | b"http.method"
                | b"http.url"
                | b"http.protocol"
                | b"user_agent"
                | b"response_flags"
                | b"upstream_address"
                | b"upstream_cluster"
                | b"upstream_cluster.name"
                | b"downstream_cluster"
                | b"node_id"
                | b"zone"
                | b"guid:x-request-id"
                | b"guid:x-client-trace-id"
                | b"canceled"
                | b"grpc.path"
                | b"grpc.authority"
                | b"grpc.content_type"
                | b"grpc.timeout"
                | b"grpc.message",
                _,
            ) => {}
            _ if self.config.attributes.is_envoy() => {}
            (custom, _) => attributes.set_str(&utf8_lossy(custom), &value),
        }
    }

    /// As the host wants it, by the template, or by the conventions.
    fn name(&self, telling: &Telling<'_>, wanted: Option<&str>) -> Cow<'static, str> {
        let limit = self.config.limits.max_attribute_length;
        let name = match (wanted, telling.head) {
            (Some(name), _) => Cow::Owned(name.to_owned()),
            // Nothing else is known of a request that was sampled late.
            (None, None) => Cow::Borrowed("HTTP"),
            (None, Some(head)) => self.name_of(head, &telling.cluster),
        };
        truncate(name, limit)
    }

    fn name_of(&self, head: &RequestHead<'_>, cluster: &str) -> Cow<'static, str> {
        let limit = self.config.limits.max_attribute_length;
        let method = self.methods.known(head).cloned();
        let method = method.unwrap_or(Cow::Borrowed("HTTP"));
        let fields = NameFields {
            method: &method,
            head,
            route: || "",
            cluster: || cluster,
        };
        let rendered = fields.render(&self.config.name, limit);
        match (rendered, self.grpc_method(head).as_deref()) {
            (Some(name), _) => Cow::Owned(name),
            (None, Some("")) => Cow::Borrowed("grpc"),
            (None, Some(method)) => Cow::Owned(method.to_owned()),
            (None, None) => method,
        }
    }
}

impl Telling<'_> {
    /// `error.type`, if it failed: as the host says, and of a client also
    /// with a 4xx.
    fn error(&self) -> Option<Cow<'_, str>> {
        let kind = self.span.kind;
        if let Some(status) = self.grpc_status
            && status.is_error(kind)
        {
            return Some(Cow::Borrowed(status.name()));
        }
        let least = match kind {
            SpanKind::Server => 500,
            SpanKind::Client => 400,
        };
        match self.status {
            Some(status) if status >= least => Some(Cow::Owned(status.to_string())),
            _ if !self.is_error => None,
            _ => Some(self.reason.as_deref().unwrap_or(semconv::OTHER).into()),
        }
    }
}
