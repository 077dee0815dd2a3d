//! What the core reads of a request, and of its end.

use crate::host::response_flags::ResponseFlags;
use crate::propagation::composite::Extractor;
use crate::url::{split_host_port, without_user_info};
use std::borrow::Cow;
use std::cell::Cell;
use std::time::Duration;

/// The side of the proxy that a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the workload behind the proxy.
    Inbound,
    /// From the workload behind the proxy.
    Outbound,
    /// A gateway or an edge.
    Unspecified,
}

/// Something that the host tells with a request, or how to ask for it: few
/// decisions need it, and a host can be dear to ask.
#[derive(Clone, Copy, Debug)]
pub enum Told<T> {
    /// It is known.
    Known(T),
    /// This asks the host.
    Ask(fn() -> T),
}

impl<T> From<T> for Told<T> {
    fn from(known: T) -> Self {
        Self::Known(known)
    }
}

/// What a host knows of a request beside its headers, asked for only where it
/// is needed: answers can be dear.
pub trait RequestInfo {
    /// A bool in the `filter_metadata` of the route.
    fn route_bool(&self, namespace: &str, key: &str) -> Option<bool>;
    /// A text there.
    fn route_text(&self, namespace: &str, key: &str) -> Option<String>;
    /// A number there.
    fn route_number(&self, namespace: &str, key: &str) -> Option<f64>;
}

/// An end of the proxy's own connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Towards the caller.
    Downstream,
    /// Towards the called.
    Upstream,
}

/// Whose metadata (`envoy.type.metadata.v3.MetadataKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataKind {
    /// What filters said of the request: dynamic metadata.
    Request,
    /// The route's.
    Route,
    /// The upstream cluster's.
    Cluster,
    /// The upstream host's.
    Host,
}

/// What a host knows of a stream that has ended, asked for only where it is
/// needed: answers can be dear. What a host cannot know is not there.
pub trait ResponseInfo {
    /// The status of the response, if there was one.
    fn status(&self) -> Option<u16> {
        let status = self.response_header(":status")?;
        std::str::from_utf8(status).ok()?.parse().ok()
    }
    /// The protocol of the downstream connection: `HTTP/1.1`, `HTTP/2` …
    fn protocol(&self) -> Option<Cow<'_, str>>;
    /// Address and port of the client, as the proxy trusts them. The port is
    /// 0 where the address came from a header.
    fn source_address(&self) -> Option<Cow<'_, str>>;
    /// The first line of a response header.
    fn response_header(&self, name: &str) -> Option<&[u8]>;
    /// The first line of a response trailer.
    fn response_trailer(&self, _name: &str) -> Option<&[u8]> {
        None
    }
    /// Envoy's response flags.
    fn response_flags(&self) -> ResponseFlags;
    /// Envoy's response code details: why the response is what it is.
    fn response_code_details(&self) -> Option<Cow<'_, str>> {
        None
    }
    /// Bytes of the request's body, counted, or as its header announced them.
    fn request_size(&self) -> Option<u64> {
        None
    }
    /// Bytes of the response's body.
    fn response_size(&self) -> Option<u64>;
    /// How often the request was sent upstream; 0 if it never was.
    fn attempt_count(&self) -> u64;
    /// The name of the route.
    fn route_name(&self) -> Option<Cow<'_, str>>;
    /// The name of the cluster that the request was meant for.
    fn cluster_name(&self) -> Option<Cow<'_, str>>;
    /// Address and port of the host that the request was sent to.
    fn upstream_address(&self) -> Option<Cow<'_, str>>;
    /// The `:path` of the request as it was sent upstream, with what the route
    /// and later filters changed.
    fn sent_path(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    /// The `:authority` of the request as it was sent upstream.
    fn sent_authority(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    /// How long the request waited for a connection to it.
    fn connection_wait(&self) -> Option<Duration> {
        None
    }
    /// From the first byte sent to it to the last one that came back, of the
    /// last attempt; not known of a response that did not end.
    fn upstream_latency(&self) -> Option<Duration> {
        None
    }
    /// Why there was no connection to it.
    fn transport_failure(&self) -> Option<Cow<'_, str>> {
        None
    }
    /// Who the certificate at the other end of a TLS connection belongs to.
    fn tls_peer(&self, _end: End) -> Option<Cow<'_, str>> {
        None
    }
    /// A field of what Istio's proxy knows of the workload at the other end:
    /// `workload`, `namespace`, `service` …
    fn workload(&self, _end: End, _field: &str) -> Option<Cow<'_, str>> {
        None
    }
    /// A value in the `filter_metadata` of a namespace, and the way to it.
    fn metadata(
        &self,
        _kind: MetadataKind,
        _namespace: &str,
        _path: &[String],
    ) -> Option<serde_json::Value> {
        None
    }
    /// Any property that the host knows, as it gives it: text, or the bytes of
    /// a little-endian number.
    fn property(&self, _path: &[String]) -> Option<Vec<u8>> {
        None
    }
}

/// The request headers that rules and spans ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHead<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) scheme: &'a [u8],
    pub(crate) authority: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) content_type: &'a [u8],
    pub(crate) content_length: Option<&'a [u8]>,
}

impl<'a> RequestHead<'a> {
    /// The names of what [`read`](Self::read) looks for.
    pub const HEADERS: [&'static str; 7] = [
        ":method",
        ":scheme",
        ":authority",
        ":path",
        "user-agent",
        "content-type",
        "content-length",
    ];

    /// Finds them.
    pub fn read(request: &'a impl Extractor) -> Self {
        let mut head = Self::default();
        for (name, value) in request.headers() {
            head.add(name, value);
        }
        head
    }

    /// Takes a header, if it is one of them, and tells whether it was. Most are
    /// told apart by the length of their names.
    pub(crate) fn add(&mut self, name: &[u8], value: &'a [u8]) -> bool {
        match (name.len(), name) {
            (7, b":method") => self.method = value,
            (7, b":scheme") => self.scheme = value,
            (10, b":authority") => self.authority = value,
            (5, b":path") => self.path = value,
            (10, b"user-agent") => self.user_agent = Some(value),
            (12, b"content-type") => self.content_type = value,
            (14, b"content-length") => self.content_length = Some(value),
            _ => return false,
        }
        true
    }

    /// Whether the request is a gRPC call: `application/grpc`,
    /// `application/grpc+proto` (gRPC over HTTP2, Content-Type), and
    /// `application/grpc-web`, `application/grpc-web-text+proto`
    /// (gRPC-Web, Content-Type).
    pub(crate) fn is_grpc(&self) -> bool {
        let suffix = |prefix: &[u8]| self.content_type.strip_prefix(prefix);
        let suffix = suffix(b"application/grpc-web-text")
            .or_else(|| suffix(b"application/grpc-web"))
            .or_else(|| suffix(b"application/grpc"));
        suffix.is_some_and(|suffix| matches!(suffix.first(), None | Some(b'+' | b';')))
    }

    /// The path as rules see it.
    pub(crate) fn path_without_query(&self) -> &'a [u8] {
        let end = self.path.iter().position(|b| matches!(b, b'?' | b'#'));
        self.path
            .get(..end.unwrap_or(self.path.len()))
            .unwrap_or_default()
    }

    /// The host as rules see it: without user and port. One that is no UTF-8
    /// is none.
    pub(crate) fn host(&self) -> &'a [u8] {
        let authority = std::str::from_utf8(self.authority).unwrap_or_default();
        split_host_port(without_user_info(authority)).0.as_bytes()
    }
}

/// A request, as everything that decides about it sees it.
#[derive(Debug)]
pub struct Request<'a, H, I> {
    /// All of its headers.
    pub headers: &'a H,
    /// The ones that are asked for most.
    pub head: RequestHead<'a>,
    /// What the host knows beside them.
    pub info: &'a I,
    /// The side of the proxy.
    pub direction: Cell<Told<Direction>>,
    /// Unix time in nanoseconds.
    pub now: Cell<Told<u64>>,
}

impl<H, I> Request<'_, H, I> {
    /// The side of the proxy, asked for once.
    pub fn direction(&self) -> Direction {
        told(&self.direction)
    }

    /// The time that it came, which is when this is first called.
    pub fn now(&self) -> u64 {
        told(&self.now)
    }
}

/// Asks for it once.
pub(crate) fn told<T: Copy>(told: &Cell<Told<T>>) -> T {
    let answer = match told.get() {
        Told::Known(answer) => answer,
        Told::Ask(ask) => ask(),
    };
    told.set(Told::Known(answer));
    answer
}
