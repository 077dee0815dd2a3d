//! The tracer's hooks, called as Envoy calls them.

use crate::abi::Buffer;
use crate::fake_envoy::{self, Lines};
use std::ffi::c_void;
use std::ptr::without_provenance_mut;

unsafe extern "C" {
    safe fn envoy_dynamic_module_on_tracer_config_new(
        config: *mut c_void,
        name: Buffer,
        document: Buffer,
    ) -> *const c_void;
    safe fn envoy_dynamic_module_on_tracer_config_destroy(config: *const c_void);
    safe fn envoy_dynamic_module_on_tracer_start_span(
        config: *const c_void,
        context: *mut c_void,
        operation: Buffer,
        traced: bool,
        reason: u32,
    ) -> *const c_void;
    safe fn envoy_dynamic_module_on_tracer_span_spawn_child(
        span: *const c_void,
        name: Buffer,
        start_nanos: i64,
    ) -> *const c_void;
    safe fn envoy_dynamic_module_on_tracer_span_inject_context(
        span: *const c_void,
        context: *mut c_void,
    );
    safe fn envoy_dynamic_module_on_tracer_span_set_operation(
        span: *const c_void,
        operation: Buffer,
    );
    safe fn envoy_dynamic_module_on_tracer_span_set_tag(
        span: *const c_void,
        key: Buffer,
        value: Buffer,
    );
    safe fn envoy_dynamic_module_on_tracer_span_set_sampled(span: *const c_void, sampled: bool);
    safe fn envoy_dynamic_module_on_tracer_span_use_local_decision(span: *const c_void) -> bool;
    safe fn envoy_dynamic_module_on_tracer_span_finish(span: *const c_void);
    safe fn envoy_dynamic_module_on_tracer_span_get_trace_id(
        span: *const c_void,
        value: *mut Buffer,
    ) -> bool;
    safe fn envoy_dynamic_module_on_tracer_span_get_span_id(
        span: *const c_void,
        value: *mut Buffer,
    ) -> bool;
    safe fn envoy_dynamic_module_on_tracer_span_destroy(span: *const c_void);
    safe fn envoy_dynamic_module_on_tracer_span_log(
        span: *const c_void,
        timestamp_nanos: i64,
        event: Buffer,
    );
    safe fn envoy_dynamic_module_on_tracer_span_get_baggage(
        span: *const c_void,
        key: Buffer,
        value: *mut Buffer,
    ) -> bool;
    safe fn envoy_dynamic_module_on_tracer_span_set_baggage(
        span: *const c_void,
        key: Buffer,
        value: Buffer,
    );
}

/// A configuration of the tracer.
pub(crate) struct Tracer {
    pub(crate) address: usize,
    module: *const c_void,
}

impl Tracer {
    /// `None` if the module refuses the document.
    pub(crate) fn load(name: &str, document: &str) -> Option<Self> {
        let address = fake_envoy::new_address();
        let module = envoy_dynamic_module_on_tracer_config_new(
            without_provenance_mut(address),
            Buffer::of(name.as_bytes()),
            Buffer::of(document.as_bytes()),
        );
        // Not `then_some`: one that is refused is not destroyed.
        (!module.is_null()).then(|| Self { address, module })
    }

    /// The span of a request, if there is one.
    pub(crate) fn try_start(&self, headers: Lines, is_traced: bool) -> Option<Span> {
        let context = Context::new(headers);
        let span = envoy_dynamic_module_on_tracer_start_span(
            self.module,
            context.pointer(),
            Buffer::of(b"ingress"),
            is_traced,
            0,
        );
        (!span.is_null()).then(|| Span(span))
    }

    /// The span of a request.
    pub(crate) fn start(&self, headers: Lines, is_traced: bool) -> Span {
        self.try_start(headers, is_traced).expect("a span")
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        envoy_dynamic_module_on_tracer_config_destroy(self.module);
    }
}

/// Headers of a request during one hook.
struct Context(usize);

impl Context {
    fn new(headers: Lines) -> Self {
        let address = fake_envoy::new_address();
        fake_envoy::with(|envoy| envoy.contexts.insert(address, headers));
        Self(address)
    }

    fn pointer(&self) -> *mut c_void {
        without_provenance_mut(self.0)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        fake_envoy::with(|envoy| envoy.contexts.remove(&self.0));
    }
}

/// A span, as Envoy holds it. Its address is null where the module gave none.
pub(crate) struct Span(*const c_void);

impl Span {
    pub(crate) const NULL: Self = Self(std::ptr::null());

    pub(crate) fn child(&self, name: &str) -> Self {
        Self(envoy_dynamic_module_on_tracer_span_spawn_child(
            self.0,
            Buffer::of(name.as_bytes()),
            1,
        ))
    }

    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The headers that go upstream.
    pub(crate) fn inject(&self, headers: Lines) -> Lines {
        let context = Context::new(headers);
        envoy_dynamic_module_on_tracer_span_inject_context(self.0, context.pointer());
        fake_envoy::with(|envoy| envoy.contexts[&context.0].clone())
    }

    pub(crate) fn set_operation(&self, name: &str) {
        envoy_dynamic_module_on_tracer_span_set_operation(self.0, Buffer::of(name.as_bytes()));
    }

    pub(crate) fn tag(&self, key: &str, value: &str) {
        let (key, value) = (Buffer::of(key.as_bytes()), Buffer::of(value.as_bytes()));
        envoy_dynamic_module_on_tracer_span_set_tag(self.0, key, value);
    }

    pub(crate) fn set_sampled(&self, is_sampled: bool) {
        envoy_dynamic_module_on_tracer_span_set_sampled(self.0, is_sampled);
    }

    pub(crate) fn uses_local_decision(&self) -> bool {
        envoy_dynamic_module_on_tracer_span_use_local_decision(self.0)
    }

    pub(crate) fn finish(&self) {
        envoy_dynamic_module_on_tracer_span_finish(self.0);
    }

    pub(crate) fn trace_id(&self) -> Option<String> {
        let mut id = Buffer::NULL;
        let has_id = envoy_dynamic_module_on_tracer_span_get_trace_id(self.0, &raw mut id);
        has_id.then(|| id.text())
    }

    pub(crate) fn span_id(&self) -> Option<String> {
        let mut id = Buffer::NULL;
        let has_id = envoy_dynamic_module_on_tracer_span_get_span_id(self.0, &raw mut id);
        has_id.then(|| id.text())
    }

    pub(crate) fn log(&self, event: &str) {
        envoy_dynamic_module_on_tracer_span_log(self.0, 1, Buffer::of(event.as_bytes()));
    }

    pub(crate) fn baggage(&self, key: &str) -> Option<String> {
        let (key, mut value) = (Buffer::of(key.as_bytes()), Buffer::NULL);
        let has_it = envoy_dynamic_module_on_tracer_span_get_baggage(self.0, key, &raw mut value);
        has_it.then(|| value.text())
    }

    pub(crate) fn set_baggage(&self, key: &str, value: &str) {
        let (key, value) = (Buffer::of(key.as_bytes()), Buffer::of(value.as_bytes()));
        envoy_dynamic_module_on_tracer_span_set_baggage(self.0, key, value);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        envoy_dynamic_module_on_tracer_span_destroy(self.0);
    }
}
