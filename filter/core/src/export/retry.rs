//! When an export that failed is tried again (OTLP specification, "Retryable
//! Response Codes": exponential backoff with jitter). Words and defaults but
//! for `initial_interval` are those of the OpenTelemetry Collector.

use std::time::Duration;

/// How long to go on trying, and at which pace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// The wait after a first failure.
    pub initial_interval: Duration,
    /// What the wait grows to.
    pub max_interval: Duration,
    /// How long a batch is tried, from its first export on.
    pub max_elapsed_time: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
        }
    }
}

/// What each wait is of the one before, as in the Collector.
const MULTIPLIER: f64 = 1.5;

impl RetryConfig {
    /// The wait after so many failures of a batch. `jitter` is uniform from 0
    /// to 1: a wait lies between half and one and a half of its interval, as
    /// in the Collector.
    pub(crate) fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let mut interval = self.initial_interval;
        // Any growth ends long before; the bound is for an interval of zero.
        for _ in 1..failures.min(100) {
            if interval >= self.max_interval {
                break;
            }
            interval = interval.mul_f64(MULTIPLIER);
        }
        interval.min(self.max_interval).mul_f64(0.5 + jitter)
    }

    /// Has no wait be longer than `most`, but for its jitter.
    pub(crate) fn hurry(&mut self, most: Duration) {
        self.max_interval = self.max_interval.min(most);
    }

    /// Whether a batch that is sent again after `elapsed` since its first
    /// export is too late.
    pub(crate) fn is_exhausted(&self, elapsed: Duration) -> bool {
        elapsed > self.max_elapsed_time
    }

    /// How long a collector that asked for a pause is left alone: up to half as
    /// long again, so that not all clients come back at once, and no longer than
    /// `max_elapsed_time`. A pause of a day may be a mistake, and no span that
    /// waits for it would be sent.
    pub(crate) fn throttle_delay(&self, asked: Duration, jitter: f64) -> Duration {
        asked
            .min(self.max_elapsed_time)
            .mul_f64(1.0 + jitter / 2.0)
            .min(self.max_elapsed_time)
    }
}
