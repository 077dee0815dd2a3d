//! A filter on the proxy-wasm crate that makes calls of the crate in one of the
//! callbacks, and logs their results. The plugin configuration names both:
//! `log:set_header+read_status`.
//! `tests/e2e/tests/e2e/sdk.rs` shows with it which of Envoy's answers are panics.
#![allow(missing_docs)]

mod raw;

use proxy_wasm::hostcalls::{self, call_foreign_function};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MapType, Status};
use std::fmt::Debug;
use std::time::Duration;

/// A cluster of `envoy-configs/edge.yaml`.
const CLUSTER: &str = "service";
const CALLOUT: [(&str, &str); 3] = [
    (":method", "GET"),
    (":path", "/callout"),
    (":authority", "callout"),
];
const TIMEOUT: Duration = Duration::from_secs(5);
/// No metric has this id.
const NO_METRIC: u32 = 4711;

proxy_wasm::main! {{
    // This also installs the hook that logs a panic.
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(Root { id, behaviour: Behaviour::default() }));
}}

/// Which calls are made, and in which callback.
#[derive(Clone, Default)]
struct Behaviour {
    callback: String,
    calls: Vec<String>,
}

impl Behaviour {
    fn called_back(&self, callback: &str, root_id: u32) {
        if self.callback == callback {
            self.calls.iter().for_each(|call| make(call, root_id));
        }
    }
}

struct Root {
    id: u32,
    behaviour: Behaviour,
}

impl Context for Root {
    fn on_http_call_response(&mut self, _: u32, _: usize, _: usize, _: usize) {
        log("the root has the response");
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let text = self.get_plugin_configuration().unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let (callback, calls) = text.split_once(':').unwrap_or_default();
        self.behaviour = Behaviour {
            callback: callback.to_owned(),
            calls: calls.split('+').map(str::to_owned).collect(),
        };
        if callback == "tick" {
            self.set_tick_period(Duration::from_millis(10));
        }
        true
    }

    fn on_tick(&mut self) {
        self.set_tick_period(Duration::ZERO);
        self.behaviour.called_back("tick", self.id);
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            root_id: self.id,
            behaviour: self.behaviour.clone(),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    root_id: u32,
    behaviour: Behaviour,
}

impl Context for Stream {
    fn on_http_call_response(&mut self, _: u32, _: usize, _: usize, _: usize) {
        log("the stream has the response");
    }

    fn on_done(&mut self) -> bool {
        self.behaviour.called_back("done", self.root_id);
        true
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        self.behaviour.called_back("request", self.root_id);
        Action::Continue
    }

    fn on_log(&mut self) {
        self.behaviour.called_back("log", self.root_id);
    }
}

/// Makes one call of the crate and logs its result, if it returns.
fn make(call: &str, root_id: u32) {
    let result: &dyn Debug = match call {
        "set_header" => &hostcalls::set_map_value(
            MapType::HttpRequestHeaders,
            "traceparent",
            Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ),
        "remove_header" => &hostcalls::remove_map_value(MapType::HttpRequestHeaders, "tracestate"),
        "read_status" => &hostcalls::get_map_value(MapType::HttpResponseHeaders, ":status"),
        "read_trailer" => &hostcalls::get_map_value(MapType::HttpResponseTrailers, "grpc-status"),
        "read_headers_as_text" => {
            &hostcalls::get_map(MapType::HttpRequestHeaders).map(|map| map.len())
        }
        "read_headers" => {
            &hostcalls::get_map_bytes(MapType::HttpRequestHeaders).map(|map| map.len())
        }
        "set_property" => &hostcalls::set_property(vec!["sidespan.traceparent"], Some(b"00-4b")),
        "read_property" => &hostcalls::get_property(vec!["upstream", "address"]),
        "shared_data" => &share_an_old_version(),
        "metric" => &(
            hostcalls::increment_metric(NO_METRIC, 1),
            hostcalls::record_metric(NO_METRIC, 1),
            hostcalls::get_metric(NO_METRIC),
        ),
        "create_expression" => &call_foreign_function("expr_create", Some(b"[")),
        "evaluate_expression" => &evaluate("[upstream.address, response.code]"),
        "call" => &dispatch(CLUSTER),
        "call_of_root" => {
            let effective = hostcalls::set_effective_context(root_id);
            &effective.and_then(|()| dispatch(CLUSTER))
        }
        "raw_call_of_root" => {
            let effective = hostcalls::set_effective_context(root_id);
            &effective.map(|()| raw::http_call(CLUSTER, &CALLOUT, TIMEOUT))
        }
        "call_to_nowhere" => &dispatch("nowhere"),
        _ => &(),
    };
    log(&format!("{call} returned {result:?}"));
}

fn dispatch(cluster: &str) -> Result<u32, Status> {
    hostcalls::dispatch_http_call(cluster, CALLOUT.to_vec(), None, vec![], TIMEOUT)
}

/// Another worker was faster: the version is not the newest.
fn share_an_old_version() -> Result<(), Status> {
    hostcalls::set_shared_data("key", Some(b"1"), None)?;
    let (_, version) = hostcalls::get_shared_data("key")?;
    hostcalls::set_shared_data("key", Some(b"2"), None)?;
    hostcalls::set_shared_data("key", Some(b"3"), version)
}

fn evaluate(expression: &str) -> Result<Option<Vec<u8>>, Status> {
    let token = call_foreign_function("expr_create", Some(expression.as_bytes()))?;
    call_foreign_function("expr_evaluate", token.as_deref())
}

fn log(text: &str) {
    // A status of this call is a panic, too.
    let _ = hostcalls::log(LogLevel::Info, text);
}
