//! What a panic of the native module costs. There is none that we know of; a
//! build that panics where a request asks for it shows what one would do.

use crate::module::stage::{PATIENCE, Stage};
use harness::{client, load};

const TRAPPING: &str = "build/fault-injection";

fn stage(workers: u32) -> Stage {
    Stage::edge_with(|edge| {
        edge.concurrency(workers).modules(TRAPPING).replace(
            crate::module::stage::EXPORTER,
            crate::module::stage::QUICK_EXPORTER,
        )
    })
}

/// Each is answered, the one that met the panic too; that one is not traced,
/// the next one is.
#[test]
fn a_panic_costs_no_request_and_no_other_trace() {
    let stage = stage(1);
    for (place, is_passed_on_traced) in [("request", false), ("log", true)] {
        stage.upstream.forget();
        let headers: &[(&str, &[u8])] = &[("x-trap", place.as_bytes())];
        let answer = client::request(stage.addr(), "GET", "/", headers, b"").expect("an answer");
        assert_eq!(answer.status, 200, "{place}");
        let seen = stage.upstream.last();
        assert_eq!(
            !seen.header("traceparent").is_empty(),
            is_passed_on_traced,
            "{place}"
        );
        assert_eq!(client::get(stage.addr(), "/next").status, 200);
        assert_eq!(stage.upstream.last().header("traceparent").len(), 1);
    }
    let spans = stage.collector.wait_spans(2, PATIENCE);
    let paths: Vec<_> = spans.iter().map(|span| span.str_attr("url.path")).collect();
    assert_eq!(paths, [Some("/next"); 2], "what is between is there");
    stage.wait_stat("internal_errors", |n| n == 2);
    let log = stage.envoy.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("internal error"))
        .collect();
    assert_eq!(lines.len(), 1, "once, though there were two: {lines:#?}");
    assert!(
        lines[0].contains("panicked at filter/"),
        "it says where: {}",
        lines[0]
    );
}

/// A panic with each request, on two workers and under load.
#[test]
fn requests_that_all_panic_are_all_answered() {
    const REQUESTS: u64 = 10_000;
    let stage = stage(2);
    stage.upstream.record(false);
    for place in ["request", "log"] {
        let report = load::run(
            stage.addr(),
            "/",
            16,
            REQUESTS,
            &[("x-trap", place.as_bytes())],
        );
        assert_eq!((report.ok, report.failed), (REQUESTS, 0), "{place}");
    }
    stage.wait_stat("internal_errors", |n| n == 2 * REQUESTS);
    assert_eq!(client::get(stage.addr(), "/next").status, 200);
    let spans = stage.collector.wait_spans(1, PATIENCE);
    assert_eq!(spans.len(), 1);
}

fn tracer() -> Stage {
    Stage::start("envoy-configs/module-tracer.yaml", 10000, |edge| {
        edge.modules(TRAPPING).replace(
            crate::module::stage::EXPORTER,
            crate::module::stage::QUICK_EXPORTER,
        )
    })
}

/// One while a span of the tracer starts: that request has none, and no other
/// is the worse for it.
#[test]
fn a_panic_of_the_tracer_costs_no_request_and_no_other_trace() {
    let stage = tracer();
    let trap: &[(&str, &[u8])] = &[("x-trap", b"span")];
    let answer = client::request(stage.addr(), "GET", "/", trap, b"").expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(stage.upstream.last().header("traceparent").is_empty());
    assert_eq!(client::get(stage.addr(), "/next").status, 200);
    let spans = stage.collector.wait_spans(2, PATIENCE);
    let traces: std::collections::HashSet<_> = spans.iter().map(|s| s.trace_id_hex()).collect();
    assert_eq!((spans.len(), traces.len()), (2, 1), "of the second request");
    stage.wait_stat("internal_errors", |n| n == 1);
}

/// One while a span is made of what Envoy told: it is lost, and no other one of
/// those that are made with it.
#[test]
fn a_panic_over_a_told_span_costs_no_other_one() {
    let stage = tracer();
    let trap: &[(&str, &[u8])] = &[("x-trap", b"told")];
    let answer = client::request(stage.addr(), "GET", "/", trap, b"").expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(client::get(stage.addr(), "/next").status, 200);
    let spans = stage.collector.wait_spans(3, PATIENCE);
    assert_eq!(spans.len(), 3, "of two requests with two spans each");
    stage.wait_stat("internal_errors", |n| n == 1);
}

/// One on the main thread, where spans are sent: they are late by a turn.
#[test]
fn a_panic_of_the_exporter_costs_no_span() {
    let stage = Stage::edge_with(|edge| {
        edge.modules(TRAPPING).env("SIDESPAN_TRAP", "1").replace(
            crate::module::stage::EXPORTER,
            crate::module::stage::QUICK_EXPORTER,
        )
    });
    for _ in 0..5 {
        assert_eq!(client::get(stage.addr(), "/").status, 200);
    }
    assert_eq!(stage.collector.wait_spans(5, PATIENCE).len(), 5);
    stage.wait_stat("internal_errors", |n| n == 1);
    stage.envoy.wait_log("internal error", PATIENCE);
}
