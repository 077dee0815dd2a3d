//! Envoy's ABI for dynamic modules, `v0.1.0` (1.38, 1.39) and `v0.2.0` (1.40):
//! the one file that names what Envoy calls and what it offers
//! (`source/extensions/dynamic_modules/abi/abi.h`).
//!
//! Written by hand, as Envoy's own bindings are in no registry, and as one
//! module has to serve three versions: what only later ones have is looked up
//! at run time ([`Newer`]).
//!
//! What holds for every hook and callback unless it says otherwise: buffers of
//! Envoy's are valid during the hook at most, and a header's only until its
//! map is changed; Envoy copies what it is given before it returns; hooks of a
//! stream come on its worker, those of a configuration on the main thread.
#![allow(unsafe_code)]

use crate::document::Route;
use crate::exporter;
use crate::filter::{self, FilterConfig, HttpFilter};
use crate::guard;
use crate::stats::{Define, Sink};
use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::propagation::format::CONTEXT_HEADERS;
use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

// ------------------------------------------------------------------- layouts

/// `envoy_dynamic_module_type_envoy_buffer` and `…_module_buffer`: a pointer
/// and a length, passed by value. Envoy's may be null with a length of zero.
#[repr(C)]
#[derive(Clone, Copy)]
struct Buffer {
    data: *const u8,
    length: usize,
}

impl Buffer {
    const EMPTY: Self = Self {
        data: std::ptr::null(),
        length: 0,
    };

    /// For Envoy to read during a call.
    fn of(bytes: &(impl AsRef<[u8]> + ?Sized)) -> Self {
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
    unsafe fn read<'a>(self) -> &'a [u8] {
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
struct HeaderLine {
    key: Buffer,
    value: Buffer,
}

/// `envoy_dynamic_module_type_timing_info_v2` (1.40): 19 times, the first one
/// since the Unix epoch and the others since that one, in nanoseconds; then
/// whether each is known. Envoy fills it whole.
#[repr(C)]
struct TimingInfo {
    nanos: [i64; 19],
    is_known: [bool; 19],
    padding: [u8; 5],
}

const _: () = assert!(size_of::<Buffer>() == 16);
const _: () = assert!(size_of::<HeaderLine>() == 32);
const _: () = assert!(size_of::<TimingInfo>() == 176);

/// A time within [`TimingInfo`].
#[derive(Clone, Copy)]
enum Timing {
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

/// `envoy_dynamic_module_type_log_level`.
#[derive(Clone, Copy)]
pub(crate) enum LogLevel {
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
    Critical = 5,
}

/// The versions of Envoy that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V1_38,
    V1_39,
    V1_40,
}

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Truth,
}

/// `envoy_dynamic_module_type_attribute_id`, with the first version that
/// answers: 1.38 writes an error to its log for each that it does not know.
#[derive(Clone, Copy)]
pub(crate) struct Attribute {
    /// As CEL has it
    /// (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes>).
    pub(crate) name: &'static str,
    id: u32,
    pub(crate) kind: Kind,
    since: Version,
}

macro_rules! attributes {
    ($($constant:ident = $name:literal, $id:literal, $kind:ident, $since:ident;)+) => {
        impl Attribute {
            $(pub(crate) const $constant: Self = Self {
                name: $name, id: $id, kind: Kind::$kind, since: Version::$since,
            };)+
            /// Every one.
            pub(crate) const ALL: &[Self] = &[$(Self::$constant),+];
        }
    };
}

attributes! {
    REQUEST_PATH = "request.path", 0, Text, V1_38;
    REQUEST_URL_PATH = "request.url_path", 1, Text, V1_38;
    REQUEST_HOST = "request.host", 2, Text, V1_38;
    REQUEST_SCHEME = "request.scheme", 3, Text, V1_38;
    REQUEST_METHOD = "request.method", 4, Text, V1_38;
    REQUEST_REFERER = "request.referer", 6, Text, V1_38;
    REQUEST_USER_AGENT = "request.useragent", 7, Text, V1_38;
    REQUEST_ID = "request.id", 9, Text, V1_38;
    REQUEST_PROTOCOL = "request.protocol", 10, Text, V1_38;
    REQUEST_QUERY = "request.query", 11, Text, V1_38;
    REQUEST_SIZE = "request.size", 13, Number, V1_40;
    REQUEST_TOTAL_SIZE = "request.total_size", 14, Number, V1_40;
    RESPONSE_CODE = "response.code", 15, Number, V1_38;
    RESPONSE_CODE_DETAILS = "response.code_details", 16, Text, V1_39;
    RESPONSE_FLAGS = "response.flags", 17, Number, V1_39;
    RESPONSE_GRPC_STATUS = "response.grpc_status", 18, Number, V1_40;
    RESPONSE_SIZE = "response.size", 21, Number, V1_39;
    RESPONSE_TOTAL_SIZE = "response.total_size", 22, Number, V1_40;
    SOURCE_ADDRESS = "source.address", 24, Text, V1_38;
    SOURCE_PORT = "source.port", 25, Number, V1_38;
    DESTINATION_ADDRESS = "destination.address", 26, Text, V1_38;
    DESTINATION_PORT = "destination.port", 27, Number, V1_38;
    CONNECTION_ID = "connection.id", 28, Number, V1_38;
    CONNECTION_MTLS = "connection.mtls", 29, Truth, V1_38;
    CONNECTION_REQUESTED_SERVER_NAME = "connection.requested_server_name", 30, Text, V1_39;
    CONNECTION_TLS_VERSION = "connection.tls_version", 31, Text, V1_38;
    CONNECTION_SUBJECT_LOCAL = "connection.subject_local_certificate", 32, Text, V1_38;
    CONNECTION_SUBJECT_PEER = "connection.subject_peer_certificate", 33, Text, V1_38;
    CONNECTION_DNS_SAN_LOCAL = "connection.dns_san_local_certificate", 34, Text, V1_38;
    CONNECTION_DNS_SAN_PEER = "connection.dns_san_peer_certificate", 35, Text, V1_38;
    CONNECTION_URI_SAN_LOCAL = "connection.uri_san_local_certificate", 36, Text, V1_38;
    CONNECTION_URI_SAN_PEER = "connection.uri_san_peer_certificate", 37, Text, V1_38;
    CONNECTION_SHA256_PEER = "connection.sha256_peer_certificate_digest", 38, Text, V1_38;
    CONNECTION_TRANSPORT_FAILURE = "connection.transport_failure_reason", 39, Text, V1_39;
    CONNECTION_TERMINATION = "connection.termination_details", 40, Text, V1_39;
    UPSTREAM_ADDRESS = "upstream.address", 41, Text, V1_38;
    UPSTREAM_PORT = "upstream.port", 42, Number, V1_38;
    UPSTREAM_TLS_VERSION = "upstream.tls_version", 43, Text, V1_39;
    UPSTREAM_SUBJECT_LOCAL = "upstream.subject_local_certificate", 44, Text, V1_39;
    UPSTREAM_SUBJECT_PEER = "upstream.subject_peer_certificate", 45, Text, V1_39;
    UPSTREAM_DNS_SAN_LOCAL = "upstream.dns_san_local_certificate", 46, Text, V1_39;
    UPSTREAM_DNS_SAN_PEER = "upstream.dns_san_peer_certificate", 47, Text, V1_39;
    UPSTREAM_URI_SAN_LOCAL = "upstream.uri_san_local_certificate", 48, Text, V1_39;
    UPSTREAM_URI_SAN_PEER = "upstream.uri_san_peer_certificate", 49, Text, V1_39;
    UPSTREAM_SHA256_PEER = "upstream.sha256_peer_certificate_digest", 50, Text, V1_39;
    UPSTREAM_LOCAL_ADDRESS = "upstream.local_address", 51, Text, V1_39;
    UPSTREAM_TRANSPORT_FAILURE = "upstream.transport_failure_reason", 52, Text, V1_39;
    UPSTREAM_ATTEMPT_COUNT = "upstream.request_attempt_count", 53, Number, V1_39;
    XDS_LISTENER_DIRECTION = "xds.listener_direction", 59, Number, V1_40;
    XDS_ROUTE_NAME = "xds.route_name", 61, Text, V1_38;
    XDS_VIRTUAL_HOST_NAME = "xds.virtual_host_name", 63, Text, V1_39;
    XDS_FILTER_CHAIN_NAME = "xds.filter_chain_name", 66, Text, V1_40;
}

// ----------------------------------------------------------------- callbacks

/// `envoy_dynamic_module_type_http_filter_envoy_ptr`.
type StreamPtr = *mut c_void;
/// `envoy_dynamic_module_type_http_filter_config_envoy_ptr`.
type ConfigPtr = *mut c_void;

// What 1.38 has, and so every version that loads this module. Envoy exports
// it; a symbol that is missing fails the load.
unsafe extern "C" {
    // Any thread. Levels above critical are ignored.
    fn envoy_dynamic_module_callback_log(level: u32, message: Buffer);
    fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool;
    // Main thread.
    fn envoy_dynamic_module_callback_get_concurrency() -> u32;
    fn envoy_dynamic_module_callback_is_validation_mode() -> bool;

    // Zero where there is no such map.
    fn envoy_dynamic_module_callback_http_get_headers_size(stream: StreamPtr, map: u32) -> usize;
    // Fills as many lines as `…_size` says, and does not say how many.
    fn envoy_dynamic_module_callback_http_get_headers(
        stream: StreamPtr,
        map: u32,
        lines: *mut HeaderLine,
    ) -> bool;
    // Gives the line with this index of a name, null where there is none.
    // `total` may be null.
    fn envoy_dynamic_module_callback_http_get_header(
        stream: StreamPtr,
        map: u32,
        key: Buffer,
        value: *mut Buffer,
        index: usize,
        total: *mut usize,
    ) -> bool;
    // In place of every line of the name; an empty value removes them.
    fn envoy_dynamic_module_callback_http_set_header(
        stream: StreamPtr,
        map: u32,
        key: Buffer,
        value: Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_get_worker_index(stream: StreamPtr) -> u32;
    // Of the cluster that the route chose.
    fn envoy_dynamic_module_callback_http_get_cluster_name(
        stream: StreamPtr,
        name: *mut Buffer,
    ) -> bool;
    // Attributes: `value` is written only where the answer is true.
    fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
        stream: StreamPtr,
        id: u32,
        value: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
        stream: StreamPtr,
        id: u32,
        value: *mut u64,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_filter_get_attribute_bool(
        stream: StreamPtr,
        id: u32,
        value: *mut bool,
    ) -> bool;
    // Body types: 0 and 2 are what the hook at hand received of the request
    // and of the response.
    fn envoy_dynamic_module_callback_http_get_body_size(stream: StreamPtr, body: u32) -> usize;
    // Metadata: one level of keys below a namespace. A value of another type
    // is an error in Envoy's log; texts are valid until the next such call.
    fn envoy_dynamic_module_callback_http_get_metadata_string(
        stream: StreamPtr,
        source: u32,
        namespace: Buffer,
        key: Buffer,
        value: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_number(
        stream: StreamPtr,
        source: u32,
        namespace: Buffer,
        key: Buffer,
        value: *mut f64,
    ) -> bool;
    fn envoy_dynamic_module_callback_http_get_metadata_bool(
        stream: StreamPtr,
        source: u32,
        namespace: Buffer,
        key: Buffer,
        value: *mut bool,
    ) -> bool;

    // What `per_route_config_new` gave for the route of a stream; null where
    // there is none.
    fn envoy_dynamic_module_callback_get_most_specific_route_config(
        stream: StreamPtr,
    ) -> *const c_void;

    // A stream's stats, on its worker. No labels: null and zero.
    fn envoy_dynamic_module_callback_http_filter_increment_counter(
        stream: StreamPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_set_gauge(
        stream: StreamPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
        stream: StreamPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    // Only in `config_new`; later they give 3, frozen.
    fn envoy_dynamic_module_callback_http_filter_config_define_counter(
        config: ConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
        config: ConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
        config: ConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;

    // A weak reference to a configuration. `commit` may come from any thread
    // and has `…config_scheduled` called on the main one; it does nothing once
    // the configuration is gone, and it may be what destroys it.
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
        config: ConfigPtr,
    ) -> *mut c_void;
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
        scheduler: *mut c_void,
        event: u64,
    );
    fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(scheduler: *mut c_void);

    // Main thread only. Calls the hook for a reset before it returns.
    fn envoy_dynamic_module_callback_http_filter_config_reset_http_stream(
        config: ConfigPtr,
        id: u64,
    );
    // Main thread only. 0 is success: then the id is written, and hooks follow
    // until `…complete` or `…reset`. Otherwise none does.
    fn envoy_dynamic_module_callback_http_filter_config_start_http_stream(
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
type TracerConfigPtr = *mut c_void;
/// `envoy_dynamic_module_type_tracer_span_envoy_ptr`: the headers of a request,
/// within `start_span` and `inject_context` only.
type TraceContextPtr = *mut c_void;

// The tracer's, of 1.38 too. Stats on any thread; no labels: null and zero.
unsafe extern "C" {
    // One line of a header; null where there is none.
    fn envoy_dynamic_module_callback_tracer_get_trace_context_value(
        context: TraceContextPtr,
        key: Buffer,
        value: *mut Buffer,
    ) -> bool;
    // `:method`, `:authority` and `:path`, at a fifth of the price.
    fn envoy_dynamic_module_callback_tracer_get_trace_context_method(
        context: TraceContextPtr,
        value: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_tracer_get_trace_context_host(
        context: TraceContextPtr,
        value: *mut Buffer,
    ) -> bool;
    fn envoy_dynamic_module_callback_tracer_get_trace_context_path(
        context: TraceContextPtr,
        value: *mut Buffer,
    ) -> bool;
    // In place of every line. What was read before is invalid.
    fn envoy_dynamic_module_callback_tracer_set_trace_context_value(
        context: TraceContextPtr,
        key: Buffer,
        value: Buffer,
    );
    fn envoy_dynamic_module_callback_tracer_remove_trace_context_value(
        context: TraceContextPtr,
        key: Buffer,
    );
    fn envoy_dynamic_module_callback_tracer_define_counter(
        config: TracerConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_tracer_define_gauge(
        config: TracerConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_tracer_define_histogram(
        config: TracerConfigPtr,
        name: Buffer,
        labels: *const Buffer,
        label_count: usize,
        id: *mut usize,
    ) -> u32;
    fn envoy_dynamic_module_callback_tracer_increment_counter(
        config: TracerConfigPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_tracer_set_gauge(
        config: TracerConfigPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
    fn envoy_dynamic_module_callback_tracer_record_histogram_value(
        config: TracerConfigPtr,
        id: usize,
        labels: *const Buffer,
        label_count: usize,
        value: u64,
    ) -> u32;
}

type ConfigCount = unsafe extern "C" fn(ConfigPtr, usize, *const Buffer, usize, u64) -> u32;
type TimingCallback = unsafe extern "C" fn(StreamPtr, *mut TimingInfo);

/// What only later versions have.
struct Newer {
    version: Version,
    /// `http_filter_config_increment_counter`, `…_set_gauge` and
    /// `…_record_histogram_value` (1.39), main thread.
    increment_counter: Option<ConfigCount>,
    set_gauge: Option<ConfigCount>,
    record_histogram_value: Option<ConfigCount>,
    /// `http_get_timing_info` (1.40).
    timing_info: Option<TimingCallback>,
}

fn newer() -> &'static Newer {
    static NEWER: OnceLock<Newer> = OnceLock::new();
    NEWER.get_or_init(|| {
        let timing = find(c"envoy_dynamic_module_callback_http_get_timing_info");
        let level = find(c"envoy_dynamic_module_callback_get_log_level");
        let count = |name| {
            // SAFETY: all three have this signature wherever they are.
            find(name).map(|it| unsafe { std::mem::transmute::<*mut c_void, ConfigCount>(it) })
        };
        Newer {
            version: match (timing, level) {
                (Some(_), _) => Version::V1_40,
                (None, Some(_)) => Version::V1_39,
                (None, None) => Version::V1_38,
            },
            increment_counter: count(
                c"envoy_dynamic_module_callback_http_filter_config_increment_counter",
            ),
            set_gauge: count(c"envoy_dynamic_module_callback_http_filter_config_set_gauge"),
            record_histogram_value: count(
                c"envoy_dynamic_module_callback_http_filter_config_record_histogram_value",
            ),
            timing_info: timing.map(|it| {
                // SAFETY: where it is, it fills the second version of the struct.
                unsafe { std::mem::transmute::<*mut c_void, TimingCallback>(it) }
            }),
        }
    })
}

/// A symbol of the process.
fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: looks a name up.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Which Envoy this is.
pub(crate) fn version() -> Version {
    newer().version
}

// ----------------------------------------------------------- what is offered

/// Writes a line to Envoy's log, from any thread.
pub(crate) fn log(level: LogLevel, text: &str) {
    // SAFETY: Envoy copies the text.
    unsafe { envoy_dynamic_module_callback_log(level as u32, Buffer::of(text)) };
}

/// Whether Envoy writes lines of the level debug.
pub(crate) fn is_debug() -> bool {
    // SAFETY: takes a number.
    unsafe { envoy_dynamic_module_callback_log_enabled(LogLevel::Debug as u32) }
}

/// How many workers there are, at least one. Envoy 1.38 crashes where a worker
/// asks, so the main thread must have asked before.
pub(crate) fn workers() -> usize {
    static WORKERS: OnceLock<usize> = OnceLock::new();
    *WORKERS.get_or_init(|| {
        // SAFETY: takes nothing.
        let count = unsafe { envoy_dynamic_module_callback_get_concurrency() as usize };
        count.max(1)
    })
}

/// Whether this process only validates its configuration; main thread.
pub(crate) fn is_validation() -> bool {
    // SAFETY: takes nothing.
    unsafe { envoy_dynamic_module_callback_is_validation_mode() }
}

/// A stat within one configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MetricId(usize);

/// Envoy's side of a filter configuration; valid until its `config_destroy`
/// returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Config(ConfigPtr);

// SAFETY: an address. What is not safe on other threads than the main one says
// so, and is called in its hooks only.
unsafe impl Send for Config {}
// SAFETY: as above.
unsafe impl Sync for Config {}

/// Why an export did not start.
pub(crate) enum NotStarted {
    /// There is no such cluster.
    NoCluster,
    /// It has nobody to send it to, or Envoy takes no such request.
    NoEndpoint,
}

type DefineCallback =
    unsafe extern "C" fn(ConfigPtr, Buffer, *const Buffer, usize, *mut usize) -> u32;

/// Defines a stat of a configuration, which gives this address.
fn define(config: *mut c_void, define: DefineCallback, name: &str) -> Option<MetricId> {
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

    /// A way to have [`exporter::on_turn`] called on the main thread.
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
    ) -> Result<u64, NotStarted> {
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
            CLUSTER_NOT_FOUND => Err(NotStarted::NoCluster),
            _ => Err(NotStarted::NoEndpoint),
        }
    }
}

impl Define for Config {
    fn counter(&self, name: &str) -> Option<MetricId> {
        self.define(
            envoy_dynamic_module_callback_http_filter_config_define_counter,
            name,
        )
    }

    fn gauge(&self, name: &str) -> Option<MetricId> {
        self.define(
            envoy_dynamic_module_callback_http_filter_config_define_gauge,
            name,
        )
    }

    fn histogram(&self, name: &str) -> Option<MetricId> {
        self.define(
            envoy_dynamic_module_callback_http_filter_config_define_histogram,
            name,
        )
    }
}

impl Sink for Config {
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

/// Calls the main thread on behalf of a configuration that may be gone.
#[derive(Debug)]
pub(crate) struct Scheduler(*mut c_void);

// SAFETY: `commit` may be called from any thread.
unsafe impl Send for Scheduler {}
// SAFETY: `commit` only reads the weak reference; `drop` has it alone.
unsafe impl Sync for Scheduler {}

impl Scheduler {
    /// Has [`exporter::on_turn`] called soon.
    pub(crate) fn commit(&self) {
        // SAFETY: it was not deleted yet.
        unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_commit(self.0, 0) };
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        // SAFETY: nobody else has it.
        unsafe { envoy_dynamic_module_callback_http_filter_config_scheduler_delete(self.0) };
    }
}

/// A stream within one of its hooks.
pub(crate) struct Stream(StreamPtr);

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

    /// What its route says of its own.
    pub(crate) fn route(&self) -> Option<Arc<Route>> {
        // SAFETY: the stream is in a hook.
        let route = unsafe { envoy_dynamic_module_callback_get_most_specific_route_config(self.0) };
        let route = route.cast::<Route>();
        if route.is_null() {
            return None;
        }
        // SAFETY: `per_route_config_new` gave it away as this type, and Envoy
        // keeps it while the route is there.
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
    fn received(&self, body: u32) -> u64 {
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

impl Sink for Stream {
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

/// Envoy's side of a configuration of the tracer; valid until its
/// `config_destroy` returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TracerConfig(TracerConfigPtr);

// SAFETY: an address; what is called with it may be on any thread.
unsafe impl Send for TracerConfig {}
// SAFETY: as above.
unsafe impl Sync for TracerConfig {}

impl Define for TracerConfig {
    fn counter(&self, name: &str) -> Option<MetricId> {
        define(
            self.0,
            envoy_dynamic_module_callback_tracer_define_counter,
            name,
        )
    }

    fn gauge(&self, name: &str) -> Option<MetricId> {
        define(
            self.0,
            envoy_dynamic_module_callback_tracer_define_gauge,
            name,
        )
    }

    fn histogram(&self, name: &str) -> Option<MetricId> {
        define(
            self.0,
            envoy_dynamic_module_callback_tracer_define_histogram,
            name,
        )
    }
}

impl Sink for TracerConfig {
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
pub(crate) struct TraceContext(TraceContextPtr);

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

// --------------------------------------------------------------------- hooks

/// Has the loader keep this file for good: a thread of ours may run in it
/// while Envoy closes its last handle, even by way of that thread's own call.
fn stay_loaded() {
    // SAFETY: a struct of pointers, to be filled.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: looks up which file a function is in.
    let found = unsafe { libc::dladdr(stay_loaded as *const c_void, &raw mut info) };
    if found != 0 && !info.dli_fname.is_null() {
        let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: the file is loaded; this changes how it is kept.
        unsafe { libc::dlopen(info.dli_fname, flags) };
    }
}

/// Once, when the file is loaded. Gives the ABI that this module speaks; every
/// Envoy takes another one's with a warning, so each is told its own.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    let abi = match version() {
        Version::V1_38 | Version::V1_39 => c"v0.1.0",
        Version::V1_40 => c"v0.2.0",
    };
    guard::call((), || {
        stay_loaded();
        guard::install();
    });
    abi.as_ptr()
}

/// Null has Envoy refuse the configuration. Envoy's pointer stays valid until
/// `…config_destroy` returns.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    config: ConfigPtr,
    name: Buffer,
    document: Buffer,
) -> *const c_void {
    guard::call(std::ptr::null(), || {
        // SAFETY: both are valid during this hook.
        let (name, document) = unsafe { (name.read(), document.read()) };
        match filter::on_config(Config(config), &String::from_utf8_lossy(name), document) {
            Some(config) => Box::into_raw(config).cast_const().cast(),
            None => std::ptr::null(),
        }
    })
}

/// On whichever thread lets the last reference go.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void) {
    guard::call((), || {
        // SAFETY: `config_new` gave it away, and Envoy gives it back once.
        let config = unsafe { Box::from_raw(config.cast_mut().cast::<FilterConfig>()) };
        filter::on_config_end(&config);
    });
}

/// Null has Envoy refuse the configuration. It knows no filter: any of this
/// module's takes it.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    name: Buffer,
    document: Buffer,
) -> *const c_void {
    guard::call(std::ptr::null(), || {
        // SAFETY: both are valid during this hook.
        let (name, document) = unsafe { (name.read(), document.read()) };
        match filter::on_route_config(&String::from_utf8_lossy(name), document) {
            Some(route) => Arc::into_raw(route).cast(),
            None => std::ptr::null(),
        }
    })
}

/// On any thread.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(route: *const c_void) {
    guard::call((), || {
        // SAFETY: `new` gave it away, and Envoy gives it back once.
        drop(unsafe { Arc::from_raw(route.cast::<Route>()) });
        filter::on_route_config_end();
    });
}

// Workers share these by Envoy's pointers, of which the compiler knows nothing.
const fn is_shared<T: Send + Sync>() {}
const _: () = is_shared::<FilterConfig>();
const _: () = is_shared::<Route>();
const _: () = is_shared::<crate::tracer::TracerConfig>();

/// A filter with its configuration, which Envoy keeps for as long.
struct Held {
    config: *const FilterConfig,
    filter: HttpFilter,
}

/// Null would have 1.38 and 1.39 call the hooks all the same, and 1.40 answer
/// with 500: it is given only if there is no memory for better.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_new(
    config: *const c_void,
    stream: StreamPtr,
) -> *const c_void {
    guard::call(std::ptr::null(), || {
        let filter = HttpFilter::new(&Stream(stream));
        let held = Held {
            config: config.cast(),
            filter,
        };
        Box::into_raw(Box::new(held)).cast_const().cast()
    })
}

/// After `…stream_complete`, which does not come for a cluster's HTTP filter; the
/// last one.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void) {
    guard::call((), || {
        if !filter.is_null() {
            // SAFETY: `new` gave it away, and Envoy gives it back once.
            let mut held = unsafe { Box::from_raw(filter.cast_mut().cast::<Held>()) };
            // SAFETY: Envoy keeps the configuration while it has filters.
            let config = unsafe { &*held.config };
            held.filter.on_destroy(config);
        }
    });
}

/// Calls `f` with what belongs to a stream. No callback that is used here
/// makes Envoy call a hook of the same stream.
fn with(
    stream: StreamPtr,
    filter: *const c_void,
    f: impl FnOnce(&FilterConfig, &mut HttpFilter, &mut Stream),
) {
    // SAFETY: null, or what `new` gave away and `destroy` did not get yet. Hooks
    // of a stream come one after the other.
    let Some(held) = (unsafe { filter.cast_mut().cast::<Held>().as_mut() }) else {
        return;
    };
    // SAFETY: Envoy keeps the configuration while it has filters.
    let config = unsafe { &*held.config };
    let is_done = guard::call(false, || {
        f(config, &mut held.filter, &mut Stream(stream));
        true
    });
    if !is_done {
        held.filter.give_up();
    }
}

/// Every hook of the data path gives this: tracing never holds a request.
const CONTINUE: u32 = 0;

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_headers(
    stream: StreamPtr,
    filter: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    with(stream, filter, |config, filter, stream| {
        filter.on_request_headers(config, stream);
    });
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_body(
    stream: StreamPtr,
    filter: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    with(stream, filter, |_, filter, stream| {
        filter.on_request_body(stream.received(0));
    });
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_request_trailers(
    _stream: StreamPtr,
    _filter: *const c_void,
) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_headers(
    stream: StreamPtr,
    filter: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    with(stream, filter, |_, filter, stream| {
        filter.on_response_headers(stream);
    });
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_body(
    stream: StreamPtr,
    filter: *const c_void,
    _end_of_stream: bool,
) -> u32 {
    if version() < Version::V1_39 {
        with(stream, filter, |_, filter, stream| {
            filter.response_size += stream.received(2);
        });
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_response_trailers(
    _stream: StreamPtr,
    _filter: *const c_void,
) -> u32 {
    CONTINUE
}

/// Envoy answers the request itself, and says why. Before 1.39 nothing else
/// does.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_local_reply(
    stream: StreamPtr,
    filter: *const c_void,
    _code: u32,
    details: Buffer,
    _is_reset_imminent: bool,
) -> u32 {
    if version() < Version::V1_39 {
        with(stream, filter, |_, filter, _| {
            // SAFETY: it is valid during this hook.
            let details = unsafe { details.read() };
            filter.details = Some(String::from_utf8_lossy(details).into_owned());
        });
    }
    CONTINUE
}

/// Comes once for every filter, however its stream ended, before `destroy`;
/// everything can still be asked.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_stream_complete(
    stream: StreamPtr,
    filter: *const c_void,
) {
    with(stream, filter, |config, filter, stream| {
        filter.on_end(config, stream);
    });
}

/// The exporter's turn, by [`Scheduler::commit`]; main thread.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_scheduled(
    _config: ConfigPtr,
    _module: *const c_void,
    _event: u64,
) {
    guard::call((), exporter::on_turn);
}

/// # Safety
///
/// There must be that many lines, valid for `'a`.
unsafe fn lines<'a>(lines: *const HeaderLine, count: usize) -> Vec<(&'a [u8], &'a [u8])> {
    if lines.is_null() {
        return Vec::new();
    }
    // SAFETY: as the caller says.
    let lines = unsafe { std::slice::from_raw_parts(lines, count) };
    // SAFETY: as the caller says.
    let read = |buffer: Buffer| unsafe { buffer.read() };
    lines
        .iter()
        .map(|line| (read(line.key), read(line.value)))
        .collect()
}

/// The answer to an export begins; main thread, as all five. With
/// `end_of_stream` it is all there is, trailers included.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_headers(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
    headers: *const HeaderLine,
    count: usize,
    _end_of_stream: bool,
) {
    guard::call((), || {
        // SAFETY: they are valid during this hook.
        exporter::on_headers(Config(config), stream, &unsafe { lines(headers, count) });
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_data(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
    data: *const Buffer,
    count: usize,
    _end_of_stream: bool,
) {
    guard::call((), || {
        if data.is_null() {
            return;
        }
        // SAFETY: there are that many, valid during this hook.
        for chunk in unsafe { std::slice::from_raw_parts(data, count) } {
            // SAFETY: as above.
            exporter::on_data(Config(config), stream, unsafe { chunk.read() });
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_trailers(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
    trailers: *const HeaderLine,
    count: usize,
) {
    guard::call((), || {
        // SAFETY: they are valid during this hook.
        exporter::on_trailers(Config(config), stream, &unsafe { lines(trailers, count) });
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_complete(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
) {
    guard::call((), || exporter::on_complete(Config(config), stream));
}

/// The reason is always the same one.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_http_stream_reset(
    config: ConfigPtr,
    _module: *const c_void,
    stream: u64,
    _reason: u32,
) {
    guard::call((), || exporter::on_reset(Config(config), stream));
}

/// Hooks that Envoy demands and has no reason to call.
mod unused {
    use super::{Buffer, HeaderLine, StreamPtr, c_void};

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_scheduled(
        _stream: StreamPtr,
        _filter: *const c_void,
        _event: u64,
    ) {
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_downstream_above_write_buffer_high_watermark(
        _stream: StreamPtr,
        _filter: *const c_void,
    ) {
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_downstream_below_write_buffer_low_watermark(
        _stream: StreamPtr,
        _filter: *const c_void,
    ) {
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_http_callout_done(
        _stream: StreamPtr,
        _filter: *const c_void,
        _callout: u64,
        _result: u32,
        _headers: *const HeaderLine,
        _header_count: usize,
        _chunks: *const Buffer,
        _chunk_count: usize,
    ) {
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_headers(
        _stream: StreamPtr,
        _filter: *const c_void,
        _id: u64,
        _headers: *const HeaderLine,
        _count: usize,
        _end_of_stream: bool,
    ) {
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_data(
        _stream: StreamPtr,
        _filter: *const c_void,
        _id: u64,
        _chunks: *const Buffer,
        _count: usize,
        _end_of_stream: bool,
    ) {
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_trailers(
        _stream: StreamPtr,
        _filter: *const c_void,
        _id: u64,
        _trailers: *const HeaderLine,
        _count: usize,
    ) {
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_complete(
        _stream: StreamPtr,
        _filter: *const c_void,
        _id: u64,
    ) {
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_http_filter_http_stream_reset(
        _stream: StreamPtr,
        _filter: *const c_void,
        _id: u64,
        _reason: u32,
    ) {
    }
}

/// The tracer's hooks. Those of a span come on its worker, between
/// `start_span` or `spawn_child` and `destroy`; Envoy keeps the configuration
/// for as long.
mod tracing {
    use super::{Buffer, TraceContext, TraceContextPtr, TracerConfig, TracerConfigPtr, c_void};
    use crate::guard;
    use crate::tracer;

    /// Null has Envoy refuse the configuration.
    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_config_new(
        config: TracerConfigPtr,
        name: Buffer,
        document: Buffer,
    ) -> *const c_void {
        guard::call(std::ptr::null(), || {
            // SAFETY: both are valid during this hook.
            let (name, document) = unsafe { (name.read(), document.read()) };
            let name = String::from_utf8_lossy(name);
            match tracer::on_config(TracerConfig(config), &name, document) {
                Some(config) => Box::into_raw(config).cast_const().cast(),
                None => std::ptr::null(),
            }
        })
    }

    /// On whichever thread lets the last reference go.
    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_config_destroy(config: *const c_void) {
        guard::call((), || {
            // SAFETY: `config_new` gave it away, and Envoy gives it back once.
            let config = unsafe { Box::from_raw(config.cast_mut().cast::<tracer::TracerConfig>()) };
            tracer::on_config_end(&config);
        });
    }

    /// A span with its configuration.
    struct Held {
        config: *const tracer::TracerConfig,
        span: tracer::Span,
    }

    fn hold(config: *const tracer::TracerConfig, span: Option<tracer::Span>) -> *const c_void {
        match span {
            Some(span) => Box::into_raw(Box::new(Held { config, span }))
                .cast_const()
                .cast(),
            None => std::ptr::null(),
        }
    }

    /// Calls `f` with a span.
    fn with<T>(
        span: *const c_void,
        otherwise: T,
        f: impl FnOnce(&tracer::TracerConfig, &mut tracer::Span) -> T,
    ) -> T {
        // SAFETY: null, or what `hold` gave away and `destroy` did not get yet.
        // Hooks of a span come one after the other.
        let Some(held) = (unsafe { span.cast_mut().cast::<Held>().as_mut() }) else {
            return otherwise;
        };
        // SAFETY: Envoy keeps the configuration while it has spans.
        let config = unsafe { &*held.config };
        let done = guard::call(None, || Some(f(config, &mut held.span)));
        done.unwrap_or_else(|| {
            held.span.give_up();
            otherwise
        })
    }

    /// Null has Envoy go on without a span.
    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_start_span(
        config: *const c_void,
        context: TraceContextPtr,
        _operation: Buffer,
        traced: bool,
        _reason: u32,
    ) -> *const c_void {
        let config = config.cast::<tracer::TracerConfig>();
        guard::call(std::ptr::null(), || {
            // SAFETY: Envoy keeps the configuration while it starts spans.
            let tracer = unsafe { &*config };
            hold(config, tracer.start(&TraceContext(context), traced))
        })
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_spawn_child(
        span: *const c_void,
        name: Buffer,
        _start_nanos: i64,
    ) -> *const c_void {
        with(span, std::ptr::null(), |config, parent| {
            // SAFETY: it is valid during this hook.
            hold(config, config.child(parent, unsafe { name.read() }))
        })
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_inject_context(
        span: *const c_void,
        context: TraceContextPtr,
    ) {
        with(span, (), |config, span| {
            config.inject(span, &mut TraceContext(context));
        });
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_set_operation(
        span: *const c_void,
        operation: Buffer,
    ) {
        // SAFETY: it is valid during this hook.
        with(span, (), |_, span| {
            span.set_name(unsafe { operation.read() })
        });
    }

    /// Envoy tells tags of every span, sampled or not.
    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_set_tag(
        span: *const c_void,
        key: Buffer,
        value: Buffer,
    ) {
        with(span, (), |_, span| {
            // SAFETY: both are valid during this hook.
            let (key, value) = unsafe { (key.read(), value.read()) };
            span.tag(key, value);
        });
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_set_sampled(
        span: *const c_void,
        sampled: bool,
    ) {
        with(span, (), |_, span| span.set_sampled(sampled));
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_use_local_decision(
        span: *const c_void,
    ) -> bool {
        with(span, false, |_, span| span.is_decided_here())
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_finish(span: *const c_void) {
        with(span, (), |config, span| config.finish(span));
    }

    /// Envoy copies the text at once; it lives as long as the span.
    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_get_trace_id(
        span: *const c_void,
        value: *mut Buffer,
    ) -> bool {
        with(span, false, |_, span| {
            // SAFETY: Envoy gives a place to write to.
            unsafe { value.write(Buffer::of(&span.trace_id)) };
            true
        })
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_get_span_id(
        span: *const c_void,
        value: *mut Buffer,
    ) -> bool {
        with(span, false, |_, span| {
            // SAFETY: Envoy gives a place to write to.
            unsafe { value.write(Buffer::of(&span.span_id)) };
            true
        })
    }

    /// The last one of a span.
    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_destroy(span: *const c_void) {
        guard::call((), || {
            if !span.is_null() {
                // SAFETY: `hold` gave it away, and Envoy gives it back once.
                drop(unsafe { Box::from_raw(span.cast_mut().cast::<Held>()) });
            }
        });
    }

    /// Events are for `verbose` in Envoy's `tracing` only; none is told.
    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_log(
        _span: *const c_void,
        _timestamp_nanos: i64,
        _event: Buffer,
    ) {
    }

    /// Baggage goes on in its own header, which nobody here changes.
    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_get_baggage(
        _span: *const c_void,
        _key: Buffer,
        _value: *mut Buffer,
    ) -> bool {
        false
    }

    #[unsafe(no_mangle)]
    extern "C" fn envoy_dynamic_module_on_tracer_span_set_baggage(
        _span: *const c_void,
        _key: Buffer,
        _value: Buffer,
    ) {
    }
}
