//! Whether a request gets a span: OpenTelemetry's samplers, consistent
//! probability, and a limit on new traces.

use crate::context::id::TraceId;
use crate::context::trace_state::TraceState;
use crate::propagation::format::SamplingState;
use crate::sampling::rate_limit::RateLimit;
use crate::sampling::ratio::{OtelState, RANDOMNESS, Ratio, Threshold, randomness};
use std::fmt;

/// Why a sampler decided as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The caller's word.
    Caller,
    /// The caller asked for a debug trace, which no sampler can refuse (B3).
    Debug,
    /// The sampler takes all, or none.
    Always,
    /// The trace's randomness and the ratio.
    Ratio,
    /// There were enough new traces for now.
    RateLimited,
}

/// A sampler's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether there is a span.
    pub sampled: bool,
    /// Why.
    pub reason: Reason,
    /// What the trace state says of it.
    pub threshold: Threshold,
}

impl Decision {
    /// By probability alone, as `traceidratio` and the rules' `sample` do.
    pub fn by_ratio(ratio: Ratio, trace_id: TraceId, state: &TraceState<'_>) -> Self {
        let sampled = ratio.samples(randomness(trace_id, OtelState::of(state)));
        Self {
            sampled,
            reason: Reason::Ratio,
            threshold: if sampled {
                Threshold::Set(ratio)
            } else {
                Threshold::Clear
            },
        }
    }
}

/// What decides where there is no parent, or where none counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// `always_on`.
    AlwaysOn,
    /// `always_off`.
    AlwaysOff,
    /// `traceidratio`.
    TraceIdRatio(Ratio),
}

impl Root {
    /// Whether nothing is sampled.
    pub fn is_off(self) -> bool {
        match self {
            Self::AlwaysOn => false,
            Self::AlwaysOff => true,
            Self::TraceIdRatio(ratio) => ratio.threshold >= RANDOMNESS,
        }
    }
}

/// A sampler (OpenTelemetry specification, Built-in samplers).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// `parentbased_…`: a parent's decision counts, and `root` is for those
    /// without.
    pub parent_based: bool,
    /// What decides otherwise.
    pub root: Root,
    /// New traces a second; `None`: any number.
    pub limit: Option<RateLimit>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            parent_based: true,
            root: Root::TraceIdRatio(Ratio::ONE),
            limit: None,
        }
    }
}

/// In the words of the configuration.
impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parent_based {
            f.write_str("parentbased_")?;
        }
        match self.root {
            Root::AlwaysOn => f.write_str("always_on"),
            Root::AlwaysOff => f.write_str("always_off"),
            Root::TraceIdRatio(ratio) => write!(f, "traceidratio {ratio}"),
        }
    }
}

impl Sampler {
    /// Decides about a trace. `has_parent`: it did not start here.
    pub fn decide(
        &mut self,
        caller: SamplingState,
        has_parent: bool,
        trace_id: TraceId,
        state: &TraceState<'_>,
        now_unix_nanos: impl FnOnce() -> u64,
    ) -> Decision {
        let by_caller = |sampled| Decision {
            sampled,
            reason: Reason::Caller,
            threshold: Threshold::Keep,
        };
        match caller {
            SamplingState::Debug => {
                return Decision {
                    sampled: true,
                    reason: Reason::Debug,
                    threshold: Threshold::Clear,
                };
            }
            SamplingState::Accept if self.parent_based => return by_caller(true),
            SamplingState::Deny if self.parent_based => return by_caller(false),
            _ => {}
        }
        let always = |sampled| Decision {
            sampled,
            reason: Reason::Always,
            threshold: Threshold::Clear,
        };
        let mut decision = match self.root {
            Root::AlwaysOn => always(true),
            Root::AlwaysOff => always(false),
            Root::TraceIdRatio(ratio) => Decision::by_ratio(ratio, trace_id, state),
        };
        if decision.sampled
            && !has_parent
            && let Some(limit) = &mut self.limit
        {
            // With a limit the share of all that is sampled is not the ratio.
            decision.threshold = Threshold::Clear;
            if !limit.admits(now_unix_nanos()) {
                decision.sampled = false;
                decision.reason = Reason::RateLimited;
            }
        }
        decision
    }
}
