//! What was counted, until something publishes it.

use crate::metrics::{MetricSink, Metrics};
use sidespan_core::stats::{Level, Stats};

/// What was counted and not published yet.
#[derive(Debug, Default)]
pub struct Unpublished {
    pub(crate) stats: Stats,
    export_millis: Vec<u64>,
    pub(crate) levels: Option<[u64; Level::ALL.len()]>,
    /// Rejected documents.
    pub(crate) rejected: u64,
}

impl Unpublished {
    pub(crate) fn add_export_time(&mut self, millis: u64) {
        /// Where nobody publishes them for long, the first ones are enough.
        const MAX: usize = 1024;
        if self.export_millis.len() < MAX {
            self.export_millis.push(millis);
        }
    }

    /// Forgets the durations of exports, which a sink cannot record.
    pub fn clear_export_times(&mut self) {
        self.export_millis.clear();
    }

    /// Publishes it.
    pub fn publish<Id: Copy>(&mut self, sink: &impl MetricSink<Id = Id>, metrics: &Metrics<Id>) {
        for (stat, n) in self.stats.take() {
            metrics.count(sink, stat, n);
        }
        for millis in self.export_millis.drain(..) {
            metrics.record_export_time(sink, millis);
        }
        if let Some(levels) = self.levels.take() {
            metrics.set_levels(sink, &levels);
        }
        let rejected = std::mem::take(&mut self.rejected);
        if rejected > 0 {
            metrics.count_rejected(sink, rejected);
        }
    }
}
