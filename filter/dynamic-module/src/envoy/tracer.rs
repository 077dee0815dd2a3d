//! Envoy's tracer: its configuration, and the headers of a request.

use crate::envoy::abi::*;
use crate::envoy::filter_config::{MetricId, define};
use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::propagation::format::CONTEXT_HEADERS;
use sidespan_runtime::metrics::{MetricDefiner, MetricSink};

/// Envoy's side of a configuration of the tracer; valid until its
/// `config_destroy` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TracerConfig(pub(crate) TracerConfigPtr);

// SAFETY: an address; what is called with it may be on any thread.
unsafe impl Send for TracerConfig {}

// SAFETY: as above.
unsafe impl Sync for TracerConfig {}

impl MetricDefiner for TracerConfig {
    type Id = MetricId;

    fn define_counter(&self, name: &str) -> Option<MetricId> {
        define(
            self.0,
            envoy_dynamic_module_callback_tracer_define_counter,
            name,
        )
    }

    fn define_gauge(&self, name: &str) -> Option<MetricId> {
        define(
            self.0,
            envoy_dynamic_module_callback_tracer_define_gauge,
            name,
        )
    }

    fn define_histogram(&self, name: &str) -> Option<MetricId> {
        define(
            self.0,
            envoy_dynamic_module_callback_tracer_define_histogram,
            name,
        )
    }
}

impl MetricSink for TracerConfig {
    type Id = MetricId;

    fn add(&self, counter: MetricId, n: u64) {
        // SAFETY: the id is of this configuration, without labels.
        unsafe {
            envoy_dynamic_module_callback_tracer_increment_counter(
                self.0,
                counter.0,
                std::ptr::null(),
                0,
                n,
            )
        };
    }

    fn set(&self, gauge: MetricId, value: u64) {
        // SAFETY: as above.
        unsafe {
            envoy_dynamic_module_callback_tracer_set_gauge(
                self.0,
                gauge.0,
                std::ptr::null(),
                0,
                value,
            )
        };
    }

    fn record(&self, histogram: MetricId, value: u64) {
        // SAFETY: as above.
        unsafe {
            envoy_dynamic_module_callback_tracer_record_histogram_value(
                self.0,
                histogram.0,
                std::ptr::null(),
                0,
                value,
            )
        };
    }
}

/// The headers of a request that a span starts for, or goes on with.
pub(crate) struct TraceContext(pub(crate) TraceContextPtr);

/// Named one by one, as Envoy gives them no other way: all that a context can
/// be in, and others that are asked for.
impl Extractor for TraceContext {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut has_trace = false;
        let names = CONTEXT_HEADERS.iter().map(|name| name.as_bytes());
        names.filter_map(move |name| {
            // Most requests have none of B3's; these two say nothing alone.
            if matches!(name, b"x-b3-spanid" | b"x-b3-parentspanid") && !has_trace {
                return None;
            }
            let value = self.header(name)?;
            has_trace |= name == b"x-b3-traceid";
            Some((name, value))
        })
    }

    fn header(&self, name: &[u8]) -> Option<&[u8]> {
        let (context, mut read) = (self.0, Buffer::EMPTY);
        let value = &raw mut read;
        // SAFETY: Envoy reads the name and writes a buffer.
        let found = unsafe {
            match name {
                b":method" => {
                    envoy_dynamic_module_callback_tracer_get_trace_context_method(context, value)
                }
                b":authority" => {
                    envoy_dynamic_module_callback_tracer_get_trace_context_host(context, value)
                }
                b":path" => {
                    envoy_dynamic_module_callback_tracer_get_trace_context_path(context, value)
                }
                name => envoy_dynamic_module_callback_tracer_get_trace_context_value(
                    context,
                    Buffer::of(name),
                    value,
                ),
            }
        };
        // SAFETY: whoever changes the headers needs them for itself.
        found.then(|| unsafe { read.read() })
    }
}

impl Injector for TraceContext {
    fn set(&mut self, name: &'static str, value: &str) {
        // SAFETY: Envoy copies both.
        unsafe {
            envoy_dynamic_module_callback_tracer_set_trace_context_value(
                self.0,
                Buffer::of(name),
                Buffer::of(value),
            );
        };
    }

    fn remove(&mut self, name: &'static str) {
        // SAFETY: Envoy reads the name.
        unsafe {
            envoy_dynamic_module_callback_tracer_remove_trace_context_value(
                self.0,
                Buffer::of(name),
            );
        };
    }
}
