//! The rate limit on sampled traces.

use std::time::Duration;

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
    pub(super) fn admits(&mut self, now_unix_nanos: u64) -> bool {
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
