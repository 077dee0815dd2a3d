//! The metrics of one configuration.

use crate::documents;
use crate::envoy::filter_config::MetricId;
use crate::envoy::process;
use sidespan_runtime::metrics::{MetricDefiner, MetricSink, Metrics};
use sidespan_runtime::process::panic_guard;
use sidespan_runtime::process::unpublished::Unpublished;

/// Panics that were caught.
const INTERNAL_ERRORS: &str = "sidespan.internal_errors";

/// The ids of all metrics within one configuration.
#[derive(Clone, Debug)]
pub(crate) struct ConfigMetrics {
    pub(crate) metrics: Metrics<MetricId>,
    internal_errors: Option<MetricId>,
}

impl ConfigMetrics {
    /// Defines them, which is possible only while Envoy makes the configuration.
    pub(crate) fn define(config: &impl MetricDefiner<Id = MetricId>) -> Self {
        // Workers publish their number, and may not ask for it.
        process::workers();
        Self {
            metrics: Metrics::define(config),
            internal_errors: config.define_counter(INTERNAL_ERRORS),
        }
    }

    /// Publishes what was counted, and what holds for the whole process.
    pub(crate) fn publish(
        &self,
        unpublished: &mut Unpublished,
        sink: &impl MetricSink<Id = MetricId>,
    ) {
        unpublished.publish(sink, &self.metrics);
        let caught = panic_guard::take_caught();
        if caught > 0
            && let Some(counter) = self.internal_errors
        {
            sink.add(counter, caught);
        }
        self.metrics.set_stale(sink, documents::stale_workers());
        self.metrics.set_version(sink);
    }
}
