use std::time::Duration;

/// How much longer each bucket's times are than the one's before.
const RATIO: f64 = 1.02;

/// Times in buckets of 2 %, so that a million of them need no more memory than a thousand.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Histogram {
    pub(crate) fn record(&mut self, time: Duration) {
        let bucket = bucket(time);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(time);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (sum, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum += count;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// The time that `percent` of all times do not exceed, at most 2 % too long; 0 if there is none.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100);
        let mut below = 0;
        let bucket = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        });
        bucket.map_or(Duration::ZERO, |bucket| upper_bound(bucket).min(self.max))
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }
}

/// The bucket of a time is the number of times that 1 ns grows by the ratio within it.
fn bucket(time: Duration) -> usize {
    let nanos = time.as_secs_f64() * 1e9;
    (nanos.max(1.0).ln() / RATIO.ln()) as usize
}

fn upper_bound(bucket: usize) -> Duration {
    let nanos = RATIO.powf((bucket + 1) as f64);
    Duration::from_secs_f64(nanos / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times from 20 µs to about 20 s, most of them short.
    fn times(count: u64) -> Vec<Duration> {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..count)
            .map(|_| Duration::from_secs_f64(20e-6 * 1e6_f64.powf(next().powi(3))))
            .collect()
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut times = times(100_000);
        let mut halves = [Histogram::default(), Histogram::default()];
        for (n, &time) in times.iter().enumerate() {
            halves[n % 2].record(time);
        }
        let [mut all, other] = halves;
        all.merge(&other);
        times.sort();
        for percent in [1, 50, 90, 99, 100] {
            let exact = times[times.len() * percent / 100 - 1];
            let got = all.percentile(percent as u64);
            assert!(
                got >= exact && got <= exact.mul_f64(1.021),
                "{percent} %: {got:?}, exactly {exact:?}"
            );
        }
        assert_eq!(Some(&all.max()), times.last());
        assert!(all.buckets.len() < 1500, "{}", all.buckets.len());
    }

    #[test]
    fn few_times() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(99), Duration::ZERO);
        histogram.record(Duration::ZERO);
        assert_eq!(histogram.percentile(100), Duration::ZERO);
        histogram.record(Duration::from_millis(3));
        assert_eq!(histogram.percentile(50), Duration::from_nanos(1));
        assert_eq!(histogram.percentile(99), Duration::from_millis(3));
        assert_eq!(histogram.max(), Duration::from_millis(3));
    }
}
