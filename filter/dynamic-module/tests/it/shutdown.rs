//! Configurations that come and go.

use crate::exports::{acknowledge, flush};
use crate::fake_envoy::{self, WARN};
use crate::module::{Filter, document, inbound, request, start};
use crate::spans::spans;
use crate::tracer_module::Tracer;

#[test]
fn next_configuration_sends_the_spans_of_one_that_goes() {
    let _serial = start();
    let document = document("next", "");
    let old = Filter::new(&document);
    old.whole_stream(inbound(&[]));
    let next = Filter::new(&document);
    drop(old);
    let exports = {
        next.turn();
        fake_envoy::take_exports()
    };
    assert_eq!(exports.len(), 1);
    assert_eq!(exports[0].config, next.address);
    acknowledge(&exports[0]);
    assert_eq!(next.metric("spans_acknowledged"), 1);
}

/// Envoy ends an export with the configuration that made it.
#[test]
fn export_under_way_is_sent_again_by_the_next_configuration() {
    let _serial = start();
    let document = document("under-way", "");
    let old = Filter::new(&document);
    old.whole_stream(inbound(&[]));
    old.turn();
    let first = fake_envoy::take_exports().remove(0);
    let next = Filter::new(&document);
    drop(old);
    next.turn();
    let second = fake_envoy::take_exports().remove(0);
    assert_eq!((second.config, &second.body), (next.address, &first.body));
    acknowledge(&second);
    assert_eq!(next.metric("spans_acknowledged"), 1);
}

/// Another document, another exporter: it ends once its spans are delivered.
#[test]
fn spans_of_another_document_are_delivered_after_it_goes() {
    let _serial = start();
    let old = Filter::new(&document("orphan", ""));
    let next = Filter::new(&document("other", ""));
    old.whole_stream(inbound(&[]));
    drop(old);
    next.turn();
    let export = fake_envoy::take_exports().remove(0);
    assert_eq!((&*export.cluster, export.config), ("orphan", next.address));
    acknowledge(&export);
    assert_eq!(next.metric("spans_acknowledged"), 1);
}

#[test]
fn last_configuration_drops_and_counts_what_is_left() {
    let _serial = start();
    let filter = Filter::new(&document("last", ""));
    filter.whole_stream(inbound(&[]));
    filter.turn();
    filter.whole_stream(inbound(&[]));
    fake_envoy::take_logs();
    let address = filter.address;
    drop(filter);
    let metric = |name: &str| fake_envoy::metric(address, &format!("sidespan.{name}"));
    assert_eq!(metric("spans_dropped.shutdown"), 2);
    assert_eq!(metric("spans_created"), 2);
    let logs = fake_envoy::take_logs();
    let [(WARN, line)] = &logs[..] else {
        panic!("{logs:?}");
    };
    assert!(line.starts_with("sidespan: 2 spans are lost"), "{line}");
}

#[test]
fn scheduler_goes_with_its_configuration() {
    let _serial = start();
    let filter = Filter::new(&document("scheduler", ""));
    let address = filter.address;
    assert!(fake_envoy::with(|envoy| envoy
        .schedulers
        .contains(&address)));
    drop(filter);
    // The module's thread may be about to call it.
    fake_envoy::wait_until(|envoy| !envoy.schedulers.contains(&address));
}

#[test]
fn spans_of_a_tracer_wait_for_a_filter() {
    let _serial = start();
    let tracer = Tracer::load("sidespan", &document("waiting", "")).expect("a tracer");
    let span = tracer.start(request(&[]), true);
    span.finish();
    drop(span);
    assert!(fake_envoy::take_exports().is_empty());
    let filter = Filter::load("exporter", "").expect("an exporter");
    assert_eq!(flush(&filter).len(), 1);
}

#[test]
fn spans_of_a_tracer_survive_the_filter_that_was_to_export_them() {
    let _serial = start();
    let tracer = Tracer::load("sidespan", &document("survive", "")).expect("a tracer");
    let old = Filter::load("exporter", "").expect("an exporter");
    let span = tracer.start(request(&[]), true);
    span.finish();
    drop(span);
    old.turn();
    let first = fake_envoy::take_exports().remove(0);
    drop(old);
    let next = Filter::load("exporter", "").expect("an exporter");
    next.turn();
    let second = fake_envoy::take_exports().remove(0);
    assert_eq!(spans(&second), spans(&first));
    acknowledge(&second);
}

#[test]
fn last_tracer_drops_and_counts_what_is_left() {
    let _serial = start();
    let tracer = Tracer::load("sidespan", &document("last-tracer", "")).expect("a tracer");
    let span = tracer.start(request(&[]), true);
    span.finish();
    drop(span);
    let address = tracer.address;
    drop(tracer);
    let dropped = fake_envoy::metric(address, "sidespan.spans_dropped.shutdown");
    assert_eq!(dropped, 1);
}
