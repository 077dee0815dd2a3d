//! What Envoy knows of a stream that has ended.

use crate::envoy::abi::Map;
use crate::envoy::attributes::{Attribute, Kind};
use crate::envoy::http_filter::Stream;
use crate::envoy::version::{Version, version};
use crate::envoy_1_38;
use crate::metadata_types::MetadataTypes;
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::{End, MetadataKind, ResponseInfo};
use std::borrow::Cow;
use std::time::Duration;

/// What was seen of a stream while it lasted.
pub(crate) struct StreamFacts {
    /// The traffic direction of the listener, once the request came.
    pub(crate) direction: Direction,
    /// Bytes of the bodies, where Envoy does not count them.
    pub(crate) request_size: u64,
    pub(crate) response_size: u64,
    /// Why Envoy answered itself, where it does not tell that later.
    pub(crate) details: Option<String>,
}

/// `envoy.config.core.v3.TrafficDirection` of the listener, which versions
/// before 1.40 do not tell.
pub(crate) fn direction(stream: &Stream) -> Direction {
    match stream.number(Attribute::XDS_LISTENER_DIRECTION) {
        Some(1) => Direction::Inbound,
        Some(2) => Direction::Outbound,
        _ => Direction::Unspecified,
    }
}

/// What Envoy knows of a stream that has ended.
pub(crate) struct Ended<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) facts: &'a StreamFacts,
    pub(crate) metadata: &'a MetadataTypes,
}

impl Ended<'_> {
    /// Why there is no response of the upstream's, where Envoy does not tell.
    fn details(&self) -> Option<&str> {
        if version() >= Version::V1_39 {
            return None;
        }
        let is_answered = || self.response_header(":status").is_some();
        let details = self.facts.details.as_deref();
        details.or_else(|| (!is_answered()).then_some(envoy_1_38::CLIENT_LEFT))
    }

    /// A header of the request as it was sent.
    fn sent(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let value = self.stream.header(Map::RequestHeaders, name);
        value.map(Cow::Borrowed)
    }

    fn text(&self, attribute: Attribute) -> Option<Cow<'_, str>> {
        self.stream.text(attribute).map(Cow::Borrowed)
    }
}

impl ResponseInfo for Ended<'_> {
    fn listener_direction(&self) -> Direction {
        self.facts.direction
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::REQUEST_PROTOCOL)
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::SOURCE_ADDRESS)
    }

    fn response_header(&self, name: &str) -> Option<&[u8]> {
        self.stream.header(Map::ResponseHeaders, name)
    }

    fn response_trailer(&self, name: &str) -> Option<&[u8]> {
        self.stream.header(Map::ResponseTrailers, name)
    }

    fn response_flags(&self) -> ResponseFlags {
        match self.stream.number(Attribute::RESPONSE_FLAGS) {
            Some(flags) => ResponseFlags(flags),
            None => envoy_1_38::flags(self.details().unwrap_or_default()),
        }
    }

    fn response_code_details(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::RESPONSE_CODE_DETAILS)
            .or_else(|| self.details().map(Cow::Borrowed))
    }

    fn request_size(&self) -> Option<u64> {
        let told = self.stream.number(Attribute::REQUEST_SIZE);
        told.or(Some(self.facts.request_size))
    }

    fn response_size(&self) -> Option<u64> {
        let told = self.stream.number(Attribute::RESPONSE_SIZE);
        told.or(Some(self.facts.response_size))
    }

    fn attempt_count(&self) -> u64 {
        let told = self.stream.number(Attribute::UPSTREAM_ATTEMPT_COUNT);
        told.unwrap_or_else(|| u64::from(self.stream.text(Attribute::UPSTREAM_ADDRESS).is_some()))
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::XDS_ROUTE_NAME)
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        self.stream.cluster_name().map(Cow::Borrowed)
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::UPSTREAM_ADDRESS)
    }

    fn sent_path(&self) -> Option<Cow<'_, [u8]>> {
        self.sent(":path")
    }

    fn sent_authority(&self) -> Option<Cow<'_, [u8]>> {
        self.sent(":authority")
    }

    /// No version tells.
    fn connection_wait(&self) -> Option<Duration> {
        None
    }

    fn upstream_latency(&self) -> Option<Duration> {
        self.stream.upstream_latency()
    }

    fn transport_failure(&self) -> Option<Cow<'_, str>> {
        self.text(Attribute::UPSTREAM_TRANSPORT_FAILURE)
    }

    fn tls_peer(&self, end: End) -> Option<Cow<'_, str>> {
        let [uri, subject] = match end {
            End::Downstream => [
                Attribute::CONNECTION_URI_SAN_PEER,
                Attribute::CONNECTION_SUBJECT_PEER,
            ],
            End::Upstream => [
                Attribute::UPSTREAM_URI_SAN_PEER,
                Attribute::UPSTREAM_SUBJECT_PEER,
            ],
        };
        let said = |attribute| self.text(attribute).filter(|text| !text.is_empty());
        said(uri).or_else(|| said(subject))
    }

    /// Istio's objects cannot be read by their fields.
    fn workload(&self, _end: End, _field: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn metadata(
        &self,
        kind: MetadataKind,
        namespace: &str,
        path: &[String],
    ) -> Option<serde_json::Value> {
        // Below the first level nothing can be asked.
        match path {
            [key] => self.metadata.read(self.stream, kind, namespace, key),
            _ => None,
        }
    }

    fn property(&self, path: &[String]) -> Option<Vec<u8>> {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();

        let line = |map, name: &str| {
            let name = name.to_ascii_lowercase();
            self.stream.header(map, &name).map(<[u8]>::to_vec)
        };
        match path.as_slice() {
            ["request", "headers", name] => line(Map::RequestHeaders, name),
            ["response", "headers", name] => line(Map::ResponseHeaders, name),
            ["response", "trailers", name] => line(Map::ResponseTrailers, name),
            ["xds", "cluster_name"] => Some(self.cluster_name()?.as_bytes().to_vec()),
            _ => {
                let name = path.join(".");
                let mut all = Attribute::ALL.iter();
                let attribute = all.find(|attribute| attribute.name == name)?;
                match attribute.kind {
                    Kind::Text => Some(self.text(*attribute)?.as_bytes().to_vec()),
                    Kind::Number => Some(self.stream.number(*attribute)?.to_le_bytes().to_vec()),
                    // Without TLS Envoy says nothing, and a property says no.
                    Kind::Truth => Some(vec![u8::from(
                        self.stream.truth(*attribute).unwrap_or_default(),
                    )]),
                }
            }
        }
    }
}
