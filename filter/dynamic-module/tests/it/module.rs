//! The module's hooks, called as Envoy calls them.

use crate::abi::Buffer;
use crate::fake_envoy::{
    self, FakeStream, Lines, REQUEST_HEADERS, RESPONSE_HEADERS, Serial, Value, lines,
};
use sidespan as _;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::without_provenance_mut;

unsafe extern "C" {
    safe fn envoy_dynamic_module_on_program_init() -> *const c_char;
    safe fn envoy_dynamic_module_on_http_filter_config_new(
        config: *mut c_void,
        name: Buffer,
        document: Buffer,
    ) -> *const c_void;
    safe fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void);
    safe fn envoy_dynamic_module_on_http_filter_per_route_config_new(
        name: Buffer,
        document: Buffer,
    ) -> *const c_void;
    safe fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(route: *const c_void);
    safe fn envoy_dynamic_module_on_http_filter_new(
        config: *const c_void,
        stream: *mut c_void,
    ) -> *const c_void;
    safe fn envoy_dynamic_module_on_http_filter_destroy(filter: *const c_void);
    safe fn envoy_dynamic_module_on_http_filter_request_headers(
        stream: *mut c_void,
        filter: *const c_void,
        end_of_stream: bool,
    ) -> u32;
    safe fn envoy_dynamic_module_on_http_filter_request_body(
        stream: *mut c_void,
        filter: *const c_void,
        end_of_stream: bool,
    ) -> u32;
    safe fn envoy_dynamic_module_on_http_filter_response_headers(
        stream: *mut c_void,
        filter: *const c_void,
        end_of_stream: bool,
    ) -> u32;
    safe fn envoy_dynamic_module_on_http_filter_response_body(
        stream: *mut c_void,
        filter: *const c_void,
        end_of_stream: bool,
    ) -> u32;
    safe fn envoy_dynamic_module_on_http_filter_local_reply(
        stream: *mut c_void,
        filter: *const c_void,
        code: u32,
        details: Buffer,
        is_reset_imminent: bool,
    ) -> u32;
    safe fn envoy_dynamic_module_on_http_filter_stream_complete(
        stream: *mut c_void,
        filter: *const c_void,
    );
    safe fn envoy_dynamic_module_on_http_filter_config_scheduled(
        config: *mut c_void,
        module: *const c_void,
        event: u64,
    );
}

const CONTINUE: u32 = 0;

/// Begins a test: Envoy has loaded the module. Returns what keeps others waiting.
pub(crate) fn start() -> Serial {
    let serial = fake_envoy::start();
    assert_eq!(program_init(), "v0.2.0");
    // The module's hook shows only the first panic.
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    serial
}

/// The ABI that the module speaks.
pub(crate) fn program_init() -> String {
    let abi = envoy_dynamic_module_on_program_init();
    // SAFETY: a constant of the module.
    unsafe { CStr::from_ptr(abi) }.to_str().unwrap().to_owned()
}

/// A valid document. `keys` are added to it, `exporter_keys` to its exporter.
pub(crate) fn document_of(cluster: &str, exporter_keys: &str, keys: &str) -> String {
    format!(
        r#"{{"exporter": {{"otlp_grpc": {{"cluster": "{cluster}"}}{exporter_keys}}}, "service_name": "shop"{keys}}}"#
    )
}

/// One whose spans are exported one by one.
pub(crate) fn document(cluster: &str, keys: &str) -> String {
    document_of(cluster, r#", "batch": {"max_export_batch_size": 1}"#, keys)
}

/// A configuration of the filter.
pub(crate) struct Filter {
    pub(crate) address: usize,
    module: *const c_void,
}

impl Filter {
    /// `None` if the module refuses the document.
    pub(crate) fn load(name: &str, document: &str) -> Option<Self> {
        let address = fake_envoy::new_address();
        let module = envoy_dynamic_module_on_http_filter_config_new(
            without_provenance_mut(address),
            Buffer::of(name.as_bytes()),
            Buffer::of(document.as_bytes()),
        );
        // Not `then_some`: one that is refused is not destroyed.
        (!module.is_null()).then(|| Self { address, module })
    }

    /// With a document that is valid.
    pub(crate) fn new(document: &str) -> Self {
        let filter = Self::load("sidespan", document).expect("a configuration");
        let logs = fake_envoy::with(|envoy| envoy.logs.clone());
        let is_error = |(level, _): &(u32, String)| *level >= fake_envoy::ERROR;
        assert!(!logs.iter().any(is_error), "{logs:?}");
        filter
    }

    fn pointer(&self) -> *mut c_void {
        without_provenance_mut(self.address)
    }

    /// The main thread's turn.
    pub(crate) fn turn(&self) {
        envoy_dynamic_module_on_http_filter_config_scheduled(self.pointer(), self.module, 0);
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        fake_envoy::metric(self.address, &format!("sidespan.{name}"))
    }

    pub(crate) fn stream(&self, stream: FakeStream) -> Stream<'_> {
        Stream::new(self, stream)
    }

    /// All hooks of a stream that was answered by its upstream.
    pub(crate) fn whole_stream(&self, stream: FakeStream) {
        let stream = self.stream(stream);
        stream.request_headers();
        stream.response_headers();
        stream.complete();
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        envoy_dynamic_module_on_http_filter_config_destroy(self.module);
    }
}

/// The configuration of a route.
pub(crate) struct Route(*const c_void);

impl Route {
    pub(crate) fn load(name: &str, document: &str) -> Option<Self> {
        let route = envoy_dynamic_module_on_http_filter_per_route_config_new(
            Buffer::of(name.as_bytes()),
            Buffer::of(document.as_bytes()),
        );
        (!route.is_null()).then(|| Self(route))
    }

    pub(crate) fn address(&self) -> usize {
        self.0.expose_provenance()
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        envoy_dynamic_module_on_http_filter_per_route_config_destroy(self.0);
    }
}

/// A filter on a stream.
pub(crate) struct Stream<'a> {
    _filter: &'a Filter,
    pub(crate) address: usize,
    module: *const c_void,
}

impl<'a> Stream<'a> {
    fn new(filter: &'a Filter, stream: FakeStream) -> Self {
        let address = fake_envoy::new_address();
        fake_envoy::with(|envoy| envoy.streams.insert(address, stream));
        let pointer = without_provenance_mut(address);
        Self {
            _filter: filter,
            address,
            module: envoy_dynamic_module_on_http_filter_new(filter.module, pointer),
        }
    }

    fn pointer(&self) -> *mut c_void {
        without_provenance_mut(self.address)
    }

    /// Changes what Envoy knows of it.
    pub(crate) fn change(&self, f: impl FnOnce(&mut FakeStream)) {
        fake_envoy::with(|envoy| f(envoy.streams.get_mut(&self.address).unwrap()));
    }

    pub(crate) fn request_headers(&self) {
        let status =
            envoy_dynamic_module_on_http_filter_request_headers(self.pointer(), self.module, true);
        assert_eq!(status, CONTINUE);
    }

    pub(crate) fn request_body(&self, size: usize) {
        self.change(|stream| stream.received = size);
        let status =
            envoy_dynamic_module_on_http_filter_request_body(self.pointer(), self.module, false);
        assert_eq!(status, CONTINUE);
    }

    /// The upstream has answered.
    pub(crate) fn response_headers(&self) {
        self.change(|stream| {
            let known = std::mem::take(&mut stream.of_response);
            stream.attributes.extend(known);
        });
        let status =
            envoy_dynamic_module_on_http_filter_response_headers(self.pointer(), self.module, true);
        assert_eq!(status, CONTINUE);
    }

    pub(crate) fn response_body(&self) {
        let status =
            envoy_dynamic_module_on_http_filter_response_body(self.pointer(), self.module, true);
        assert_eq!(status, CONTINUE);
    }

    pub(crate) fn local_reply(&self, details: &str) {
        let status = envoy_dynamic_module_on_http_filter_local_reply(
            self.pointer(),
            self.module,
            503,
            Buffer::of(details.as_bytes()),
            false,
        );
        assert_eq!(status, CONTINUE);
    }

    pub(crate) fn complete(&self) {
        envoy_dynamic_module_on_http_filter_stream_complete(self.pointer(), self.module);
    }

    /// The values of a header.
    pub(crate) fn values(&self, map: u32, name: &str) -> Vec<String> {
        fake_envoy::with(|envoy| fake_envoy::values(envoy.streams[&self.address].lines(map), name))
    }
}

impl Drop for Stream<'_> {
    /// Envoy answers nothing in the hook.
    fn drop(&mut self) {
        fake_envoy::with(|envoy| envoy.streams.remove(&self.address));
        envoy_dynamic_module_on_http_filter_destroy(self.module);
    }
}

/// A request, and more of its headers, as a listener without a direction gets it.
pub(crate) fn request(more: &[(&str, &str)]) -> Lines {
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/orders/4711"),
        (":authority", "shop.example:8080"),
    ];
    lines(&[&head, more].concat())
}

/// A stream of an inbound listener, which its upstream answers.
pub(crate) fn inbound(more: &[(&str, &str)]) -> FakeStream {
    let text = |text: &str| Value::Text(text.to_owned());
    let maps = [
        (REQUEST_HEADERS, request(more)),
        (RESPONSE_HEADERS, lines(&[(":status", "200")])),
    ];
    FakeStream {
        maps: maps.into(),
        attributes: [
            ("request.protocol", text("HTTP/1.1")),
            ("source.address", text("192.0.2.7:50123")),
            ("xds.listener_direction", Value::Number(1)),
            ("xds.route_name", text("orders")),
        ]
        .into(),
        of_response: [
            ("response.code", Value::Number(200)),
            ("response.flags", Value::Number(0)),
            ("response.size", Value::Number(10)),
            ("upstream.address", text("10.0.0.5:8080")),
            ("upstream.request_attempt_count", Value::Number(1)),
        ]
        .into(),
        cluster: "inbound|8080||".to_owned(),
        ..FakeStream::default()
    }
}

/// A stream of a listener without a direction.
pub(crate) fn edge(more: &[(&str, &str)]) -> FakeStream {
    let mut stream = inbound(more);
    stream
        .attributes
        .insert("xds.listener_direction", Value::Number(0));
    stream
}

/// One that its upstream answers with 503, for want of a connection.
pub(crate) fn failed(more: &[(&str, &str)]) -> FakeStream {
    let mut stream = inbound(more);
    stream
        .maps
        .insert(RESPONSE_HEADERS, lines(&[(":status", "503")]));
    let details = Value::Text("upstream_reset".to_owned());
    stream.of_response.extend([
        ("response.code", Value::Number(503)),
        // Upstream connection failure.
        ("response.flags", Value::Number(0x20)),
        ("response.code_details", details),
    ]);
    stream
}
