//! An Envoy whose streams, stats and clusters a test holds.
//!
//! The module's state belongs to the process, so that tests come one after the
//! other: each holds [`Serial`]. The module's own thread calls the fake, too.

use crate::abi::Buffer;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};

pub(crate) const WORKERS: u32 = 2;
/// Levels of log lines.
pub(crate) const INFO: u32 = 2;
pub(crate) const WARN: u32 = 3;
pub(crate) const ERROR: u32 = 4;
pub(crate) const CRITICAL: u32 = 5;

pub(crate) const REQUEST_HEADERS: u32 = 0;
pub(crate) const RESPONSE_HEADERS: u32 = 2;
pub(crate) const RESPONSE_TRAILERS: u32 = 3;

pub(crate) fn map_name(map: u32) -> &'static str {
    match map {
        REQUEST_HEADERS => "request_headers",
        RESPONSE_HEADERS => "response_headers",
        RESPONSE_TRAILERS => "response_trailers",
        _ => panic!("map {map}"),
    }
}

pub(crate) fn source_name(source: u32) -> &'static str {
    ["dynamic", "route", "cluster", "host"][source as usize]
}

/// `envoy_dynamic_module_type_attribute_id`, those that these tests read.
const ATTRIBUTES: [(u32, &str); 21] = [
    (9, "request.id"),
    (10, "request.protocol"),
    (13, "request.size"),
    (15, "response.code"),
    (16, "response.code_details"),
    (17, "response.flags"),
    (18, "response.grpc_status"),
    (21, "response.size"),
    (24, "source.address"),
    (25, "source.port"),
    (29, "connection.mtls"),
    (33, "connection.subject_peer_certificate"),
    (37, "connection.uri_san_peer_certificate"),
    (41, "upstream.address"),
    (42, "upstream.port"),
    (45, "upstream.subject_peer_certificate"),
    (49, "upstream.uri_san_peer_certificate"),
    (52, "upstream.transport_failure_reason"),
    (53, "upstream.request_attempt_count"),
    (59, "xds.listener_direction"),
    (61, "xds.route_name"),
];

pub(crate) fn attribute_name(id: u32) -> &'static str {
    let found = ATTRIBUTES.iter().find(|(known, _)| *known == id);
    found.unwrap_or_else(|| panic!("attribute {id}")).1
}

pub(crate) type Lines = Vec<(Vec<u8>, Vec<u8>)>;

/// How Envoy answers everything that it is asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Hostility {
    #[default]
    None,
    /// With no, and with numbers that are too large.
    Refusing,
    /// With yes, and nothing.
    Empty,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Truth(bool),
}

#[derive(Debug, Default)]
pub(crate) struct FakeStream {
    pub(crate) maps: BTreeMap<u32, Lines>,
    pub(crate) attributes: BTreeMap<&'static str, Value>,
    /// What is known once the upstream has answered.
    pub(crate) of_response: BTreeMap<&'static str, Value>,
    /// By source, namespace and key, with slashes.
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) cluster: String,
    /// Bytes of the body that the hook at hand received.
    pub(crate) received: usize,
    /// The address of the route's configuration.
    pub(crate) route: usize,
}

impl FakeStream {
    pub(crate) fn lines(&self, map: u32) -> &[(Vec<u8>, Vec<u8>)] {
        self.maps.get(&map).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A request of the module's own.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    pub(crate) config: usize,
    pub(crate) id: u64,
    pub(crate) cluster: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout: u64,
}

pub(crate) struct Metric {
    pub(crate) config: usize,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) value: u64,
}

#[derive(Default)]
pub(crate) struct FakeEnvoy {
    /// Every call of a test's thread, with the argument that tells it from others
    /// of its name.
    pub(crate) calls: Vec<String>,
    pub(crate) hostility: Hostility,
    pub(crate) is_validation: bool,
    pub(crate) logs: Vec<(u32, String)>,
    /// Streams by their addresses.
    pub(crate) streams: BTreeMap<usize, FakeStream>,
    /// Headers of a tracer's requests, by their addresses.
    pub(crate) contexts: BTreeMap<usize, Lines>,
    pub(crate) metrics: Vec<Metric>,
    /// Those that were not deleted, by their configurations.
    pub(crate) schedulers: Vec<usize>,
    /// The configurations whose turn was asked for.
    pub(crate) commits: Vec<usize>,
    /// Why no stream is started.
    pub(crate) refusal: Option<u32>,
    pub(crate) exports: Vec<Export>,
    export_count: u64,
    pub(crate) resets: Vec<u64>,
    /// What a call handed out and is valid no more.
    retired: Vec<Vec<u8>>,
}

static ENVOY: LazyLock<Mutex<FakeEnvoy>> = LazyLock::new(Mutex::default);

/// A turn was asked for, or a scheduler went.
pub(crate) static CHANGED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, FakeEnvoy> {
    ENVOY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Calls `f` with the fake. No hook may be called in it.
pub(crate) fn with<T>(f: impl FnOnce(&mut FakeEnvoy) -> T) -> T {
    f(&mut lock())
}

/// Waits until the module's own thread has done something.
pub(crate) fn wait_until(is_done: impl Fn(&FakeEnvoy) -> bool) {
    const LONG: std::time::Duration = std::time::Duration::from_secs(20);
    let waited = CHANGED.wait_timeout_while(lock(), LONG, |envoy| !is_done(envoy));
    let timeout = waited.unwrap_or_else(PoisonError::into_inner).1;
    assert!(!timeout.timed_out());
}

/// One test at a time.
pub(crate) type Serial = MutexGuard<'static, ()>;

/// Begins a test with a new Envoy. Ids of stats stay valid: the module's thread may
/// have one.
pub(crate) fn start() -> Serial {
    static SERIAL: Mutex<()> = Mutex::new(());
    let serial = SERIAL.lock().unwrap_or_else(PoisonError::into_inner);
    with(|envoy| {
        *envoy = FakeEnvoy {
            metrics: std::mem::take(&mut envoy.metrics),
            schedulers: std::mem::take(&mut envoy.schedulers),
            export_count: envoy.export_count,
            ..FakeEnvoy::default()
        };
    });
    serial
}

/// An address that nothing else has.
pub(crate) fn new_address() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0x1000);
    NEXT.fetch_add(16, Ordering::Relaxed)
}

/// The calls since this was last called.
pub(crate) fn take_calls() -> Vec<String> {
    with(|envoy| std::mem::take(&mut envoy.calls))
}

/// The log lines since this was last called.
pub(crate) fn take_logs() -> Vec<(u32, String)> {
    with(|envoy| std::mem::take(&mut envoy.logs))
}

/// The exports since this was last called.
pub(crate) fn take_exports() -> Vec<Export> {
    with(|envoy| std::mem::take(&mut envoy.exports))
}

/// The value of a configuration's stat.
pub(crate) fn metric(config: usize, name: &str) -> u64 {
    let is_it = |metric: &&Metric| metric.config == config && metric.name == name;
    with(|envoy| envoy.metrics.iter().find(is_it).expect("a stat").value)
}

pub(crate) fn lines(lines: &[(&str, &str)]) -> Lines {
    let bytes = |text: &str| text.as_bytes().to_vec();
    let lines = lines.iter();
    lines
        .map(|(name, value)| (bytes(name), bytes(value)))
        .collect()
}

/// The values of a header, one for each line.
pub(crate) fn values(lines: &[(Vec<u8>, Vec<u8>)], name: &str) -> Vec<String> {
    let named = lines.iter().filter(|(known, _)| known == name.as_bytes());
    named
        .map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        .collect()
}

/// Sets a header in place of every line. The old ones' bytes must not be read any
/// more, so that they become others.
fn replace(lines: &mut Lines, name: String, value: Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let is_it = |line: &mut (Vec<u8>, Vec<u8>)| line.0 == name.as_bytes();
    let mut retired: Vec<_> = lines.extract_if(.., is_it).map(|line| line.1).collect();
    for bytes in &mut retired {
        bytes.fill(0xdd);
    }
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        lines.push((name.into_bytes(), value));
    }
    retired
}

impl FakeEnvoy {
    pub(crate) fn record(&mut self, call: String) {
        if std::thread::current().name() != Some("sidespan") {
            self.calls.push(call);
        }
    }

    pub(crate) fn stream(&self, stream: *mut c_void) -> Option<&FakeStream> {
        self.streams.get(&stream.addr())
    }

    pub(crate) fn set_header(&mut self, stream: usize, map: u32, name: String, value: Vec<u8>) {
        if let Some(stream) = self.streams.get_mut(&stream) {
            let lines = stream.maps.entry(map).or_default();
            self.retired.extend(replace(lines, name, Some(value)));
        }
    }

    pub(crate) fn set_context(&mut self, context: usize, name: String, value: Option<Vec<u8>>) {
        let lines = self.contexts.entry(context).or_default();
        self.retired.extend(replace(lines, name, value));
    }

    /// Bytes that stay where they are until the test ends.
    pub(crate) fn keep(&mut self, bytes: Vec<u8>) -> Buffer {
        let buffer = Buffer::of(&bytes);
        self.retired.push(bytes);
        buffer
    }

    pub(crate) fn define_metric(
        &mut self,
        config: usize,
        kind: &'static str,
        name: String,
    ) -> usize {
        self.metrics.push(Metric {
            config,
            kind,
            name,
            value: 0,
        });
        self.metrics.len() - 1
    }

    pub(crate) fn start_export(&mut self, export: Export) -> u64 {
        self.export_count += 1;
        let id = self.export_count;
        self.exports.push(Export { id, ..export });
        id
    }
}
