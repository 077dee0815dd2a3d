//! The HTTP filter: its configurations, and its streams.

use crate::attempt::Attempt;
use crate::document::{self, Held, Place, Route};
use crate::environment;
use crate::exporter::{self, Exporter, Told, lock, now, seed};
use crate::ffi::{self, Attribute, Kind, LogLevel, Map, MetadataSource, Stream, Version};
use crate::floor::Floor;
use crate::per_worker::PerWorker;
use crate::reply;
use crate::stats::Metrics;
use sidespan_core::config::Config;
use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::host::request_info::{Direction, RequestInfo};
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::{End, MetadataKind, ResponseInfo};
use sidespan_core::recording::snapshot::Settled;
use sidespan_core::recording::stream::StreamTracer;
use sidespan_core::source::SpanSource;
use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// A configuration of the filter, as Envoy holds it. One without a document
/// lets requests through untouched.
pub(crate) struct FilterConfig {
    envoy: ffi::Config,
    metrics: Metrics,
    tracing: Option<Tracing>,
    _document: Option<Held>,
}

struct Tracing {
    config: Config,
    exporter: Arc<Exporter>,
    workers: PerWorker<Worker>,
    metadata: MetadataTypes,
    /// In a build that does no more than that.
    floor: Option<Floor>,
}

/// What one worker makes spans with.
struct Worker {
    source: SpanSource,
    /// Of the listener that the configuration belongs to. It is asked for when
    /// the first request comes.
    direction: Option<Direction>,
    /// For what takes a route with a configuration of its own, made when the
    /// first such request comes.
    routes: Vec<(Weak<Route>, SpanSource)>,
}

impl Worker {
    fn source(&mut self, config: &Config, route: Option<&Arc<Route>>) -> &mut SpanSource {
        let Some(route) = route else {
            return &mut self.source;
        };
        let is_it = |(known, _): &(Weak<Route>, _)| known.as_ptr() == Arc::as_ptr(route);
        let index = self.routes.iter().position(is_it).unwrap_or_else(|| {
            // Those of routes that are gone make room.
            self.routes.retain(|(known, _)| known.strong_count() > 0);
            let config = config.on_route(&route.config);
            let source = SpanSource::new(config, environment::process(), seed());
            self.routes.push((Arc::downgrade(route), source));
            self.routes.len() - 1
        });
        match self.routes.get_mut(index) {
            Some((_, source)) => source,
            None => &mut self.source,
        }
    }
}

/// The name of a filter that looks at no request: spans of the tracer go out
/// by way of it.
const EXPORTER: &str = "exporter";

/// Takes a configuration; main thread. `None` makes Envoy refuse it, which
/// only who validates wants.
pub(crate) fn on_config(envoy: ffi::Config, name: &str, text: &[u8]) -> Option<Box<FilterConfig>> {
    let metrics = Metrics::define(&envoy);
    let (config, document) = match name {
        EXPORTER => (None, None),
        _ => {
            let (config, document) = document::read(Place::filter(name), text)?;
            (config, Some(document))
        }
    };
    let tracing = config.map(|config| {
        let exporter = exporter::exporter(&config);
        let source = SpanSource::new(config.clone(), environment::process(), seed());
        exporter::warn(&source.recorder().warnings().collect::<Vec<_>>());
        let worker = || {
            let source = SpanSource::new(config.clone(), environment::process(), seed());
            let routes = Vec::new();
            Worker {
                source,
                direction: None,
                routes,
            }
        };
        Tracing {
            workers: PerWorker::new(worker),
            metadata: MetadataTypes::default(),
            floor: cfg!(feature = "floor").then(|| Floor::new(&config, &exporter)),
            exporter,
            config,
        }
    });
    exporter::join(envoy, metrics.clone());
    Some(Box::new(FilterConfig {
        envoy,
        metrics,
        tracing,
        _document: document,
    }))
}

/// How many routes have something to say of their own. Most processes have
/// none, and then no stream asks for it.
static ROUTE_CONFIGS: AtomicUsize = AtomicUsize::new(0);

/// Takes what a route says of its own; main thread.
pub(crate) fn on_route_config(name: &str, text: &[u8]) -> Option<Arc<Route>> {
    let route = document::read_route(name, text).map(Arc::new)?;
    ROUTE_CONFIGS.fetch_add(1, Ordering::Relaxed);
    Some(route)
}

/// It goes.
pub(crate) fn on_route_config_end() {
    ROUTE_CONFIGS.fetch_sub(1, Ordering::Relaxed);
}

/// A configuration goes.
pub(crate) fn on_config_end(config: &FilterConfig) {
    exporter::leave(config.envoy);
}

/// A filter on one stream.
pub(crate) struct HttpFilter {
    worker: usize,
    /// The traffic direction of the listener, once the request came.
    direction: Direction,
    route: Option<Arc<Route>>,
    state: State,
    /// A header to add to the response, if one is configured.
    response_header: Option<(String, String)>,
    /// What is known of the attempt, for a cluster's HTTP filter.
    attempt: Option<Box<Attempt>>,
    /// Bytes of the bodies, where Envoy does not tell them.
    pub(crate) request_size: u64,
    pub(crate) response_size: u64,
    /// Why Envoy answered itself, where it does not tell that later.
    pub(crate) details: Option<String>,
}

// Within the filter, so that it is no allocation of its own.
#[allow(clippy::large_enum_variant)]
enum State {
    /// The request has not come this far; it may never come, if a filter
    /// before this one answers it.
    Created,
    /// Seen, and its span is not recorded.
    Untraced,
    Traced(StreamTracer),
}

impl HttpFilter {
    pub(crate) fn new(stream: &Stream) -> Self {
        Self {
            worker: stream.worker(),
            direction: Direction::Unspecified,
            route: None,
            state: State::Created,
            response_header: None,
            attempt: None,
            request_size: 0,
            response_size: 0,
            details: None,
        }
    }

    /// Something went wrong with this stream: it goes on untraced.
    pub(crate) fn give_up(&mut self) {
        self.state = State::Untraced;
    }

    pub(crate) fn on_request_headers(&mut self, config: &FilterConfig, stream: &mut Stream) {
        if let Some(tracing) = &config.tracing {
            if cfg!(feature = "floor")
                && let Some(floor) = &tracing.floor
            {
                return floor.on_request_headers(stream);
            }
            self.start(config, tracing, stream, true);
        }
    }

    /// Bytes of the request's body are received.
    pub(crate) fn on_request_body(&mut self, bytes: u64) {
        self.request_size += bytes;
        if let State::Traced(tracer) = &mut self.state {
            tracer.add_request_body(bytes);
        }
    }

    pub(crate) fn on_response_headers(&mut self, stream: &mut Stream) {
        if let Some(attempt) = &mut self.attempt {
            attempt.read_response(stream);
        }
        if let Some((name, value)) = self.response_header.take() {
            stream.set_header(Map::ResponseHeaders, &name, &value);
        }
    }

    /// The stream has ended.
    pub(crate) fn on_end(&mut self, config: &FilterConfig, stream: &mut Stream) {
        #[cfg(feature = "trap")]
        crate::trap::at(b"log", stream.header(Map::RequestHeaders, "x-trap"));
        if let Some(tracing) = &config.tracing {
            if cfg!(feature = "floor")
                && let Some(floor) = &tracing.floor
            {
                return floor.on_end(&Ended {
                    stream,
                    filter: self,
                    metadata: &tracing.metadata,
                });
            }
            self.end(config, tracing, stream);
        }
        exporter::publish_by(stream, &config.metrics);
    }

    fn end(&mut self, config: &FilterConfig, tracing: &Tracing, stream: &mut Stream) {
        if matches!(self.state, State::Created) {
            // A filter before this one answered the request. It went nowhere,
            // and takes no header any more, but it was there.
            self.start(config, tracing, stream, false);
        }
        let state = std::mem::replace(&mut self.state, State::Untraced);
        self.attempt = None;
        if let State::Traced(tracer) = state
            && let Some(mut worker) = tracing.workers.of(self.worker)
        {
            let now = now();
            let ended = Ended {
                stream,
                filter: self,
                metadata: &tracing.metadata,
            };
            let source = worker.source(&tracing.config, self.route.as_ref());
            let recorder = Arc::clone(source.recorder());
            drop(worker);
            if let Some(settled) = Settled::read(&recorder, &tracer, &ended) {
                let told = Told::Stream(recorder, tracer, settled);
                tracing.exporter.tell(self.worker, told, now);
            } else if let Some(ended) = recorder.end(tracer, &ended, now) {
                tracing.exporter.queue(self.worker, &ended, now);
            }
        }
    }

    /// The filter goes. For one attempt upstream, seen by a cluster's HTTP filter,
    /// Envoy tells no other end, and answers no question any more.
    pub(crate) fn on_destroy(&mut self, config: &FilterConfig) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        let state = std::mem::replace(&mut self.state, State::Untraced);
        if let State::Traced(mut tracer) = state
            && let Some(tracing) = &config.tracing
            && let Some(mut worker) = tracing.workers.of(self.worker)
        {
            let now = now();
            tracer.set_attempt();
            let source = worker.source(&tracing.config, self.route.as_ref());
            let recorder = Arc::clone(source.recorder());
            drop(worker);
            if let Some(ended) = recorder.end(tracer, &*attempt, now) {
                tracing.exporter.queue(self.worker, &ended, now);
            }
        }
    }

    /// Starts the stream. A request that goes no further takes no context.
    fn start(
        &mut self,
        config: &FilterConfig,
        tracing: &Tracing,
        stream: &mut Stream,
        goes_on: bool,
    ) {
        #[cfg(feature = "trap")]
        crate::trap::at(b"request", stream.header(Map::RequestHeaders, "x-trap"));
        self.state = State::Untraced;
        // Whoever made one did so before the first stream could have it.
        if ROUTE_CONFIGS.load(Ordering::Relaxed) > 0 {
            self.route = stream.route();
        }
        let request = stream.headers(Map::RequestHeaders);
        if request.header(b":method").is_none() {
            // A request that Envoy could not read has no headers at all.
            return;
        }
        let Some(mut worker) = tracing.workers.of(self.worker) else {
            return;
        };
        let direction = *worker.direction.get_or_insert_with(|| direction(stream));
        let source = worker.source(&tracing.config, self.route.as_ref());
        let mut written = Written::default();
        self.direction = direction;
        let info = Request { stream, direction };
        let started = source.on_request(&request, &info, &mut written);
        if ffi::is_debug() {
            let line = source.line(&request, &started.decision);
            ffi::log(LogLevel::Debug, &format!("sidespan: {line}"));
        }
        for (stat, n) in source.stats().take() {
            config.metrics.count(stream, stat, n);
        }
        drop(worker);
        for (name, value) in written.0.iter().filter(|_| goes_on) {
            stream.set_header(Map::RequestHeaders, name, value);
        }
        self.response_header = tracing
            .config
            .response_header
            .as_ref()
            .and_then(|name| Some((name.clone(), started.decision.told()?)));
        if let Some(tracer) = started.stream {
            self.attempt = Attempt::read(stream).map(Box::new);
            self.state = State::Traced(tracer);
        }
    }
}

/// `envoy.config.core.v3.TrafficDirection` of the listener, which versions
/// before 1.40 do not tell.
fn direction(stream: &Stream) -> Direction {
    match stream.number(Attribute::XDS_LISTENER_DIRECTION) {
        Some(1) => Direction::Inbound,
        Some(2) => Direction::Outbound,
        _ => Direction::Unspecified,
    }
}

/// What is to be written to the request, once nobody reads it any more. An
/// empty value removes the header.
#[derive(Default)]
struct Written(Vec<(&'static str, String)>);

impl Injector for Written {
    fn set(&mut self, name: &'static str, value: &str) {
        self.0.push((name, value.to_owned()));
    }

    fn remove(&mut self, name: &'static str) {
        self.0.push((name, String::new()));
    }
}

/// What Envoy knows of a request.
struct Request<'a> {
    stream: &'a Stream,
    direction: Direction,
}

impl RequestInfo for Request<'_> {
    fn listener_direction(&self) -> Direction {
        self.direction
    }

    fn now(&self) -> u64 {
        now()
    }

    fn route_bool(&self, namespace: &str, key: &str) -> Option<bool> {
        self.stream
            .metadata_truth(MetadataSource::Route, namespace, key)
    }

    fn route_text(&self, namespace: &str, key: &str) -> Option<String> {
        self.stream
            .metadata_text(MetadataSource::Route, namespace, key)
    }

    fn route_number(&self, namespace: &str, key: &str) -> Option<f64> {
        self.stream
            .metadata_number(MetadataSource::Route, namespace, key)
    }
}

/// What Envoy knows of a stream that has ended.
struct Ended<'a> {
    stream: &'a Stream,
    filter: &'a HttpFilter,
    metadata: &'a MetadataTypes,
}

impl Ended<'_> {
    /// Why there is no response of the upstream's, where Envoy does not tell.
    fn details(&self) -> Option<&str> {
        if ffi::version() >= Version::V1_39 {
            return None;
        }
        let is_answered = || self.response_header(":status").is_some();
        let details = self.filter.details.as_deref();
        details.or_else(|| (!is_answered()).then_some(reply::CLIENT_LEFT))
    }

    /// A header of the request as it was sent.
    fn sent(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let value = self.stream.header(Map::RequestHeaders, name);
        value.map(Cow::Borrowed)
    }

    fn text(&self, attribute: Attribute) -> Option<Cow<'_, str>> {
        self.stream.text(attribute).map(Cow::Borrowed)
    }
}

impl ResponseInfo for Ended<'_> {
    fn listener_direction(&self) -> Direction {
        self.filter.direction
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::REQUEST_PROTOCOL)
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::SOURCE_ADDRESS)
    }

    fn response_header(&self, name: &str) -> Option<&[u8]> {
        self.stream.header(Map::ResponseHeaders, name)
    }

    fn response_trailer(&self, name: &str) -> Option<&[u8]> {
        self.stream.header(Map::ResponseTrailers, name)
    }

    fn response_flags(&self) -> ResponseFlags {
        match self.stream.number(Attribute::RESPONSE_FLAGS) {
            Some(flags) => ResponseFlags(flags),
            None => reply::flags(self.details().unwrap_or_default()),
        }
    }

    fn response_code_details(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::RESPONSE_CODE_DETAILS)
            .or_else(|| self.details().map(Cow::Borrowed))
    }

    fn request_size(&self) -> Option<u64> {
        let told = self.stream.number(Attribute::REQUEST_SIZE);
        told.or(Some(self.filter.request_size))
    }

    fn response_size(&self) -> Option<u64> {
        let told = self.stream.number(Attribute::RESPONSE_SIZE);
        told.or(Some(self.filter.response_size))
    }

    fn attempt_count(&self) -> u64 {
        let told = self.stream.number(Attribute::UPSTREAM_ATTEMPT_COUNT);
        told.unwrap_or_else(|| u64::from(self.stream.text(Attribute::UPSTREAM_ADDRESS).is_some()))
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::XDS_ROUTE_NAME)
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        self.stream.cluster_name().map(Cow::Borrowed)
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::UPSTREAM_ADDRESS)
    }

    fn sent_path(&self) -> Option<Cow<'_, [u8]>> {
        self.sent(":path")
    }

    fn sent_authority(&self) -> Option<Cow<'_, [u8]>> {
        self.sent(":authority")
    }

    /// No version tells.
    fn connection_wait(&self) -> Option<Duration> {
        None
    }

    fn upstream_latency(&self) -> Option<Duration> {
        self.stream.upstream_latency()
    }

    fn transport_failure(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::UPSTREAM_TRANSPORT_FAILURE)
    }

    fn tls_peer(&self, end: End) -> Option<Cow<'_, str>> {
        let [uri, subject] = match end {
            End::Downstream => [
                Attribute::CONNECTION_URI_SAN_PEER,
                Attribute::CONNECTION_SUBJECT_PEER,
            ],
            End::Upstream => [
                Attribute::UPSTREAM_URI_SAN_PEER,
                Attribute::UPSTREAM_SUBJECT_PEER,
            ],
        };
        let said = |attribute| self.text(attribute).filter(|text| !text.is_empty());
        said(uri).or_else(|| said(subject))
    }

    /// Istio's objects cannot be read by their fields.
    fn workload(&self, _end: End, _field: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn metadata(
        &self,
        kind: MetadataKind,
        namespace: &str,
        path: &[String],
    ) -> Option<serde_json::Value> {
        // Below the first level nothing can be asked.
        match path {
            [key] => self.metadata.read(self.stream, kind, namespace, key),
            _ => None,
        }
    }

    fn property(&self, path: &[String]) -> Option<Vec<u8>> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();

        let line = |map, name: &str| {
            let name = name.to_ascii_lowercase();
            self.stream.header(map, &name).map(<[u8]>::to_vec)
        };
        match path.as_slice() {
            ["request", "headers", name] => line(Map::RequestHeaders, name),
            ["response", "headers", name] => line(Map::ResponseHeaders, name),
            ["response", "trailers", name] => line(Map::ResponseTrailers, name),
            ["xds", "cluster_name"] => Some(self.cluster_name()?.as_bytes().to_vec()),
            _ => {
                let name = path.join(".");
                let mut all = Attribute::ALL.iter();
                let attribute = all.find(|attribute| attribute.name == name)?;
                match attribute.kind {
                    Kind::Text => Some(self.text(*attribute)?.as_bytes().to_vec()),
                    Kind::Number => Some(self.stream.number(*attribute)?.to_le_bytes().to_vec()),
                    // Without TLS Envoy says nothing, and a property says no.
                    Kind::Truth => Some(vec![u8::from(
                        self.stream.truth(*attribute).unwrap_or_default(),
                    )]),
                }
            }
        }
    }
}

/// The types that values of metadata were found to have. To ask for another
/// one writes an error to Envoy's log, so each is found out once.
#[derive(Default)]
struct MetadataTypes(Mutex<Vec<(MetadataKind, String, String, Kind)>>);

impl MetadataTypes {
    fn read(
        &self,
        stream: &Stream,
        kind: MetadataKind,
        namespace: &str,
        key: &str,
    ) -> Option<serde_json::Value> {
        let source = match kind {
            MetadataKind::Request => MetadataSource::Dynamic,
            MetadataKind::Route => MetadataSource::Route,
            MetadataKind::Cluster => MetadataSource::Cluster,
            MetadataKind::Host => MetadataSource::Host,
        };
        let read = |as_type| match as_type {
            Kind::Text => stream
                .metadata_text(source, namespace, key)
                .map(serde_json::Value::from),
            Kind::Number => stream
                .metadata_number(source, namespace, key)
                .map(sidespan_core::protobuf::envoy_struct::number),
            Kind::Truth => stream
                .metadata_truth(source, namespace, key)
                .map(serde_json::Value::from),
        };
        let is_it = |known: &&(MetadataKind, String, String, Kind)| {
            known.0 == kind && known.1 == namespace && known.2 == key
        };
        let known = lock(&self.0).iter().find(is_it).map(|known| known.3);
        // Mostly it is of that type again; one that is not there has none.
        if let Some(value) = known.and_then(read) {
            return Some(value);
        }
        let (found, value) = [Kind::Text, Kind::Number, Kind::Truth]
            .into_iter()
            .filter(|as_type| Some(*as_type) != known)
            .find_map(|as_type| Some((as_type, read(as_type)?)))?;
        let mut all = lock(&self.0);
        all.retain(|known| !is_it(&known));
        all.push((kind, namespace.to_owned(), key.to_owned(), found));
        Some(value)
    }
}
