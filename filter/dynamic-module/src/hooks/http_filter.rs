//! The HTTP filter's hooks.

use crate::documents::Route;
use crate::envoy::abi::{Buffer, ConfigPtr, StreamPtr};
use crate::envoy::filter_config::Config;
use crate::envoy::http_filter::{PerRouteConfig, Stream};
use crate::envoy::version::{Version, version};
use crate::filter_config::{self, FilterConfig};
use crate::http_filter::HttpFilter;
use sidespan_runtime::process::panic_guard;
use std::ffi::c_void;
use std::sync::Arc;

/// Null has Envoy refuse the configuration. Envoy's pointer stays valid until
/// `…config_destroy` returns.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_new(
    config: ConfigPtr,
    name: Buffer,
    document: Buffer,
) -> *const c_void {
    panic_guard::call(std::ptr::null(), || {
        // SAFETY: both are valid during this hook.
        let (name, document) = unsafe { (name.read(), document.read()) };
        match filter_config::on_config(Config(config), &String::from_utf8_lossy(name), document) {
            Some(config) => Box::into_raw(config).cast_const().cast(),
            None => std::ptr::null(),
        }
    })
}

/// On whichever thread lets the last reference go.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_config_destroy(config: *const c_void) {
    panic_guard::call((), || {
        // SAFETY: `config_new` gave it away, and Envoy gives it back once.
        let config = unsafe { Box::from_raw(config.cast_mut().cast::<FilterConfig>()) };
        filter_config::on_config_end(&config);
    });
}

/// Null has Envoy refuse the configuration. It knows no filter: any of this
/// module's takes it.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_new(
    name: Buffer,
    document: Buffer,
) -> *const c_void {
    panic_guard::call(std::ptr::null(), || {
        // SAFETY: both are valid during this hook.
        let (name, document) = unsafe { (name.read(), document.read()) };
        match filter_config::on_route_config(&String::from_utf8_lossy(name), document) {
            Some(route) => Arc::into_raw(route).cast(),
            None => std::ptr::null(),
        }
    })
}

/// On any thread.
#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_http_filter_per_route_config_destroy(route: *const c_void) {
    panic_guard::call((), || {
        // SAFETY: `new` gave it away, and Envoy gives it back once.
        drop(unsafe { Arc::from_raw(route.cast::<Route>()) });
        filter_config::on_route_config_end();
    });
}

// Workers share these by Envoy's pointers, of which the compiler knows nothing.
const fn is_shared<T: Send + Sync>() {}

const _: () = is_shared::<FilterConfig>();
// SAFETY: `per_route_config_new` below gives it away, and nothing else.
unsafe impl PerRouteConfig for Route {}
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
    panic_guard::call(std::ptr::null(), || {
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
    panic_guard::call((), || {
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
    let is_done = panic_guard::call(false, || {
        f(config, &mut held.filter, &mut Stream(stream));
        true
    });
    if !is_done {
        held.filter.abandon();
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
            filter.facts.response_size += stream.received(2);
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
            filter.facts.details = Some(String::from_utf8_lossy(details).into_owned());
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
