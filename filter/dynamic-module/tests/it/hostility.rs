//! An Envoy that refuses everything, or says yes and gives nothing. A panic must
//! never cross into it, and none is expected.

use crate::exports::{acknowledge, flush, nothing};
use crate::fake_envoy::{self, Hostility};
use crate::module::{Filter, Route, document, inbound, request, start};
use crate::tracer_module::Tracer;

const KEYS: &str = r#", "propagation": {"response_header": "x-trace-id", "inject": ["tracecontext", "b3"]}, "route_metadata": true, "custom_tags": [{"tag": "mtls", "property": ["connection", "mtls"], "type": "bool"}, {"tag": "tenant", "metadata": {"kind": "route", "metadata_key": {"key": "a", "path": [{"key": "b"}]}}}]"#;

const HOSTILITIES: [Hostility; 2] = [Hostility::Refusing, Hostility::Empty];

fn set(hostility: Hostility) {
    fake_envoy::with(|envoy| envoy.hostility = hostility);
}

/// No panic was caught.
fn assert_no_internal_error(filter: &Filter) {
    filter.turn();
    assert_eq!(filter.metric("internal_errors"), 0);
}

fn all_hooks(filter: &Filter) {
    let stream = filter.stream(inbound(&[
        ("traceparent", "invalid"),
        ("tracestate", "a=b"),
    ]));
    stream.request_headers();
    stream.request_body(10);
    stream.response_headers();
    stream.response_body();
    stream.local_reply("");
    stream.complete();
    drop(stream);
    let attempt = filter.stream(inbound(&[]));
    attempt.request_headers();
    attempt.response_headers();
    drop(attempt);
    filter.stream(inbound(&[])).complete();
    filter.turn();
}

#[test]
fn hostile_envoy_never_panics_a_configured_filter() {
    let _serial = start();
    let filter = Filter::new(&document("hostile", KEYS));
    for hostility in HOSTILITIES {
        set(hostility);
        all_hooks(&filter);
        set(Hostility::None);
    }
    assert_no_internal_error(&filter);
    flush(&filter);
    filter.whole_stream(inbound(&[]));
    assert!(!flush(&filter).is_empty(), "it traces again");
}

/// Before the request, between it and the response, or before the end.
#[test]
fn envoy_that_turns_hostile_during_a_stream_never_panics() {
    let _serial = start();
    let filter = Filter::new(&document("turns", KEYS));
    for hostility in HOSTILITIES {
        for turn in 0..3 {
            let stream = filter.stream(inbound(&[]));
            let turn_at = |step| {
                if step == turn {
                    set(hostility)
                }
            };
            turn_at(0);
            stream.request_headers();
            turn_at(1);
            stream.response_headers();
            turn_at(2);
            stream.complete();
            drop(stream);
            set(Hostility::None);
        }
    }
    assert_no_internal_error(&filter);
}

#[test]
fn hostile_envoy_configures_the_filter_without_a_panic() {
    for hostility in HOSTILITIES {
        let _serial = start();
        set(hostility);
        let filter = Filter::load("sidespan", &document("no-stats", KEYS)).expect("a filter");
        let route = Route::load("sidespan", "{}").expect("a route");
        all_hooks(&filter);
        set(Hostility::None);
        filter.whole_stream(inbound(&[]));
        flush(&filter);
        drop(route);
        // No stat was defined, so that another configuration counts panics.
        assert_no_internal_error(&Filter::new(&document("no-stats", KEYS)));
    }
}

#[test]
fn hostile_envoy_never_panics_a_tracer() {
    let _serial = start();
    let filter = Filter::load("exporter", "").expect("an exporter");
    let tracer = Tracer::load("sidespan", &document("hostile-tracer", "")).expect("a tracer");
    for hostility in HOSTILITIES {
        set(hostility);
        let span = tracer.start(request(&[("traceparent", "invalid")]), true);
        let child = span.child("");
        child.inject(request(&[]));
        for (key, value) in [("", ""), ("http.status_code", "x"), ("request_size", "-1")] {
            span.tag(key, value);
        }
        child.finish();
        span.finish();
        // Twice.
        span.finish();
        span.tag("late", "tag");
        drop((child, span));
        filter.turn();
        set(Hostility::None);
    }
    assert_no_internal_error(&filter);
}

#[test]
fn responses_out_of_order_never_panic() {
    let _serial = start();
    let filter = Filter::new(&document("order", ""));
    filter.whole_stream(inbound(&[]));
    filter.turn();
    let export = fake_envoy::take_exports().remove(0);
    crate::exports::data(&export, &[1; 100]);
    crate::exports::trailers(&export, &[("grpc-status", "999999999999")]);
    crate::exports::headers(&export, &[("", ""), (":status", "abc")]);
    crate::exports::complete(&export);
    acknowledge(&export);
    nothing(export.config, export.id);
    assert_no_internal_error(&filter);
}
