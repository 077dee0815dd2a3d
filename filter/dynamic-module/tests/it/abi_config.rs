//! The callbacks of the process and of configurations.

use crate::abi::{Buffer, HeaderLine, lines, write};
use crate::exports;
use crate::fake_envoy::{self, CRITICAL, Export, Hostility};
use std::ffi::c_void;

const FROZEN: u32 = 3;
const DISCONNECTED: u32 = 1;

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log(level: u32, message: Buffer) {
    let line = message.text();
    if level == CRITICAL {
        eprintln!("{line}");
    }
    fake_envoy::with(|envoy| {
        envoy.record(format!("log {line}"));
        envoy.logs.push((level, line));
    });
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_log_enabled(level: u32) -> bool {
    fake_envoy::with(|envoy| envoy.record("log_enabled".to_owned()));
    level > 1
}

/// Only to be there: the module tells 1.39 by it.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_get_log_level() -> u32 {
    2
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_get_concurrency() -> u32 {
    fake_envoy::WORKERS
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_is_validation_mode() -> bool {
    fake_envoy::with(|envoy| envoy.is_validation)
}

/// Defines a stat. Those of a tracer are defined the same way.
pub(crate) fn define(config: *mut c_void, kind: &'static str, name: Buffer, id: *mut usize) -> u32 {
    fake_envoy::with(|envoy| {
        if !matches!(envoy.hostility, Hostility::None) {
            return FROZEN;
        }
        write(id, envoy.define_metric(config.addr(), kind, name.text()));
        0
    })
}

/// Changes a stat.
pub(crate) fn change(call: &str, id: usize, change: impl FnOnce(u64) -> u64) -> u32 {
    fake_envoy::with(|envoy| {
        let metric = &mut envoy.metrics[id];
        metric.value = change(metric.value);
        let call = format!("{call} {}", metric.name);
        envoy.record(call);
        match envoy.hostility {
            Hostility::None => 0,
            _ => FROZEN,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_counter(
    config: *mut c_void,
    name: Buffer,
    _labels: *const Buffer,
    _label_count: usize,
    id: *mut usize,
) -> u32 {
    define(config, "counter", name, id)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_gauge(
    config: *mut c_void,
    name: Buffer,
    _labels: *const Buffer,
    _label_count: usize,
    id: *mut usize,
) -> u32 {
    define(config, "gauge", name, id)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
    config: *mut c_void,
    name: Buffer,
    _labels: *const Buffer,
    _label_count: usize,
    id: *mut usize,
) -> u32 {
    define(config, "histogram", name, id)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_increment_counter(
    _config: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    value: u64,
) -> u32 {
    change("config_increment_counter", id, |old| old + value)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_set_gauge(
    _config: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    value: u64,
) -> u32 {
    change("config_set_gauge", id, |_| value)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_record_histogram_value(
    _config: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    _value: u64,
) -> u32 {
    change("config_record_histogram_value", id, |count| count + 1)
}

/// The scheduler is known by its configuration.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_new(
    config: *mut c_void,
) -> *mut c_void {
    fake_envoy::with(|envoy| envoy.schedulers.push(config.addr()));
    config
}

/// On the module's own thread.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_commit(
    scheduler: *mut c_void,
    event: u64,
) {
    assert_eq!(event, 0);
    fake_envoy::with(|envoy| envoy.commits.push(scheduler.addr()));
    fake_envoy::CHANGED.notify_all();
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_scheduler_delete(
    scheduler: *mut c_void,
) {
    fake_envoy::with(|envoy| envoy.schedulers.retain(|known| *known != scheduler.addr()));
    fake_envoy::CHANGED.notify_all();
}

/// Calls back before it returns, as Envoy does.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_reset_http_stream(
    config: *mut c_void,
    id: u64,
) {
    fake_envoy::with(|envoy| envoy.resets.push(id));
    exports::reset(config.addr(), id);
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_start_http_stream(
    config: *mut c_void,
    id: *mut u64,
    cluster: Buffer,
    headers: *const HeaderLine,
    header_count: usize,
    body: Buffer,
    end_of_stream: bool,
    timeout: u64,
) -> u32 {
    let export = Export {
        config: config.addr(),
        id: 0,
        cluster: cluster.text(),
        headers: lines(headers, header_count),
        body: body.bytes(),
        timeout,
    };
    assert!(end_of_stream);
    fake_envoy::with(|envoy| {
        envoy.record(format!("start_http_stream {}", export.cluster));
        if !matches!(envoy.hostility, Hostility::None) {
            return DISCONNECTED;
        }
        if let Some(result) = envoy.refusal {
            return result;
        }
        write(id, envoy.start_export(export));
        0
    })
}
