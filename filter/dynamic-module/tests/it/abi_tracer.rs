//! The callbacks of the tracer.

use crate::abi::{Buffer, answer};
use crate::abi_config::{change, define};
use crate::fake_envoy::{self, Hostility};
use std::ffi::c_void;

/// A header of a trace context.
fn value_of(call: String, context: *mut c_void, name: &str, value: *mut Buffer) -> bool {
    answer(call, value, |envoy| {
        let mut lines = envoy.contexts.get(&context.addr())?.iter();
        let (_, value) = lines.find(|(known, _)| known == name.as_bytes())?;
        Some(Buffer::of(value))
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_get_trace_context_value(
    context: *mut c_void,
    key: Buffer,
    value: *mut Buffer,
) -> bool {
    let name = key.text();
    value_of(
        format!("get_trace_context_value {name}"),
        context,
        &name,
        value,
    )
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_get_trace_context_method(
    context: *mut c_void,
    value: *mut Buffer,
) -> bool {
    value_of(
        "get_trace_context_method".to_owned(),
        context,
        ":method",
        value,
    )
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_get_trace_context_host(
    context: *mut c_void,
    value: *mut Buffer,
) -> bool {
    value_of(
        "get_trace_context_host".to_owned(),
        context,
        ":authority",
        value,
    )
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_get_trace_context_path(
    context: *mut c_void,
    value: *mut Buffer,
) -> bool {
    value_of("get_trace_context_path".to_owned(), context, ":path", value)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_set_trace_context_value(
    context: *mut c_void,
    key: Buffer,
    value: Buffer,
) {
    fake_envoy::with(|envoy| {
        let name = key.text();
        envoy.record(format!("set_trace_context_value {name}"));
        if matches!(envoy.hostility, Hostility::None) {
            envoy.set_context(context.addr(), name, Some(value.bytes()));
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_remove_trace_context_value(
    context: *mut c_void,
    key: Buffer,
) {
    fake_envoy::with(|envoy| {
        let name = key.text();
        envoy.record(format!("remove_trace_context_value {name}"));
        if matches!(envoy.hostility, Hostility::None) {
            envoy.set_context(context.addr(), name, None);
        }
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_define_counter(
    config: *mut c_void,
    name: Buffer,
    _labels: *const Buffer,
    _label_count: usize,
    id: *mut usize,
) -> u32 {
    define(config, "counter", name, id)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_define_gauge(
    config: *mut c_void,
    name: Buffer,
    _labels: *const Buffer,
    _label_count: usize,
    id: *mut usize,
) -> u32 {
    define(config, "gauge", name, id)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_define_histogram(
    config: *mut c_void,
    name: Buffer,
    _labels: *const Buffer,
    _label_count: usize,
    id: *mut usize,
) -> u32 {
    define(config, "histogram", name, id)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_increment_counter(
    _config: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    value: u64,
) -> u32 {
    change("tracer_increment_counter", id, |old| old + value)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_set_gauge(
    _config: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    value: u64,
) -> u32 {
    change("tracer_set_gauge", id, |_| value)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_tracer_record_histogram_value(
    _config: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    _value: u64,
) -> u32 {
    change("tracer_record_histogram_value", id, |count| count + 1)
}
