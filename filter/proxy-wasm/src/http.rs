//! HTTP streams: callbacks to the tracer of their root, and back.

use crate::host::{self, Map};
use crate::{ended, floor, root};
use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::request_info::{Direction, RequestInfo};
use sidespan_core::propagation::settings::Carrier;
use sidespan_core::recording::stream::StreamTracer;
use std::cell::{Cell, RefCell};

/// A stream that something is to be done for once it goes on.
struct Stream {
    root_id: u32,
    /// What is recorded of it.
    tracer: Option<Box<StreamTracer>>,
    /// A header to add to the response, if one is configured.
    response_header: Option<(String, String)>,
    /// The headers of the response, where they may be gone at the end.
    response: Option<Pairs>,
}

thread_local! {
    /// Contexts that no request came for yet, and their roots: as good as
    /// always the one that is about to get it. For some none ever comes, if a
    /// filter before this one answers it.
    static CREATED: RefCell<Vec<(u32, u32)>> = RefCell::default();
    static STREAMS: RefCell<Streams> = RefCell::default();
    static SERVED: Cell<Served> = const { Cell::new(Served::Unknown) };
}

/// What this VM's filters are among, as its streams show.
#[derive(Clone, Copy, PartialEq)]
enum Served {
    Unknown,
    /// Listeners only.
    Listeners,
    /// Clusters, too: their streams have no `on_log`, and no headers in
    /// `on_done`.
    Clusters,
}

/// Streams by their contexts. The host counts these up, so that their last
/// digits spread them evenly: none has more than a few beside it, but where
/// thousands are open at once.
#[derive(Default)]
struct Streams(Vec<Vec<(u32, Stream)>>);

impl Streams {
    /// A power of two, so that no division is needed.
    const PLACES: usize = 1 << 8;

    fn beside(&mut self, context_id: u32) -> Option<&mut Vec<(u32, Stream)>> {
        self.0.get_mut(context_id as usize % Self::PLACES)
    }

    fn insert(&mut self, context_id: u32, stream: Stream) {
        if self.0.is_empty() {
            self.0.resize_with(Self::PLACES, Vec::new);
        }
        if let Some(beside) = self.beside(context_id) {
            beside.push((context_id, stream));
        }
    }

    fn get_mut(&mut self, context_id: u32) -> Option<&mut Stream> {
        let mut beside = self.beside(context_id)?.iter_mut();
        let (_, stream) = beside.find(|(id, _)| *id == context_id)?;
        Some(stream)
    }

    fn remove(&mut self, context_id: u32) -> Option<Stream> {
        let beside = self.beside(context_id)?;
        let index = beside.iter().position(|(id, _)| *id == context_id)?;
        Some(beside.swap_remove(index).1)
    }
}

pub(crate) fn on_create(context_id: u32, root_id: u32) {
    CREATED.with_borrow_mut(|created| created.push((context_id, root_id)));
}

/// The root of a context that no request came for before.
fn take_created(context_id: u32) -> Option<u32> {
    CREATED.with_borrow_mut(|created| {
        let index = created.iter().rposition(|(id, _)| *id == context_id)?;
        Some(created.swap_remove(index).1)
    })
}

pub(crate) fn on_request_headers(context_id: u32) {
    if cfg!(feature = "floor") {
        return floor::on_request_headers();
    }
    if let Some(root_id) = take_created(context_id)
        && let Some(stream) = start(root_id, true)
    {
        STREAMS.with_borrow_mut(|streams| streams.insert(context_id, stream));
    }
}

pub(crate) fn on_request_body(context_id: u32, size: usize) {
    STREAMS.with_borrow_mut(|streams| {
        let stream = streams.get_mut(context_id);
        if let Some(tracer) = stream.and_then(|stream| stream.tracer.as_mut()) {
            tracer.add_request_body(size as u64);
        }
    });
}

pub(crate) fn on_response_headers(context_id: u32) {
    let header = STREAMS.with_borrow_mut(|streams| {
        let stream = streams.get_mut(context_id)?;
        if SERVED.get() != Served::Listeners {
            stream.response = Some(host::header_pairs(Map::ResponseHeaders));
        }
        stream.response_header.take()
    });
    if let Some((name, value)) = header {
        host::replace_header(Map::ResponseHeaders, &name, &value);
    }
}

/// The stream has ended.
pub(crate) fn on_log(context_id: u32) {
    #[cfg(feature = "trap")]
    trap(b"log");
    if cfg!(feature = "floor") {
        if let Some(root_id) = take_created(context_id) {
            root::with(root_id, |root| floor::on_end(root.question()));
        }
        return;
    }
    let stream = match take_created(context_id) {
        // A filter before this one answered the request. It went nowhere, and
        // the host takes no header any more, but it was there.
        Some(root_id) => start(root_id, false),
        None => STREAMS.with_borrow_mut(|streams| streams.remove(context_id)),
    };
    if SERVED.get() == Served::Unknown {
        SERVED.set(Served::Listeners);
    }
    if let Some(Stream {
        root_id,
        tracer: Some(tracer),
        ..
    }) = stream
    {
        root::with(root_id, |root| root.end(*tracer));
    }
}

/// The context goes. A stream that is still there had no `on_log`: it is one
/// attempt upstream, and this is its end.
pub(crate) fn on_done(context_id: u32) {
    if take_created(context_id).is_some() {
        return;
    }
    let stream = STREAMS.with_borrow_mut(|streams| streams.remove(context_id));
    if let Some(stream) = stream {
        SERVED.set(Served::Clusters);
        if let Some(tracer) = stream.tracer {
            root::with(stream.root_id, |root| {
                root.end_attempt(*tracer, stream.response);
            });
        }
    }
}

/// Panics if the request asks for it.
#[cfg(feature = "trap")]
#[allow(clippy::panic)]
fn trap(place: &[u8]) {
    if host::header_pairs(Map::RequestHeaders).header(b"x-trap") == Some(place) {
        panic!("as the request asked");
    }
}

/// Starts the stream whose request came, if there will be anything to do for
/// it. A request that goes no further takes no context.
fn start(root_id: u32, goes_on: bool) -> Option<Stream> {
    #[cfg(feature = "trap")]
    trap(b"request");
    let request = host::header_pairs(Map::RequestHeaders);
    // A request that Envoy could not read has no headers at all.
    request.header(b":method")?;
    root::with(root_id, |root| {
        let started = match (goes_on, root.carrier()) {
            (false, _) => root.start(&request, &Host, &mut ()),
            (true, Carrier::Headers) => root.start(&request, &Host, &mut RequestHeaders),
            (true, Carrier::FilterState) => {
                let mut state = FilterState::default();
                let started = root.start(&request, &Host, &mut state);
                state.finish();
                started
            }
        };
        let stream = Stream {
            root_id,
            response_header: root.response_header(&started.decision),
            tracer: started.stream.map(Box::new),
            response: None,
        };
        (stream.tracer.is_some() || stream.response_header.is_some()).then_some(stream)
    })
    .flatten()
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

/// Writes headers by way of the current stream's filter state, for a
/// `header_mutation` filter behind this one: a header that this filter wrote
/// itself would make Envoy choose the route anew.
///
/// The state `wasm.sidespan.NAME` holds what the header NAME is set to. Envoy's
/// filter cannot remove a header on a condition, so two others do that, each
/// skipped unless `wasm.sidespan.remove` names its headers: `tracestate`, or
/// `x-b3` for those of B3 that are not always sent. The latter are set again if
/// they have a state.
#[derive(Default)]
struct FilterState {
    removes_trace_state: bool,
    removes_b3: bool,
}

impl FilterState {
    fn set_state(name: &str, value: &str) {
        host::set_filter_state(&format!("sidespan.{name}"), value);
    }

    /// Says what is to be removed.
    fn finish(self) {
        let removed = match (self.removes_trace_state, self.removes_b3) {
            (false, false) => return,
            (true, false) => "tracestate",
            (false, true) => "x-b3",
            (true, true) => "tracestate x-b3",
        };
        Self::set_state("remove", removed);
    }
}

impl Injector for FilterState {
    fn set(&mut self, name: &'static str, value: &str) {
        Self::set_state(name, value);
    }

    fn remove(&mut self, name: &'static str) {
        match name {
            "tracestate" => self.removes_trace_state = true,
            _ => self.removes_b3 = true,
        }
    }
}

/// What the host knows of the current stream, whose request came.
struct Host;

impl RequestInfo for Host {
    fn listener_direction(&self) -> Direction {
        ended::direction()
    }

    fn now(&self) -> u64 {
        host::now()
    }

    fn route_bool(&self, namespace: &str, key: &str) -> Option<bool> {
        match *route_metadata(namespace, key)? {
            [byte] => Some(byte != 0),
            _ => None,
        }
    }

    fn route_text(&self, namespace: &str, key: &str) -> Option<String> {
        String::from_utf8(route_metadata(namespace, key)?).ok()
    }

    fn route_number(&self, namespace: &str, key: &str) -> Option<f64> {
        let bytes = route_metadata(namespace, key)?;
        bytes.try_into().ok().map(f64::from_le_bytes)
    }
}

fn route_metadata(namespace: &str, key: &str) -> Option<Vec<u8>> {
    host::property(&format!(
        "xds\0route_metadata\0filter_metadata\0{namespace}\0{key}"
    ))
}
