//! The callbacks of streams.

use crate::abi::{Buffer, HeaderLine, TimingInfo, answer, write};
use crate::abi_config::change;
use crate::fake_envoy::{self, Hostility, Value, attribute_name, map_name, source_name};
use std::ffi::c_void;

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_headers_size(
    stream: *mut c_void,
    map: u32,
) -> usize {
    fake_envoy::with(|envoy| {
        envoy.record(format!("http_get_headers_size {}", map_name(map)));
        match envoy.hostility {
            Hostility::None => envoy.stream(stream).map_or(0, |s| s.lines(map).len()),
            // Then it does not fill them.
            Hostility::Refusing => 3,
            Hostility::Empty => 0,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_headers(
    stream: *mut c_void,
    map: u32,
    lines: *mut HeaderLine,
) -> bool {
    fake_envoy::with(|envoy| {
        envoy.record(format!("http_get_headers {}", map_name(map)));
        if !matches!(envoy.hostility, Hostility::None) {
            return false;
        }
        let Some(stream) = envoy.stream(stream) else {
            return false;
        };
        for (index, line) in stream.lines(map).iter().enumerate() {
            // SAFETY: the module has room for as many as `…_size` said.
            write(unsafe { lines.add(index) }, HeaderLine::of(line));
        }
        true
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_header(
    stream: *mut c_void,
    map: u32,
    key: Buffer,
    value: *mut Buffer,
    index: usize,
    total: *mut usize,
) -> bool {
    assert!(total.is_null());
    let name = key.text();
    let call = format!("http_get_header {} {name}", map_name(map));
    answer(call, value, |envoy| {
        let lines = envoy.stream(stream)?.lines(map).iter();
        let mut values = lines.filter(|(known, _)| known == name.as_bytes());
        Some(Buffer::of(&values.nth(index)?.1))
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_set_header(
    stream: *mut c_void,
    map: u32,
    key: Buffer,
    value: Buffer,
) -> bool {
    fake_envoy::with(|envoy| {
        let name = key.text();
        envoy.record(format!("http_set_header {} {name}", map_name(map)));
        if !matches!(envoy.hostility, Hostility::None) {
            return false;
        }
        envoy.set_header(stream.addr(), map, name, value.bytes());
        true
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_get_worker_index(
    _stream: *mut c_void,
) -> u32 {
    fake_envoy::with(|envoy| {
        envoy.record("http_filter_get_worker_index".to_owned());
        match envoy.hostility {
            Hostility::Refusing => u32::MAX,
            Hostility::None | Hostility::Empty => 0,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_cluster_name(
    stream: *mut c_void,
    name: *mut Buffer,
) -> bool {
    answer("http_get_cluster_name".to_owned(), name, |envoy| {
        Some(Buffer::of(envoy.stream(stream)?.cluster.as_bytes()))
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_string(
    stream: *mut c_void,
    id: u32,
    value: *mut Buffer,
) -> bool {
    let name = attribute_name(id);
    answer(
        format!("get_attribute_string {name}"),
        value,
        |envoy| match envoy.stream(stream)?.attributes.get(name)? {
            Value::Text(text) => Some(Buffer::of(text.as_bytes())),
            other => panic!("{name} is {other:?}"),
        },
    )
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_int(
    stream: *mut c_void,
    id: u32,
    value: *mut u64,
) -> bool {
    let name = attribute_name(id);
    answer(
        format!("get_attribute_int {name}"),
        value,
        |envoy| match envoy.stream(stream)?.attributes.get(name)? {
            Value::Number(number) => Some(*number),
            other => panic!("{name} is {other:?}"),
        },
    )
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_get_attribute_bool(
    _stream: *mut c_void,
    id: u32,
    value: *mut bool,
) -> bool {
    let name = attribute_name(id);
    answer(format!("get_attribute_bool {name}"), value, |_| None)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_body_size(
    stream: *mut c_void,
    body: u32,
) -> usize {
    fake_envoy::with(|envoy| {
        envoy.record(format!("http_get_body_size {body}"));
        match envoy.hostility {
            Hostility::Refusing => usize::MAX,
            Hostility::None | Hostility::Empty => envoy.stream(stream).map_or(0, |s| s.received),
        }
    })
}

/// Metadata by source, namespace and key.
fn metadata(
    stream: *mut c_void,
    (source, namespace, key): (u32, Buffer, Buffer),
    envoy: &fake_envoy::FakeEnvoy,
) -> Option<Value> {
    let path = format!(
        "{}/{}/{}",
        source_name(source),
        namespace.text(),
        key.text()
    );
    envoy.stream(stream)?.metadata.get(&path).cloned()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_metadata_string(
    stream: *mut c_void,
    source: u32,
    namespace: Buffer,
    key: Buffer,
    value: *mut Buffer,
) -> bool {
    let call = format!("http_get_metadata_string {}", key.text());
    answer(call, value, |envoy| {
        match metadata(stream, (source, namespace, key), envoy)? {
            // Valid until the next call, so that it is kept where it stays.
            Value::Text(text) => Some(envoy.keep(text.into_bytes())),
            _ => None,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_metadata_number(
    stream: *mut c_void,
    source: u32,
    namespace: Buffer,
    key: Buffer,
    value: *mut f64,
) -> bool {
    let call = format!("http_get_metadata_number {}", key.text());
    answer(call, value, |envoy| {
        match metadata(stream, (source, namespace, key), envoy)? {
            Value::Number(number) => Some(number as f64),
            _ => None,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_metadata_bool(
    stream: *mut c_void,
    source: u32,
    namespace: Buffer,
    key: Buffer,
    value: *mut bool,
) -> bool {
    let call = format!("http_get_metadata_bool {}", key.text());
    answer(call, value, |envoy| {
        match metadata(stream, (source, namespace, key), envoy)? {
            Value::Truth(truth) => Some(truth),
            _ => None,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_get_most_specific_route_config(
    stream: *mut c_void,
) -> *const c_void {
    fake_envoy::with(|envoy| {
        envoy.record("get_most_specific_route_config".to_owned());
        let route = envoy.stream(stream).map_or(0, |stream| stream.route);
        std::ptr::with_exposed_provenance(route)
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_increment_counter(
    _stream: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    value: u64,
) -> u32 {
    change("increment_counter", id, |old| old + value)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_set_gauge(
    _stream: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    value: u64,
) -> u32 {
    change("set_gauge", id, |_| value)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
    _stream: *mut c_void,
    id: usize,
    _labels: *const Buffer,
    _label_count: usize,
    _value: u64,
) -> u32 {
    change("record_histogram_value", id, |count| count + 1)
}

/// Of 1.40: 5 ms from the first byte sent upstream to the last one received.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_get_timing_info(
    _stream: *mut c_void,
    timing: *mut TimingInfo,
) {
    const FIRST_UPSTREAM_SENT: usize = 9;
    const LAST_UPSTREAM_RECEIVED: usize = 13;
    fake_envoy::with(|envoy| {
        envoy.record("http_get_timing_info".to_owned());
        // SAFETY: the module passes a place for one.
        let timing = unsafe { &mut *timing };
        let is_known = matches!(envoy.hostility, Hostility::None);
        for (place, nanos) in [
            (FIRST_UPSTREAM_SENT, 1_000_000),
            (LAST_UPSTREAM_RECEIVED, 6_000_000),
        ] {
            timing.nanos[place] = nanos;
            timing.is_known[place] = is_known;
        }
    });
}
