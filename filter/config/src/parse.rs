//! JSON documents to configurations.

use crate::error::{Fault, Faults};
use crate::reader;
use sidespan_core::config::{Config, RouteConfig};

/// Reads a JSON document.
pub fn parse(document: &[u8]) -> Result<Config, Faults> {
    reader::document(&json(document)?)
}

/// Reads what a route says of its own: some keys of the document.
pub fn parse_route(document: &[u8]) -> Result<RouteConfig, Faults> {
    reader::document(&json(document)?)
}

fn json(document: &[u8]) -> Result<serde_json::Value, Faults> {
    serde_json::from_slice(document).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let message = text.strip_suffix(&format!(" at {place}")).unwrap_or(&text);
        let message = format!("not JSON: {message}");
        Faults(vec![Fault { place, message }])
    })
}
