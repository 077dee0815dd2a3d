//! The metrics of a filter, as its host holds them.

use sidespan_core::stats::{
    CONFIG_REJECTED, CONFIG_STALE, EXPORT_TIME, Level, Stat, VERSION_NUMBER, version_number,
};

/// A host that defines metrics.
pub trait MetricDefiner {
    /// What the host names a metric by.
    type Id: Copy;

    /// Defines a counter.
    fn define_counter(&self, name: &str) -> Option<Self::Id>;
    /// Defines a gauge.
    fn define_gauge(&self, name: &str) -> Option<Self::Id>;
    /// Defines a histogram.
    fn define_histogram(&self, name: &str) -> Option<Self::Id>;
}

/// A host that publishes metrics.
pub trait MetricSink {
    /// What the host names a metric by.
    type Id: Copy;

    /// Adds to a counter.
    fn add(&self, counter: Self::Id, n: u64);
    /// Sets a gauge.
    fn set(&self, gauge: Self::Id, value: u64);
    /// Records a value in a histogram.
    fn record(&self, histogram: Self::Id, value: u64);
}

/// A host whose gauges are the sum of what its workers add to them.
pub trait SharedGauges: MetricSink {
    /// Adds to a gauge, or subtracts from it.
    fn add_to_gauge(&self, gauge: Self::Id, n: i64);
    /// Sets a gauge, unless it is higher already.
    fn raise_gauge(&self, gauge: Self::Id, value: u64);
}

/// The ids of all metrics. Each appears at zero as soon as it is defined. A
/// metric that the host did not define is not published.
#[derive(Clone, Debug)]
pub struct Metrics<Id> {
    counters: Vec<Option<Id>>,
    gauges: Vec<Option<Id>>,
    export_time: Option<Id>,
    config_rejected: Option<Id>,
    config_stale: Option<Id>,
    version: Option<Id>,
}

impl<Id: Copy> Metrics<Id> {
    /// Defines all metrics.
    pub fn define(host: &impl MetricDefiner<Id = Id>) -> Self {
        let counters = Stat::ALL.iter();
        let gauges = Level::ALL.iter();
        Self {
            counters: counters
                .map(|stat| host.define_counter(stat.name()))
                .collect(),
            gauges: gauges
                .map(|level| host.define_gauge(level.name()))
                .collect(),
            export_time: host.define_histogram(EXPORT_TIME),
            config_rejected: host.define_counter(CONFIG_REJECTED),
            config_stale: host.define_gauge(CONFIG_STALE),
            version: host.define_gauge(VERSION_NUMBER),
        }
    }

    /// Adds to a counter.
    pub fn count(&self, sink: &impl MetricSink<Id = Id>, stat: Stat, n: u64) {
        if let Some(Some(counter)) = self.counters.get(stat as usize) {
            sink.add(*counter, n);
        }
    }

    fn gauge(&self, level: Level) -> Option<Id> {
        self.gauges.get(level as usize).copied().flatten()
    }

    /// Sets the gauges to the levels of the process.
    pub fn set_levels(&self, sink: &impl MetricSink<Id = Id>, levels: &[u64; Level::ALL.len()]) {
        for (level, value) in Level::ALL.iter().zip(levels) {
            if let Some(gauge) = self.gauge(*level) {
                sink.set(gauge, *value);
            }
        }
    }

    /// Records the duration of an export.
    pub fn record_export_time(&self, sink: &impl MetricSink<Id = Id>, millis: u64) {
        if let Some(histogram) = self.export_time {
            sink.record(histogram, millis);
        }
    }

    /// Counts rejected configurations.
    pub fn count_rejected(&self, sink: &impl MetricSink<Id = Id>, n: u64) {
        if let Some(counter) = self.config_rejected {
            sink.add(counter, n);
        }
    }

    /// Sets the number of workers whose newest document is not in force.
    pub fn set_stale(&self, sink: &impl MetricSink<Id = Id>, workers: u64) {
        if let Some(gauge) = self.config_stale {
            sink.set(gauge, workers);
        }
    }

    /// Adds to that number, or subtracts from it.
    pub fn add_stale(&self, sink: &impl SharedGauges<Id = Id>, workers: i64) {
        if let Some(gauge) = self.config_stale {
            sink.add_to_gauge(gauge, workers);
        }
    }

    /// Sets the version.
    pub fn set_version(&self, sink: &impl MetricSink<Id = Id>) {
        if let Some(gauge) = self.version {
            sink.set(gauge, version_number());
        }
    }
}

/// One worker's share of the gauges that all workers add to.
#[derive(Clone, Copy, Debug, Default)]
pub struct GaugeShare([u64; Level::ALL.len()]);

impl GaugeShare {
    /// Publishes by how much the levels of this worker have changed.
    pub fn publish<Id: Copy>(
        &mut self,
        metrics: &Metrics<Id>,
        sink: &impl SharedGauges<Id = Id>,
        value_of: impl Fn(Level) -> u64,
    ) {
        for (level, published) in Level::ALL.iter().zip(&mut self.0) {
            let value = value_of(*level);
            let previous = std::mem::replace(published, value);
            let Some(gauge) = metrics.gauge(*level).filter(|_| value != previous) else {
                continue;
            };
            match level.is_sum() {
                true => {
                    let change = value.cast_signed().wrapping_sub(previous.cast_signed());
                    sink.add_to_gauge(gauge, change);
                }
                false => sink.raise_gauge(gauge, value),
            }
        }
    }

    /// Takes over the share of a worker that is adopted.
    pub fn adopt(&mut self, other: Self) {
        let levels = Level::ALL.iter().zip(&mut self.0).zip(other.0);
        for ((_, published), its) in levels.filter(|((level, _), _)| level.is_sum()) {
            *published = published.wrapping_add(its);
        }
    }
}
