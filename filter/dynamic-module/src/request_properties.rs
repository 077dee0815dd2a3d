//! What Envoy knows of a request, and what is written to it.

use crate::envoy::abi::MetadataSource;
use crate::envoy::http_filter::Stream;
use crate::system::now;
use sidespan_core::headers::header_map::Injector;
use sidespan_core::host::request_info::{Direction, RequestInfo};

/// What is to be written to the request, once nobody reads it any more. An
/// empty value removes the header.
#[derive(Default)]
pub(crate) struct Written(pub(crate) Vec<(&'static str, String)>);

impl Injector for Written {
    fn set(&mut self, name: &'static str, value: &str) {
        self.0.push((name, value.to_owned()));
    }

    fn remove(&mut self, name: &'static str) {
        self.0.push((name, String::new()));
    }
}

/// What Envoy knows of a request.
pub(crate) struct Request<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) direction: Direction,
}

impl RequestInfo for Request<'_> {
    fn listener_direction(&self) -> Direction {
        self.direction
    }

    fn now(&self) -> u64 {
        now()
    }

    fn route_bool(&self, namespace: &str, key: &str) -> Option<bool> {
        self.stream
            .metadata_truth(MetadataSource::Route, namespace, key)
    }

    fn route_text(&self, namespace: &str, key: &str) -> Option<String> {
        self.stream
            .metadata_text(MetadataSource::Route, namespace, key)
    }

    fn route_number(&self, namespace: &str, key: &str) -> Option<f64> {
        self.stream
            .metadata_number(MetadataSource::Route, namespace, key)
    }
}
