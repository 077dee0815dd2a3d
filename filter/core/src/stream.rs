//! One HTTP stream, from its request headers to its end, as a span, or as two:
//! its own, and one for the call upstream.

mod envoy;
mod grpc;
mod http;
mod outcome;
mod proxy;
pub mod tagged;

use crate::custom_tag::{CustomTag, CustomTags, Tagging};
use crate::id::SpanId;
use crate::keep::Keep;
use crate::propagation::Extractor;
use crate::request::{Direction, Request, RequestHead, RequestInfo, ResponseInfo};
use crate::resource::{Environment, is_istio, is_istio_gateway};
use crate::semconv;
use crate::span::{Limits, Parent, Span, SpanKind};
use crate::span_context::SpanContext;
use crate::span_name::{Field, SpanName};
use crate::url::{QueryPolicy, cut, lossy};
use envoy::EnvoyNames;
use http::Methods;
use outcome::Outcome;
use std::borrow::Cow;
use std::iter::once;

/// What spans are like.
#[derive(Clone, Debug, Default)]
pub struct SpanConfig {
    /// `None`: by the listener's direction.
    pub kind: Option<SpanKind>,
    /// `None`: where the proxy is the server and its listener has no
    /// direction: at gateways and edges.
    pub upstream_span: Option<bool>,
    /// How they are named.
    pub name: SpanName,
    /// Whose names attributes have.
    pub attributes: Vocabulary,
    /// How much they may hold.
    pub limits: Limits,
    /// What is shown of a query.
    pub url_query: QueryPolicy,
}

/// Whose names attributes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vocabulary {
    /// OpenTelemetry's conventions, and our own namespace.
    #[default]
    Stable,
    /// Those of the tracer that is built into Envoy.
    Envoy,
    /// Both.
    Both,
}

impl Vocabulary {
    fn is_stable(self) -> bool {
        self != Self::Envoy
    }

    fn is_envoy(self) -> bool {
        self != Self::Stable
    }
}

/// Makes spans of streams.
#[derive(Debug)]
pub struct Recorder {
    config: SpanConfig,
    tags: CustomTags,
    methods: Methods,
    envoy: EnvoyNames,
    /// Whether it is worth asking the host for
    /// [workloads](ResponseInfo::workload).
    knows_workloads: bool,
    is_istio_gateway: bool,
}

/// A stream whose span is recorded.
#[derive(Debug)]
pub struct StreamTracer {
    span: Span,
    upstream: Option<Span>,
    tags: Tagging,
    grpc: Option<grpc::Call>,
    request: RequestNote,
}

/// What the end of a stream must know of its request.
#[derive(Debug)]
struct RequestNote {
    /// `GET`; `HTTP` for one that is not known.
    method: Cow<'static, str>,
    /// Of these, what the span's name asks for.
    host: String,
    path: String,
    body: http::Bodies,
}

/// The spans of a stream that has ended.
#[derive(Debug)]
pub struct Ended {
    pub(crate) span: Span,
    /// For the call upstream, if there was one.
    pub(crate) upstream: Option<Span>,
}

impl Recorder {
    /// One for a configuration.
    #[inline(never)]
    pub fn new(
        config: SpanConfig,
        custom_tags: Vec<CustomTag>,
        environment: &impl Environment,
    ) -> Self {
        Self {
            tags: CustomTags::new(custom_tags, config.limits, |name| {
                environment.variable(name)
            }),
            config,
            methods: Methods::new(environment),
            envoy: EnvoyNames::new(environment),
            knows_workloads: is_istio(environment),
            is_istio_gateway: is_istio_gateway(environment),
        }
    }

    /// Istio calls the listeners of its gateways outbound; they are edges.
    fn is_edge(&self, direction: Direction) -> bool {
        direction == Direction::Unspecified || self.is_istio_gateway
    }

    /// The side of a call that a proxy's own span stands for.
    fn kind<H, I>(&self, request: &Request<'_, H, I>) -> SpanKind {
        self.config.kind.unwrap_or_else(|| {
            let direction = request.direction();
            match direction {
                Direction::Outbound if !self.is_edge(direction) => SpanKind::Client,
                Direction::Outbound | Direction::Inbound | Direction::Unspecified => {
                    SpanKind::Server
                }
            }
        })
    }

    /// Whether the call upstream has a span of its own.
    pub(crate) fn has_upstream_span<H, I>(&self, request: &Request<'_, H, I>) -> bool {
        self.config.upstream_span.unwrap_or_else(|| {
            self.is_edge(request.direction()) && self.kind(request) == SpanKind::Server
        })
    }

    /// Starts the span of a request. `upstream_id` is for the call upstream, if
    /// it has one of its own.
    #[inline(never)]
    pub(crate) fn start(
        &self,
        request: &Request<'_, impl Extractor, impl RequestInfo>,
        context: SpanContext,
        upstream_id: Option<SpanId>,
    ) -> StreamTracer {
        let (head, config) = (&request.head, &self.config);
        let kind = self.kind(request);
        let method = self.methods.known(head);
        let mut span = Span::recorded(context, kind, request.now, config.limits);
        let mut upstream = upstream_id.map(|span_id| {
            let context = SpanContext { span_id, ..context };
            Span::recorded(context, SpanKind::Client, request.now, config.limits)
        });
        for span in both(&mut span, &mut upstream) {
            span.attributes.set_str(semconv::COMPONENT, semconv::PROXY);
            if config.attributes.is_stable() {
                http::record_request(head, method.map(|m| &**m), &config.url_query, span);
            }
        }
        if config.attributes.is_stable() {
            http::record_user_agent(head, &mut span);
        }
        if config.attributes.is_envoy() {
            self.envoy
                .record_request(request, &config.url_query, &mut span);
        }
        StreamTracer {
            span,
            upstream,
            tags: self.tags.start(request.headers),
            grpc: head
                .is_grpc()
                .then(|| grpc::Call::new(head, config.limits.max_attribute_length)),
            request: self.note(head, method),
        }
    }

    fn note(&self, head: &RequestHead<'_>, method: Option<&Cow<'static, str>>) -> RequestNote {
        let limit = self.config.limits.max_attribute_length;
        let has = |field| self.config.name.has(field);
        let text = |value| lossy(value, limit).into_owned();
        RequestNote {
            // "In other cases […], `{method}` MUST be `HTTP`."
            method: method.map_or(Cow::Borrowed("HTTP"), Cow::clone),
            host: if has(Field::Host) {
                text(head.host())
            } else {
                String::new()
            },
            path: if has(Field::Path) {
                text(head.path_without_query())
            } else {
                String::new()
            },
            body: http::Bodies::of(head),
        }
    }

    /// Records how the stream ended and gives its spans. What was not sampled
    /// is given only if it is to be kept.
    #[inline(never)]
    pub(crate) fn end(
        &self,
        stream: StreamTracer,
        response: &impl ResponseInfo,
        keep: &Keep,
        now: u64,
    ) -> Option<Ended> {
        let StreamTracer {
            mut span,
            upstream,
            tags,
            grpc,
            request,
        } = stream;
        let outcome = Outcome::read(response, grpc.is_some());
        if !span.context.flags.is_sampled() {
            let duration = now.saturating_sub(span.start_unix_nanos);
            let reason = keep.reason(outcome.ending(span.kind, duration))?;
            span.attributes
                .set_str(semconv::SIDESPAN_KEEP_REASON, reason);
        }
        // What was never sent has no span of its own.
        let mut upstream = upstream.filter(|_| outcome.attempts > 0);
        for span in both(&mut span, &mut upstream) {
            span.name = self.name(span.kind, &request, grpc.as_ref(), &outcome);
        }
        if let Some(upstream) = &mut upstream {
            upstream.trace_state.clone_from(&span.trace_state);
            upstream.parent = Some(Parent {
                span_id: span.context.span_id,
                is_remote: false,
            });
        }

        // Of what the proxy answered in its place, the upstream knows nothing.
        let is_stable = self.config.attributes.is_stable();
        let call = upstream.as_mut();
        for (span, status) in once((&mut span, outcome.status))
            .chain(call.map(|call| (call, outcome.upstream_status())))
        {
            // The upstream answered, and a filter replaced its answer.
            let is_replaced =
                status.is_none() && outcome.status.is_some() && outcome.flags.is_empty();
            let error = grpc::error(span.kind, &outcome)
                .map(Cow::Borrowed)
                .or_else(|| http::error(span.kind, status, &outcome))
                .filter(|_| !is_replaced);
            span.is_error = error.is_some();
            if is_stable {
                http::record_response(status, error.as_deref(), &outcome, span);
                if let Some(grpc) = &grpc {
                    grpc.record(&outcome, &mut span.attributes);
                }
            }
        }
        if is_stable {
            http::record_caller(response, &mut span);
            http::record_route(outcome.route(), &mut span);
            http::record_sizes(&request.body, &outcome, &mut span.attributes);
            proxy::record(&outcome, self.knows_workloads, &mut span, upstream.as_mut());
        }
        if self.config.attributes.is_envoy() {
            EnvoyNames::record_caller(response, &mut span);
            self.envoy
                .record_response(&outcome, &mut span, upstream.as_mut());
        }
        let tags = self.tags.end(tags, response);
        for span in both(&mut span, &mut upstream) {
            tags.add_to(&mut span.attributes);
        }
        Some(Ended { span, upstream })
    }

    /// By the template, else by the conventions.
    fn name(
        &self,
        kind: SpanKind,
        request: &RequestNote,
        grpc: Option<&grpc::Call>,
        outcome: &Outcome<'_, impl ResponseInfo>,
    ) -> Cow<'static, str> {
        let rendered = self.config.name.render(|field| match field {
            Field::Method => &request.method,
            Field::Host => &request.host,
            Field::Path => &request.path,
            Field::Route => outcome.route().unwrap_or_default(),
            Field::Cluster => outcome.cluster().unwrap_or_default(),
        });
        let name = match (rendered, grpc) {
            (Some(name), _) => Cow::Owned(name),
            (None, Some(grpc)) => grpc.span_name(outcome),
            // A route is a server's.
            (None, None) => match outcome.route().and_then(http::route_template) {
                Some(route) if kind == SpanKind::Server => {
                    Cow::Owned(format!("{} {route}", request.method))
                }
                _ => request.method.clone(),
            },
        };
        // The attributes' limit holds for names too.
        match cut(&name, self.config.limits.max_attribute_length) {
            short if short.len() < name.len() => Cow::Owned(short.to_owned()),
            _ => name,
        }
    }
}

fn both<'a>(
    span: &'a mut Span,
    upstream: &'a mut Option<Span>,
) -> impl Iterator<Item = &'a mut Span> {
    once(span).chain(upstream.as_mut())
}

impl StreamTracer {
    /// The span, to add what the stream knows nothing of.
    pub(crate) fn span(&mut self) -> &mut Span {
        &mut self.span
    }
}
