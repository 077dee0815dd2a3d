//! Documents that Envoy configures the filter, a route or the tracer with.

use crate::fake_envoy::{self, ERROR, INFO, REQUEST_HEADERS, WARN};
use crate::module::{self, Filter, Route, document, inbound, start};
use crate::tracer_module::Tracer;
use sidespan_core::stats::{
    CONFIG_REJECTED, CONFIG_STALE, EXPORT_TIME, Level, Stat, VERSION_NUMBER,
};

const INVALID: &str = r#", "sampler": 1"#;

/// The context that a request goes on with, if it has one.
fn context_written(filter: &Filter) -> Option<String> {
    let stream = filter.stream(inbound(&[]));
    stream.request_headers();
    stream.values(REQUEST_HEADERS, "traceparent").pop()
}

#[test]
fn module_speaks_the_abi_of_its_envoy() {
    let _serial = start();
    assert_eq!(module::program_init(), "v0.2.0");
}

#[test]
fn accepted_document_is_in_force_and_logged_once() {
    let _serial = start();
    let document = document("accepted", "");
    let first = Filter::load("shop", &document).unwrap();
    let _second = Filter::load("shop", &document).unwrap();
    let logs = fake_envoy::take_logs();
    let [(INFO, line)] = &logs[..] else {
        panic!("{logs:?}");
    };
    assert!(line.starts_with("sidespan: version "), "{line}");
    assert!(line.contains("filter_name \"shop\""), "{line}");
    assert!(context_written(&first).is_some());
}

#[test]
fn metrics_are_defined_at_zero() {
    let _serial = start();
    let filter = Filter::new(&document("metrics", ""));
    let counters = Stat::ALL.iter().map(|stat| (stat.name(), "counter"));
    let gauges = Level::ALL.iter().map(|level| (level.name(), "gauge"));
    let others = [
        (EXPORT_TIME, "histogram"),
        (CONFIG_REJECTED, "counter"),
        (CONFIG_STALE, "gauge"),
        (VERSION_NUMBER, "gauge"),
        ("sidespan.internal_errors", "counter"),
    ];
    let expected: Vec<_> = counters.chain(gauges).chain(others).collect();
    fake_envoy::with(|envoy| {
        let own = envoy
            .metrics
            .iter()
            .filter(|metric| metric.config == filter.address);
        let own: Vec<_> = own.collect();
        assert!(own.iter().all(|metric| metric.value == 0));
        let kinds: Vec<_> = own
            .iter()
            .map(|metric| (&*metric.name, metric.kind))
            .collect();
        assert_eq!(kinds, expected);
    });
}

#[test]
fn rejected_document_leaves_requests_untraced() {
    let _serial = start();
    let document = document("rejected", INVALID);
    let filter = Filter::load("sidespan", &document).expect("it is not refused");
    let _again = Filter::load("sidespan", &document).expect("it is not refused");
    let logs = fake_envoy::take_logs();
    let [(ERROR, line)] = &logs[..] else {
        panic!("{logs:?}");
    };
    let expected = "sidespan: configuration rejected, requests go through untraced, ";
    assert!(line.starts_with(expected), "{line}");
    assert_eq!(context_written(&filter), None);
}

#[test]
fn rejected_document_is_counted_in_the_next_turn() {
    let _serial = start();
    let filter = Filter::load("sidespan", &document("counted", INVALID)).unwrap();
    filter.turn();
    assert_eq!(filter.metric("config_rejected"), 1);
    assert!(filter.metric("version") > 0);
}

#[test]
fn rejected_document_of_a_named_filter_keeps_the_last_good_one() {
    let _serial = start();
    let _good = Filter::load("orders", &document("last-good", "")).unwrap();
    let filter = Filter::load("orders", &document("elsewhere", INVALID)).unwrap();
    assert!(context_written(&filter).is_some());
}

/// The last good one may be another tenant's.
#[test]
fn rejected_document_of_an_unnamed_filter_keeps_none() {
    let _serial = start();
    let _good = Filter::load("sidespan", &document("unnamed", "")).unwrap();
    let filter = Filter::load("sidespan", &document("elsewhere", INVALID)).unwrap();
    assert_eq!(context_written(&filter), None);
}

/// A filter of this name looks at no request.
#[test]
fn exporter_needs_no_document() {
    let _serial = start();
    let filter = Filter::load("exporter", "").expect("it is not refused");
    assert_eq!(context_written(&filter), None);
    assert_eq!(fake_envoy::take_logs(), []);
}

#[test]
fn route_has_a_sampler_of_its_own() {
    let _serial = start();
    let filter = Filter::new(&document("route", r#", "sampler": {"ratio": 0}"#));
    let route = Route::load("sidespan", r#"{"sampler": {"ratio": 1}}"#).unwrap();
    let mut on_route = inbound(&[]);
    on_route.route = route.address();
    let stream = filter.stream(on_route);
    stream.request_headers();
    let context = stream.values(REQUEST_HEADERS, "traceparent").pop().unwrap();
    assert!(context.ends_with("-03"), "{context}");
    let elsewhere = context_written(&filter).unwrap();
    assert!(elsewhere.ends_with("-02"), "{elsewhere}");
}

#[test]
fn rejected_route_is_as_all_others() {
    let _serial = start();
    let filter = Filter::new(&document("bad-route", ""));
    fake_envoy::take_logs();
    let route = Route::load("sidespan", r#"{"sampler": 1}"#).expect("it is not refused");
    let logs = fake_envoy::take_logs();
    assert!(logs[0].1.contains("its route is as all others"), "{logs:?}");
    let mut on_route = inbound(&[]);
    on_route.route = route.address();
    let stream = filter.stream(on_route);
    stream.request_headers();
    assert_eq!(stream.values(REQUEST_HEADERS, "traceparent").len(), 1);
}

#[test]
fn route_that_goes_is_asked_for_no_more() {
    let _serial = start();
    let filter = Filter::new(&document("route-gone", ""));
    let asks = || {
        fake_envoy::take_calls();
        context_written(&filter);
        fake_envoy::take_calls().contains(&"get_most_specific_route_config".to_owned())
    };
    assert!(!asks());
    let route = Route::load("sidespan", "{}");
    assert!(asks());
    drop(route);
    assert!(!asks());
}

#[test]
fn tracer_without_a_valid_document_has_no_spans() {
    let _serial = start();
    let tracer = Tracer::load("sidespan", &document("bad-tracer", INVALID)).expect("a tracer");
    assert!(tracer.try_start(module::request(&[]), true).is_none());
    let logs = fake_envoy::take_logs();
    assert!(logs[0].1.contains("tracer_name \"sidespan\""), "{logs:?}");
}

#[test]
fn keys_that_a_tracer_ignores_are_warned_of() {
    let _serial = start();
    let keys = r#", "sampler": {"ratio": 0.5}, "keep": {"errors": true}"#;
    let _tracer = Tracer::load("sidespan", &document("ignored", keys)).expect("a tracer");
    let logs = fake_envoy::take_logs();
    let warnings: Vec<_> = logs.iter().filter(|(level, _)| *level == WARN).collect();
    assert_eq!(warnings.len(), 2, "{logs:?}");
    assert!(
        warnings[0]
            .1
            .starts_with("sidespan: sampler has no effect in a tracer, ")
    );
}

/// `envoy --mode validate` has no main thread to call.
#[test]
fn validating_process_registers_no_scheduler() {
    let _serial = start();
    fake_envoy::with(|envoy| envoy.is_validation = true);
    let filter = Filter::new(&document("validation", ""));
    let has_scheduler = |address| fake_envoy::with(|envoy| envoy.schedulers.contains(&address));
    assert!(!has_scheduler(filter.address));
    fake_envoy::with(|envoy| envoy.is_validation = false);
    let live = Filter::new(&document("validation", ""));
    assert!(has_scheduler(live.address));
}

/// Runs this test in a process of its own: the environment is the process's.
#[test]
fn rejected_document_is_refused_where_strict() {
    const TEST: &str = "configuration::rejected_document_is_refused_where_strict";
    if std::env::var_os("SIDESPAN_STRICT").is_none() {
        let program = std::env::current_exe().unwrap();
        let status = std::process::Command::new(program)
            .args(["--exact", TEST, "--quiet"])
            .env("SIDESPAN_STRICT", "1")
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let _serial = start();
    let invalid = document("strict", INVALID);
    assert!(Filter::load("sidespan", &invalid).is_none());
    assert!(Tracer::load("sidespan", &invalid).is_none());
    assert!(Route::load("sidespan", r#"{"sampler": 1}"#).is_none());
    let logs = fake_envoy::take_logs();
    assert!(
        logs[0].1.contains("refused, SIDESPAN_STRICT is 1"),
        "{logs:?}"
    );
    assert!(Filter::load("sidespan", &document("strict", "")).is_some());
}
