//! The HTTP filter on one stream.

use crate::attempt::Attempt;
use crate::documents::Route;
use crate::envoy::abi::Map;
use crate::envoy::http_filter::Stream;
use crate::export::publish::publish_by;
use crate::filter_config::{FilterConfig, Tracing, has_route_configs};
use crate::request_properties::{Request, Written};
use crate::stream_properties::{Ended, StreamFacts, direction};
use crate::system::now;
use sidespan_core::host::request_info::Direction;
use sidespan_core::recording::recorder::Recorder;
use sidespan_core::recording::snapshot::Settled;
use sidespan_runtime::process::worker_queues::FinishedItem;
use sidespan_runtime::stream::HttpStream;
use std::sync::Arc;

/// A filter on one stream.
pub(crate) struct HttpFilter {
    worker: usize,
    route: Option<Arc<Route>>,
    stream: HttpStream,
    /// What is known of the attempt, for a cluster's HTTP filter.
    attempt: Option<Box<Attempt>>,
    pub(crate) facts: StreamFacts,
}

impl HttpFilter {
    pub(crate) fn new(stream: &Stream) -> Self {
        Self {
            worker: stream.worker(),
            route: None,
            stream: HttpStream::default(),
            attempt: None,
            facts: StreamFacts {
                direction: Direction::Unspecified,
                request_size: 0,
                response_size: 0,
                details: None,
            },
        }
    }

    /// Lets the stream go on untraced, after a fault of our own.
    pub(crate) fn abandon(&mut self) {
        self.stream.abandon();
    }

    pub(crate) fn on_request_headers(&mut self, config: &FilterConfig, stream: &mut Stream) {
        if let Some(tracing) = &config.tracing {
            self.start(config, tracing, stream, true);
        }
    }

    /// Bytes of the request body are received.
    pub(crate) fn on_request_body(&mut self, bytes: u64) {
        self.facts.request_size += bytes;
        self.stream.add_request_body(bytes);
    }

    pub(crate) fn on_response_headers(&mut self, stream: &mut Stream) {
        if let Some(attempt) = &mut self.attempt {
            attempt.read_response(stream);
        }
        if let Some((name, value)) = self.stream.take_response_header() {
            stream.set_header(Map::ResponseHeaders, &name, &value);
        }
    }

    /// The stream has ended.
    pub(crate) fn on_end(&mut self, config: &FilterConfig, stream: &mut Stream) {
        if let Some(tracing) = &config.tracing {
            self.end(config, tracing, stream);
        }
        publish_by(stream, &config.metrics);
    }

    fn end(&mut self, config: &FilterConfig, tracing: &Tracing, stream: &mut Stream) {
        if self.stream.is_created() {
            // An earlier filter answered the request.
            self.start(config, tracing, stream, false);
        }
        self.attempt = None;
        let Some(recorded) = self.stream.end() else {
            return;
        };
        let Some(recorder) = self.recorder(tracing) else {
            return;
        };
        let now = now();
        let ended = Ended {
            stream,
            facts: &self.facts,
            metadata: &tracing.metadata,
        };
        if let Some(response) = Settled::read(&recorder, &recorded, &ended) {
            let item = FinishedItem::Stream(recorder, recorded, response);
            tracing.exporter.defer(self.worker, item, now);
        } else if let Some(spans) = recorder.end(recorded, &ended, now) {
            tracing.exporter.queue(self.worker, &spans, now);
        }
    }

    /// What records the streams of this route, without the worker's lock.
    fn recorder(&self, tracing: &Tracing) -> Option<Arc<Recorder>> {
        let mut worker = tracing.workers.of(self.worker)?;
        let source = worker.source(&tracing.config, self.route.as_ref());
        Some(Arc::clone(source.recorder()))
    }

    /// The filter goes. For one attempt upstream, seen by a cluster's HTTP filter,
    /// this is its only end, and Envoy answers no question any more.
    pub(crate) fn on_destroy(&mut self, config: &FilterConfig) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        if let Some(mut recorded) = self.stream.end()
            && let Some(tracing) = &config.tracing
            && let Some(recorder) = self.recorder(tracing)
        {
            let now = now();
            recorded.set_attempt();
            if let Some(spans) = recorder.end(recorded, &*attempt, now) {
                tracing.exporter.queue(self.worker, &spans, now);
            }
        }
    }

    /// Starts the stream. `goes_on` says that the request is forwarded, so that it
    /// takes a context.
    fn start(
        &mut self,
        config: &FilterConfig,
        tracing: &Tracing,
        stream: &mut Stream,
        goes_on: bool,
    ) {
        if has_route_configs() {
            self.route = stream.route();
        }
        let request = stream.headers(Map::RequestHeaders);
        let Some(mut worker) = tracing.workers.of(self.worker) else {
            return self.stream.abandon();
        };
        self.facts.direction = *worker.direction.get_or_insert_with(|| direction(stream));
        let source = worker.source(&tracing.config, self.route.as_ref());
        let mut written = Written::default();
        let info = Request {
            stream,
            direction: self.facts.direction,
        };
        let name = tracing.config.response_header.as_deref();
        match goes_on {
            true => self
                .stream
                .start(source, &request, &info, &mut written, name),
            false => self.stream.start_answered(source, &request, &info),
        }
        for (stat, n) in source.stats().take() {
            config.metrics.metrics.count(stream, stat, n);
        }
        drop(worker);
        for (name, value) in written.0 {
            stream.set_header(Map::RequestHeaders, name, &value);
        }
        if self.stream.is_recorded() {
            self.attempt = Attempt::read(stream).map(Box::new);
        }
    }
}
