//! Requests that the host makes for an exporter, and how they end.

use crate::export::batch::Body;
use crate::export::settings::Secret;
use std::time::Duration;

/// What is the same in all calls of one exporter.
#[derive(Clone, Debug)]
pub struct Target {
    /// The cluster's name.
    pub cluster: String,
    /// All headers, HTTP/2's own among them.
    pub headers: Vec<(String, Secret)>,
    /// How long a call may take.
    pub timeout: Duration,
}

/// Names a callout between the tracer and its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CalloutId(pub(super) u64);

/// An HTTP request that the host is to make, to the exporter's [`Target`].
#[derive(Debug)]
pub struct Callout {
    /// To be handed back with the outcome.
    pub id: CalloutId,
    /// Its body.
    pub body: Body,
}

/// Header or trailer lines.
pub type Lines<'a> = [(&'a [u8], &'a [u8])];

/// How a callout ended.
#[derive(Clone, Copy, Debug)]
pub enum CalloutOutcome<'a> {
    /// With an answer, of the collector or of the proxy in its place.
    Answered {
        /// With `:status`.
        headers: &'a Lines<'a>,
        /// The beginning of the body, at least.
        body: &'a [u8],
        /// None for most.
        trailers: &'a Lines<'a>,
    },
    /// The connection ended before the answer did.
    Reset,
    /// The host has no such cluster.
    NoCluster,
    /// The host has, but nobody in it to send it to.
    NoEndpoint,
}
