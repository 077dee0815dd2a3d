//! Whether a request gets a span.

use crate::propagation::SamplingState;

/// What happens to a span (OpenTelemetry specification, Sampling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingDecision {
    /// No span; the context goes on unsampled.
    Drop,
    /// A span, and the context goes on sampled.
    RecordAndSample,
}

/// `parentbased_always_on`: the caller's word counts, and who says nothing is
/// sampled.
pub fn decide(caller: SamplingState) -> SamplingDecision {
    match caller {
        SamplingState::Deny => SamplingDecision::Drop,
        SamplingState::Deferred | SamplingState::Accept | SamplingState::Debug => {
            SamplingDecision::RecordAndSample
        }
    }
}
