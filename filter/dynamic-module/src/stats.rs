//! What is published, through whichever configuration of a filter is at hand.

use crate::document;
use crate::ffi::{self, MetricId};
use crate::guard;
use sidespan_core::stats::{
    CONFIG_REJECTED, CONFIG_STALE, EXPORT_TIME, Level, Stat, VERSION_NUMBER, version_number,
};

/// Panics that were caught.
const INTERNAL_ERRORS: &str = "sidespan.internal_errors";

/// The ids of all stats within one configuration. Every stat appears at once,
/// at zero.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    counters: Vec<Option<MetricId>>,
    levels: Vec<Option<MetricId>>,
    export_time: Option<MetricId>,
    internal_errors: Option<MetricId>,
    config_rejected: Option<MetricId>,
    config_stale: Option<MetricId>,
    version: Option<MetricId>,
}

/// A configuration that is being made.
pub(crate) trait Define {
    fn counter(&self, name: &str) -> Option<MetricId>;
    fn gauge(&self, name: &str) -> Option<MetricId>;
    fn histogram(&self, name: &str) -> Option<MetricId>;
}

/// Whatever can count: a stream on its worker, or a configuration.
pub(crate) trait Sink {
    /// Adds to a counter.
    fn add(&self, counter: MetricId, n: u64);
    /// Sets a gauge.
    fn set(&self, gauge: MetricId, value: u64);
    /// Records a value in a histogram.
    fn record(&self, histogram: MetricId, value: u64);
}

impl Metrics {
    /// Only while a configuration is being made.
    pub(crate) fn define(config: &impl Define) -> Self {
        // Workers publish their number, and may not ask for it.
        ffi::workers();
        let counters = Stat::ALL.iter();
        let levels = Level::ALL.iter();
        Self {
            counters: counters.map(|stat| config.counter(stat.name())).collect(),
            levels: levels.map(|level| config.gauge(level.name())).collect(),
            export_time: config.histogram(EXPORT_TIME),
            internal_errors: config.counter(INTERNAL_ERRORS),
            config_rejected: config.counter(CONFIG_REJECTED),
            config_stale: config.gauge(CONFIG_STALE),
            version: config.gauge(VERSION_NUMBER),
        }
    }

    pub(crate) fn count(&self, sink: &impl Sink, stat: Stat, n: u64) {
        if let Some(Some(counter)) = self.counters.get(stat as usize) {
            sink.add(*counter, n);
        }
    }

    pub(crate) fn level(&self, sink: &impl Sink, level: Level, value: u64) {
        if let Some(Some(gauge)) = self.levels.get(level as usize) {
            sink.set(*gauge, value);
        }
    }

    pub(crate) fn export_time(&self, sink: &impl Sink, millis: u64) {
        if let Some(histogram) = self.export_time {
            sink.record(histogram, millis);
        }
    }

    pub(crate) fn config_rejected(&self, sink: &impl Sink, n: u64) {
        if let Some(counter) = self.config_rejected {
            sink.add(counter, n);
        }
    }

    /// Publishes what holds for the whole process.
    pub(crate) fn process(&self, sink: &impl Sink) {
        for (gauge, value) in [
            (self.config_stale, document::stale_workers()),
            (self.version, version_number()),
        ] {
            if let Some(gauge) = gauge {
                sink.set(gauge, value);
            }
        }
    }

    /// Publishes what [`guard`] caught.
    pub(crate) fn internal_errors(&self, sink: &impl Sink) {
        let caught = guard::take_caught();
        if caught > 0
            && let Some(counter) = self.internal_errors
        {
            sink.add(counter, caught);
        }
    }
}
