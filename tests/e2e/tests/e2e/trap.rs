//! What a panic of the Wasm module costs. There is none that we know of; a build
//! that panics where a request asks for it shows what one would do.

use crate::wasm::reload::{Reloading, quick};
use crate::wasm::stage::{PATIENCE, stat_name};
use harness::{Upstream, client, eventually};
use std::net::SocketAddr;
use std::thread;

const TRAPPING: &str = "build/sidespan-fault-injection.wasm";

/// What requests got.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    /// The one that met the panic.
    trapping: u16,
    /// One that waited for its upstream at the time.
    in_flight: u16,
    /// The next one.
    next: u16,
    /// Whether that was traced.
    is_traced: bool,
}

fn get(addr: SocketAddr, path: &str, trap: &[u8]) -> u16 {
    let response = client::request(addr, "GET", path, &[("x-trap", trap)], b"");
    response.expect("an answer").status
}

fn is_traced(upstream: &Upstream) -> bool {
    !upstream.last().header("traceparent").is_empty()
}

fn cost(policy: &str, place: &str) -> (Cost, Reloading) {
    let name = format!("trap-{}-{place}", policy.len());
    let proxy = Reloading::start_with(TRAPPING, 1, &name, &quick("only"), |listener| {
        listener.replace("fail_open: true", policy)
    });
    let addr = proxy.addr();
    assert_eq!(get(addr, "/", b"no"), 200);
    assert!(is_traced(&proxy.upstream));
    proxy.upstream.forget();
    let waiting = thread::spawn(move || get(addr, "/delay/1000", b"no"));
    proxy.upstream.wait_requests(1, PATIENCE);
    let trapping = get(addr, "/", place.as_bytes());
    proxy.envoy.wait_log("sidespan: internal error", PATIENCE);
    proxy.upstream.forget();
    let next = get(addr, "/next", b"no");
    let cost = Cost {
        trapping,
        in_flight: waiting.join().expect("the waiting request"),
        next,
        is_traced: next == 200 && is_traced(&proxy.upstream),
    };
    (cost, proxy)
}

/// The policy of `envoy-configs/`: no request is harmed, and tracing is over
/// on that worker until its listener is given anew.
#[test]
fn with_the_policy_that_is_shipped_a_panic_costs_no_request() {
    for place in ["request", "log"] {
        let (cost, mut proxy) = cost("fail_open: true", place);
        let harmless = Cost {
            trapping: 200,
            in_flight: 200,
            next: 200,
            is_traced: false,
        };
        assert_eq!(cost, harmless, "{place}");
        let line = proxy.envoy.wait_log("internal error", PATIENCE);
        assert!(
            line.contains("panicked at filter/"),
            "it says where: {line}"
        );

        proxy.reload(&quick("again"));
        eventually(PATIENCE, "a traced request", || {
            assert_eq!(get(proxy.addr(), "/", b"no"), 200);
            is_traced(&proxy.upstream).then_some(())
        });
    }
}

/// What the other policies cost, as the operators' page has it.
#[test]
fn the_other_policies_cost_requests() {
    let reload = "failure_policy: FAIL_RELOAD";
    for (policy, next) in [
        ("failure_policy: FAIL_OPEN", 200),
        ("failure_policy: FAIL_CLOSED", 503),
        // What Envoy does if nothing is said.
        ("", 503),
        // Loaded anew after a pause of a second, for which it is closed.
        (reload, 503),
    ] {
        let (cost, proxy) = cost(policy, "request");
        let expected = Cost {
            trapping: 503,
            in_flight: 503,
            next,
            is_traced: false,
        };
        assert_eq!(cost, expected, "{policy}");
        if policy == reload {
            eventually(PATIENCE, "a traced request", || {
                let is_answered = get(proxy.addr(), "/", b"no") == 200;
                (is_answered && is_traced(&proxy.upstream)).then_some(())
            });
        }
    }
}

/// What the VM took with it stands in the gauges for good.
#[test]
fn the_gauges_keep_what_a_panic_cost() {
    let patient = quick("only").replace("50ms", "5m");
    let proxy = Reloading::start_with(TRAPPING, 1, "trap-gauges", &patient, |listener| listener);
    let queued = &stat_name("spans_queued");
    for _ in 0..3 {
        assert_eq!(get(proxy.addr(), "/", b"no"), 200);
    }
    proxy.envoy.wait_stat(queued, |n| n == 3, PATIENCE);
    assert_eq!(get(proxy.addr(), "/", b"request"), 200);
    proxy.envoy.wait_log("sidespan: internal error", PATIENCE);
    assert_eq!(proxy.envoy.stat(queued), Some(3));
    assert!(proxy.collector.calls().is_empty());
}
