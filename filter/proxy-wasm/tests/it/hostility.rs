//! A host that answers with errors or nonsense. A panic would kill the VM, and
//! in this program the process.

use crate::fake_host::{self, Hostility, SECOND};
use crate::module::{self, ROOT, configured, create, document, done, log, set_request};

const KEYS: &str = r#", "propagation": {"response_header": "x-trace-id"}, "custom_tags": [{"tag": "mtls", "property": ["connection", "mtls"], "type": "bool"}, {"tag": "tenant", "metadata": {"kind": "route", "metadata_key": {"key": "a", "path": [{"key": "b"}]}}}], "route_metadata": true"#;

/// Errors, nothing, and bytes that are no header map, number or document.
fn hostilities() -> Vec<Hostility> {
    let statuses = [1, 2, 5, 7, 10, 12, u32::MAX].map(Hostility::Status);
    let buffers = [
        vec![],
        vec![0],
        vec![0; 4],
        vec![1, 0, 0, 0, 255, 255, 255, 127, 0, 0, 0, 0],
        vec![255; 64],
        b"A".repeat(5000),
    ];
    let buffers = buffers.map(Hostility::Buffer);
    statuses.into_iter().chain(buffers).collect()
}

fn set(hostility: &Hostility) {
    fake_host::with(|host| host.hostility = hostility.clone());
}

/// Every callback of the streams that there are, each in two orders.
fn all_callbacks(context_id: u32) {
    for id in [context_id, context_id + 1, context_id + 2] {
        create(id, ROOT);
    }
    module::request_headers(context_id);
    module::request_headers(context_id + 1);
    module::request_body(context_id, 10);
    module::response_headers(context_id);
    module::response_headers(context_id + 1);
    log(context_id);
    log(context_id + 2);
    for id in [context_id, context_id + 1, context_id + 2] {
        assert!(done(id));
    }
    fake_host::advance(2 * SECOND);
    module::tick(ROOT);
    for headers in [0, 1] {
        module::http_call_response(ROOT, 1, headers);
    }
}

#[test]
fn hostile_host_never_panics_a_configured_module() {
    configured(KEYS);
    let mut context_id = 10;
    for hostility in hostilities() {
        set_request(&[]);
        set(&hostility);
        all_callbacks(context_id);
        set(&Hostility::None);
        context_id += 10;
    }
    // Exports that were never answered are in the way, and the collector
    // counts as down.
    for call in fake_host::take_http_calls() {
        module::http_call_response(ROOT, call.token, 0);
    }
    fake_host::advance(60 * SECOND);
    set_request(&[]);
    module::stream(context_id, ROOT);
    let spans = crate::spans::flush(ROOT);
    assert!(!spans.is_empty(), "it traces again");
}

#[test]
fn host_that_turns_hostile_during_a_stream_never_panics() {
    for (n, hostility) in (0..).zip(hostilities()) {
        set(&Hostility::None);
        configured(KEYS);
        set_request(&[]);
        let context_id = 10 + n;
        create(context_id, ROOT);
        module::request_headers(context_id);
        set(&hostility);
        module::response_headers(context_id);
        log(context_id);
        assert!(done(context_id));
        assert!(done(ROOT), "{hostility:?}");
    }
}

#[test]
fn hostile_host_configures_a_module_without_a_panic() {
    for hostility in hostilities() {
        set(&hostility);
        create(ROOT, 0);
        assert!(
            module::configure(ROOT, document(KEYS).as_bytes()),
            "{hostility:?}"
        );
        all_callbacks(10);
        assert!(done(ROOT));
    }
}

/// Filter state fails as headers do.
#[test]
fn hostile_host_refuses_filter_state_without_a_panic() {
    configured(r#", "propagation": {"carrier": "filter_state"}"#);
    for hostility in hostilities() {
        set_request(&[("traceparent", "invalid"), ("tracestate", "a=b")]);
        set(&hostility);
        all_callbacks(10);
    }
}
