//! Configurations of the HTTP filter.

use crate::documents::{self, Held, Place, Route};
use crate::envoy::filter_config::Config as EnvoyConfig;
use crate::envoy::process;
use crate::export::hosts;
use crate::export::state::{report_document, warn};
use crate::export::worker::WorkerExporter;
use crate::logger;
use crate::metadata_types::MetadataTypes;
use crate::metrics::ConfigMetrics;
use crate::node;
use crate::system::seed;
use sidespan_core::config::Config;
use sidespan_core::host::request_info::Direction;
use sidespan_core::source::SpanSource;
use sidespan_runtime::process::per_worker::PerWorker;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// A configuration of the filter, as Envoy holds it. One without a document lets
/// requests through untouched.
pub(crate) struct FilterConfig {
    envoy: EnvoyConfig,
    pub(crate) metrics: ConfigMetrics,
    pub(crate) tracing: Option<Tracing>,
    _document: Option<Held>,
}

pub(crate) struct Tracing {
    pub(crate) config: Config,
    pub(crate) exporter: WorkerExporter,
    pub(crate) workers: PerWorker<Worker>,
    pub(crate) metadata: MetadataTypes,
}

/// What one worker makes spans with.
pub(crate) struct Worker {
    source: SpanSource,
    /// Of the listener that the configuration belongs to, once its first request
    /// came.
    pub(crate) direction: Option<Direction>,
    /// For routes with a configuration of their own, made when the first request of
    /// a route comes.
    routes: Vec<(Weak<Route>, SpanSource)>,
}

impl Worker {
    fn new(config: &Config) -> Self {
        Self {
            source: SpanSource::new(config.clone(), node::process(), seed()),
            direction: None,
            routes: Vec::new(),
        }
    }

    pub(crate) fn source(
        &mut self,
        config: &Config,
        route: Option<&Arc<Route>>,
    ) -> &mut SpanSource {
        let Some(route) = route else {
            return &mut self.source;
        };
        let is_it = |(known, _): &(Weak<Route>, _)| known.as_ptr() == Arc::as_ptr(route);
        let index = self.routes.iter().position(is_it).unwrap_or_else(|| {
            // Those of routes that are gone make room.
            self.routes.retain(|(known, _)| known.strong_count() > 0);
            let config = config.on_route(&route.config);
            let source = SpanSource::new(config, node::process(), seed());
            self.routes.push((Arc::downgrade(route), source));
            self.routes.len() - 1
        });
        match self.routes.get_mut(index) {
            Some((_, source)) => source,
            None => &mut self.source,
        }
    }
}

/// The name of a filter that looks at no request: spans of the tracer are exported
/// by it.
const EXPORTER: &str = "exporter";

/// Takes a configuration; main thread. `None` makes Envoy refuse it.
pub(crate) fn on_config(envoy: EnvoyConfig, name: &str, text: &[u8]) -> Option<Box<FilterConfig>> {
    logger::update_level();
    let metrics = ConfigMetrics::define(&envoy);
    let (config, document) = match name {
        EXPORTER => (None, None),
        _ => {
            let loaded = documents::load(Place::filter(name), text);
            report_document(loaded.is_newly_rejected, loaded.warning);
            let (config, document) = loaded.accepted?;
            (config, Some(document))
        }
    };
    let tracing = config.map(|config| {
        let exporter = WorkerExporter::of(config.delivery());
        let worker = Worker::new(&config);
        warn(worker.source.recorder().warnings());
        Tracing {
            workers: PerWorker::new(process::workers(), || Worker::new(&config)),
            metadata: MetadataTypes::default(),
            exporter,
            config,
        }
    });
    hosts::register(envoy, metrics.clone());
    Some(Box::new(FilterConfig {
        envoy,
        metrics,
        tracing,
        _document: document,
    }))
}

/// How many routes have a configuration of their own. Most processes have none, and
/// then no stream reads it.
static ROUTE_CONFIGS: AtomicUsize = AtomicUsize::new(0);

/// Whether a route can have a configuration of its own. Whoever made one did so
/// before the first stream could have it.
pub(crate) fn has_route_configs() -> bool {
    ROUTE_CONFIGS.load(Ordering::Relaxed) > 0
}

/// Takes the configuration of a route; main thread.
pub(crate) fn on_route_config(name: &str, text: &[u8]) -> Option<Arc<Route>> {
    let loaded = documents::load_route(name, text);
    report_document(loaded.is_newly_rejected, loaded.warning);
    let route = loaded.accepted.map(Arc::new)?;
    ROUTE_CONFIGS.fetch_add(1, Ordering::Relaxed);
    Some(route)
}

/// The configuration of a route goes.
pub(crate) fn on_route_config_end() {
    ROUTE_CONFIGS.fetch_sub(1, Ordering::Relaxed);
}

/// A configuration goes.
pub(crate) fn on_config_end(config: &FilterConfig) {
    hosts::unregister(config.envoy);
}
