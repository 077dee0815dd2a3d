//! Envoy's ABI for dynamic modules, `v0.1.0` (1.38, 1.39) and `v0.2.0` (1.40):
//! layouts and callbacks (`source/extensions/dynamic_modules/abi/abi.h`).
//!
//! Written by hand, as Envoy's own bindings are in no registry, and as one
//! module has to serve three versions: what only later ones have is looked up
//! at run time ([`Newer`](super::version::Newer)).
//!
//! What holds for every hook and callback unless it says otherwise: buffers of
//! Envoy's are valid during the hook at most, and a header's only until its
//! map is changed; Envoy copies what it is given before it returns; hooks of a
//! stream come on its worker, those of a configuration on the main thread.

use std::ffi::c_void;

/// `envoy_dynamic_module_type_envoy_buffer` and `…_module_buffer`: a pointer
/// and a length, passed by value. Envoy's may be null with a length of zero.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    pub(crate) data: *const u8,
    length: usize,
}

impl Buffer {
    pub(crate) const EMPTY: Self = Self {
        data: std::ptr::null(),
        length: 0,
    };

    /// For Envoy to read during a call.
    pub(crate) fn of(bytes: &(impl AsRef<[u8]> + ?Sized)) -> Self {
        let bytes = bytes.as_ref();
        Self {
            data: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    /// What Envoy hands over.
    ///
    /// # Safety
    ///
    /// Envoy's memory must stay as it is for `'a`.
    pub(crate) unsafe fn read<'a>(self) -> &'a [u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: not null, so that many bytes of Envoy's, for as long as the
        // caller says.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }
}

/// `envoy_dynamic_module_type_envoy_http_header` and `…_module_http_header`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct HeaderLine {
    pub(crate) key: Buffer,
    pub(crate) value: Buffer,
}

/// `envoy_dynamic_module_type_timing_info_v2` (1.40): 19 times, the first one
/// since the Unix epoch and the others since that one, in nanoseconds; then
/// whether each is known. Envoy fills it whole.
#[repr(C)]
pub(crate) struct TimingInfo {
    pub(super) nanos: [i64; 19],
    pub(super) is_known: [bool; 19],
    pub(super) padding: [u8; 5],
}

const _: () = assert!(size_of::<Buffer>() == 16);

const _: () = assert!(size_of::<HeaderLine>() == 32);

const _: () = assert!(size_of::<TimingInfo>() == 176);

/// A time within [`TimingInfo`].
#[derive(Clone, Copy)]
pub(super) enum Timing {
    FirstUpstreamSent = 9,
    LastUpstreamReceived = 13,
}

/// `envoy_dynamic_module_type_http_header_type`.
#[derive(Clone, Copy)]
pub(crate) enum Map {
    RequestHeaders = 0,
    ResponseHeaders = 2,
    ResponseTrailers = 3,
}

/// `envoy_dynamic_module_type_metadata_source`.
#[derive(Clone, Copy)]
pub(crate) enum MetadataSource {
    Dynamic = 0,
    Route = 1,
    Cluster = 2,
    Host = 3,
}

/// `envoy_dynamic_module_type_http_filter_envoy_ptr`.
pub(crate) type StreamPtr = *mut c_void;

/// `envoy_dynamic_module_type_http_filter_config_envoy_ptr`.
pub(crate) type ConfigPtr = *mut c_void;

// What 1.38 has, and so every version that loads this module. Envoy exports
// it; a symbol that is missing fails the load.
unsafe extern "C" {
    // Any thread. Levels above critical are ignored.
    pub(super) fn envoy_dynamic_module_callback_log(level: u32, message: Buffer);
    pub(super) fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    // Main thread.
    pub(super) fn envoy_dynamic_module_callback_get_concurrency() -> u32;
    pub(super) fn envoy_dynamic_module_callback_is_validation_mode() -> bool;

    // Zero where there is no such map.
    pub(super) fn envoy_dynamic_module_callback_http_get_headers_size(
        stream: StreamPtr,
        map: u32,
    ) -> usize;
    // Fills as many lines as `…_size` says, and does not say how many.
    pub(super) fn envoy_dynamic_module_callback_http_get_headers(
        stream: StreamPtr,
        map: u32,
        lines: *mut HeaderLine,
    ) -> bool;
    // Gives the line with this index of a name, null where there is none.
    // `total` may be null.
    pub(super) fn envoy_dynamic_module_callback_http_get_header(
        stream: StreamPtr,
        map: u32,
        key: Buffer,
        value: *mut Buffer,
        index: usize,
        total: *mut usize,
    ) -> bool;
    // In place of every line of the name; an empty value removes them.
    pub(super) fn envoy_dynamic_module_callback_http_set_header(
        stream: StreamPtr,
        map: u32,
        key: Buffer,
        value: Buffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_worker_index(
        stream: StreamPtr,
    ) -> u32;
    // Of the cluster that the route chose.
    pub(super) fn envoy_dynamic_module_callback_http_get_cluster_name(
        stream: StreamPtr,
        name: *mut Buffer,
    ) -> bool;
    // Attributes: `value` is written only where the answer is true.
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        stream: StreamPtr,
        id: u32,
        value: *mut Buffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        stream: StreamPtr,
        id: u32,
        value: *mut u64,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_filter_get_attribute_bool(
        stream: StreamPtr,
        id: u32,
        value: *mut bool,
    ) -> bool;
    // Body types: 0 and 2 are what the hook at hand received of the request
    // and of the response.
    pub(super) fn envoy_dynamic_module_callback_http_get_body_size(
        stream: StreamPtr,
        body: u32,
    ) -> usize;
    // Metadata: one level of keys below a namespace. A value of another type
    // is an error in Envoy's log; texts are valid until the next such call.
    pub(super) fn envoy_dynamic_module_callback_http_get_metadata_string(
        stream: StreamPtr,
        source: u32,
        namespace: Buffer,
        key: Buffer,
        value: *mut Buffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_metadata_number(
        stream: StreamPtr,
        source: u32,
        namespace: Buffer,
        key: Buffer,
        value: *mut f64,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_http_get_metadata_bool(
        stream: StreamPtr,
        source: u32,
        namespace: Buffer,
        key: Buffer,
        value: *mut bool,
    ) -> bool;

    // What `per_route_config_new` gave for the route of a stream; null where
    // there is none.
    pub(super) fn envoy_dynamic_module_callback_get_most_specific_route_config(
        stream: StreamPtr,
    ) -> *const c_void;

    // A stream's stats, on its worker. No labels: null and zero.
    pub(super) fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: StreamPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_set_gauge(
        stream: StreamPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        stream: StreamPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    // Only in `config_new`; later they give 3, frozen.
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: ConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: ConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: ConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;

    // A weak reference to a configuration. `commit` may come from any thread
    // and has `…config_scheduled` called on the main one; it does nothing once
    // the configuration is gone, and it may be what destroys it.
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
        config: ConfigPtr,
    ) -> *mut c_void;
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
        scheduler: *mut c_void,
        event: u64,
    );
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(
        scheduler: *mut c_void,
    );

    // Main thread only. Calls the hook for a reset before it returns.
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_reset_http_stream(
        config: ConfigPtr,
        id: u64,
    );
    // Main thread only. 0 is success: then the id is written, and hooks follow
    // until `…complete` or `…reset`. Otherwise none does.
    pub(super) fn envoy_dynamic_module_callback_http_filter_config_start_http_stream(
        config: ConfigPtr,
        id: *mut u64,
        cluster: Buffer,
        headers: *const HeaderLine,
        header_count: usize,
        body: Buffer,
        end_of_stream: bool,
        timeout_milliseconds: u64,
    ) -> u32;
}

/// `envoy_dynamic_module_type_tracer_config_envoy_ptr`.
pub(crate) type TracerConfigPtr = *mut c_void;

/// `envoy_dynamic_module_type_tracer_span_envoy_ptr`: the headers of a request,
/// within `start_span` and `inject_context` only.
pub(crate) type TraceContextPtr = *mut c_void;

// The tracer's, of 1.38 too. Stats on any thread; no labels: null and zero.
unsafe extern "C" {
    // One line of a header; null where there is none.
    pub(super) fn envoy_dynamic_module_callback_tracer_get_trace_context_value(
        context: TraceContextPtr,
        key: Buffer,
        value: *mut Buffer,
    ) -> bool;
    // `:method`, `:authority` and `:path`, at a fifth of the price.
    pub(super) fn envoy_dynamic_module_callback_tracer_get_trace_context_method(
        context: TraceContextPtr,
        value: *mut Buffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_tracer_get_trace_context_host(
        context: TraceContextPtr,
        value: *mut Buffer,
    ) -> bool;
    pub(super) fn envoy_dynamic_module_callback_tracer_get_trace_context_path(
        context: TraceContextPtr,
        value: *mut Buffer,
    ) -> bool;
    // In place of every line. What was read before is invalid.
    pub(super) fn envoy_dynamic_module_callback_tracer_set_trace_context_value(
        context: TraceContextPtr,
        key: Buffer,
        value: Buffer,
    );
    pub(super) fn envoy_dynamic_module_callback_tracer_remove_trace_context_value(
        context: TraceContextPtr,
        key: Buffer,
    );
    pub(super) fn envoy_dynamic_module_callback_tracer_define_counter(
        config: TracerConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_tracer_define_gauge(
        config: TracerConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_tracer_define_histogram(
        config: TracerConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_tracer_increment_counter(
        config: TracerConfigPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_tracer_set_gauge(
        config: TracerConfigPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    pub(super) fn envoy_dynamic_module_callback_tracer_record_histogram_value(
        config: TracerConfigPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
}
