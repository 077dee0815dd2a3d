//! The least that any filter or tracer must have Envoy do that says what ours
//! says: it reads the headers, writes one, asks what a span says, and exports one.
//! It decides nothing, and the span is always the same. For a build of which the
//! bench tells what that costs.

use crate::envoy::abi::Map;
use crate::envoy::http_filter::Stream;
use crate::envoy::tracer::TraceContext;
use crate::export::worker::WorkerExporter;
use crate::node;
use crate::system::{now, seed, worker};
use sidespan_core::config::Config;
use sidespan_core::context::id_generator::IdGenerator;
use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::headers::request::RequestHead;
use sidespan_core::host::response_info::ResponseInfo;
use sidespan_core::recording::envoy_tracer::SpanTagger;
use sidespan_core::recording::stream::Ended;
use std::hint::black_box;

const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A request as the bench sends it.
struct Request;

const HEADERS: [(&[u8], &[u8]); 5] = [
    (b":method", b"GET"),
    (b":scheme", b"http"),
    (b":authority", b"127.0.0.1:10000"),
    (b":path", b"/orders/4711?page=2"),
    (
        b"user-agent",
        b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
];

impl Extractor for Request {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        HEADERS.into_iter()
    }
}

/// What Envoy says of it.
const TAGS: [(&[u8], &[u8]); 11] = [
    (b"http.protocol", b"HTTP/1.1"),
    (b"http.status_code", b"200"),
    (b"response_size", b"10"),
    (b"peer.address", b"127.0.0.1"),
    (b"upstream_address", b"127.0.0.1:8080"),
    (b"upstream_cluster", b"service"),
    (b"network.peer.address", b"127.0.0.1"),
    (b"sidespan.upstream.latency_ms", b"0.1234"),
    (b"tenant", b"acme"),
    (b"app.version", b"4.2.1"),
    (b"environment", b"production"),
];

/// Where the one span goes again and again.
pub(crate) struct Floor {
    is_sampled: bool,
    span: Option<Ended>,
    exporter: WorkerExporter,
}

impl Floor {
    pub(crate) fn new(config: &Config, exporter: &WorkerExporter) -> Self {
        let tagger = SpanTagger::new(
            config.propagator.clone(),
            config.span.clone(),
            node::process(),
        );
        let mut ids = IdGenerator::new(seed());
        let (mut span, _) = tagger.start(&mut ids, &Request, true, now());
        for (key, value) in TAGS {
            span.tag(key, value);
        }
        Self {
            is_sampled: !config.sampler.root.is_off(),
            span: tagger.end(span),
            exporter: exporter.clone(),
        }
    }

    pub(crate) fn on_request_headers(&self, stream: &mut Stream) {
        let request = stream.headers(Map::RequestHeaders);
        if black_box(request.header(b":method")).is_some() {
            stream.set_header(Map::RequestHeaders, "traceparent", CONTEXT);
        }
    }

    /// Asks what a span says of a request that was answered as most are.
    pub(crate) fn on_end(&self, response: &impl ResponseInfo) {
        if !self.is_sampled {
            return;
        }
        black_box(response.status());
        black_box(response.response_flags());
        black_box(response.attempt_count());
        black_box(response.response_size());
        black_box(response.protocol());
        black_box(response.source_address());
        black_box(response.route_name());
        black_box(response.cluster_name());
        black_box(response.upstream_address());
        black_box(response.upstream_latency());
        self.export();
    }

    fn export(&self) {
        if let Some(span) = &self.span {
            self.exporter.queue(worker(), span, now());
        }
    }

    /// A span of the tracer, whose tags nobody keeps.
    pub(crate) fn on_span(&self, context: &TraceContext, is_sampled: bool) {
        black_box(context.header(b"traceparent"));
        if is_sampled {
            for name in RequestHead::HEADERS {
                black_box(context.header(name.as_bytes()));
            }
            self.export();
        }
    }

    pub(crate) fn inject(&self, context: &mut TraceContext) {
        context.set("traceparent", CONTEXT);
    }
}
