//! HTTP streams: callbacks to the tracer of their root, and back.

use crate::context_map::{Stream, Streams};
use crate::header_injectors::{FilterState, RequestHeaders};
use crate::request_properties::Host;
use crate::types::Map;
use crate::{floor, hostcalls, root_context};
use sidespan_core::headers::header_map::Extractor;
use sidespan_core::propagation::settings::Carrier;
use std::cell::{Cell, RefCell};

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
            stream.response = Some(hostcalls::header_pairs(Map::ResponseHeaders));
        }
        stream.response_header.take()
    });
    if let Some((name, value)) = header {
        hostcalls::replace_header(Map::ResponseHeaders, &name, &value);
    }
}

/// The stream has ended.
pub(crate) fn on_log(context_id: u32) {
    #[cfg(feature = "trap")]
    trap(b"log");
    if cfg!(feature = "floor") {
        if let Some(root_id) = take_created(context_id) {
            root_context::with(root_id, |root| floor::on_end(root.question()));
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
        root_context::with(root_id, |root| root.end(*tracer));
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
            root_context::with(stream.root_id, |root| {
                root.end_attempt(*tracer, stream.response);
            });
        }
    }
}

/// Panics if the request asks for it.
#[cfg(feature = "trap")]
#[allow(clippy::panic)]
fn trap(place: &[u8]) {
    if hostcalls::header_pairs(Map::RequestHeaders).header(b"x-trap") == Some(place) {
        panic!("as the request asked");
    }
}

/// Starts the stream whose request came, if there will be anything to do for
/// it. A request that goes no further takes no context.
fn start(root_id: u32, goes_on: bool) -> Option<Stream> {
    #[cfg(feature = "trap")]
    trap(b"request");
    let request = hostcalls::header_pairs(Map::RequestHeaders);
    // A request that Envoy could not read has no headers at all.
    request.header(b":method")?;
    root_context::with(root_id, |root| {
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
