//! The life of an HTTP stream, from its creation to its end.

use crate::fault_injection::{self, Armed};
use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::host::request_info::RequestInfo;
use sidespan_core::recording::stream::StreamTracer;
use sidespan_core::source::SpanSource;

/// A stream as the filter sees it.
#[derive(Debug, Default)]
pub struct HttpStream {
    state: State,
    response_header: Option<(String, String)>,
    fault: Armed,
}

// Within the stream, so that it is no allocation of its own.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Default)]
enum State {
    /// The request has not reached the filter. It never does if an earlier filter
    /// answers it.
    #[default]
    Created,
    /// The request was seen, and no span is recorded.
    Untraced,
    Recorded(StreamTracer),
}

impl HttpStream {
    /// Starts the stream of a request that goes on to the upstream. The context
    /// is written by `injector`.
    ///
    /// `response_header` is the name of the header that has the trace id, if one
    /// is configured.
    pub fn start(
        &mut self,
        source: &mut SpanSource,
        request: &impl Extractor,
        info: &impl RequestInfo,
        injector: &mut impl Injector,
        response_header: Option<&str>,
    ) {
        self.state = State::Untraced;
        let fault = || request.header(fault_injection::HEADER);
        fault_injection::at(b"request", fault);
        self.fault = Armed::read(b"log", fault);
        // A request that Envoy could not read has no headers at all.
        if request.header(b":method").is_none() {
            return;
        }
        let started = source.on_request(request, info, injector);
        log::debug!("{}", source.line(request, &started.decision));
        self.response_header =
            response_header.and_then(|name| Some((name.to_owned(), started.decision.told()?)));
        if let Some(stream) = started.stream {
            self.state = State::Recorded(stream);
        }
    }

    /// Starts the stream of a request that an earlier filter answered. It went
    /// nowhere, and the host takes no header any more.
    pub fn start_answered(
        &mut self,
        source: &mut SpanSource,
        request: &impl Extractor,
        info: &impl RequestInfo,
    ) {
        self.start(source, request, info, &mut (), None);
    }

    /// Whether the request has not reached the filter.
    pub fn is_created(&self) -> bool {
        matches!(self.state, State::Created)
    }

    /// Whether something is recorded of the stream.
    pub fn is_recorded(&self) -> bool {
        matches!(self.state, State::Recorded(_))
    }

    /// Whether there is anything to do for the stream later.
    pub fn has_work(&self) -> bool {
        self.is_recorded() || self.response_header.is_some()
    }

    /// Lets the stream go on untraced, after a fault of our own.
    pub fn abandon(&mut self) {
        self.state = State::Untraced;
    }

    /// Counts bytes of the request body that the host received.
    pub fn add_request_body(&mut self, bytes: u64) {
        if let State::Recorded(stream) = &mut self.state {
            stream.add_request_body(bytes);
        }
    }

    /// Removes the header that is to be added to the response.
    pub fn take_response_header(&mut self) -> Option<(String, String)> {
        self.response_header.take()
    }

    /// Ends the stream. Returns what was recorded of it, the first time.
    pub fn end(&mut self) -> Option<StreamTracer> {
        self.fault.trip();
        match std::mem::replace(&mut self.state, State::Untraced) {
            State::Recorded(stream) => Some(stream),
            State::Created | State::Untraced => None,
        }
    }
}
