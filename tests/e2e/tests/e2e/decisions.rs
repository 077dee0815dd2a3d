//! Which requests are traced, and whose word counts.

use super::stage::{LOGGER, PATIENCE, Stage, Told, is_told, stat_name};
use harness::{Envoy, Seen, client, load};
use std::collections::HashSet;

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const INDENT: &str = "\n                    ";

/// Keys of the configuration, a line each, in front of a quick exporter.
fn with(lines: &[&str]) -> String {
    let exporter =
        "exporter: { otlp_grpc: { cluster: otel-collector }, batch: { schedule_delay: 50ms } }";
    [lines, &[exporter]].concat().join(INDENT)
}

fn edge(lines: &[&str]) -> Stage {
    Stage::edge_exporting(&with(lines))
}

/// What the upstream saw of a request with these headers.
fn ask(stage: &Stage, path: &str, headers: &[(&str, &str)]) -> Seen {
    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
    client::request(stage.addr(), "GET", path, &headers, b"").expect("an answer");
    stage.upstream.last()
}

fn flags(seen: &Seen) -> String {
    let value = seen.header("traceparent").pop().expect("a traceparent");
    value.rsplit('-').next().expect("flags").to_owned()
}

#[test]
fn errors_are_kept_exactly_at_a_ratio_of_zero() {
    let stage = edge(&["sampler: { ratio: 0 }", "keep: { errors: true }"]);
    for n in 0..1000 {
        let path = if n % 27 == 1 { "/status/503" } else { "/" };
        let seen = ask(&stage, path, &[]);
        assert_eq!(flags(&seen), "02", "the context stays unsampled");
    }
    // 1, 28, … 973: thirty-seven of them.
    stage.wait_stat("kept", |n| n == 37);
    stage.wait_stat("not_sampled", |n| n == 1000);
    let spans = stage.collector.wait_spans(37, PATIENCE);
    assert_eq!(spans.len(), 37);
    for span in &spans {
        assert_eq!(span.str_attr("sidespan.keep_reason"), Some("error"));
        assert_eq!(span.span.trace_state, "");
    }
}

#[test]
fn spans_are_kept_for_each_reason() {
    let stage = edge(&[
        "sampler: { type: always_off }",
        "keep: { slower_than: 200ms, response_flags: true, status_codes: [429] }",
    ]);
    for path in ["/", "/status/429", "/delay/300", "/reset"] {
        ask(&stage, path, &[]);
    }
    let spans = stage.collector.wait_spans(3, PATIENCE);
    let mut reasons: Vec<_> = spans
        .iter()
        .map(|span| {
            (
                span.str_attr("url.path").unwrap(),
                span.str_attr("sidespan.keep_reason").unwrap(),
            )
        })
        .collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            ("/delay/300", "slow"),
            ("/reset", "response_flags"),
            ("/status/429", "status_code")
        ]
    );
}

#[test]
fn a_retried_request_is_kept() {
    if !is_told(Told::Flags) {
        return;
    }
    let retrying = "route: { cluster: service, retry_policy: { retry_on: reset, num_retries: 1 } }";
    let stage = Stage::edge_with(|envoy| {
        envoy
            .replace("route: { cluster: service }", retrying)
            .replace(
                super::stage::EXPORTER,
                with(&["sampler: { ratio: 0 }", "keep: { retried: true }"]),
            )
    });
    ask(&stage, "/", &[]);
    ask(&stage, "/reset", &[]);
    assert_eq!(
        stage.span().str_attr("sidespan.keep_reason"),
        Some("retried")
    );
}

/// Two proxies in a row that decide for themselves choose the same traces,
/// and tell a backend how many each span stands for.
#[test]
fn two_proxies_with_one_ratio_agree_on_every_trace() {
    const REQUESTS: u64 = 20_000;
    for (ratio, share, th) in [
        ("0.5", 0.5, "8"),
        ("0.1", 0.1, "e666"),
        ("0.01", 0.01, "fd70a"),
    ] {
        let sampler = format!("sampler: {{ type: traceidratio, ratio: {ratio} }}");
        let last = Stage::inbound_with(|envoy| {
            envoy
                .concurrency(2)
                .replace(super::stage::EXPORTER, with(&[&sampler]))
        });
        last.upstream.record(false);
        let first = super::stage::one_span(super::stage::envoy("envoy-configs/edge.yaml"))
            .concurrency(2)
            .replace(super::stage::EXPORTER, with(&[&sampler]))
            .port(8080, last.addr().port())
            .port(4317, last.collector.port())
            .start();
        let report = load::run(first.addr(10000), "/", 16, REQUESTS, &[]);
        assert_eq!(report.ok, REQUESTS);
        let count = |envoy: &Envoy| {
            let sampled = &stat_name("sampled");
            let all = |name: &str| envoy.stat(name).unwrap_or(0);
            harness::eventually(PATIENCE, "every request is counted", || {
                let sum = all(sampled) + all(&stat_name("not_sampled"));
                (sum == REQUESTS).then(|| all(sampled))
            })
        };
        let sampled = count(&first);
        assert_eq!(sampled, count(&last.envoy), "both sample as many");
        let n = REQUESTS as f64;
        // One in a million: at one in a thousand, a run in 170 fails for
        // nothing, as six shares are looked at.
        let bound = 4.9 * (n * share * (1.0 - share)).sqrt();
        assert!(
            (sampled as f64 - n * share).abs() <= bound,
            "{sampled} of {n} at {ratio}"
        );

        let spans = last.collector.wait_spans(2 * sampled as usize, PATIENCE);
        let of = |service: &str| -> HashSet<_> {
            let mine = spans.iter().filter(|span| span.service_name() == service);
            mine.map(|span| span.trace_id_hex()).collect()
        };
        assert_eq!(of("edge"), of("service"), "the same traces");
        let expected = format!("ot=th:{th}");
        assert!(spans.iter().all(|span| span.span.trace_state == expected));
    }
}

#[test]
fn a_decision_for_another_reason_carries_no_threshold() {
    let rules = "rules: [{ match: { path: { exact: /forced } }, action: force }]";
    let stage = edge(&["sampler: { type: parentbased_always_on }", rules]);
    let state = "ot=th:c;rv:00000000000001,other=1";
    let seen = ask(
        &stage,
        "/forced",
        &[("traceparent", SAMPLED), ("tracestate", state)],
    );
    assert_eq!(seen.header("tracestate"), ["ot=rv:00000000000001,other=1"]);
    // The caller's own decision goes on with what it says of it.
    let seen = ask(
        &stage,
        "/",
        &[("traceparent", SAMPLED), ("tracestate", state)],
    );
    assert_eq!(seen.header("tracestate"), [state]);
}

#[test]
fn the_limit_on_new_traces_is_smooth_from_the_start() {
    let stage = edge(&["sampler: { max_traces_per_second: 100 }"]);
    let started = std::time::Instant::now();
    let report = load::run(stage.addr(), "/", 8, 6000, &[]);
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(report.ok, 6000);
    stage.wait_stat("rate_limited", |limited| {
        limited + stage.stat("sampled") == 6000
    });
    let sampled = stage.stat("sampled") as f64;
    // A tenth of a second's worth may be left over from requests that paused.
    assert!(
        sampled <= 100.0 * seconds + 11.0,
        "{sampled} in {seconds} s"
    );
    assert!(
        sampled >= 100.0 * seconds * 0.5 - 11.0,
        "{sampled} in {seconds} s"
    );
    // Only new traces are limited.
    let before = stage.stat("rate_limited");
    for _ in 0..50 {
        ask(&stage, "/", &[("traceparent", SAMPLED)]);
    }
    stage.wait_stat("sampled", |n| n as f64 >= sampled + 50.0);
    assert_eq!(stage.stat("rate_limited"), before);
}

#[test]
fn strangers_contexts_are_taken_as_the_policy_has_it() {
    let rules = [
        "rules:",
        "- { match: { path: { exact: /restart } }, incoming: restart }",
        "- { match: { path: { exact: /link } }, incoming: link }",
        "- { match: { path: { exact: /resample } }, incoming: resample }",
        "- { match: { path: { exact: /require } }, incoming: require }",
    ];
    let stage = edge(&rules);
    let came: &[(&str, &str)] = &[
        ("traceparent", NOT_SAMPLED),
        ("tracestate", "them=1"),
        ("baggage", "user=alice"),
    ];
    for path in ["/restart", "/link"] {
        let seen = ask(&stage, path, came);
        assert!(
            !seen.header("traceparent")[0].contains(TRACE_ID),
            "{path}: a new trace"
        );
        assert_eq!(seen.header("tracestate"), [""; 0], "{path}");
        assert_eq!(seen.header("baggage"), ["user=alice"], "{path}");
    }
    let spans = stage.collector.wait_spans(2, PATIENCE);
    for span in &spans {
        assert_eq!(span.parent_span_id_hex(), "");
        let links = &span.span.links;
        if span.str_attr("url.path") == Some("/link") {
            assert_eq!(links.len(), 1);
            assert_eq!(links[0].trace_state, "them=1");
            assert_eq!(
                links[0].span_id,
                [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]
            );
        } else {
            assert!(links.is_empty());
        }
    }
    stage.wait_stat("restarted", |n| n == 2);

    let seen = ask(&stage, "/resample", came);
    assert!(seen.header("traceparent")[0].contains(TRACE_ID));
    assert_eq!(flags(&seen), "01", "decided anew");
    assert_eq!(seen.header("tracestate"), ["them=1"]);

    let seen = ask(&stage, "/require", &[]);
    assert_eq!(seen.header("traceparent"), [""; 0]);
    let seen = ask(&stage, "/require", &[("traceparent", SAMPLED)]);
    assert!(seen.header("traceparent")[0].contains(TRACE_ID));
    stage.wait_stat("disabled", |n| n == 1);
}

#[test]
fn b3_states_are_obeyed() {
    let stage = edge(&["sampler: { type: parentbased_always_off }"]);
    let ids = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";
    let upstream = |state: &str| {
        let seen = ask(&stage, "/", &[("b3", &format!("{ids}{state}"))]);
        seen.header("b3")
            .pop()
            .expect("b3")
            .split('-')
            .nth(2)
            .expect("a state")
            .to_owned()
    };
    assert_eq!(upstream("-d"), "d", "debug forces");
    assert_eq!(upstream("-1"), "1");
    assert_eq!(upstream("-0"), "0", "deny denies");
    assert_eq!(upstream(""), "0", "deferred lets us decide");
    stage.collector.wait_spans(2, PATIENCE);
    stage.wait_stat("not_sampled", |n| n == 2);
}

#[test]
fn the_trace_id_is_told_in_a_response_header() {
    let rules = "rules: [{ match: { path: { exact: /off } }, action: disable }]";
    let stage = edge(&["propagation: { response_header: X-Trace-Id }", rules]);
    let told = |path: &str| client::get(stage.addr(), path).header("x-trace-id");
    assert_eq!(told("/ok"), Some(stage.span().trace_id_hex()));
    assert!(told("/status/503").is_some());
    assert_eq!(told("/off"), None, "what is not traced has no trace");
}

#[test]
fn a_decision_is_explained_in_the_log_at_debug_level() {
    let rules = "rules: [{ name: health, match: { path: { prefix: /healthz } }, action: disable }]";
    let stage = edge(&[rules]);
    ask(&stage, "/quiet", &[]);
    stage.envoy.admin_post(&format!("/logging?{LOGGER}=debug"));
    harness::eventually(PATIENCE, "a line", || {
        ask(&stage, "/healthz", &[]);
        let log = stage.envoy.log();
        log.lines()
            .find(|line| line.contains("rules[0] \"health\""))
            .map(str::to_owned)
    });
    ask(&stage, "/other", &[("traceparent", SAMPLED)]);
    let line = stage.envoy.wait_log("GET \"/other\"", PATIENCE);
    assert!(
        line.contains("sampled by the sampler: the caller's decision"),
        "{line}"
    );
    assert!(
        !stage.envoy.log().contains("/quiet"),
        "nothing at info level"
    );
}
