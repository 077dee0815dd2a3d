//! The workers' side of an exporter.

use crate::envoy::process;
use crate::export::state::with_state;
use crate::export::wakeup::WAKEUP;
use crate::node;
use sidespan_core::export::pipeline::DeliveryConfig;
use sidespan_core::recording::stream::Ended;
use sidespan_core::stats::Stat;
use sidespan_runtime::process::worker_queues::{FinishedItem, WorkerQueues};
use std::sync::Arc;
use std::time::Duration;

/// Where spans go. Exists once for each resource and collector.
#[derive(Clone, Debug)]
pub(crate) struct WorkerExporter(Arc<WorkerQueues>);

impl WorkerExporter {
    /// The exporter for a configuration: one that is there, or a new one. Main
    /// thread.
    pub(crate) fn of(config: DeliveryConfig) -> Self {
        let (workers, environment) = (process::workers(), node::process());
        Self(with_state(|state| {
            state.exports.exporter(config, workers, environment)
        }))
    }

    /// Counts what the main thread is to publish.
    pub(crate) fn count(&self, worker: usize, stat: Stat) {
        self.0.count(worker, stat);
    }

    /// Queues the spans of a stream that ended.
    pub(crate) fn queue(&self, worker: usize, ended: &Ended, now: u64) {
        if self.0.queue(worker, ended, now) {
            WAKEUP.wake_in(Duration::ZERO);
        }
    }

    /// Defers the spans of what ended at `now`.
    pub(crate) fn defer(&self, worker: usize, item: FinishedItem, now: u64) {
        if self.0.defer(worker, item, now) {
            WAKEUP.wake_in(Duration::ZERO);
        }
    }
}
