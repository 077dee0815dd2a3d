//! Spans of a host that decides and tags itself, as Envoy does for its
//! tracers: what it says in its own words is told in the conventions'.
//!
//! What a request asks for is read from its headers, as everywhere. Of what
//! Envoy adds by [`SpanTagger::tag`], this is what each becomes:
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

use super::grpc::Status;
use super::http::{Bodies, Methods, record_peer, record_request};
use super::{Ended, SpanConfig};
use crate::id::{IdGenerator, SpanId, TraceId};
use crate::propagation::{Extractor, Injector, Propagator, SamplingState};
use crate::request::RequestHead;
use crate::resource::Environment;
use crate::semconv;
use crate::span::{Parent, Span, SpanKind};
use crate::span_context::{SpanContext, TraceFlags};
use crate::span_name::Field;
use crate::url::{cut, lossy, split_host_port, split_target};
use std::borrow::Cow;
use std::sync::Arc;

/// Makes such spans.
#[derive(Debug)]
pub struct SpanTagger {
    propagator: Propagator,
    config: SpanConfig,
    methods: Methods,
}

/// A span that its host tags.
#[derive(Debug)]
pub struct TaggedSpan {
    span: Span,
    /// The caller said nothing about sampling, so that the host's word counts.
    is_decided_here: bool,
    /// As the host wants it.
    name: Option<String>,
    cluster: String,
    status: Option<u16>,
    grpc_status: Option<Status>,
    is_error: bool,
    reason: Option<String>,
    response_size: Option<i64>,
    /// `None` for a call of a filter's own, and for a request that was not
    /// sampled when it came.
    request: Option<Arc<Asked>>,
}

/// What is asked, for the spans of all attempts.
#[derive(Debug)]
struct Asked {
    method: Vec<u8>,
    scheme: Vec<u8>,
    authority: Vec<u8>,
    path: Vec<u8>,
    user_agent: Option<Vec<u8>>,
    grpc_method: Option<String>,
    bodies: Bodies,
}

impl Asked {
    fn of(head: &RequestHead<'_>, max_length: usize) -> Self {
        let target = head.path_without_query();
        let grpc_method = target.strip_prefix(b"/").unwrap_or(target);
        Self {
            method: head.method.to_vec(),
            scheme: head.scheme.to_vec(),
            authority: head.authority.to_vec(),
            path: head.path.to_vec(),
            user_agent: head.user_agent.map(<[u8]>::to_vec),
            grpc_method: head
                .is_grpc()
                .then(|| lossy(grpc_method, max_length).into_owned()),
            bodies: Bodies::of(head),
        }
    }

    fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            scheme: &self.scheme,
            authority: &self.authority,
            path: &self.path,
            user_agent: self.user_agent.as_deref(),
            ..RequestHead::default()
        }
    }
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
    /// which counts where the caller made none; `request` gives the request's
    /// headers, and is asked only if there is something to record. Gives
    /// whether a context came that was not believed, too.
    pub fn start<R: Extractor>(
        &self,
        ids: &mut IdGenerator,
        headers: &impl Extractor,
        request: impl FnOnce() -> R,
        is_sampled: bool,
        now: u64,
    ) -> (TaggedSpan, bool) {
        let extraction = self.propagator.extract(headers);
        let (trace_id, flags) = match extraction.parent {
            Some(parent) => (parent.trace_id, parent.flags),
            None => (ids.trace_id(), TraceFlags::default().with_random(true)),
        };
        let is_decided_here = extraction.sampling == SamplingState::Deferred;
        let is_sampled = match extraction.sampling {
            SamplingState::Deferred => is_sampled,
            SamplingState::Accept | SamplingState::Debug => true,
            SamplingState::Deny => false,
        };
        let context = SpanContext {
            trace_id,
            span_id: ids.span_id(),
            flags: flags.with_sampled(is_sampled),
        };
        let kind = self.config.kind.unwrap_or(SpanKind::Server);
        let limit = self.config.limits.max_attribute_length;
        let asked = is_sampled.then(|| Arc::new(Asked::of(&RequestHead::read(&request()), limit)));
        let mut tagged = self.span(context, kind, asked, now);
        tagged.is_decided_here = is_decided_here;
        tagged.span.parent = extraction.parent.map(|parent| Parent {
            span_id: parent.span_id,
            is_remote: true,
        });
        tagged.span.trace_state = extraction.trace_state.as_str().to_owned();
        (tagged, extraction.malformed.is_some())
    }

    /// Starts the span of a call that is made for the request: an attempt to
    /// answer it upstream, which Envoy's router names `router CLUSTER egress`,
    /// or one of a filter's own, as ext_authz makes it.
    pub fn child(
        &self,
        ids: &mut IdGenerator,
        parent: &TaggedSpan,
        name: &str,
        now: u64,
    ) -> TaggedSpan {
        let context = SpanContext {
            span_id: ids.span_id(),
            ..parent.span.context
        };
        let is_attempt = name.starts_with("router ");
        let request = parent.request.clone().filter(|_| is_attempt);
        let mut tagged = self.span(context, SpanKind::Client, request, now);
        tagged.name = (!is_attempt).then(|| name.to_owned());
        tagged.span.parent = Some(Parent {
            span_id: parent.span.context.span_id,
            is_remote: false,
        });
        tagged.span.trace_state.clone_from(&parent.span.trace_state);
        tagged
    }

    fn span(
        &self,
        context: SpanContext,
        kind: SpanKind,
        request: Option<Arc<Asked>>,
        now: u64,
    ) -> TaggedSpan {
        let is_sampled = context.flags.is_sampled();
        let new = if is_sampled {
            Span::recorded
        } else {
            Span::new
        };
        let mut span = new(context, kind, now, self.config.limits);
        if is_sampled {
            span.attributes.set_str(semconv::COMPONENT, semconv::PROXY);
            if let Some(request) = &request {
                self.record(request, &mut span);
            }
        }
        TaggedSpan {
            span,
            is_decided_here: false,
            name: None,
            cluster: String::new(),
            status: None,
            grpc_status: None,
            is_error: false,
            reason: None,
            response_size: None,
            request,
        }
    }

    /// What is known when a span starts.
    fn record(&self, request: &Asked, span: &mut Span) {
        if !self.config.attributes.is_stable() {
            return;
        }
        let head = request.head();
        record_request(
            &head,
            self.methods.known(&head).map(|m| &**m),
            &self.config.url_query,
            span,
        );
        if let Some(user_agent) = head.user_agent {
            span.attributes
                .set_bytes(semconv::USER_AGENT_ORIGINAL, user_agent);
        }
        if let Some(method) = &request.grpc_method {
            span.attributes.set_str(semconv::RPC_SYSTEM_NAME, "grpc");
            if !method.is_empty() {
                span.attributes.set_str(semconv::RPC_METHOD, method);
            }
        }
    }

    /// Writes a span's context to what goes upstream, whose headers these are.
    pub fn inject(
        &self,
        tagged: &TaggedSpan,
        headers: &impl Extractor,
        injector: &mut impl Injector,
    ) {
        // An attempt before this one may have written its own; what goes on of
        // the trace is the same.
        let extraction = self.propagator.extract(headers);
        let span = &tagged.span;
        let parent = span.parent.map(|parent| parent.span_id);
        // The call of a filter has no headers of the request's.
        let is_lost = !span.trace_state.is_empty() && headers.header(b"tracestate").is_none();
        let state = is_lost.then_some(span.trace_state.as_str());
        self.propagator
            .inject(&span.context, parent, state, &extraction, injector);
    }

    /// Adds what the host says of a span that is sampled.
    pub fn tag(&self, tagged: &mut TaggedSpan, key: &str, value: &str) {
        if !tagged.is_sampled() {
            return;
        }
        if self.config.attributes.is_envoy() {
            let value = match key {
                "http.url" => self.shown(value),
                _ => Cow::Borrowed(value),
            };
            tagged.span.attributes.set_str(key, &value);
        }
        if self.config.attributes.is_stable() || matches!(key, "error" | "http.status_code") {
            self.tell(tagged, key, value);
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

    fn tell(&self, tagged: &mut TaggedSpan, key: &str, value: &str) {
        let is_stable = self.config.attributes.is_stable();
        let has_request_body = tagged.has_request_body();
        let is_child = tagged.span.parent.is_some_and(|parent| !parent.is_remote);
        let (kind, attributes) = (tagged.span.kind, &mut tagged.span.attributes);
        let number = || value.parse::<i64>().ok();
        // What Envoy does not know is a dash.
        let said = (value != "-" && !value.is_empty()).then_some(value);
        match (key, kind) {
            ("error", _) => tagged.is_error = value == "true",
            ("http.status_code", _) => {
                tagged.status = value.parse().ok().filter(|status| *status > 0);
                if let Some(status) = tagged.status.filter(|_| is_stable) {
                    attributes.set_int(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
                }
            }
            ("error.reason", _) => tagged.reason = Some(value.replace(' ', "_")),
            ("http.protocol", SpanKind::Server) => {
                if let Some(version) = value.strip_prefix("HTTP/") {
                    attributes.set_str(semconv::NETWORK_PROTOCOL_VERSION, version);
                }
            }
            // Of a call of a filter's own nobody else tells it.
            ("http.method", _) if tagged.request.is_none() => {
                attributes.set_str(semconv::HTTP_REQUEST_METHOD, value);
            }
            ("http.url", _) if tagged.request.is_none() => {
                attributes.set_str(semconv::URL_FULL, &self.shown(value));
            }
            ("request_size", _) if has_request_body => {
                if let Some(size) = number() {
                    attributes.set_int(semconv::HTTP_REQUEST_BODY_SIZE, size);
                }
            }
            ("response_size", _) => tagged.response_size = number(),
            ("peer.address", SpanKind::Server) => {
                attributes.set_str(semconv::CLIENT_ADDRESS, split_host_port(value).0);
            }
            // Envoy has the caller there on the request's own span.
            ("peer.address", SpanKind::Client) if is_child => record_peer(value, attributes),
            ("upstream_address", SpanKind::Client) if !is_child => {
                if let Some(address) = said {
                    record_peer(address, attributes);
                }
            }
            ("upstream_address", SpanKind::Server) => {
                if let Some(address) = said {
                    attributes.set_str(semconv::SIDESPAN_UPSTREAM_ADDRESS, address);
                }
            }
            ("upstream_cluster", _) => {
                if let Some(cluster) = said {
                    attributes.set_str(semconv::SIDESPAN_UPSTREAM_CLUSTER, cluster);
                    cluster.clone_into(&mut tagged.cluster);
                }
            }
            ("response_flags", _) => {
                if let Some(flags) = said {
                    attributes.set_str(semconv::SIDESPAN_RESPONSE_FLAGS, flags);
                }
            }
            ("retry.count", _) => {
                if let Some(count) = number() {
                    attributes.set_int(semconv::HTTP_REQUEST_RESEND_COUNT, count);
                }
            }
            ("grpc.status_code", _) => {
                tagged.grpc_status = Status::read(value.as_bytes());
                if let Some(status) = tagged.grpc_status {
                    attributes.set_str(semconv::RPC_STATUS_CODE, status.name());
                }
            }
            // What is told already: by the request, by the resource, or by another tag.
            (
                "component"
                | "http.method"
                | "http.url"
                | "http.protocol"
                | "user_agent"
                | "request_size"
                | "upstream_address"
                | "upstream_cluster.name"
                | "downstream_cluster"
                | "node_id"
                | "zone"
                | "guid:x-request-id"
                | "guid:x-client-trace-id"
                | "canceled"
                | "grpc.path"
                | "grpc.authority"
                | "grpc.content_type"
                | "grpc.timeout"
                | "grpc.message",
                _,
            ) => {}
            _ if self.config.attributes.is_envoy() => {}
            (custom, _) => attributes.set_str(custom, value),
        }
    }

    /// Ends a span. Gives it, to be queued, if it is sampled.
    pub fn end(&self, tagged: TaggedSpan) -> Option<Ended> {
        if !tagged.is_sampled() {
            return None;
        }
        let name = self.name(&tagged);
        let error = tagged.error().map(Cow::into_owned);
        let mut span = tagged.span;
        span.name = name;
        span.is_error = error.is_some();
        if self.config.attributes.is_stable() {
            if let Some(error) = error {
                span.attributes.set_str(semconv::ERROR_TYPE, &error);
            }
            let request = tagged.request.as_ref();
            let has_body = request.is_none_or(|asked| asked.bodies.has_response(tagged.status));
            if let Some(size) = tagged.response_size.filter(|_| has_body) {
                span.attributes
                    .set_int(semconv::HTTP_RESPONSE_BODY_SIZE, size);
            }
        }
        Some(Ended {
            span,
            upstream: None,
        })
    }

    /// As the host wants it, by the template, or by the conventions.
    fn name(&self, tagged: &TaggedSpan) -> Cow<'static, str> {
        let limit = self.config.limits.max_attribute_length;
        let Some(request) = &tagged.request else {
            // Nothing else is known of a request that was sampled late.
            let name = tagged.name.as_deref().unwrap_or("HTTP");
            return Cow::Owned(cut(name, limit).to_owned());
        };
        let head = request.head();
        let method = self.methods.known(&head).map_or("HTTP", |m| m);
        let (host, path) = (
            lossy(head.host(), limit),
            lossy(head.path_without_query(), limit),
        );
        let rendered = || {
            self.config.name.render(|field| {
                Cow::Borrowed(match field {
                    Field::Method => method,
                    Field::Host => &host,
                    Field::Path => &path,
                    Field::Route => "",
                    Field::Cluster => &tagged.cluster,
                })
            })
        };
        let by_convention = || match request.grpc_method.as_deref() {
            Some("") => "grpc".to_owned(),
            Some(method) => method.to_owned(),
            None => method.to_owned(),
        };
        let name = tagged.name.clone().or_else(rendered);
        let name = name.unwrap_or_else(by_convention);
        Cow::Owned(cut(&name, limit).to_owned())
    }
}

impl TaggedSpan {
    /// Whether it is recorded.
    pub fn is_sampled(&self) -> bool {
        self.span.context.flags.is_sampled()
    }

    fn has_request_body(&self) -> bool {
        let request = self.request.as_ref();
        request.is_some_and(|asked| asked.bodies.has_request())
    }

    /// Whether the host's decision counts.
    pub fn is_decided_here(&self) -> bool {
        self.is_decided_here
    }

    /// The host has decided anew, which counts where it decided before. A span
    /// that was not recorded from its start has what is said of it from here on.
    pub fn set_sampled(&mut self, is_sampled: bool) {
        if !self.is_decided_here {
            return;
        }
        let flags = &mut self.span.context.flags;
        *flags = flags.with_sampled(is_sampled);
    }

    /// The name that the host wants.
    pub fn set_name(&mut self, name: &str) {
        self.name = Some(name.to_owned());
    }

    /// Its trace.
    pub fn trace_id(&self) -> TraceId {
        self.span.context.trace_id
    }

    /// Its own id.
    pub fn span_id(&self) -> SpanId {
        self.span.context.span_id
    }

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
