//! The tracer, and the one span.

use crate::documents::{self, Held, Place};
use crate::envoy::tracer::{TraceContext, TracerConfig as EnvoyConfig};
use crate::export::hosts;
use crate::export::worker::WorkerExporter;
use crate::http_filter::CONTEXT;
use crate::metrics::ConfigMetrics;
use crate::node;
use crate::system::{now, seed, worker};
use sidespan_core::config::Config;
use sidespan_core::context::id_generator::IdGenerator;
use sidespan_core::headers::header_map::{Extractor, Injector as _};
use sidespan_core::headers::request::RequestHead;
use sidespan_core::recording::envoy_tracer::SpanTagger;
use sidespan_core::recording::stream::Ended;
use std::hint::black_box;
use std::sync::OnceLock;

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

/// The span that is exported again and again.
pub(crate) fn the_span(config: &Config) -> Option<&'static Ended> {
    static SPAN: OnceLock<Option<Ended>> = OnceLock::new();
    let make = || {
        let (propagator, span) = (config.propagator.clone(), config.span.clone());
        let tagger = SpanTagger::new(propagator, span, node::process());
        let mut ids = IdGenerator::new(seed());
        let (mut span, _) = tagger.start(&mut ids, &Request, true, now());
        for (key, value) in TAGS {
            span.tag(key, value);
        }
        tagger.end(span)
    };
    SPAN.get_or_init(make).as_ref()
}

pub(crate) struct TracerConfig {
    envoy: EnvoyConfig,
    tracing: Option<(Config, WorkerExporter)>,
    _document: Held,
}

pub(crate) fn on_config(envoy: EnvoyConfig, name: &str, text: &[u8]) -> Option<Box<TracerConfig>> {
    let metrics = ConfigMetrics::define(&envoy);
    let (config, held) = documents::load(Place::tracer(name), text).accepted?;
    let tracing = config.map(|config| {
        let exporter = WorkerExporter::of(config.delivery());
        (config, exporter)
    });
    hosts::register_tracer(envoy, metrics);
    Some(Box::new(TracerConfig {
        envoy,
        tracing,
        _document: held,
    }))
}

pub(crate) fn on_config_end(config: &TracerConfig) {
    hosts::unregister_tracer(config.envoy);
}

pub(crate) struct Span {
    pub(crate) trace_id: [u8; 32],
    pub(crate) span_id: [u8; 16],
}

impl TracerConfig {
    /// Starts a span, whose tags nobody keeps.
    pub(crate) fn start(&self, context: &TraceContext, is_sampled: bool) -> Option<Span> {
        let (config, exporter) = self.tracing.as_ref()?;
        black_box(context.header(b"traceparent"));
        if is_sampled {
            for name in RequestHead::HEADERS {
                black_box(context.header(name.as_bytes()));
            }
            if let Some(span) = the_span(config) {
                exporter.queue(worker(), span, now());
            }
        }
        Some(Span {
            trace_id: [b'0'; 32],
            span_id: [b'0'; 16],
        })
    }

    pub(crate) fn child(&self, _parent: &Span, _name: &[u8]) -> Option<Span> {
        None
    }

    pub(crate) fn inject(&self, _span: &mut Span, context: &mut TraceContext) {
        context.set("traceparent", CONTEXT);
    }

    pub(crate) fn finish(&self, _span: &mut Span) {}
}

impl Span {
    pub(crate) fn give_up(&mut self) {}

    pub(crate) fn tag(&mut self, key: &[u8], value: &[u8]) {
        black_box((key, value));
    }

    pub(crate) fn set_name(&mut self, _name: &[u8]) {}

    pub(crate) fn set_sampled(&mut self, _is_sampled: bool) {}

    pub(crate) fn is_decided_here(&self) -> bool {
        true
    }
}
