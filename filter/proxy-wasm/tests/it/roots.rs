//! Root contexts that come and go.

use crate::fake_host::{self, CALL_HEADERS, HttpCall, SECOND};
use crate::module::{self, ROOT, configure, configured, create, document, done, set_request};
use crate::spans::spans;

/// Another root, with another document.
const NEXT: u32 = 2;

fn configure_next(root_id: u32, keys: &str) {
    create(root_id, 0);
    assert!(configure(root_id, document(keys).as_bytes()));
    module::tick(root_id);
}

fn request(context_id: u32, root_id: u32) {
    set_request(&[]);
    module::stream(context_id, root_id);
}

fn sent() -> HttpCall {
    let mut calls = fake_host::take_http_calls();
    let call = calls.pop().expect("an HTTP call");
    assert!(calls.is_empty(), "{calls:?}");
    call
}

fn acknowledge(root_id: u32, token: u32) {
    let headers = [(":status", "200"), ("grpc-status", "0")];
    fake_host::set_map(CALL_HEADERS, &headers);
    module::http_call_response(root_id, token, 2);
}

fn tick_period(root_id: u32) -> u32 {
    fake_host::with(|host| host.tick_periods[&root_id])
}

fn done_calls() -> Vec<u32> {
    fake_host::with(|host| host.done.clone())
}

#[test]
fn root_without_spans_goes_at_once() {
    configured("");
    configure_next(NEXT, r#", "span": {"kind": "server"}"#);
    assert!(done(ROOT));
    assert_eq!(tick_period(ROOT), 0, "Envoy would go on with its ticks");
    assert!(done_calls().is_empty());
}

#[test]
fn root_with_spans_stays_until_they_are_delivered() {
    configured("");
    configure_next(NEXT, r#", "span": {"kind": "server"}"#);
    request(10, ROOT);
    assert!(!done(ROOT));
    let call = sent();
    assert_eq!((call.context_id, spans(&call).len()), (ROOT, 1));
    assert!(done_calls().is_empty());
    acknowledge(ROOT, call.token);
    assert_eq!(done_calls(), [ROOT]);
    assert_eq!(tick_period(ROOT), 0);
    assert_eq!(fake_host::metric("sidespan.spans_acknowledged"), Some(1));
}

#[test]
fn root_gives_up_what_a_silent_collector_never_takes() {
    configured("");
    configure_next(NEXT, r#", "span": {"kind": "server"}"#);
    request(10, ROOT);
    assert!(!done(ROOT));
    fake_host::advance(31 * SECOND);
    module::tick(ROOT);
    assert_eq!(done_calls(), [ROOT]);
    assert_eq!(
        fake_host::metric("sidespan.spans_dropped.shutdown"),
        Some(1)
    );
}

/// The host ends the VM whatever its last root says.
#[test]
fn last_root_goes_at_once_and_counts_what_is_lost() {
    configured("");
    request(10, ROOT);
    fake_host::take_logs();
    assert!(done(ROOT));
    assert_eq!(
        fake_host::metric("sidespan.spans_dropped.shutdown"),
        Some(1)
    );
    assert_eq!(fake_host::take_logs().len(), 1);
}

#[test]
fn streams_are_traced_by_their_own_root() {
    configured("");
    configure_next(NEXT, r#", "sampler": {"ratio": 0}"#);
    let flags = |context_id, root_id| {
        request(context_id, root_id);
        let context = fake_host::header(fake_host::REQUEST_HEADERS, "traceparent");
        context[0].rsplit_once('-').unwrap().1.to_owned()
    };
    assert_eq!(
        (flags(10, ROOT), flags(11, NEXT)),
        ("03".to_owned(), "02".to_owned())
    );
}

/// Envoy knows one root by a document: the second takes the first one's place.
#[test]
fn root_adopts_the_spans_of_one_with_the_same_document() {
    configured("");
    request(10, ROOT);
    // One that stays, so that none of the others is the last.
    configure_next(3, r#", "span": {"kind": "server"}"#);
    assert!(!done(ROOT));
    let first = sent();
    configure_next(NEXT, "");
    request(11, NEXT);
    assert!(!done(NEXT));
    assert_eq!(done_calls(), [ROOT], "the first goes");
    assert_eq!(tick_period(ROOT), 0);
    let calls = fake_host::take_http_calls();
    let sent: Vec<_> = calls.iter().flat_map(spans).collect();
    assert_eq!(sent.len(), 2, "its span is sent again");
    assert!(sent.contains(&spans(&first)[0]));
    for call in calls {
        assert_eq!(call.context_id, NEXT);
        acknowledge(NEXT, call.token);
    }
    assert_eq!(done_calls(), [ROOT, NEXT]);
    assert_eq!(fake_host::metric("sidespan.spans_acknowledged"), Some(2));
}

#[test]
fn root_that_was_deleted_makes_no_http_call() {
    configured("");
    configure_next(NEXT, r#", "span": {"kind": "server"}"#);
    fake_host::with(|host| host.deleted.push(ROOT));
    request(10, ROOT);
    fake_host::advance(2 * SECOND);
    module::tick(ROOT);
    assert!(fake_host::take_http_calls().is_empty());
}
