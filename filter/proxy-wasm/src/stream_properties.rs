//! What the host tells of a stream that has ended.
//!
//! Most of it is asked for at once, by an expression: a question costs the
//! same whether it is for one property or for ten, and each answer little.

use crate::hostcalls;
use crate::property_query::{Asked, DECISIVE, PropertyValues, Question, direction_of, number_of};
use crate::types::Map;
use sidespan_core::headers::header_map::Extractor;
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::{End, MetadataKind, ResponseInfo};
use sidespan_core::protobuf::envoy_struct as document;
use sidespan_core::recording::deferrable::Deferrable;
use sidespan_core::recording::stream::StreamTracer;
use sidespan_runtime::worker::StoredResponse;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::Duration;

impl StoredResponse for PropertyValues {
    type Response = Ended<'static>;

    /// A stream about which there is nothing else to be asked.
    fn restore(self) -> Ended<'static> {
        Ended {
            whole: OnceCell::from(Some(self)),
            ..Ended::new(None, true)
        }
    }
}

/// The current stream, which has ended. Headers, trailers and metadata are
/// read whole: one call costs little more than one header.
pub(crate) struct Ended<'a> {
    /// `None` once all is answered.
    question: Option<&'a Question>,
    is_sampled: bool,
    /// The stream is an attempt that an upstream filter saw.
    is_attempt: bool,
    decisive: OnceCell<Option<PropertyValues>>,
    whole: OnceCell<Option<PropertyValues>>,
    headers: OnceCell<Pairs>,
    trailers: OnceCell<Pairs>,
    /// Of the request, the route, the cluster and the host.
    pub(crate) metadata: [OnceCell<Option<Vec<u8>>>; 4],
}

fn text_of(bytes: Vec<u8>) -> Option<Cow<'static, str>> {
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn text(path: &str) -> Option<Cow<'static, str>> {
    text_of(hostcalls::property(path)?)
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whether a property may be asked for of an attempt. A stream that a proxy
/// itself started, such as a mirrored request, has no downstream connection, and
/// Envoy (1.36 to 1.40) crashes where an address of it is asked for.
fn is_safe_of_attempt(path: &[String]) -> bool {
    !matches!(
        path.first().map(String::as_str),
        Some("source" | "destination")
    )
}

/// Where the certificate at one end stands, and what tells that there is none.
fn tls_peer_of(end: End) -> (&'static str, Asked) {
    match end {
        End::Downstream => ("connection", Asked::HasDownstreamPeer),
        End::Upstream => ("upstream", Asked::HasUpstreamTls),
    }
}

impl<'a> Ended<'a> {
    /// Of a stream that was not sampled as little is asked as can be.
    pub(crate) fn new(question: Option<&'a Question>, is_sampled: bool) -> Self {
        Self {
            question,
            is_sampled,
            is_attempt: false,
            decisive: OnceCell::new(),
            whole: OnceCell::new(),
            headers: OnceCell::new(),
            trailers: OnceCell::new(),
            metadata: Default::default(),
        }
    }

    /// Of an attempt that an upstream filter saw, with the headers of its
    /// response, if there was one: in `on_done` they are gone.
    pub(crate) fn of_attempt(response: Option<Pairs>) -> Self {
        Self {
            is_attempt: true,
            headers: OnceCell::from(response.unwrap_or(Pairs(Vec::new()))),
            ..Self::new(None, true)
        }
    }

    fn answer(&self, asked: Asked) -> Option<&PropertyValues> {
        let is_decisive = (asked as usize) < DECISIVE && !self.is_sampled;
        let cell = match is_decisive {
            true => &self.decisive,
            false => &self.whole,
        };
        let ask = || self.question?.ask(is_decisive);
        cell.get_or_init(ask).as_ref()
    }

    /// Takes the answer, if it says all that there is to know of this stream.
    pub(crate) fn take_settled(&mut self, stream: &StreamTracer) -> Option<PropertyValues> {
        let is_answered = self.is_sampled && self.answer(Asked::Status)?.is_short();
        let is_deferrable = is_answered && Deferrable::read(stream, self).is_some();
        match is_deferrable {
            true => self.whole.take().flatten(),
            false => None,
        }
    }

    /// What was answered, or the property alone.
    fn get(&self, asked: Asked, property: &str) -> Option<Cow<'_, [u8]>> {
        match self.answer(asked) {
            Some(answer) => Some(Cow::Borrowed(answer.get(asked))),
            None => hostcalls::property(property).map(Cow::Owned),
        }
    }

    fn number(&self, asked: Asked, property: &str) -> Option<u64> {
        number_of(&self.get(asked, property)?)
    }

    fn text(&self, asked: Asked, property: &str) -> Option<Cow<'_, str>> {
        match self.get(asked, property)? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => text_of(bytes),
        }
    }

    fn sent(&self, asked: Asked, property: &str) -> Option<Cow<'_, [u8]>> {
        // An attempt was received as it is sent.
        let sent = match self.is_attempt {
            true => None,
            false => self.get(asked, property),
        };
        sent.filter(|value| !value.is_empty())
    }

    /// Nanoseconds.
    fn duration(&self, asked: Asked, property: &str) -> Option<Duration> {
        let nanos = self.number(asked, property)?.cast_signed();
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }

    /// Whether it was answered that there is none.
    fn is_denied(&self, asked: Asked) -> bool {
        self.answer(asked)
            .is_some_and(|answer| answer.get(asked) == [0])
    }
}

impl ResponseInfo for Ended<'_> {
    fn listener_direction(&self) -> Direction {
        let answer = self.get(Asked::Direction, "xds\0listener_direction");
        direction_of(&answer.unwrap_or_default())
    }

    fn status(&self) -> Option<u16> {
        let code = match self.is_attempt {
            // Of a response that is retried the host tells no status.
            true => self.response_header(":status").and_then(decimal),
            false => None,
        };
        let code = code.or_else(|| self.number(Asked::Status, "response\0code"))?;
        // Where there was no response, Envoy may have zero for one.
        u16::try_from(code).ok().filter(|code| *code > 0)
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        self.text(Asked::Protocol, "request\0protocol")
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        if self.is_attempt {
            return None;
        }
        self.text(Asked::SourceAddress, "source\0address")
    }

    fn response_header(&self, name: &str) -> Option<&[u8]> {
        let read = || hostcalls::header_pairs(Map::ResponseHeaders);
        self.headers.get_or_init(read).header(name.as_bytes())
    }

    fn response_trailer(&self, name: &str) -> Option<&[u8]> {
        let read = || hostcalls::header_pairs(Map::ResponseTrailers);
        self.trailers.get_or_init(read).header(name.as_bytes())
    }

    fn response_flags(&self) -> ResponseFlags {
        let flags = self.number(Asked::Flags, "response\0flags");
        ResponseFlags(flags.unwrap_or_default())
    }

    fn response_code_details(&self) -> Option<Cow<'_, str>> {
        text("response\0code_details")
    }

    fn request_size(&self) -> Option<u64> {
        number_of(&hostcalls::property("request\0size")?)
    }

    fn response_size(&self) -> Option<u64> {
        // Of an attempt the host tells what the downstream got.
        if self.is_attempt {
            return None;
        }
        self.number(Asked::ResponseSize, "response\0size")
    }

    fn attempt_count(&self) -> u64 {
        self.number(Asked::Attempts, "upstream\0request_attempt_count")
            .unwrap_or_default()
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        self.text(Asked::Route, "xds\0route_name")
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        self.text(Asked::Cluster, "xds\0cluster_name")
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        self.text(Asked::UpstreamAddress, "upstream\0address")
    }

    fn sent_path(&self) -> Option<Cow<'_, [u8]>> {
        self.sent(Asked::SentPath, "request\0path")
    }

    fn sent_authority(&self) -> Option<Cow<'_, [u8]>> {
        self.sent(Asked::SentAuthority, "request\0host")
    }

    fn connection_wait(&self) -> Option<Duration> {
        self.duration(Asked::ConnectionWait, "upstream\0cx_pool_ready_duration")
    }

    fn upstream_latency(&self) -> Option<Duration> {
        self.duration(Asked::UpstreamLatency, "response\0backend_latency")
    }

    fn transport_failure(&self) -> Option<Cow<'_, str>> {
        text("upstream\0transport_failure_reason")
    }

    fn has_tls_peer(&self, end: End) -> bool {
        let (_, asked) = tls_peer_of(end);
        match self.answer(asked) {
            Some(answer) => answer.get(asked) != [0],
            None => self.tls_peer(end).is_some(),
        }
    }

    fn tls_peer(&self, end: End) -> Option<Cow<'_, str>> {
        let (connection, told) = tls_peer_of(end);
        if self.is_denied(told) {
            return None;
        }
        ["uri_san_peer_certificate", "subject_peer_certificate"]
            .iter()
            .find_map(|name| text(&format!("{connection}\0{name}")).filter(|t| !t.is_empty()))
    }

    fn workload(&self, end: End, field: &str) -> Option<Cow<'_, str>> {
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
        let encoded = cell
            .get_or_init(|| hostcalls::property(property))
            .as_ref()?;
        let object = document::namespace(encoded, namespace)?;
        path.iter()
            .try_fold(object, |mut value, key| Some(value.get_mut(key)?.take()))
    }

    fn property(&self, path: &[String]) -> Option<Vec<u8>> {
        if self.is_attempt && !is_safe_of_attempt(path) {
            return None;
        }
        hostcalls::property(&path.join("\0"))
    }
}
