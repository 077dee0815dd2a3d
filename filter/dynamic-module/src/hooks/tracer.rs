//! The tracer's hooks. Those of a span come on its worker, between `start_span`
//! or `spawn_child` and `destroy`; Envoy keeps the configuration for as long.

use crate::envoy::abi::{Buffer, TraceContextPtr, TracerConfigPtr};
use crate::envoy::tracer::{TraceContext, TracerConfig};
use crate::tracer;
use sidespan_runtime::process::panic_guard;
use std::ffi::c_void;

/// Null has Envoy refuse the configuration.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_tracer_config_new(
    config: TracerConfigPtr,
    name: Buffer,
    document: Buffer,
) -> *const c_void {
    panic_guard::call(std::ptr::null(), || {
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
    panic_guard::call((), || {
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
    let done = panic_guard::call(None, || Some(f(config, &mut held.span)));
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
    panic_guard::call(std::ptr::null(), || {
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
extern "C" fn envoy_dynamic_module_on_tracer_span_set_sampled(span: *const c_void, sampled: bool) {
    with(span, (), |_, span| span.set_sampled(sampled));
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_tracer_span_use_local_decision(span: *const c_void) -> bool {
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
    panic_guard::call((), || {
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
