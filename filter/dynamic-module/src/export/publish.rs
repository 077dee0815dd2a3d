//! Metrics of the process, published by whichever configuration is at hand.

use crate::envoy::filter_config::MetricId;
use crate::export::state::{STATE, State};
use crate::metrics::ConfigMetrics;
use sidespan_runtime::metrics::MetricSink;
use std::sync::TryLockError;
use std::sync::atomic::{AtomicBool, Ordering};

/// Something waits for a stream to publish it: before 1.39 no host can.
static IS_UNPUBLISHED: AtomicBool = AtomicBool::new(false);

/// Publishes what was counted, by the newest host. A version that cannot leaves it
/// to the next stream.
pub(crate) fn publish(state: &mut State, now: u64) {
    state.exports.count_levels(now);
    let unpublished = &mut state.exports.unpublished;
    match (state.hosts.last(), state.tracers.last()) {
        (Some(host), _) if host.config.can_count() => {
            host.metrics.publish(unpublished, &host.config);
        }
        (_, Some(tracer)) => tracer.metrics.publish(unpublished, &tracer.config),
        _ => IS_UNPUBLISHED.store(true, Ordering::Relaxed),
    }
}

/// Publishes what no host could, by a stream on its worker.
pub(crate) fn publish_by(sink: &impl MetricSink<Id = MetricId>, metrics: &ConfigMetrics) {
    if !IS_UNPUBLISHED.load(Ordering::Relaxed) {
        return;
    }
    let mut state = match STATE.try_lock() {
        Ok(state) => state,
        Err(TryLockError::Poisoned(state)) => state.into_inner(),
        // No request waits for the main thread; the next one tries again.
        Err(TryLockError::WouldBlock) => return,
    };
    IS_UNPUBLISHED.store(false, Ordering::Relaxed);
    metrics.publish(&mut state.exports.unpublished, sink);
}
