//! The functions that the module imports (proxy-wasm ABI 0.2.1 and WASI), over
//! the fake host of the test's thread.

use crate::expression;
use crate::fake_host::{self, FakeHost, HttpCall, NOT_FOUND, OK, buffer_name, map_name};
use std::slice;

unsafe extern "C" {
    safe fn proxy_on_memory_allocate(size: usize) -> *mut u8;
}

type Status = u32;

/// What the module hands over.
fn bytes(data: *const u8, size: usize) -> Vec<u8> {
    // SAFETY: the module passes a pointer to `size` bytes that outlive the call.
    unsafe { slice::from_raw_parts(data, size) }.to_vec()
}

fn text(data: *const u8, size: usize) -> String {
    String::from_utf8(bytes(data, size)).unwrap()
}

fn write<T>(place: *mut T, value: T) {
    // SAFETY: the module passes a place for one value.
    unsafe { place.write(value) };
}

/// Returns a buffer, in memory that the module allocates.
fn give(value: &[u8], data: *mut *mut u8, size: *mut usize) {
    let memory = proxy_on_memory_allocate(value.len());
    if !memory.is_null() {
        // SAFETY: the module allocated as many bytes.
        unsafe { memory.copy_from_nonoverlapping(value.as_ptr(), value.len()) };
    }
    write(data, memory);
    write(size, value.len());
}

/// Records a call, and answers it unless the host is hostile.
fn answer(call: String, f: impl FnOnce(&mut FakeHost) -> Status) -> Status {
    fake_host::with(|host| {
        host.calls.push(call);
        match host.hostility.status() {
            Some(status) => status,
            None => f(host),
        }
    })
}

/// Records a call that returns a buffer. `None` is a value that is not there.
fn answer_with(
    call: String,
    data: *mut *mut u8,
    size: *mut usize,
    f: impl FnOnce(&mut FakeHost) -> Option<Vec<u8>>,
) -> Status {
    answer(call, |host| {
        let Some(value) = host.hostility.buffer().or_else(|| f(host)) else {
            return NOT_FOUND;
        };
        give(&value, data, size);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_log(level: u32, line: *const u8, size: usize) -> Status {
    let line = text(line, size);
    if level == fake_host::CRITICAL {
        // The module's panic hook took the place of libtest's.
        eprintln!("{line}");
        return OK;
    }
    answer(format!("log {line}"), |host| {
        host.logs.push((level, line));
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_log_level(level: *mut u32) -> Status {
    answer("get_log_level".to_owned(), |_| {
        write(level, 2);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_current_time_nanoseconds(time: *mut u64) -> Status {
    answer("get_current_time".to_owned(), |host| {
        write(time, host.now);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_tick_period_milliseconds(period: u32) -> Status {
    answer(format!("set_tick_period {period}"), |host| {
        host.tick_periods.insert(host.current, period);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_effective_context(context_id: u32) -> Status {
    answer(format!("set_effective_context {context_id}"), |host| {
        if host.deleted.contains(&context_id) {
            return 2;
        }
        host.current = context_id;
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_done() -> Status {
    answer("done".to_owned(), |host| {
        host.done.push(host.current);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_buffer_bytes(
    buffer: u32,
    start: usize,
    max_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    let call = format!("get_buffer_bytes {}", buffer_name(buffer));
    answer_with(call, data, size, |host| {
        let value = host.buffers.get(&buffer)?.get(start..)?;
        Some(value.get(..max_size).unwrap_or(value).to_vec())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> Status {
    let call = format!("get_header_map_pairs {}", map_name(map));
    answer_with(call, data, size, |host| {
        Some(fake_host::serialize(host.maps.get(&map)?))
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_replace_header_map_value(
    map: u32,
    name: *const u8,
    name_size: usize,
    value: *const u8,
    value_size: usize,
) -> Status {
    let (name, value) = (text(name, name_size), text(value, value_size));
    let call = format!("replace_header_map_value {} {name}", map_name(map));
    answer(call, |host| {
        let lines = host.maps.entry(map).or_default();
        lines.retain(|(known, _)| *known != name);
        lines.push((name, value));
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> Status {
    let name = text(name, name_size);
    let call = format!("remove_header_map_value {} {name}", map_name(map));
    answer(call, |host| {
        let lines = host.maps.entry(map).or_default();
        lines.retain(|(known, _)| *known != name);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_property(
    path: *const u8,
    path_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    let path = text(path, path_size).replace('\0', ".");
    let call = format!("get_property {path}");
    answer_with(call, data, size, |host| host.properties.get(&path).cloned())
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_property(
    path: *const u8,
    path_size: usize,
    value: *const u8,
    value_size: usize,
) -> Status {
    let (path, value) = (text(path, path_size), text(value, value_size));
    answer(format!("set_property {path}"), |host| {
        host.filter_state.push((path, value));
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_shared_data(
    key: *const u8,
    key_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
    cas: *mut u32,
) -> Status {
    let key = text(key, key_size);
    let call = format!("get_shared_data {key}");
    answer_with(call, data, size, |host| {
        let (value, version) = host.shared.get(&key)?;
        write(cas, *version);
        Some(value.clone())
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_set_shared_data(
    key: *const u8,
    key_size: usize,
    value: *const u8,
    value_size: usize,
    cas: u32,
) -> Status {
    let (key, value) = (text(key, key_size), bytes(value, value_size));
    answer(format!("set_shared_data {key}"), |host| {
        let (known, version) = host.shared.entry(key).or_default();
        if cas != 0 && cas != *version {
            return fake_host::CAS_MISMATCH;
        }
        (*known, *version) = (value, *version + 1);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_call_foreign_function(
    name: *const u8,
    name_size: usize,
    argument: *const u8,
    argument_size: usize,
    data: *mut *mut u8,
    size: *mut usize,
) -> Status {
    let (name, argument) = (text(name, name_size), bytes(argument, argument_size));
    let call = match argument.first_chunk() {
        Some(token) if name == "expr_evaluate" => {
            format!(
                "call_foreign_function {name} {}",
                u32::from_le_bytes(*token)
            )
        }
        _ => format!("call_foreign_function {name}"),
    };
    answer_with(call, data, size, |host| match &*name {
        _ if !host.has_expressions => None,
        "expr_create" => {
            let token = u32::try_from(host.expressions.len()).unwrap();
            host.expressions.push(String::from_utf8(argument).unwrap());
            Some(token.to_le_bytes().to_vec())
        }
        "expr_evaluate" => {
            let token = u32::from_le_bytes(argument.try_into().unwrap());
            expression::evaluate(&host.expressions[token as usize], &host.properties)
        }
        _ => None,
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_define_metric(
    kind: u32,
    name: *const u8,
    name_size: usize,
    id: *mut u32,
) -> Status {
    let name = text(name, name_size);
    answer(format!("define_metric {name}"), |host| {
        write(id, host.define_metric(kind, name));
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_increment_metric(id: u32, offset: i64) -> Status {
    fake_host::with(|host| host.change_metric("increment_metric", id, |value| value + offset))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_record_metric(id: u32, value: u64) -> Status {
    let value = i64::try_from(value).unwrap();
    fake_host::with(|host| host.change_metric("record_metric", id, |_| value))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_get_metric(id: u32, value: *mut u64) -> Status {
    fake_host::with(|host| {
        let status = host.change_metric("get_metric", id, |value| value);
        if status == OK {
            write(value, host.metrics[id as usize].value.cast_unsigned());
        }
        status
    })
}

#[unsafe(no_mangle)]
extern "C" fn proxy_http_call(
    cluster: *const u8,
    cluster_size: usize,
    headers: *const u8,
    headers_size: usize,
    body: *const u8,
    body_size: usize,
    trailers: *const u8,
    trailers_size: usize,
    timeout: u32,
    token: *mut u32,
) -> Status {
    let cluster = text(cluster, cluster_size);
    let call = HttpCall {
        headers: fake_host::deserialize(&bytes(headers, headers_size)),
        body: bytes(body, body_size),
        trailers: fake_host::deserialize(&bytes(trailers, trailers_size)),
        timeout,
        ..HttpCall::default()
    };
    answer(format!("http_call {cluster}"), |host| {
        if let Some(status) = host.refusals.get(&cluster) {
            return *status;
        }
        write(token, host.start_http_call(cluster, call));
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn random_get(buffer: *mut u8, size: usize) -> u32 {
    answer("random_get".to_owned(), |_| {
        // SAFETY: the module passes a place for `size` bytes.
        unsafe { slice::from_raw_parts_mut(buffer, size) }.fill(7);
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32 {
    answer("environ_sizes_get".to_owned(), |host| {
        write(count, host.environment.len());
        write(size, host.environment_block().len());
        OK
    })
}

#[unsafe(no_mangle)]
extern "C" fn environ_get(_pointers: *mut *mut u8, strings: *mut u8) -> u32 {
    answer("environ_get".to_owned(), |host| {
        let block = host.environment_block();
        // SAFETY: the module passes a place for the size that it was given.
        unsafe { strings.copy_from_nonoverlapping(block.as_ptr(), block.len()) };
        OK
    })
}
