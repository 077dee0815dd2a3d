//! Spans of the tracer, which Envoy decides and tags.

use crate::exports::{flush, flush_one};
use crate::fake_envoy::{Lines, values};
use crate::module::{Filter, document, request, start};
use crate::spans::{CLIENT, SERVER, assert_attributes, hex};
use crate::tracer_module::{Span, Tracer};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A tracer, and the filter that exports its spans.
fn tracer(cluster: &str) -> (Filter, Tracer) {
    let exporter = Filter::load("exporter", "").expect("an exporter");
    let tracer = Tracer::load("sidespan", &document(cluster, "")).expect("a tracer");
    (exporter, tracer)
}

fn came() -> Lines {
    request(&[("traceparent", &format!("00-{TRACE}-{PARENT}-01"))])
}

#[test]
fn span_of_a_request_is_a_server_span_with_the_tags_of_envoy() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer");
    let span = tracer.start(request(&[("user-agent", "curl/8")]), true);
    let sent = span.inject(request(&[]));
    for (key, value) in [
        ("http.protocol", "HTTP/1.1"),
        ("http.status_code", "200"),
        ("upstream_cluster", "orders"),
        ("component", "proxy"),
        ("tenant", "acme"),
    ] {
        span.tag(key, value);
    }
    let ids = (span.trace_id().unwrap(), span.span_id().unwrap());
    span.finish();
    drop(span);
    let span = flush_one(&filter);
    assert_eq!((&*span.name, span.kind), ("GET", SERVER));
    assert_eq!(ids, (hex(&span.trace_id), hex(&span.span_id)));
    assert_eq!(
        values(&sent, "traceparent"),
        [format!("00-{}-{}-03", ids.0, ids.1)]
    );
    assert_attributes(
        &span,
        &[
            ("http.response.status_code", "200"),
            ("network.protocol.version", "1.1"),
            ("sidespan.upstream.cluster", "orders"),
            ("url.path", "/orders/4711"),
            ("user_agent.original", "curl/8"),
            ("tenant", "acme"),
        ],
    );
}

#[test]
fn context_that_came_is_the_parent_and_decides() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer-parent");
    let span = tracer.start(came(), false);
    assert!(!span.uses_local_decision());
    assert_eq!(span.trace_id().as_deref(), Some(TRACE));
    span.set_sampled(false);
    span.finish();
    drop(span);
    let span = flush_one(&filter);
    assert_eq!(hex(&span.parent_span_id), PARENT);
}

#[test]
fn unsampled_span_is_propagated_and_not_exported() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer-unsampled");
    let span = tracer.start(request(&[]), false);
    assert!(span.uses_local_decision());
    let sent = span.inject(request(&[]));
    assert!(values(&sent, "traceparent")[0].ends_with("-02"), "{sent:?}");
    span.finish();
    drop(span);
    assert_eq!(flush(&filter), []);
    assert_eq!(filter.metric("not_sampled"), 1);
}

#[test]
fn decision_of_envoy_counts_where_no_context_came() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer-decision");
    let dropped = tracer.start(request(&[]), true);
    dropped.set_sampled(false);
    dropped.finish();
    let kept = tracer.start(request(&[]), false);
    kept.set_sampled(true);
    kept.finish();
    let kept_id = kept.span_id().unwrap();
    drop((dropped, kept));
    assert_eq!(hex(&flush_one(&filter).span_id), kept_id);
}

#[test]
fn child_of_a_span_is_a_client_span() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer-child");
    let span = tracer.start(request(&[]), true);
    let child = span.child("router orders egress");
    // A route rewrites the path.
    let mut rewritten = request(&[]);
    rewritten[2].1 = b"/v2/4711".to_vec();
    let sent = child.inject(rewritten);
    let child_id = child.span_id().unwrap();
    assert!(values(&sent, "traceparent")[0].contains(&child_id));
    child.finish();
    span.finish();
    let parent_id = span.span_id().unwrap();
    drop((child, span));
    let spans = flush(&filter);
    let client = spans
        .iter()
        .find(|span| span.kind == CLIENT)
        .expect("a CLIENT span");
    assert_eq!(hex(&client.span_id), child_id);
    assert_eq!(hex(&client.parent_span_id), parent_id);
    assert_eq!(spans.len(), 2);
    let url = "http://shop.example:8080/v2/4711";
    assert_attributes(client, &[("url.full", url)]);
}

#[test]
fn span_that_is_not_finished_is_not_exported() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer-unfinished");
    drop(tracer.start(request(&[]), true));
    assert_eq!(flush(&filter), []);
}

/// It goes on in its own header, and events are Envoy's verbose mode only.
#[test]
fn baggage_and_events_are_left_alone() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer-baggage");
    let span = tracer.start(request(&[("baggage", "plan=gold")]), true);
    assert_eq!(span.baggage("plan"), None);
    span.set_baggage("plan", "iron");
    span.log("an event");
    let sent = span.inject(request(&[("baggage", "plan=gold")]));
    assert_eq!(values(&sent, "baggage"), ["plan=gold"]);
    span.finish();
    drop(span);
    assert_eq!(flush_one(&filter).events, []);
}

#[test]
fn operation_of_envoy_names_the_span() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer-operation");
    let span = tracer.start(request(&[]), true);
    span.set_operation("checkout");
    span.finish();
    drop(span);
    assert_eq!(flush_one(&filter).name, "checkout");
}

#[test]
fn malformed_context_is_counted_and_a_new_trace_starts() {
    let _serial = start();
    let (filter, tracer) = tracer("tracer-malformed");
    let span = tracer.start(request(&[("traceparent", "00-0-0-00")]), true);
    assert_ne!(span.trace_id().as_deref(), Some(TRACE));
    span.finish();
    drop(span);
    assert!(flush_one(&filter).parent_span_id.is_empty());
    assert_eq!(filter.metric("malformed"), 1);
}

/// Where the module gave no span, Envoy should call nothing; it is safe if it does.
#[test]
fn hooks_of_no_span_do_nothing() {
    let _serial = start();
    let span = Span::NULL;
    span.tag("a", "b");
    span.set_operation("a");
    span.set_sampled(true);
    span.log("a");
    span.finish();
    assert!(span.child("a").is_null());
    assert_eq!(
        (span.trace_id(), span.span_id(), span.baggage("a")),
        (None, None, None)
    );
    assert!(!span.uses_local_decision());
    assert_eq!(span.inject(request(&[])), request(&[]));
}
