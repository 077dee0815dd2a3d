//! What a host knows of a stream that has ended.

use crate::host::request_info::Direction;
use crate::host::response_flags::ResponseFlags;
use std::borrow::Cow;
use std::time::Duration;

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
    /// The traffic direction of the listener.
    fn listener_direction(&self) -> Direction;
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
    /// Whether there is a certificate at the other end of a TLS connection. A host
    /// that knows this without reading the certificate says so here.
    fn has_tls_peer(&self, end: End) -> bool {
        self.tls_peer(end).is_some()
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
