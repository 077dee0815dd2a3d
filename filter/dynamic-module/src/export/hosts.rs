//! Configurations that come and go.

use crate::envoy::filter_config::Config;
use crate::envoy::process;
use crate::envoy::tracer::TracerConfig;
use crate::export::calls::HostGuard;
use crate::export::publish::publish;
use crate::export::state::{Host, Tracer, with_state};
use crate::export::turn::on_turn_without_host;
use crate::export::wakeup::WAKEUP;
use crate::metrics::ConfigMetrics;
use crate::system::now;
use std::sync::Arc;
use std::time::Duration;

/// A configuration of the filter that is alive from now on: it can send exports.
/// Main thread.
pub(crate) fn register(config: Config, metrics: ConfigMetrics) {
    if process::is_validation() {
        return;
    }
    let scheduler = Arc::new(config.scheduler());
    let host = Host {
        config,
        scheduler: Arc::clone(&scheduler),
        metrics,
    };
    with_state(|state| {
        state.exports.register_host(config);
        state.hosts.push(host);
    });
    WAKEUP.start(on_turn_without_host);
    WAKEUP.set_scheduler(Some(scheduler));
}

/// A configuration of the tracer that is alive from now on. Main thread.
pub(crate) fn register_tracer(config: TracerConfig, metrics: ConfigMetrics) {
    if process::is_validation() {
        return;
    }
    with_state(|state| state.tracers.push(Tracer { config, metrics }));
    WAKEUP.start(on_turn_without_host);
    WAKEUP.wake_in(Duration::from_secs(1));
}

/// A configuration of the tracer goes. Any thread.
pub(crate) fn unregister_tracer(config: TracerConfig) {
    with_state(|state| {
        let now = now();
        let is_last = state.tracers.iter().all(|tracer| tracer.config == config);
        if state.hosts.is_empty() && is_last {
            state.exports.unpublished.clear_export_times();
            state.exports.drop_undelivered(now);
            publish(state, now);
        }
        state.tracers.retain(|tracer| tracer.config != config);
    });
}

/// A configuration of the filter goes, and its exports with it. Any thread.
pub(crate) fn unregister(config: Config) {
    let now = now();
    let _guard = HostGuard::new();
    let scheduler = with_state(|state| {
        // Spans of a tracer wait for another host.
        let keeps_spans = !state.tracers.is_empty();
        if !state.exports.unregister_host(config, keeps_spans, now) {
            return None;
        }
        if state.hosts.len() == 1 && !keeps_spans {
            publish(state, now);
        }
        state.hosts.retain(|host| host.config != config);
        let next = state.hosts.last();
        Some(next.map(|host| Arc::clone(&host.scheduler)))
    });
    if let Some(scheduler) = scheduler {
        WAKEUP.set_scheduler(scheduler);
    }
}
