//! One stream of the filter, as Envoy holds it.

use crate::envoy::abi::*;
use crate::envoy::attributes::{Attribute, Kind};
use crate::envoy::filter_config::MetricId;
use crate::envoy::version::{newer, version};
use sidespan_core::headers::header_map::Extractor;
use sidespan_runtime::metrics::MetricSink;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// The configuration of a route.
///
/// # Safety
///
/// Only the type that the hook `per_route_config_new` gives away, in an [`Arc`], may
/// implement it.
pub(crate) unsafe trait PerRouteConfig: Send + Sync {}

/// A stream within one of its hooks.
pub(crate) struct Stream(pub(crate) StreamPtr);

/// The lines of a header map, in Envoy's memory.
pub(crate) struct Headers<'a> {
    lines: Vec<HeaderLine>,
    stream: PhantomData<&'a Stream>,
}

impl Extractor for Headers<'_> {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        // SAFETY: whoever changes the map needs the stream for itself.
        let read = |buffer: Buffer| unsafe { buffer.read() };
        self.lines
            .iter()
            .map(move |line| (read(line.key), read(line.value)))
    }
}

impl Stream {
    /// The worker's number, from 0.
    pub(crate) fn worker(&self) -> usize {
        // SAFETY: the stream is in a hook.
        unsafe { envoy_dynamic_module_callback_http_filter_get_worker_index(self.0) as usize }
    }

    /// All lines of a map.
    pub(crate) fn headers(&self, map: Map) -> Headers<'_> {
        let map = map as u32;
        // SAFETY: the stream is in a hook.
        let count = unsafe { envoy_dynamic_module_callback_http_get_headers_size(self.0, map) };
        let empty = HeaderLine {
            key: Buffer::EMPTY,
            value: Buffer::EMPTY,
        };
        let mut lines = vec![empty; count];
        // SAFETY: there is room for as many lines as there are; nothing came
        // between the two calls.
        let filled = count > 0
            && unsafe {
                envoy_dynamic_module_callback_http_get_headers(self.0, map, lines.as_mut_ptr())
            };
        if !filled {
            lines.clear();
        }
        Headers {
            lines,
            stream: PhantomData,
        }
    }

    /// The first line of a header.
    pub(crate) fn header(&self, map: Map, name: &str) -> Option<&[u8]> {
        let mut value = Buffer::EMPTY;
        // SAFETY: Envoy reads the name and writes a buffer.
        let found = unsafe {
            envoy_dynamic_module_callback_http_get_header(
                self.0,
                map as u32,
                Buffer::of(name),
                &raw mut value,
                0,
                std::ptr::null_mut(),
            )
        };
        // SAFETY: whoever changes the map needs the stream for itself.
        (found && !value.data.is_null()).then(|| unsafe { value.read() })
    }

    /// Sets a header in place of every line it has; an empty value removes
    /// them.
    pub(crate) fn set_header(&mut self, map: Map, name: &str, value: &str) {
        // SAFETY: Envoy copies both.
        unsafe {
            envoy_dynamic_module_callback_http_set_header(
                self.0,
                map as u32,
                Buffer::of(name),
                Buffer::of(value),
            )
        };
    }

    /// What `per_route_config_new` gave away for the route of the stream.
    pub(crate) fn route<T: PerRouteConfig>(&self) -> Option<Arc<T>> {
        // SAFETY: the stream is in a hook.
        let route = unsafe { envoy_dynamic_module_callback_get_most_specific_route_config(self.0) };
        let route = route.cast::<T>();
        if route.is_null() {
            return None;
        }
        // SAFETY: `per_route_config_new` gave it away as this type, as the trait
        // says, and Envoy keeps it while the route is there.
        Some(unsafe {
            Arc::increment_strong_count(route);
            Arc::from_raw(route)
        })
    }

    fn knows(attribute: Attribute, kind: Kind) -> bool {
        attribute.kind == kind && attribute.since <= version()
    }

    /// An attribute; text that is no UTF-8 is none.
    pub(crate) fn text(&self, attribute: Attribute) -> Option<&str> {
        if !Self::knows(attribute, Kind::Text) {
            return None;
        }
        let mut value = Buffer::EMPTY;
        // SAFETY: Envoy writes a buffer.
        let found = unsafe {
            envoy_dynamic_module_callback_http_filter_get_attribute_string(
                self.0,
                attribute.id,
                &raw mut value,
            )
        };
        // SAFETY: whoever changes a map needs the stream for itself, and all
        // else stays during the hook.
        let bytes = found.then(|| unsafe { value.read() })?;
        std::str::from_utf8(bytes).ok()
    }

    pub(crate) fn number(&self, attribute: Attribute) -> Option<u64> {
        if !Self::knows(attribute, Kind::Number) {
            return None;
        }
        let mut value = 0;
        // SAFETY: Envoy writes a number.
        let found = unsafe {
            envoy_dynamic_module_callback_http_filter_get_attribute_int(
                self.0,
                attribute.id,
                &raw mut value,
            )
        };
        found.then_some(value)
    }

    pub(crate) fn truth(&self, attribute: Attribute) -> Option<bool> {
        if !Self::knows(attribute, Kind::Truth) {
            return None;
        }
        let mut value = false;
        // SAFETY: Envoy writes a bool.
        let found = unsafe {
            envoy_dynamic_module_callback_http_filter_get_attribute_bool(
                self.0,
                attribute.id,
                &raw mut value,
            )
        };
        found.then_some(value)
    }

    /// The cluster that the route chose.
    pub(crate) fn cluster_name(&self) -> Option<&str> {
        let mut name = Buffer::EMPTY;
        // SAFETY: Envoy writes a buffer.
        let found =
            unsafe { envoy_dynamic_module_callback_http_get_cluster_name(self.0, &raw mut name) };
        // SAFETY: it is the cluster's, which the stream holds.
        let bytes = found.then(|| unsafe { name.read() })?;
        std::str::from_utf8(bytes).ok()
    }

    /// Bytes of the body that the hook at hand received.
    pub(crate) fn received(&self, body: u32) -> u64 {
        // SAFETY: takes a number.
        unsafe { envoy_dynamic_module_callback_http_get_body_size(self.0, body) as u64 }
    }

    pub(crate) fn metadata_text(
        &self,
        source: MetadataSource,
        namespace: &str,
        key: &str,
    ) -> Option<String> {
        let mut value = Buffer::EMPTY;
        // SAFETY: Envoy reads both and writes a buffer.
        let found = unsafe {
            envoy_dynamic_module_callback_http_get_metadata_string(
                self.0,
                source as u32,
                Buffer::of(namespace),
                Buffer::of(key),
                &raw mut value,
            )
        };
        // SAFETY: it is copied before any other call.
        let bytes = found.then(|| unsafe { value.read() })?;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    pub(crate) fn metadata_number(
        &self,
        source: MetadataSource,
        namespace: &str,
        key: &str,
    ) -> Option<f64> {
        let mut value = 0.0;
        // SAFETY: Envoy reads both and writes a number.
        let found = unsafe {
            envoy_dynamic_module_callback_http_get_metadata_number(
                self.0,
                source as u32,
                Buffer::of(namespace),
                Buffer::of(key),
                &raw mut value,
            )
        };
        found.then_some(value)
    }

    pub(crate) fn metadata_truth(
        &self,
        source: MetadataSource,
        namespace: &str,
        key: &str,
    ) -> Option<bool> {
        let mut value = false;
        // SAFETY: Envoy reads both and writes a bool.
        let found = unsafe {
            envoy_dynamic_module_callback_http_get_metadata_bool(
                self.0,
                source as u32,
                Buffer::of(namespace),
                Buffer::of(key),
                &raw mut value,
            )
        };
        found.then_some(value)
    }

    /// From the first byte sent upstream to the last one that came back, once
    /// the stream has ended.
    pub(crate) fn upstream_latency(&self) -> Option<Duration> {
        let callback = newer().timing_info?;
        let mut timing = TimingInfo {
            nanos: [0; 19],
            is_known: [false; 19],
            padding: [0; 5],
        };
        // SAFETY: it is as large as what Envoy fills.
        unsafe { callback(self.0, &raw mut timing) };
        let time = |which: Timing| {
            let is_known = timing.is_known.get(which as usize).copied()?;
            is_known.then(|| timing.nanos.get(which as usize).copied())?
        };
        let nanos = time(Timing::LastUpstreamReceived)? - time(Timing::FirstUpstreamSent)?;
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }
}

impl MetricSink for Stream {
    type Id = MetricId;

    fn add(&self, counter: MetricId, n: u64) {
        // SAFETY: the id is of this stream's configuration, without labels.
        unsafe {
            envoy_dynamic_module_callback_http_filter_increment_counter(
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
            envoy_dynamic_module_callback_http_filter_set_gauge(
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
            envoy_dynamic_module_callback_http_filter_record_histogram_value(
                self.0,
                histogram.0,
                std::ptr::null(),
                0,
                value,
            )
        };
    }
}
