//! The filter on a stream.

use crate::envoy::abi::Map;
use crate::envoy::http_filter::Stream;
use crate::filter_config::FilterConfig;
use crate::stream_properties::{Ended, StreamFacts};
use crate::system::now;
use crate::tracer::the_span;
use sidespan_core::headers::header_map::Extractor as _;
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_info::ResponseInfo as _;
use std::hint::black_box;

/// The context that is written to every request.
pub(crate) const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

pub(crate) struct HttpFilter {
    worker: usize,
    pub(crate) facts: StreamFacts,
}

impl HttpFilter {
    pub(crate) fn new(stream: &Stream) -> Self {
        Self {
            worker: stream.worker(),
            facts: StreamFacts {
                direction: Direction::Unspecified,
                request_size: 0,
                response_size: 0,
                details: None,
            },
        }
    }

    pub(crate) fn abandon(&mut self) {}

    pub(crate) fn on_request_headers(&mut self, _config: &FilterConfig, stream: &mut Stream) {
        let request = stream.headers(Map::RequestHeaders);
        if black_box(request.header(b":method")).is_some() {
            stream.set_header(Map::RequestHeaders, "traceparent", CONTEXT);
        }
    }

    pub(crate) fn on_request_body(&mut self, bytes: u64) {
        self.facts.request_size += bytes;
    }

    pub(crate) fn on_response_headers(&mut self, _stream: &mut Stream) {}

    /// Reads what a span says of a request that was answered as most are.
    pub(crate) fn on_end(&mut self, config: &FilterConfig, stream: &mut Stream) {
        let Some(tracing) = &config.tracing else {
            return;
        };
        if tracing.config.sampler.root.is_off() {
            return;
        }
        let response = Ended {
            stream,
            facts: &self.facts,
            metadata: &tracing.metadata,
        };
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
        if let Some(span) = the_span(&tracing.config) {
            tracing.exporter.queue(self.worker, span, now());
        }
    }

    pub(crate) fn on_destroy(&mut self, _config: &FilterConfig) {}
}
