//! The tracer: Envoy decides and tags, and may give each attempt upstream a
//! span of its own; contexts, what spans say, and their delivery are ours.
//!
//! It has no way to send anything: its spans go out by way of any
//! configuration of the filter that the process has.

use crate::documents::{self, Held, Place};
use crate::envoy::process;
use crate::envoy::tracer::{TraceContext, TracerConfig as EnvoyConfig};
use crate::export::hosts;
use crate::export::state::report_document;
use crate::export::worker::WorkerExporter;
use crate::metrics::ConfigMetrics;
use crate::node;
use crate::system::{now, seed, worker};
use sidespan_core::context::id_generator::IdGenerator;
use sidespan_core::headers::header_map::Extractor as _;
use sidespan_core::recording::envoy_span::TaggedSpan;
use sidespan_core::recording::envoy_tracer::SpanTagger;
use sidespan_core::stats::Stat;
use sidespan_runtime::fault_injection;
use sidespan_runtime::process::per_worker::PerWorker;
use sidespan_runtime::process::worker_queues::FinishedItem;
use std::sync::Arc;

/// A configuration of the tracer. One without a document makes no spans.
pub(crate) struct TracerConfig {
    envoy: EnvoyConfig,
    tracing: Option<Tracing>,
    _document: Held,
}

struct Tracing {
    exporter: WorkerExporter,
    tagger: Arc<SpanTagger>,
    ids: PerWorker<IdGenerator>,
}

/// Keys of the document that a tracer ignores, and what to use in their place.
const IGNORED: [(&str, &str); 9] = [
    (
        "/sampler",
        "Envoy decides: set random_sampling in `tracing` of the HTTP connection manager",
    ),
    (
        "/rules",
        "Envoy decides: set random_sampling in `tracing` of the HTTP connection manager, or `tracing` of a route",
    ),
    (
        "/keep",
        "Envoy decides when a request starts and keeps nothing by its outcome: use the filter, or tail sampling in a Collector",
    ),
    (
        "/custom_tags",
        "set custom_tags in `tracing` of the HTTP connection manager",
    ),
    ("/route_metadata", "set `tracing` of a route"),
    (
        "/propagation/incoming",
        "a caller's context is always continued: use the filter to restart or link traces",
    ),
    (
        "/propagation/response_header",
        "a tracer cannot write response headers: set response_headers_to_add with %TRACE_ID% on the route configuration",
    ),
    (
        "/propagation/carrier",
        "a tracer writes headers, for which Envoy does not select the route again",
    ),
    (
        "/span/upstream_span",
        "set spawn_upstream_span in `tracing` of the HTTP connection manager",
    ),
];

/// Takes a configuration; main thread. `None` makes Envoy refuse it, which
/// only who validates wants.
pub(crate) fn on_config(envoy: EnvoyConfig, name: &str, text: &[u8]) -> Option<Box<TracerConfig>> {
    let metrics = ConfigMetrics::define(&envoy);
    let loaded = documents::load(Place::tracer(name), text);
    report_document(loaded.is_newly_rejected, loaded.warning);
    let (config, held) = loaded.accepted?;
    let tracing = config.map(|config| {
        warn_of_ignored(text);
        let exporter = WorkerExporter::of(config.delivery());
        Tracing {
            exporter,
            ids: PerWorker::new(process::workers(), || IdGenerator::new(seed())),
            tagger: Arc::new(SpanTagger::new(
                config.propagator,
                config.span,
                node::process(),
            )),
        }
    });
    hosts::register_tracer(envoy, metrics);
    Some(Box::new(TracerConfig {
        envoy,
        tracing,
        _document: held,
    }))
}

fn warn_of_ignored(document: &[u8]) {
    let document: serde_json::Value = serde_json::from_slice(document).unwrap_or_default();
    let is_there = |(key, _): &&(&str, &str)| document.pointer(key).is_some();
    for (key, instead) in IGNORED.iter().filter(is_there) {
        let key = key.trim_start_matches('/').replace('/', ".");
        log::warn!("{key} has no effect in a tracer, {instead}");
    }
}

/// A configuration goes.
pub(crate) fn on_config_end(config: &TracerConfig) {
    hosts::unregister_tracer(config.envoy);
}

/// A span, as Envoy holds it.
pub(crate) struct Span {
    worker: usize,
    /// `None` once it was given up.
    tagged: Option<TaggedSpan>,
    /// What Envoy was handed out of it.
    pub(crate) trace_id: [u8; 32],
    pub(crate) span_id: [u8; 16],
}

impl TracerConfig {
    /// Starts the span of a request. Without a document there is none.
    pub(crate) fn start(&self, context: &TraceContext, is_sampled: bool) -> Option<Span> {
        let tracing = self.tracing.as_ref()?;
        let fault = || context.header(fault_injection::HEADER);
        fault_injection::at(b"span", fault);
        fault_injection::arm_span(fault);
        let worker = worker();
        let mut ids = tracing.ids.of(worker)?;
        let tagger = &tracing.tagger;
        let (tagged, is_malformed) = tagger.start(&mut ids, context, is_sampled, now());
        drop(ids);
        let decision = match tagged.is_sampled() {
            true => Stat::Sampled,
            false => Stat::NotSampled,
        };
        tracing.exporter.count(worker, decision);
        if is_malformed {
            tracing.exporter.count(worker, Stat::Malformed);
        }
        Some(Span::new(worker, tagged))
    }

    /// Starts the span of a call that is made for the request.
    pub(crate) fn child(&self, parent: &Span, name: &[u8]) -> Option<Span> {
        let mut ids = self.tracing.as_ref()?.ids.of(parent.worker)?;
        let tagged = parent.tagged.as_ref()?.child(&mut ids, name, now());
        Some(Span::new(parent.worker, tagged))
    }

    /// Writes a span's context to what goes upstream.
    pub(crate) fn inject(&self, span: &mut Span, context: &mut TraceContext) {
        if let Some(tracing) = &self.tracing
            && let Some(tagged) = &mut span.tagged
        {
            tagged.set_sent_request(context);
            tracing.tagger.inject(tagged, context);
        }
    }

    /// A span ends.
    pub(crate) fn finish(&self, span: &mut Span) {
        if let Some(tagged) = span.tagged.take()
            && tagged.is_sampled()
            && let Some(tracing) = &self.tracing
        {
            let item = FinishedItem::Span(Arc::clone(&tracing.tagger), tagged);
            tracing.exporter.defer(span.worker, item, now());
        }
    }
}

impl Span {
    fn new(worker: usize, tagged: TaggedSpan) -> Self {
        Self {
            worker,
            trace_id: tagged.trace_id().to_hex(),
            span_id: tagged.span_id().to_hex(),
            tagged: Some(tagged),
        }
    }

    /// Something went wrong with it.
    pub(crate) fn give_up(&mut self) {
        self.tagged = None;
    }

    /// What Envoy says of it.
    pub(crate) fn tag(&mut self, key: &[u8], value: &[u8]) {
        if let Some(tagged) = &mut self.tagged {
            tagged.tag(key, value);
        }
    }

    pub(crate) fn set_name(&mut self, name: &[u8]) {
        if let Some(tagged) = &mut self.tagged {
            tagged.set_name(name);
        }
    }

    pub(crate) fn set_sampled(&mut self, is_sampled: bool) {
        if let Some(tagged) = &mut self.tagged {
            tagged.set_sampled(is_sampled);
        }
    }

    pub(crate) fn is_decided_here(&self) -> bool {
        self.tagged
            .as_ref()
            .is_some_and(TaggedSpan::is_decided_here)
    }
}
