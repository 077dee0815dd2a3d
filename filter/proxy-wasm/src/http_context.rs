//! HTTP contexts: the callbacks of one stream.

use crate::context_map::{Stream, Streams};
use crate::header_injectors::{FilterState, RequestHeaders};
use crate::hostcalls;
use crate::request_properties::RequestProperties;
use crate::root_context;
use crate::types::Map;
use sidespan_core::propagation::settings::Carrier;
use sidespan_runtime::stream::HttpStream;
use std::cell::{Cell, RefCell};

thread_local! {
    /// Contexts that no request came for yet, and their roots: nearly always the
    /// one that is about to get it. For some none ever comes, if an earlier filter
    /// answers it.
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
    if let Some(root_id) = take_created(context_id)
        && let Some(http) = start(root_id, true).filter(HttpStream::has_work)
    {
        let stream = Stream {
            root_id,
            http: Box::new(http),
            response: None,
        };
        STREAMS.with_borrow_mut(|streams| streams.insert(context_id, stream));
    }
}

pub(crate) fn on_request_body(context_id: u32, size: usize) {
    STREAMS.with_borrow_mut(|streams| {
        if let Some(stream) = streams.get_mut(context_id) {
            stream.http.add_request_body(size as u64);
        }
    });
}

pub(crate) fn on_response_headers(context_id: u32) {
    let header = STREAMS.with_borrow_mut(|streams| {
        let stream = streams.get_mut(context_id)?;
        if SERVED.get() != Served::Listeners {
            stream.response = Some(hostcalls::header_pairs(Map::ResponseHeaders));
        }
        stream.http.take_response_header()
    });
    if let Some((name, value)) = header {
        hostcalls::replace_header(Map::ResponseHeaders, &name, &value);
    }
}

/// The stream has ended.
pub(crate) fn on_log(context_id: u32) {
    let (root_id, http) = match take_created(context_id) {
        // An earlier filter answered the request.
        Some(root_id) => (root_id, start(root_id, false)),
        None => match STREAMS.with_borrow_mut(|streams| streams.remove(context_id)) {
            Some(stream) => (stream.root_id, Some(*stream.http)),
            None => (0, None),
        },
    };
    if SERVED.get() == Served::Unknown {
        SERVED.set(Served::Listeners);
    }
    if let Some(recorded) = http.and_then(|mut http| http.end()) {
        root_context::end_stream(root_id, recorded);
    }
}

/// The context goes. A stream that is still there had no `on_log`: it is one
/// attempt upstream, and this is its end.
pub(crate) fn on_done(context_id: u32) {
    if take_created(context_id).is_some() {
        return;
    }
    let stream = STREAMS.with_borrow_mut(|streams| streams.remove(context_id));
    if let Some(mut stream) = stream {
        SERVED.set(Served::Clusters);
        if let Some(recorded) = stream.http.end() {
            root_context::end_attempt(stream.root_id, recorded, stream.response);
        }
    }
}

/// Starts the stream whose request came. `goes_on` says that the request is
/// forwarded, so that it takes a context.
fn start(root_id: u32, goes_on: bool) -> Option<HttpStream> {
    let request = hostcalls::header_pairs(Map::RequestHeaders);
    root_context::with(root_id, |root| {
        let (source, plugin) = root.parts();
        let name = plugin.response_header.as_deref();
        let info = RequestProperties;
        let mut http = HttpStream::default();
        match (goes_on, plugin.carrier) {
            (false, _) => http.start_answered(source, &request, &info),
            (true, Carrier::Headers) => {
                http.start(source, &request, &info, &mut RequestHeaders, name);
            }
            (true, Carrier::FilterState) => {
                let mut state = FilterState::default();
                http.start(source, &request, &info, &mut state, name);
                state.finish();
            }
        }
        http
    })
}
