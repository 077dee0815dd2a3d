//! HTTP streams: callbacks to the tracer of their root, and back.

use crate::host::{self, Map};
use crate::root;
use sidespan_core::document;
use sidespan_core::propagation::{Extractor, Injector};
use sidespan_core::request::{Direction, End, MetadataKind, RequestInfo, ResponseInfo};
use sidespan_core::response_flags::ResponseFlags;
use sidespan_core::stream::StreamTracer;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

/// What is known of a stream between its callbacks.
struct Stream {
    root_id: u32,
    state: State,
    /// A header to add to the response, if one is configured.
    response_header: Option<(String, String)>,
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
    let stream = Stream {
        root_id,
        state: State::Created,
        response_header: None,
    };
    STREAMS.with_borrow_mut(|streams| streams.insert(context_id, stream));
}

pub(crate) fn on_request_headers(context_id: u32) {
    STREAMS.with_borrow_mut(|streams| {
        let Some(stream) = streams.get_mut(&context_id) else {
            return;
        };
        start(stream);
    });
}

pub(crate) fn on_response_headers(context_id: u32) {
    let header = STREAMS.with_borrow_mut(|streams| {
        let stream = streams.get_mut(&context_id)?;
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
    let Some(mut stream) = STREAMS.with_borrow_mut(|streams| streams.remove(&context_id)) else {
        return;
    };
    if matches!(stream.state, State::Created) {
        // A filter before this one answered the request. It went nowhere, but
        // it was there.
        start(&mut stream);
    }
    if let State::Traced(tracer) = stream.state {
        root::with(stream.root_id, |root| root.end(*tracer, &Ended::default()));
    }
}

/// Panics if the request asks for it.
#[cfg(feature = "trap")]
#[allow(clippy::panic)]
fn trap(place: &[u8]) {
    if Pairs::of(Map::RequestHeaders).header(b"x-trap") == Some(place) {
        panic!("as the request asked");
    }
}

fn start(stream: &mut Stream) {
    #[cfg(feature = "trap")]
    trap(b"request");
    stream.state = State::Untraced;
    let request = Pairs::of(Map::RequestHeaders);
    if request.header(b":method").is_none() {
        // A request that Envoy could not read has no headers at all.
        return;
    }
    root::with(stream.root_id, |root| {
        let started = root.start(&request, &Host, direction(), &mut RequestHeaders);
        stream.response_header = root.response_header(&started.decision);
        if let Some(tracer) = started.stream {
            stream.state = State::Traced(Box::new(tracer));
        }
    });
}

/// `envoy.config.core.v3.TrafficDirection` of the listener.
fn direction() -> Direction {
    match host::property("xds\0listener_direction").as_deref() {
        Some([1, ..]) => Direction::Inbound,
        Some([2, ..]) => Direction::Outbound,
        _ => Direction::Unspecified,
    }
}

/// All lines of a header map in one buffer: their number, the sizes of
/// each name and value, then each name and value with a zero byte behind it.
pub(crate) struct Pairs(Vec<u8>);

impl Pairs {
    pub(crate) fn of(map: Map) -> Self {
        Self(host::header_pairs(map))
    }
}

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

/// What the host knows of the current stream, whose request came.
struct Host;

fn text(path: &str) -> Option<String> {
    String::from_utf8(host::property(path)?).ok()
}

fn number(path: &str) -> Option<u64> {
    host::property(path)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)
}

impl RequestInfo for Host {
    fn protocol(&self) -> Option<String> {
        text("request\0protocol")
    }

    fn source_address(&self) -> Option<String> {
        text("source\0address")
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

/// What the host knows of the current stream, which has ended. Its headers
/// and trailers are read whole: one call costs little more than one header.
#[derive(Default)]
struct Ended {
    headers: OnceCell<Pairs>,
    trailers: OnceCell<Pairs>,
    /// Read whole, too: of the request, the route, the cluster and the host.
    metadata: [OnceCell<Option<Vec<u8>>>; 4],
}

/// A duration in nanoseconds, if the host knows it.
fn duration(path: &str) -> Option<Duration> {
    let nanos = i64::from_le_bytes(host::property(path)?.try_into().ok()?);
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

impl ResponseInfo for Ended {
    fn response_header(&self, name: &str) -> Option<&[u8]> {
        let read = || Pairs::of(Map::ResponseHeaders);
        self.headers.get_or_init(read).header(name.as_bytes())
    }

    fn response_trailer(&self, name: &str) -> Option<&[u8]> {
        let read = || Pairs::of(Map::ResponseTrailers);
        self.trailers.get_or_init(read).header(name.as_bytes())
    }

    fn response_flags(&self) -> ResponseFlags {
        ResponseFlags(number("response\0flags").unwrap_or_default())
    }

    fn response_code_details(&self) -> Option<String> {
        text("response\0code_details")
    }

    fn request_size(&self) -> Option<u64> {
        number("request\0size")
    }

    fn response_size(&self) -> Option<u64> {
        number("response\0size")
    }

    fn attempt_count(&self) -> u64 {
        number("upstream\0request_attempt_count").unwrap_or_default()
    }

    fn route_name(&self) -> Option<String> {
        text("xds\0route_name")
    }

    fn cluster_name(&self) -> Option<String> {
        text("xds\0cluster_name")
    }

    fn upstream_address(&self) -> Option<String> {
        text("upstream\0address")
    }

    fn connection_wait(&self) -> Option<Duration> {
        duration("upstream\0cx_pool_ready_duration")
    }

    fn upstream_latency(&self) -> Option<Duration> {
        duration("response\0backend_latency")
    }

    fn transport_failure(&self) -> Option<String> {
        text("upstream\0transport_failure_reason")
    }

    fn tls_peer(&self, end: End) -> Option<String> {
        let connection = match end {
            End::Downstream => "connection",
            End::Upstream => "upstream",
        };
        ["uri_san_peer_certificate", "subject_peer_certificate"]
            .iter()
            .find_map(|name| text(&format!("{connection}\0{name}")).filter(|t| !t.is_empty()))
    }

    fn workload(&self, end: End, field: &str) -> Option<String> {
        let peer = match end {
            End::Downstream => "downstream_peer",
            End::Upstream => "upstream_peer",
        };
        text(&format!("filter_state\0{peer}\0{field}"))
    }

    fn metadata(
        &self,
        kind: MetadataKind,
        namespace: &str,
        path: &[String],
    ) -> Option<serde_json::Value> {
        let [request, route, cluster, host] = &self.metadata;
        let (cell, property) = match kind {
            MetadataKind::Request => (request, "metadata"),
            MetadataKind::Route => (route, "xds\0route_metadata"),
            MetadataKind::Cluster => (cluster, "xds\0cluster_metadata"),
            MetadataKind::Host => (host, "xds\0upstream_host_metadata"),
        };
        let encoded = cell.get_or_init(|| host::property(property)).as_ref()?;
        let object = document::namespace(encoded, namespace)?;
        path.iter()
            .try_fold(object, |mut value, key| Some(value.get_mut(key)?.take()))
    }

    fn property(&self, path: &[String]) -> Option<Vec<u8>> {
        host::property(&path.join("\0"))
    }
}
