//! The state of all exports of the process.

use crate::envoy::filter_config::Config;
use crate::envoy::scheduler::Scheduler;
use crate::envoy::tracer::TracerConfig;
use crate::metrics::ConfigMetrics;
use crate::system::seed;
use sidespan_runtime::process::export_state::ExportState;
use sidespan_runtime::process::per_worker::lock;
use std::sync::{Arc, LazyLock, Mutex};

/// A configuration that can send exports.
pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) scheduler: Arc<Scheduler>,
    pub(crate) metrics: ConfigMetrics,
}

/// A configuration of the tracer: it can publish, on any thread, and no more.
pub(crate) struct Tracer {
    pub(crate) config: TracerConfig,
    pub(crate) metrics: ConfigMetrics,
}

pub(crate) struct State {
    pub(crate) exports: ExportState<Config>,
    /// The newest last.
    pub(crate) hosts: Vec<Host>,
    pub(crate) tracers: Vec<Tracer>,
}

pub(crate) static STATE: LazyLock<Mutex<State>> = LazyLock::new(|| {
    Mutex::new(State {
        exports: ExportState::new(seed()),
        hosts: Vec::new(),
        tracers: Vec::new(),
    })
});

pub(crate) fn with_state<T>(f: impl FnOnce(&mut State) -> T) -> T {
    f(&mut lock(&STATE))
}

/// Logs what operators should know of the environment, each once.
pub(crate) fn warn(warnings: impl IntoIterator<Item = String>) {
    for warning in warnings {
        with_state(|state| state.exports.throttle().warn_once(&warning));
    }
}

/// Counts a rejected document, and logs a warning about the environment.
pub(crate) fn report_document(is_newly_rejected: bool, warning: Option<String>) {
    if is_newly_rejected {
        with_state(|state| state.exports.count_rejected());
    }
    warn(warning);
}
