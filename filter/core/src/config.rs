//! The configuration, valid by construction.
//!
//! One JSON document configures every host. What is wrong with it is told all
//! at once, each fault with its place in the document.

mod raw;
#[cfg(feature = "schema")]
mod schema;

use crate::batch::BatchConfig;
use crate::exporter::OtlpGrpc;
use crate::keep::Keep;
use crate::propagation::{Incoming, Propagator};
use crate::rule::Rule;
use crate::sampler::Sampler;
use std::fmt;

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Empty: detected.
    pub service_name: String,
    /// Where spans go.
    pub exporter: OtlpGrpc,
    /// How they wait.
    pub batch: BatchConfig,
    /// How contexts are read and written.
    pub propagator: Propagator,
    /// How a context that came in is taken.
    pub incoming: Incoming,
    /// The response header for the trace id, in lower case.
    pub response_header: Option<String>,
    /// Whether there is a span where no rule decides.
    pub sampler: Sampler,
    /// The first with an action that matches decides.
    pub rules: Vec<Rule>,
    /// What is kept though it was not sampled.
    pub keep: Keep,
    /// Whether routes decide by their metadata.
    pub route_metadata: bool,
}

impl Config {
    /// Reads a JSON document.
    pub fn parse(document: &[u8]) -> Result<Self, Faults> {
        let value: serde_json::Value = serde_json::from_slice(document).map_err(|error| {
            // serde_json's text ends with the place, which stands in front here.
            let text = error.to_string();
            let message = text.split(" at line ").next().unwrap_or_default();
            Faults::one(
                format!("line {} column {}", error.line(), error.column()),
                format!("not JSON: {message}"),
            )
        })?;
        let mut faults = raw::faults_across_keys(&value);
        match deserr::deserialize::<raw::Config, _, Faults>(value) {
            Ok(raw) if faults.0.is_empty() => Ok(raw.into()),
            Ok(_) => Err(faults),
            Err(others) => {
                faults.0.extend(others.0);
                Err(faults)
            }
        }
    }
}

/// The JSON Schema of the document, for editors.
#[cfg(feature = "schema")]
pub fn schema() -> serde_json::Value {
    schema::schema()
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
    fn one(place: impl Into<String>, message: impl Into<String>) -> Self {
        let mut faults = Self::default();
        faults.add(place, message);
        faults
    }

    fn add(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault {
            place: place.into(),
            message: message.into(),
        });
    }

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
