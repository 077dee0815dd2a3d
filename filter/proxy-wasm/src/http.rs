//! HTTP streams: callbacks to the tracer of their root, and back.

use crate::host::{self, Map};
use crate::root;
use sidespan_core::propagation::{Extractor, Injector};
use sidespan_core::stream::{Direction, RequestInfo, ResponseInfo, StreamTracer};
use std::cell::RefCell;
use std::collections::HashMap;

/// What is known of a stream between its callbacks.
struct Stream {
    root_id: u32,
    state: State,
}

enum State {
    /// The request has not come this far; it may never come, if a filter
    /// before this one answers it.
    Created,
    /// Seen, and its span is not recorded.
    Untraced,
    Traced(Box<StreamTracer>),
}

thread_local! {
    static STREAMS: RefCell<HashMap<u32, Stream>> = RefCell::default();
}

pub(crate) fn on_create(context_id: u32, root_id: u32) {
    let state = State::Created;
    STREAMS.with_borrow_mut(|streams| streams.insert(context_id, Stream { root_id, state }));
}

pub(crate) fn on_request_headers(context_id: u32) {
    STREAMS.with_borrow_mut(|streams| {
        let Some(stream) = streams.get_mut(&context_id) else {
            return;
        };
        stream.state = start(stream.root_id);
    });
}

/// The stream has ended.
pub(crate) fn on_log(context_id: u32) {
    let Some(mut stream) = STREAMS.with_borrow_mut(|streams| streams.remove(&context_id)) else {
        return;
    };
    if matches!(stream.state, State::Created) {
        // A filter before this one answered the request. It went nowhere, but
        // it was there.
        stream.state = start(stream.root_id);
    }
    if let State::Traced(tracer) = stream.state {
        root::with(stream.root_id, |root| root.end(*tracer, &Host));
    }
}

fn start(root_id: u32) -> State {
    let request = Pairs(host::header_pairs(Map::RequestHeaders));
    if request.header(b":method").is_none() {
        // A request that Envoy could not read has no headers at all.
        return State::Untraced;
    }
    let started = root::with(root_id, |root| {
        root.start(&request, &Host, direction(), &mut RequestHeaders)
    });
    match started.flatten() {
        Some(tracer) => State::Traced(Box::new(tracer)),
        None => State::Untraced,
    }
}

/// `envoy.config.core.v3.TrafficDirection` of the listener.
fn direction() -> Direction {
    match host::property("xds\0listener_direction").as_deref() {
        Some([1, ..]) => Direction::Inbound,
        Some([2, ..]) => Direction::Outbound,
        _ => Direction::Unspecified,
    }
}

/// All header lines of a request in one buffer: their number, the sizes of
/// each name and value, then each name and value with a zero byte behind it.
pub(crate) struct Pairs(Vec<u8>);

impl Extractor for Pairs {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (count, rest) = self.0.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let count = u32::from_le_bytes(*count) as usize;
        let (sizes, mut data) = count
            .checked_mul(8)
            .and_then(|size| rest.split_at_checked(size))
            .unwrap_or_default();
        let mut next = move |size: &[u8]| {
            let size = u32::from_le_bytes(size.try_into().ok()?) as usize;
            let (text, rest) = data.split_at_checked(size)?;
            data = rest.get(1..)?;
            Some(text)
        };
        sizes.chunks_exact(8).map_while(move |sizes| {
            let (name, value) = sizes.split_at_checked(4)?;
            Some((next(name)?, next(value)?))
        })
    }
}

/// Writes to the headers of the current stream's request.
struct RequestHeaders;

impl Injector for RequestHeaders {
    fn set(&mut self, name: &'static str, value: &str) {
        host::replace_header(Map::RequestHeaders, name, value);
    }

    fn remove(&mut self, name: &'static str) {
        host::remove_header(Map::RequestHeaders, name);
    }
}

/// What the host knows of the current stream.
struct Host;

fn text(path: &str) -> Option<String> {
    String::from_utf8(host::property(path)?).ok()
}

impl RequestInfo for Host {
    fn protocol(&self) -> Option<String> {
        text("request\0protocol")
    }

    fn source_address(&self) -> Option<String> {
        text("source\0address")
    }
}

impl ResponseInfo for Host {
    fn response_header(&self, name: &str) -> Option<Vec<u8>> {
        host::header(Map::ResponseHeaders, name)
    }

    fn response_trailer(&self, name: &str) -> Option<Vec<u8>> {
        host::header(Map::ResponseTrailers, name)
    }

    fn response_flags(&self) -> u64 {
        let bytes = host::property("response\0flags").unwrap_or_default();
        bytes
            .first_chunk()
            .map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn response_code_details(&self) -> Option<String> {
        text("response\0code_details")
    }

    fn upstream_address(&self) -> Option<String> {
        text("upstream\0address")
    }
}
