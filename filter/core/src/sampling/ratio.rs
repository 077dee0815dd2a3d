//! Consistent probability sampling: ratios, thresholds, and the `ot` entry of
//! `tracestate` that carries them.

use crate::context::id::TraceId;
use crate::context::trace_state::{MAX_VALUE, TraceState};
use std::fmt;

/// A sampling probability, as the threshold under which a trace's 56 bits of
/// randomness are rejected (OpenTelemetry specification, TraceState:
/// Probability Sampling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    pub(super) threshold: u64,
}

/// The number of values that 56 bits of randomness have.
pub(super) const RANDOMNESS: u64 = 1 << 56;

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
pub(super) struct OtelState<'a>(&'a str);

impl<'a> OtelState<'a> {
    const KEY: &'static str = "ot";

    pub(super) fn of(state: &'a TraceState<'_>) -> Self {
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
pub(super) fn randomness(trace_id: TraceId, state: OtelState<'_>) -> u64 {
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
