//! One attempt upstream, as a cluster's HTTP filter sees it.
//!
//! Envoy tells such a filter no end but its own destruction, in which it answers
//! no question. What a span says is read when the request and the response come.
//! Addresses of the downstream are never asked for: a stream that Envoy started
//! itself has none, and Envoy 1.38 to 1.40 crashes then.

use crate::envoy::abi::Map;
use crate::envoy::attributes::Attribute;
use crate::envoy::http_filter::Stream;
use crate::envoy::version::{Version, version};
use sidespan_core::headers::header_map::Extractor;
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::ResponseInfo;
use std::borrow::Cow;

/// See the module.
#[derive(Default)]
pub(crate) struct Attempt {
    /// From 1.
    number: u64,
    protocol: Option<String>,
    route: Option<String>,
    cluster: Option<String>,
    upstream_address: Option<String>,
    response: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attempt {
    /// Reads what is known when the request comes; `None` of a stream that is no
    /// attempt. A listener's filter sees a request before it is sent.
    pub(crate) fn read(stream: &Stream) -> Option<Self> {
        let text = |attribute| stream.text(attribute).map(str::to_owned);
        // 1.38 has no count; a listener's filter is called before there is a host.
        let number = match version() < Version::V1_39 {
            true => u64::from(stream.text(Attribute::UPSTREAM_ADDRESS).is_some()),
            false => stream.number(Attribute::UPSTREAM_ATTEMPT_COUNT)?,
        };
        (number > 0).then(|| Self {
            number,
            protocol: text(Attribute::REQUEST_PROTOCOL),
            route: text(Attribute::XDS_ROUTE_NAME),
            cluster: stream.cluster_name().map(str::to_owned),
            upstream_address: text(Attribute::UPSTREAM_ADDRESS),
            response: Vec::new(),
        })
    }

    /// Reads the headers of the response.
    pub(crate) fn read_response(&mut self, stream: &Stream) {
        let headers = stream.headers(Map::ResponseHeaders);
        let lines = headers.headers();
        self.response = lines
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
    }
}

fn borrowed(text: &Option<String>) -> Option<Cow<'_, str>> {
    text.as_deref().map(Cow::Borrowed)
}

impl ResponseInfo for Attempt {
    /// The span of an attempt is a CLIENT span whatever the direction.
    fn listener_direction(&self) -> Direction {
        Direction::Unspecified
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        borrowed(&self.protocol)
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn response_header(&self, name: &str) -> Option<&[u8]> {
        let mut lines = self.response.iter();
        let (_, value) = lines.find(|(known, _)| known == name.as_bytes())?;
        Some(value)
    }

    fn response_flags(&self) -> ResponseFlags {
        ResponseFlags::default()
    }

    fn response_size(&self) -> Option<u64> {
        None
    }

    fn attempt_count(&self) -> u64 {
        self.number
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        borrowed(&self.route)
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        borrowed(&self.cluster)
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        borrowed(&self.upstream_address)
    }
}
