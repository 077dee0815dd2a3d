//! The host traits of the runtime, over hostcalls.

use crate::hostcalls::{self, Metric};
use crate::types::MetricType;
use sidespan_core::export::callout::{Callout, Target};
use sidespan_core::headers::serialized_map;
use sidespan_runtime::dispatch::DispatchError;
use sidespan_runtime::metrics::{MetricDefiner, MetricSink, SharedGauges};
use sidespan_runtime::shared_state::SharedState;
use sidespan_runtime::worker::WorkerHost;
use std::time::Duration;

/// The host of this VM.
pub(crate) struct WasmHost;

impl SharedState for WasmHost {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        hostcalls::shared_data(key)
    }

    fn compare_and_set(&self, key: &str, value: &[u8], version: u32) -> bool {
        hostcalls::set_shared_data(key, value, version)
    }
}

impl MetricDefiner for WasmHost {
    type Id = Metric;

    fn define_counter(&self, name: &str) -> Option<Metric> {
        Metric::define(MetricType::Counter, name)
    }

    fn define_gauge(&self, name: &str) -> Option<Metric> {
        Metric::define(MetricType::Gauge, name)
    }

    fn define_histogram(&self, name: &str) -> Option<Metric> {
        Metric::define(MetricType::Histogram, name)
    }
}

impl MetricSink for WasmHost {
    type Id = Metric;

    fn add(&self, counter: Metric, n: u64) {
        counter.add(i64::try_from(n).unwrap_or(i64::MAX));
    }

    fn set(&self, gauge: Metric, value: u64) {
        gauge.record(value);
    }

    fn record(&self, histogram: Metric, value: u64) {
        histogram.record(value);
    }
}

impl SharedGauges for WasmHost {
    fn add_to_gauge(&self, gauge: Metric, n: i64) {
        gauge.add(n);
    }

    fn raise_gauge(&self, gauge: Metric, value: u64) {
        if gauge.value() < value {
            gauge.record(value);
        }
    }
}

impl WorkerHost for WasmHost {
    fn now(&self) -> u64 {
        hostcalls::now()
    }

    fn set_tick_period(&self, period: Duration) {
        hostcalls::set_tick_period(period);
    }

    fn set_effective_context(&self, context_id: u32) -> bool {
        hostcalls::set_effective_context(context_id)
    }

    fn done(&self) {
        hostcalls::done();
    }

    fn dispatch(&self, target: &Target, callout: &Callout) -> Result<u32, DispatchError> {
        let headers = target.headers.iter();
        let headers = headers.map(|(name, value)| (&**name, &*value.0));
        hostcalls::http_call(
            &target.cluster,
            &serialized_map::serialize(headers),
            &callout.body,
            target.timeout,
        )
    }
}
