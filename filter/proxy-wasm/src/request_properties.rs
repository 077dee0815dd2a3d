//! What the host knows of a request beside its headers.

use crate::{hostcalls, property_query};
use sidespan_core::host::request_info::{Direction, RequestInfo};

/// What the host knows of the current stream, whose request came.
pub(crate) struct RequestProperties;

impl RequestInfo for RequestProperties {
    fn listener_direction(&self) -> Direction {
        property_query::direction()
    }

    fn now(&self) -> u64 {
        hostcalls::now()
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
    hostcalls::property(&format!(
        "xds\0route_metadata\0filter_metadata\0{namespace}\0{key}"
    ))
}
