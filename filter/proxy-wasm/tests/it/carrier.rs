//! Contexts in filter state, for a filter behind this one.

use crate::fake_host::{self, REQUEST_HEADERS, WARN};
use crate::module::{self, ROOT, configured, create, done, log, set_request};

const KEYS: &str = r#", "propagation": {"carrier": "filter_state"}"#;

/// A stream whose headers a filter writes from the state, or none does.
fn stream(context_id: u32, is_written: bool) {
    create(context_id, ROOT);
    module::request_headers(context_id);
    if is_written {
        fake_host::with(|host| {
            let state = std::mem::take(&mut host.filter_state);
            let lines = host.maps.get_mut(&REQUEST_HEADERS).unwrap();
            for (name, value) in state {
                lines.push((name.replacen("sidespan.", "", 1), value));
            }
        });
    }
    module::response_headers(context_id);
    log(context_id);
    assert!(done(context_id));
}

fn state() -> Vec<(String, String)> {
    fake_host::with(|host| std::mem::take(&mut host.filter_state))
}

fn names() -> Vec<String> {
    state().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn context_is_set_as_filter_state_and_no_header_is_written() {
    configured(KEYS);
    set_request(&[]);
    fake_host::take_calls();
    stream(2, false);
    let state = state();
    let [(name, value)] = &state[..] else {
        panic!("{state:?}");
    };
    assert_eq!(name, "sidespan.traceparent");
    assert!(
        value.starts_with("00-") && value.ends_with("-03"),
        "{value}"
    );
    let is_write = |call: &String| call.contains("_header_map_value");
    assert!(!fake_host::take_calls().iter().any(is_write));
}

#[test]
fn headers_to_remove_are_named_in_a_state_of_their_own() {
    configured(KEYS);
    set_request(&[("traceparent", "invalid"), ("tracestate", "a=b")]);
    stream(2, false);
    let set = state();
    let removed = ("sidespan.remove".to_owned(), "tracestate".to_owned());
    assert_eq!(set.last(), Some(&removed), "{set:?}");
}

#[test]
fn nothing_to_remove_sets_no_state_for_it() {
    configured(KEYS);
    set_request(&[]);
    stream(2, false);
    assert_eq!(names(), ["sidespan.traceparent"]);
}

#[test]
fn state_that_no_filter_writes_is_warned_of_once() {
    configured(KEYS);
    fake_host::take_logs();
    for context_id in [2, 3] {
        set_request(&[]);
        stream(context_id, false);
    }
    let logs = fake_host::take_logs();
    let [(WARN, line)] = &logs[..] else {
        panic!("{logs:?}");
    };
    assert!(
        line.starts_with("sidespan: propagation.carrier is filter_state"),
        "{line}"
    );
}

#[test]
fn state_that_a_filter_writes_is_checked_once_and_not_warned_of() {
    configured(KEYS);
    fake_host::take_logs();
    fake_host::take_calls();
    for context_id in [2, 3] {
        set_request(&[]);
        stream(context_id, true);
    }
    assert_eq!(fake_host::take_logs(), []);
    let calls = fake_host::take_calls().into_iter();
    let reads = calls.filter(|call| call == "get_header_map_pairs request_headers");
    assert_eq!(reads.count(), 3, "two requests and one check");
}

/// A request that was answered here went nowhere.
#[test]
fn stream_without_an_upstream_proves_nothing() {
    configured(KEYS);
    fake_host::take_logs();
    fake_host::set_number("upstream.request_attempt_count", 0);
    set_request(&[]);
    stream(2, false);
    assert_eq!(fake_host::take_logs(), []);
    fake_host::set_number("upstream.request_attempt_count", 1);
    stream(3, false);
    assert_eq!(fake_host::take_logs().len(), 1);
}
