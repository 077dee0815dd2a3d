//! What a collector's answer says.

use crate::export::callout::Lines;
use crate::otlp::encode::{ERROR_MESSAGE, PARTIAL_SUCCESS, REJECTED_SPANS};
use crate::protobuf::wire::{field, number_field};
use crate::span::semconv::GRPC_STATUS_NAMES;
use std::fmt;
use std::time::Duration;

/// Why an export failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// What the collector, or the proxy in its place, said of it.
    pub message: String,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// A gRPC status other than OK.
    Grpc(u32),
    /// An HTTP status other than 2xx.
    Http(u16),
    /// The connection ended before the answer did.
    Reset,
    /// There is no such cluster.
    NoCluster,
    /// The cluster has no endpoint that is healthy and has room.
    NoEndpoint,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FailureKind::Grpc(code) => {
                let index = usize::try_from(code).unwrap_or(usize::MAX);
                let name = GRPC_STATUS_NAMES.get(index).copied().unwrap_or_default();
                write!(
                    f,
                    "gRPC status {code}{}{name}",
                    if name.is_empty() { "" } else { " " }
                )?;
            }
            FailureKind::Http(status) => write!(f, "HTTP status {status}")?,
            FailureKind::Reset => f.write_str("the connection ended before the answer did")?,
            FailureKind::NoCluster => f.write_str("there is no such cluster")?,
            FailureKind::NoEndpoint => f.write_str("the cluster has no endpoint that takes it")?,
        }
        if !self.message.is_empty() {
            write!(f, ": {:?}", self.message)?;
        }
        Ok(())
    }
}

/// Whether a failure may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    No,
    /// It may, after as long as the collector asked for.
    After(Option<Duration>),
}

impl Retry {
    pub(super) const YES: Self = Self::After(None);
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The collector has the spans, but for so many.
    Taken {
        rejected: u64,
        message: String,
    },
    Failed(Failure, Retry),
}

impl Answer {
    /// Success with this `ExportTraceServiceResponse`. One that cannot be read
    /// is a success all the same.
    pub(super) fn taken(message: &[u8]) -> Self {
        let partial = field(message, PARTIAL_SUCCESS).unwrap_or_default();
        let words = field(partial, ERROR_MESSAGE).unwrap_or_default();
        let rejected = number_field(partial, REJECTED_SPANS).unwrap_or_default();
        Self::Taken {
            rejected: u64::try_from(rejected).unwrap_or_default(),
            message: shortened(&String::from_utf8_lossy(words)),
        }
    }

    pub(super) fn failed(kind: FailureKind, message: &str, retry: Retry) -> Self {
        let message = shortened(message);
        Self::Failed(Failure { kind, message }, retry)
    }
}

/// What a log line shows of a collector's words: enough to know what it means,
/// whatever it sends.
fn shortened(message: &str) -> String {
    const MAX_CHARS: usize = 256;
    let message = message.trim();
    match message.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
        None => message.to_owned(),
    }
}

/// `google.rpc.Status.message`.
pub(super) const STATUS_MESSAGE: u32 = 2;

/// The first line with this name.
pub(super) fn line<'a>(lines: &Lines<'a>, name: &[u8]) -> Option<&'a [u8]> {
    lines.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// A number in decimal digits and nothing else, as lines carry it.
pub(super) fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}
