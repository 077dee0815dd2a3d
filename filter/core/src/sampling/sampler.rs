//! Whether a request gets a span: OpenTelemetry's samplers, consistent
//! probability, and a limit on new traces.

use crate::context::id::TraceId;
use crate::context::trace_state::{MAX_VALUE, TraceState};
use crate::propagation::composite::SamplingState;
use std::fmt;
use std::time::Duration;

/// A sampling probability, as the threshold under which a trace's 56 bits of
/// randomness are rejected (OpenTelemetry specification, TraceState:
/// Probability Sampling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    threshold: u64,
}

/// The number of values that 56 bits of randomness have.
const RANDOMNESS: u64 = 1 << 56;

/// As a decimal fraction of six digits, without trailing zeros.
impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNIT: u64 = 1_000_000;
        // Fits: the left factor is less than 2^37.
        let accepted = (RANDOMNESS - self.threshold) >> 20;
        let millionths = (accepted * UNIT + (1 << 35)) >> 36;
        let digits = format!("{}.{:06}", millionths / UNIT, millionths % UNIT);
        f.write_str(digits.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Ratio {
    /// Everything is sampled.
    pub const ONE: Ratio = Ratio { threshold: 0 };

    /// A probability from 0 to 1.
    ///
    /// The threshold has four hexadecimal digits, and as many more as it has
    /// leading `f`: what the specification recommends, so that proxies and
    /// SDKs with one ratio have one threshold.
    pub fn new(probability: f64) -> Option<Self> {
        if !(0.0..=1.0).contains(&probability) {
            return None;
        }
        let accepted = (probability * RANDOMNESS as f64).round() as u64;
        if accepted == 0 {
            return Some(Self {
                threshold: RANDOMNESS,
            });
        }
        let exact = RANDOMNESS - accepted;
        // Leading digits that are all f, or all 0, say little.
        let leading = |x: f64| (-x.log2() / 4.0).floor().clamp(0.0, 14.0) as u32;
        let digits = (4 + leading(probability).max(leading(1.0 - probability))).min(14);
        let shift = 4 * (14 - digits);
        let half = if shift == 0 { 0 } else { 1 << (shift - 1) };
        let threshold = (exact + half) >> shift << shift;
        Some(Self { threshold })
    }

    /// Whether a trace with this randomness is sampled.
    pub fn samples(self, randomness: u64) -> bool {
        randomness >= self.threshold
    }

    /// The value of `th`, where one is told. Of everything nothing is told:
    /// it would put a header on each request to say what no `th` says too.
    fn th(self) -> Option<String> {
        if self.threshold == 0 || self.threshold >= RANDOMNESS {
            return None;
        }
        let digits = format!("{:014x}", self.threshold);
        Some(digits.trim_end_matches('0').to_owned())
    }
}

/// The member `ot` of a trace state, OpenTelemetry's own:
/// `th:…;rv:…;…`.
#[derive(Clone, Copy, Debug)]
struct OtelState<'a>(&'a str);

impl<'a> OtelState<'a> {
    const KEY: &'static str = "ot";

    fn of(state: &'a TraceState<'_>) -> Self {
        Self(state.get(Self::KEY).unwrap_or_default())
    }

    fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.split(';').filter_map(|field| field.split_once(':'))
    }

    fn get(self, key: &str) -> Option<&'a str> {
        // As most are.
        if self.0.is_empty() {
            return None;
        }
        self.fields().find_map(|(k, v)| (k == key).then_some(v))
    }

    /// `rv`: exactly 14 lower-case digits.
    fn randomness(self) -> Option<u64> {
        let rv = self.get("rv")?;
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if rv.len() != 14 || !rv.bytes().all(is_digit) {
            return None;
        }
        u64::from_str_radix(rv, 16).ok()
    }
}

/// The 56 bits that decide about a trace: `rv`, else the end of its id, which
/// is presumed to be random.
fn randomness(trace_id: TraceId, state: OtelState<'_>) -> u64 {
    state.randomness().unwrap_or_else(|| {
        let id = u128::from_be_bytes(*trace_id.as_bytes());
        (id as u64) & (RANDOMNESS - 1)
    })
}

/// What becomes of the threshold in the trace state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// The caller's decision goes on, and so does what it says of it.
    Keep,
    /// Decided for another reason than probability: "a span that is exported
    /// for any other reason carries no threshold".
    Clear,
    /// Decided with this probability.
    Set(Ratio),
}

/// The trace state as it goes on with a threshold; `None` if it is as it came.
pub fn rewrite(state: &TraceState<'_>, threshold: Threshold) -> Option<String> {
    let ot = OtelState::of(state);
    let th = match threshold {
        Threshold::Keep => return None,
        Threshold::Clear => None,
        Threshold::Set(ratio) => ratio.th(),
    };
    if th.is_none() && ot.get("th").is_none() {
        return None;
    }
    let with = |th: Option<&str>| {
        let kept = ot.fields().filter(|(key, _)| *key != "th");
        let fields = th.into_iter().map(|th| ("th", th)).chain(kept);
        let fields: Vec<_> = fields
            .map(|(key, value)| format!("{key}:{value}"))
            .collect();
        fields.join(";")
    };
    let mut value = with(th.as_deref());
    if value.len() > MAX_VALUE {
        // Others may have filled the entry; without a threshold it fits.
        value = with(None);
    }
    let mut out = String::new();
    state.write_with(OtelState::KEY, &value, &mut out);
    Some(out)
}

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

/// A token bucket, kept as the time at which it is full (GCRA).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    interval: Duration,
    full_at: Option<Duration>,
}

impl RateLimit {
    /// What requests that come in bunches may take at once: what was left
    /// over in this time.
    const BURST: Duration = Duration::from_millis(100);

    /// What a clock may be set back by without being noticed here.
    const CLOCK_STEP: Duration = Duration::from_millis(100);

    /// This many a second.
    pub fn new(per_second: std::num::NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.get(),
            full_at: None,
        }
    }

    /// Whether there is a token, which is then taken.
    fn admits(&mut self, now_unix_nanos: u64) -> bool {
        let now = Duration::from_nanos(now_unix_nanos);
        // It starts empty: a proxy that starts under load makes no burst. A
        // clock that was set back far does not keep it empty.
        let latest = now + Self::BURST + self.interval + Self::CLOCK_STEP;
        let full_at = match self.full_at {
            Some(at) if at <= latest => at,
            _ => now + Self::BURST,
        };
        if full_at > now + Self::BURST {
            self.full_at = Some(full_at);
            return false;
        }
        self.full_at = Some(full_at.max(now) + self.interval);
        true
    }
}
