//! Batches to callouts, and what came of them.

use crate::batch::Batch;
use crate::otlp::{Envelope, ExportResponse};
use prost::Message as _;
use std::time::Duration;

/// `TraceService/Export` (opentelemetry-proto,
/// `collector/trace/v1/trace_service.proto`).
pub const SERVICE: &str = "opentelemetry.proto.collector.trace.v1.TraceService";
/// The method of [`SERVICE`].
pub const METHOD: &str = "Export";

/// Where spans go: OTLP over gRPC to a cluster of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpGrpc {
    /// The cluster's name.
    pub cluster: String,
    /// The `:authority` of each call, never empty.
    pub authority: String,
    /// How long a call may take.
    pub timeout: Duration,
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

/// Names a callout between the tracer and its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CalloutId(u64);

/// A gRPC call that the host is to make.
#[derive(Debug)]
pub struct Callout {
    /// To be handed back with the outcome.
    pub id: CalloutId,
    /// An `ExportTraceServiceRequest`.
    pub message: Vec<u8>,
}

/// How a callout ended, in the host's words.
#[derive(Clone, Copy, Debug)]
pub enum CalloutOutcome<'a> {
    /// gRPC status OK with this message.
    Answered(&'a [u8]),
    /// Another gRPC status.
    Failed(u32),
    /// The host would not send it: no such cluster.
    NotSent,
}

/// What became of the spans of an export. The numbers add up to the batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExportOutcome {
    pub(crate) acknowledged: usize,
    pub(crate) rejected: usize,
    pub(crate) dropped: usize,
}

/// Something about exports that an operator should read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The first failure after a success.
    Failing(Failure),
    /// The first success after a failure.
    Recovered,
    /// The collector took only a part, and says why.
    Rejected {
        /// Spans that it did not take.
        spans: usize,
        /// Its words.
        message: String,
    },
}

/// Why an export failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The collector, or the proxy in its place, answered with this gRPC
    /// status.
    Status(u32),
    /// There is no such cluster.
    NotSent,
}

#[derive(Debug)]
struct InFlight {
    id: CalloutId,
    spans: usize,
}

/// Makes callouts of batches and remembers those under way.
#[derive(Debug)]
pub(crate) struct Exporter {
    envelope: Envelope,
    max_concurrent: usize,
    in_flight: Vec<InFlight>,
    next_id: u64,
    failing: bool,
}

impl Exporter {
    pub(crate) fn new(envelope: Envelope, max_concurrent: usize) -> Self {
        Self {
            envelope,
            max_concurrent,
            in_flight: Vec::new(),
            next_id: 0,
            failing: false,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.in_flight.len() < self.max_concurrent
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(crate) fn spans_in_flight(&self) -> usize {
        self.in_flight.iter().map(|call| call.spans).sum()
    }

    pub(crate) fn export(&mut self, batch: &Batch) -> Callout {
        let id = CalloutId(self.next_id);
        self.next_id += 1;
        self.in_flight.push(InFlight {
            id,
            spans: batch.count,
        });
        Callout {
            id,
            message: self.envelope.wrap(&batch.spans),
        }
    }

    /// Books the end of a callout; `None` for one that is not under way.
    pub(crate) fn end(
        &mut self,
        id: CalloutId,
        outcome: CalloutOutcome<'_>,
    ) -> Option<(ExportOutcome, Option<Notice>)> {
        let index = self.in_flight.iter().position(|call| call.id == id)?;
        let spans = self.in_flight.swap_remove(index).spans;
        let failure = match outcome {
            CalloutOutcome::Answered(message) => return Some(self.answered(spans, message)),
            CalloutOutcome::Failed(status) => Failure::Status(status),
            CalloutOutcome::NotSent => Failure::NotSent,
        };
        let notice = (!self.failing).then_some(Notice::Failing(failure));
        self.failing = true;
        let outcome = ExportOutcome {
            acknowledged: 0,
            rejected: 0,
            dropped: spans,
        };
        Some((outcome, notice))
    }

    fn answered(&mut self, spans: usize, message: &[u8]) -> (ExportOutcome, Option<Notice>) {
        // An answer that cannot be read is an OK all the same.
        let partial = ExportResponse::decode(message)
            .ok()
            .and_then(|response| response.partial_success);
        let rejected = partial.as_ref().map_or(0, |partial| {
            usize::try_from(partial.rejected_spans)
                .unwrap_or(0)
                .min(spans)
        });
        let recovered = std::mem::take(&mut self.failing);
        let notice = match partial {
            Some(partial) if rejected > 0 || !partial.error_message.is_empty() => {
                Some(Notice::Rejected {
                    spans: rejected,
                    message: partial.error_message,
                })
            }
            _ => recovered.then_some(Notice::Recovered),
        };
        let outcome = ExportOutcome {
            acknowledged: spans - rejected,
            rejected,
            dropped: 0,
        };
        (outcome, notice)
    }
}
