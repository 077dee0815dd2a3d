//! Root contexts: one for each worker thread and plugin.

use crate::environment::{ProxyEnvironment, current_plugin};
use crate::hostcalls::{self, Metric};
use crate::logger;
use crate::property_query::{PropertyValues, Question};
use crate::stream_properties::Ended;
use crate::types::{Buffer, Map};
use crate::wasm_host::WasmHost;
use sidespan_core::export::callout::CalloutOutcome;
use sidespan_core::headers::header_map::Extractor as _;
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::response_info::ResponseInfo as _;
use sidespan_core::propagation::settings::Carrier;
use sidespan_core::protobuf::envoy_struct;
use sidespan_core::recording::stream::StreamTracer;
use sidespan_runtime::dispatch::MAX_RESPONSE_BODY;
use sidespan_runtime::log_throttle::LogThrottle;
use sidespan_runtime::metrics::Metrics;
use sidespan_runtime::worker::Worker;
use sidespan_runtime::workers::{Configured, Workers};
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    static WORKERS: RefCell<Workers<PropertyValues, Plugin>> = RefCell::default();
    static METRICS: Metrics<Metric> = define_metrics();
}

fn define_metrics() -> Metrics<Metric> {
    let metrics = Metrics::define(&WasmHost);
    metrics.set_version(&WasmHost);
    metrics
}

/// What is read from the host, and written to it, for the streams of one plugin.
pub(crate) struct Plugin {
    question: Rc<Question>,
    pub(crate) response_header: Option<String>,
    pub(crate) carrier: Carrier,
    /// No stream has shown yet whether a filter writes what the carrier holds.
    is_carrier_unproven: bool,
}

/// A root context with a configuration.
pub(crate) type Root = Worker<PropertyValues, Plugin>;

/// Calls `f` with all contexts. A host promises not to call back into a call of
/// this module; if it does, nothing is done.
fn with_workers<T>(
    f: impl FnOnce(&mut Workers<PropertyValues, Plugin>, &Metrics<Metric>) -> T,
) -> Option<T> {
    WORKERS.with(|workers| {
        let mut workers = workers.try_borrow_mut().ok()?;
        Some(METRICS.with(|metrics| f(&mut workers, metrics)))
    })
}

/// Calls `f` with a root context, if it is configured.
pub(crate) fn with<T>(root_id: u32, f: impl FnOnce(&mut Root) -> T) -> Option<T> {
    with_workers(|workers, _| workers.get(root_id).map(f)).flatten()
}

pub(crate) fn on_create(root_id: u32) {
    logger::install();
    WORKERS.with_borrow_mut(|workers| workers.create(root_id));
}

/// Takes the configuration. `false` makes Envoy refuse it, and with it every
/// request if there was no earlier one.
pub(crate) fn on_configure(root_id: u32) -> bool {
    logger::update_level();
    let (plugin, key_prefix) = current_plugin();
    let document = hostcalls::buffer(Buffer::PluginConfiguration, usize::MAX);
    let configured = Configured {
        context_id: root_id,
        plugin: &plugin,
        key_prefix,
        document: envoy_struct::to_json(document),
        environment: &ProxyEnvironment::read(),
        seed: hostcalls::random_seed(),
    };
    let is_accepted = with_workers(|workers, metrics| {
        workers.configure(&WasmHost, metrics, configured, |config, tracer| {
            let recorder = tracer.recorder();
            Plugin {
                question: Rc::new(Question::new(|direction| {
                    recorder.makes_client_span(direction)
                })),
                response_header: config.response_header.clone(),
                carrier: config.carrier,
                is_carrier_unproven: config.carrier == Carrier::FilterState,
            }
        })
    });
    is_accepted.unwrap_or(true)
}

pub(crate) fn on_tick(root_id: u32) {
    logger::update_level();
    with_workers(|workers, metrics| workers.on_tick(&WasmHost, metrics, root_id));
}

/// Whether the context may go now. Of a stream there is nothing to wait for.
pub(crate) fn on_done(context_id: u32) -> bool {
    with_workers(|workers, metrics| workers.on_done(&WasmHost, metrics, context_id)).unwrap_or(true)
}

/// An export ended. Without headers, the connection was closed before a response.
pub(crate) fn on_http_call_response(root_id: u32, token: u32, has_headers: bool) {
    let end = |outcome: CalloutOutcome<'_>| {
        with_workers(|workers, metrics| {
            workers.on_export_end(&WasmHost, metrics, root_id, token, outcome);
        });
    };
    if !has_headers {
        return end(CalloutOutcome::Reset);
    }
    let headers = hostcalls::header_pairs(Map::CallResponseHeaders);
    let trailers = hostcalls::header_pairs(Map::CallResponseTrailers);
    end(CalloutOutcome::Answered {
        headers: &headers.headers().collect::<Vec<_>>(),
        body: &hostcalls::buffer(Buffer::CallResponseBody, MAX_RESPONSE_BODY),
        trailers: &trailers.headers().collect::<Vec<_>>(),
    });
}

/// A stream ended.
pub(crate) fn end_stream(root_id: u32, stream: StreamTracer) {
    with_workers(|workers, metrics| {
        let Some(root) = workers.get(root_id) else {
            return;
        };
        let now = hostcalls::now();
        let question = Rc::clone(&root.adapter.question);
        let mut ended = Ended::new(Some(&question), stream.is_sampled());
        if root.adapter.is_carrier_unproven && ended.attempt_count() > 0 {
            check_carrier(&stream);
            root.adapter.is_carrier_unproven = false;
        }
        match ended.take_settled(&stream) {
            Some(values) => root.end_deferrable(&WasmHost, metrics, stream, values, now),
            None => root.end(&WasmHost, metrics, stream, &ended, now),
        }
    });
}

/// An attempt ended that an upstream filter saw.
pub(crate) fn end_attempt(root_id: u32, mut stream: StreamTracer, response: Option<Pairs>) {
    with_workers(|workers, metrics| {
        let Some(root) = workers.get(root_id) else {
            return;
        };
        stream.set_attempt();
        let response = Ended::of_attempt(response);
        root.end(&WasmHost, metrics, stream, &response, hostcalls::now());
    });
}

/// Reports that a request was sent without the context in its filter state, once
/// for all workers.
fn check_carrier(stream: &StreamTracer) {
    let sent = hostcalls::header_pairs(Map::RequestHeaders);
    if !stream.is_context_in(&sent) {
        let (_, key_prefix) = current_plugin();
        LogThrottle::new(&WasmHost, &key_prefix).warn_once(
            "propagation.carrier is filter_state, but a request was sent without its context: no filter behind Sidespan sets headers to %FILTER_STATE(wasm.sidespan.NAME:PLAIN)%",
        );
    }
}
