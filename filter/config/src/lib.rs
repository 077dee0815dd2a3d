//! Reads the configuration document: one JSON document configures every host.
//!
//! What is wrong with it is told all at once, each fault with its place in the
//! document. What comes out is a [`Config`], valid by construction.

pub mod fallback;
mod leaf;
mod raw;
mod read;
#[cfg(feature = "schema")]
mod schema;

use sidespan_core::config::{Config, RouteConfig};
use std::fmt;

/// Reads a JSON document.
pub fn parse(document: &[u8]) -> Result<Config, Faults> {
    read::document(&json(document)?)
}

/// Reads what a route says of its own: some keys of the document.
pub fn parse_route(document: &[u8]) -> Result<RouteConfig, Faults> {
    read::document(&json(document)?)
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

/// The JSON Schema of the document, for editors.
#[cfg(feature = "schema")]
pub fn schema() -> serde_json::Value {
    schema::schema()
}

/// The variable of the environment that makes a host refuse a rejected document
/// if it is `1`.
pub const STRICT: &str = "SIDESPAN_STRICT";

/// Why the value of [`STRICT`] has no effect, if it is neither `1` nor `0`.
pub fn strict_warning(value: Option<&str>) -> Option<String> {
    match value {
        None | Some("" | "0" | "1") => None,
        Some(other) => Some(format!(
            "{STRICT} of the environment is {other:?} and has no effect, expected 1 or 0"
        )),
    }
}

/// Everything that is wrong with a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, as `exporter.otlp_grpc.timeout` or `propagation.extract[1]`.
    pub place: String,
    /// The value, and what was expected.
    pub message: String,
}

impl Faults {
    /// Each fault.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", fault.place, fault.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
