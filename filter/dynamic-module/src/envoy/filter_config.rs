//! A configuration of the filter, as Envoy holds it.

use crate::envoy::abi::*;
use crate::envoy::scheduler::Scheduler;
use crate::envoy::version::{ConfigCount, newer};
use sidespan_runtime::dispatch::DispatchError;
use sidespan_runtime::metrics::{MetricDefiner, MetricSink};
use std::ffi::c_void;
use std::time::Duration;

/// A stat within one configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricId(pub(super) usize);

/// Envoy's side of a filter configuration; valid until its `config_destroy`
/// returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Config(pub(crate) ConfigPtr);

// SAFETY: an address. What is not safe on other threads than the main one says
// so, and is called in its hooks only.
unsafe impl Send for Config {}

// SAFETY: as above.
unsafe impl Sync for Config {}

type DefineCallback =
    unsafe extern "C" fn(ConfigPtr, Buffer, *const Buffer, usize, *mut usize) -> u32;

/// Defines a stat of a configuration, which gives this address.
pub(super) fn define(config: *mut c_void, define: DefineCallback, name: &str) -> Option<MetricId> {
    let mut id = 0;
    // SAFETY: Envoy copies the name; there are no labels; it writes a number.
    let result = unsafe { define(config, Buffer::of(name), std::ptr::null(), 0, &raw mut id) };
    (result == 0).then_some(MetricId(id))
}

impl Config {
    fn define(self, callback: DefineCallback, name: &str) -> Option<MetricId> {
        define(self.0, callback, name)
    }

    /// Whether a configuration can count, outside of any stream.
    pub(crate) fn can_count(self) -> bool {
        newer().increment_counter.is_some()
    }

    fn count(self, callback: Option<ConfigCount>, id: MetricId, value: u64) {
        if let Some(callback) = callback {
            // SAFETY: the id is of this configuration, without labels.
            unsafe { callback(self.0, id.0, std::ptr::null(), 0, value) };
        }
    }

    /// A way to have the hook `config_scheduled` called on the main thread.
    pub(crate) fn scheduler(self) -> Scheduler {
        // SAFETY: takes a configuration that is alive.
        Scheduler(unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_new(self.0) })
    }

    /// Ends a request of the process itself; main thread. Its hook for a reset
    /// is called at once.
    pub(crate) fn reset_stream(self, id: u64) {
        // SAFETY: the configuration is alive; an id that has ended is nothing.
        unsafe {
            envoy_dynamic_module_callback_http_filter_config_reset_http_stream(self.0, id);
        }
    }

    /// Starts a request of the process itself; main thread. Gives its id,
    /// unique within this configuration.
    pub(crate) fn start_stream<'a>(
        self,
        cluster: &str,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        body: &[u8],
        timeout: Duration,
    ) -> Result<u64, DispatchError> {
        const CLUSTER_NOT_FOUND: u32 = 2;
        let line = |(name, value): (&str, &str)| HeaderLine {
            key: Buffer::of(name),
            value: Buffer::of(value),
        };
        let lines: Vec<_> = headers.map(line).collect();
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let mut id = 0;
        // SAFETY: everything lives during the call, and Envoy copies it.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_start_http_stream(
                self.0,
                &raw mut id,
                Buffer::of(cluster),
                lines.as_ptr(),
                lines.len(),
                Buffer::of(body),
                true,
                timeout,
            )
        };
        match result {
            0 => Ok(id),
            CLUSTER_NOT_FOUND => Err(DispatchError::NoCluster),
            _ => Err(DispatchError::NoEndpoint),
        }
    }
}

impl MetricDefiner for Config {
    type Id = MetricId;

    fn define_counter(&self, name: &str) -> Option<MetricId> {
        self.define(
            envoy_dynamic_module_callback_http_filter_config_define_counter,
            name,
        )
    }

    fn define_gauge(&self, name: &str) -> Option<MetricId> {
        self.define(
            envoy_dynamic_module_callback_http_filter_config_define_gauge,
            name,
        )
    }

    fn define_histogram(&self, name: &str) -> Option<MetricId> {
        self.define(
            envoy_dynamic_module_callback_http_filter_config_define_histogram,
            name,
        )
    }
}

impl MetricSink for Config {
    type Id = MetricId;

    fn add(&self, counter: MetricId, n: u64) {
        self.count(newer().increment_counter, counter, n);
    }

    fn set(&self, gauge: MetricId, value: u64) {
        self.count(newer().set_gauge, gauge, value);
    }

    fn record(&self, histogram: MetricId, value: u64) {
        self.count(newer().record_histogram_value, histogram, value);
    }
}
