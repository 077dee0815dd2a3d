//! Reads the configuration document: one JSON document configures every host.
//!
//! What is wrong with it is told all at once, each fault with its place in the
//! document. What comes out is a [`Config`](sidespan_core::config::Config), valid by construction.

mod checks;
mod choices;
mod convert;
mod document;
mod error;
pub mod fallback;
#[cfg(feature = "schema")]
mod json_schema;
mod object;
mod parse;
mod reader;
#[cfg(feature = "schema")]
mod schema;
mod values;

pub use error::{Fault, Faults};
pub use parse::{parse, parse_route};

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
