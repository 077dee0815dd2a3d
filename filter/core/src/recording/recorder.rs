//! One HTTP stream, from its request headers to its end, as a span, or as two:
//! its own, and one for the call upstream.

use crate::context::id::SpanId;
use crate::context::span_context::SpanContext;
use crate::headers::header_map::Extractor;
use crate::headers::name_set::Names;
use crate::headers::request::RequestHead;
use crate::host::environment::{Environment, is_istio, is_istio_gateway};
use crate::host::request_info::{Direction, RequestInfo};
use crate::host::response_info::ResponseInfo;
use crate::recording::envoy_tags::EnvoyNames;
use crate::recording::http::Methods;
use crate::recording::response_view::Outcome;
use crate::recording::settings::SpanConfig;
use crate::recording::span_name::{NameFields, truncate};
use crate::recording::stored_headers::KeptRequest;
use crate::recording::stream::{Ended, StreamTracer};
use crate::recording::{grpc, http, proxy};
use crate::sampling::request::Request;
use crate::sampling::tail_keep::Keep;
use crate::span::custom_tags::{CustomTag, CustomTags};
use crate::span::semconv;
use crate::span::span::{Parent, Span, SpanKind};
use std::borrow::Cow;
use std::cell::OnceCell;

/// Makes spans of streams.
#[derive(Debug)]
pub struct Recorder {
    config: SpanConfig,
    tags: CustomTags,
    methods: Methods,
    envoy: EnvoyNames,
    /// The request headers that spans say something of.
    asked: Names,
    /// Whether it is worth asking the host for
    /// [workloads](ResponseInfo::workload).
    knows_workloads: bool,
    /// Whether spans say of an ordinary stream only what they say of each.
    is_plain: bool,
    is_istio_gateway: bool,
    keep: Keep,
    /// The names of the rules; empty for none.
    rules: Vec<String>,
}

/// What a request and its response are to the span that is made of them.
struct Story<'a, R> {
    request: &'a KeptRequest,
    received: SideRequest<'a>,
    /// The request that was sent upstream, where it is another one.
    sent: Option<SideRequest<'a>>,
    outcome: Outcome<'a, R>,
}

/// The request on one side of the proxy.
struct SideRequest<'a> {
    head: RequestHead<'a>,
    /// If it is one of those that are told by name.
    method: Option<&'a Cow<'static, str>>,
    grpc: Option<grpc::Call>,
}

impl<'a, R> Story<'a, R> {
    /// The request that a span of this kind describes: "`url.full` […] of the
    /// request that was sent" for a client, the one that was received for a
    /// server.
    fn request_of(&self, kind: SpanKind) -> &SideRequest<'a> {
        match (kind, &self.sent) {
            (SpanKind::Client, Some(sent)) => sent,
            _ => &self.received,
        }
    }
}

/// `error.type` of a span of this kind whose response had this status; `None`
/// if its status is not ERROR.
fn error(
    kind: SpanKind,
    status: Option<u16>,
    outcome: &Outcome<'_, impl ResponseInfo>,
) -> Option<Cow<'static, str>> {
    grpc::error(kind, outcome)
        .map(Cow::Borrowed)
        .or_else(|| http::error(kind, status, outcome))
}

impl Recorder {
    /// One for a configuration.
    pub fn new(
        config: SpanConfig,
        custom_tags: Vec<CustomTag>,
        keep: Keep,
        rules: Vec<String>,
        environment: &impl Environment,
    ) -> Self {
        let is_of_spans = |name: &str| config.attributes.is_envoy() || semconv::is_of_spans(name);
        let variable = |name: &str| environment.variable(name);
        let tags = CustomTags::new(custom_tags, config.limits, is_of_spans, variable);
        let of_envoy: &[_] = match config.attributes.is_envoy() {
            true => &EnvoyNames::HEADERS,
            false => &[],
        };
        let knows_workloads = is_istio(environment);
        let mut asked: Vec<&str> = RequestHead::HEADERS.to_vec();
        asked.extend_from_slice(of_envoy);
        asked.extend(tags.request_headers());
        Self {
            asked: Names::new(&asked),
            is_plain: !config.attributes.is_envoy() && !knows_workloads && tags.are_of_request(),
            tags,
            config,
            methods: Methods::new(environment),
            envoy: EnvoyNames::new(environment),
            knows_workloads,
            is_istio_gateway: is_istio_gateway(environment),
            keep,
            rules,
        }
    }

    /// What an operator should know of the environment.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let tags = self.tags.warnings().iter().cloned();
        tags.chain(self.methods.warning())
    }

    /// Istio calls the listeners of its gateways outbound; they are edges.
    fn is_edge(&self, direction: Direction) -> bool {
        direction == Direction::Unspecified || self.is_istio_gateway
    }

    /// The side of a call that a proxy's own span stands for.
    fn kind(&self, direction: impl FnOnce() -> Direction) -> SpanKind {
        self.config.kind.unwrap_or_else(|| match direction() {
            Direction::Outbound if !self.is_edge(Direction::Outbound) => SpanKind::Client,
            Direction::Outbound | Direction::Inbound | Direction::Unspecified => SpanKind::Server,
        })
    }

    /// Whether spans are made of what was not sampled.
    pub(crate) fn may_keep(&self) -> bool {
        self.keep.is_anything()
    }

    /// Whether a stream of this direction has a CLIENT span, which describes the
    /// request that was sent upstream.
    pub fn makes_client_span(&self, direction: Direction) -> bool {
        self.has_upstream_span(|| direction) || self.kind(|| direction) == SpanKind::Client
    }

    /// Whether the call upstream has a span of its own.
    pub(crate) fn has_upstream_span(&self, direction: impl FnOnce() -> Direction) -> bool {
        self.config.upstream_span.unwrap_or_else(|| {
            let direction = direction();
            self.is_edge(direction) && self.kind(|| direction) == SpanKind::Server
        })
    }

    /// A request came whose span is recorded. `own_id` is for the stream's own
    /// span, if that of the call upstream has the one that is passed on.
    pub(crate) fn start(
        &self,
        request: &Request<'_, impl Extractor, impl RequestInfo>,
        passed_on: SpanContext,
        own_id: SpanId,
    ) -> StreamTracer {
        StreamTracer {
            passed_on,
            own_id,
            caller: None,
            trace_state: String::new(),
            link: None,
            rule: None,
            direction: request.known_direction(),
            start_unix_nanos: request.now(),
            is_plain: self.is_plain
                && !request.head.is_grpc()
                && !http::Bodies::of(&request.head).is_open(),
            request: KeptRequest::of(
                request.headers,
                &self.asked,
                self.config.limits.max_attribute_length,
            ),
            received: 0,
            is_attempt: false,
        }
    }

    /// Makes the spans of a stream that ended. What was not sampled has some
    /// only if it is to be kept.
    pub fn end(
        &self,
        stream: StreamTracer,
        response: &impl ResponseInfo,
        now: u64,
    ) -> Option<Ended> {
        let head = RequestHead::read(&stream.request);
        let outcome = Outcome::read(response, head.is_grpc());
        let known = OnceCell::new();
        let direction = || *known.get_or_init(|| stream.direction(response));
        let (kind, has_upstream_span) = match stream.is_attempt {
            true => (SpanKind::Client, false),
            false => (self.kind(direction), self.has_upstream_span(direction)),
        };
        let mut keep_reason = None;
        if !stream.is_sampled() {
            let duration = now.saturating_sub(stream.start_unix_nanos);
            let is_error = error(kind, outcome.status, &outcome).is_some();
            keep_reason = Some(self.keep.reason(outcome.ending(is_error, duration))?);
        }
        // What was never sent is described as it was received.
        let is_sent = outcome.attempts > 0;
        let has_client_span = is_sent
            && (has_upstream_span || kind == SpanKind::Client)
            && !outcome.is_internal_redirect();
        let sent_path = has_client_span.then(|| response.sent_path()).flatten();
        let sent_authority = has_client_span.then(|| response.sent_authority()).flatten();
        let sent = RequestHead {
            path: sent_path.as_deref().unwrap_or(head.path),
            authority: sent_authority.as_deref().unwrap_or(head.authority),
            ..head
        };
        let is_rewritten = sent.path != head.path || sent.authority != head.authority;
        let story = Story {
            request: &stream.request,
            received: self.side(head),
            sent: is_rewritten.then(|| self.side(sent)),
            outcome,
        };
        // A request that was never sent has no call upstream. Its only span has
        // the id that was passed on: a filter that answered, such as an
        // authorizer, may have passed it on to others.
        let (mut span, mut upstream) = match has_upstream_span && is_sent {
            true => {
                let context = SpanContext {
                    span_id: stream.own_id,
                    ..stream.passed_on
                };
                (self.span(&stream, context, kind), Some(self.call(&stream)))
            }
            false => (self.span(&stream, stream.passed_on, kind), None),
        };
        if let Some(reason) = keep_reason {
            span.attributes
                .set_str(semconv::SIDESPAN_KEEP_REASON, reason);
        }
        let rule = stream.rule.and_then(|index| self.rules.get(index));
        if let Some(rule) = rule.filter(|name| !name.is_empty()) {
            span.attributes.set_str(semconv::SIDESPAN_RULE, rule);
        }
        self.record(&story, story.outcome.status, &mut span);
        if let Some(upstream) = &mut upstream {
            // Of what the proxy answered in its place, the upstream knows
            // nothing.
            self.record(&story, story.outcome.upstream_status(), upstream);
        }
        self.record_stream(&story, stream.received, &mut span, upstream.as_mut());
        let tags = self.tags.of(story.request, response);
        tags.add_to(&mut span.attributes);
        if let Some(upstream) = &mut upstream {
            tags.add_to(&mut upstream.attributes);
        }
        Some(Ended { span, upstream })
    }

    fn side<'a>(&'a self, head: RequestHead<'a>) -> SideRequest<'a> {
        let limit = self.config.limits.max_attribute_length;
        SideRequest {
            method: self.methods.known(&head),
            grpc: head.is_grpc().then(|| grpc::Call::new(&head, limit)),
            head,
        }
    }

    /// The stream's own span.
    fn span(&self, stream: &StreamTracer, context: SpanContext, kind: SpanKind) -> Span {
        Span {
            parent: stream.caller.map(|span_id| Parent {
                span_id,
                is_remote: true,
            }),
            link: stream.link.clone(),
            ..self.any(stream, context, kind)
        }
    }

    /// That of the call upstream.
    fn call(&self, stream: &StreamTracer) -> Span {
        Span {
            parent: Some(Parent {
                span_id: stream.own_id,
                is_remote: false,
            }),
            ..self.any(stream, stream.passed_on, SpanKind::Client)
        }
    }

    fn any(&self, stream: &StreamTracer, context: SpanContext, kind: SpanKind) -> Span {
        let mut span = Span::recorded(context, kind, stream.start_unix_nanos, self.config.limits);
        span.trace_state.clone_from(&stream.trace_state);
        span
    }

    /// What is said of either side of the stream, which had this status.
    fn record(&self, story: &Story<'_, impl ResponseInfo>, status: Option<u16>, span: &mut Span) {
        let outcome = &story.outcome;
        span.name = self.name(span.kind, story);
        // The upstream answered, and a filter replaced its answer.
        let is_replaced = status.is_none() && outcome.status.is_some() && outcome.flags.is_empty();
        let error = error(span.kind, status, outcome).filter(|_| !is_replaced);
        let request = story.request_of(span.kind);
        span.is_error = error.is_some();
        span.attributes.set_str(semconv::COMPONENT, semconv::PROXY);
        if self.config.attributes.is_stable() {
            let method = request.method.map(|m| &**m);
            http::record_request(&request.head, method, &self.config.url_query, span);
            http::record_response(status, error.as_deref(), outcome, span);
            if let Some(grpc) = &request.grpc {
                grpc.record(outcome, &mut span.attributes);
            }
        }
    }

    /// What is said of the stream once.
    fn record_stream(
        &self,
        story: &Story<'_, impl ResponseInfo>,
        received: u64,
        span: &mut Span,
        mut upstream: Option<&mut Span>,
    ) {
        let Story { outcome, .. } = story;
        let head = &story.received.head;
        if self.config.attributes.is_stable() {
            http::record_user_agent(head, span);
            http::record_caller(outcome.response, span);
            http::record_route(outcome.route(), span);
            let bodies = http::Bodies::of(head);
            http::record_sizes(&bodies, received, outcome, &mut span.attributes);
            proxy::record(outcome, self.knows_workloads, span, upstream.as_deref_mut());
        }
        if self.config.attributes.is_envoy() {
            self.envoy
                .record_request(story.request, head, &self.config.url_query, span);
            EnvoyNames::record_caller(outcome.response, span);
            let request_size = match http::Bodies::of(head).is_announced() {
                true => Some(received),
                false => outcome.response.request_size(),
            };
            self.envoy
                .record_response(outcome, request_size, span, upstream);
        }
    }

    /// By the template, else by the conventions.
    fn name(&self, kind: SpanKind, story: &Story<'_, impl ResponseInfo>) -> Cow<'static, str> {
        let outcome = &story.outcome;
        let SideRequest { head, method, grpc } = story.request_of(kind);
        let limit = self.config.limits.max_attribute_length;
        // "In other cases […], `{method}` MUST be `HTTP`."
        let method = method.map_or(Cow::Borrowed("HTTP"), Cow::clone);
        let fields = NameFields {
            method: &method,
            head,
            route: || outcome.route().unwrap_or_default(),
            cluster: || outcome.cluster().unwrap_or_default(),
        };
        let rendered = fields.render(&self.config.name, limit);
        let name = match (rendered, grpc) {
            (Some(name), _) => Cow::Owned(name),
            (None, Some(grpc)) => grpc.span_name(outcome),
            // A route is a server's.
            (None, None) => match outcome.route().and_then(http::route_template) {
                Some(route) if kind == SpanKind::Server => Cow::Owned(format!("{method} {route}")),
                _ => method,
            },
        };
        truncate(name, limit)
    }
}
