//! The settings of an exporter: where spans go, and how.

use crate::export::retry::RetryConfig;
use std::fmt;
use std::time::Duration;

/// Where spans go and how: OTLP to a cluster of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// The cluster's name.
    pub cluster: String,
    /// The `:authority` of each call, never empty.
    pub authority: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// Sent with each call, beside those that the protocol has.
    pub headers: Vec<ExportHeader>,
    /// How OTLP is carried.
    pub protocol: Protocol,
    /// When a call that failed is made again.
    pub retry: RetryConfig,
}

/// How OTLP is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    Http {
        /// The path, `/v1/traces` by default.
        path: String,
        /// Whether the body is compressed.
        gzip: bool,
    },
}

/// A header of each call, such as a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportHeader {
    /// In lower case.
    pub name: String,
    /// What it says, or where that is found.
    pub source: HeaderSource,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// This.
    Value(Secret),
    /// What this variable of the environment holds.
    Environment(String),
}

/// A text that must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Whether a text can be the value of a header (RFC 9110, 5.5).
pub fn is_header_value(text: &str) -> bool {
    text.trim_ascii() == text && text.bytes().all(|b| b == b'\t' || !b.is_ascii_control())
}

/// The authority for a cluster where none is configured: the host in Istio's
/// `outbound|PORT|SUBSET|HOST`, whose `|` an HTTP/2 peer refuses in a header,
/// else the cluster's name.
pub fn default_authority(cluster: &str) -> &str {
    match cluster.rsplit_once('|') {
        Some((_, host)) if !host.is_empty() => host,
        _ => cluster,
    }
}
