//! What a request allocates: nothing if it is not sampled, and little if it is.

use crate::common;
use crate::common::spans::{configured, with};
use crate::common::{Headers, Host, Info, Nowhere, Response};
use allocation_counter::measure;
use serde_json::{Value, json};
use sidespan_core::host::request_info::Direction;
use sidespan_core::source::SpanSource;

fn source(keys: &Value) -> SpanSource {
    SpanSource::new(configured(keys), &Host::default(), [7; 32])
}

fn request() -> Headers {
    with(
        common::spans::get("/orders/4711?page=2"),
        &[
            ("user-agent", "curl/8.5.0"),
            ("x-tenant", "acme"),
            // Nothing is said of it, and so it is not kept.
            ("cookie", &"session=0af7651916cd43dd; ".repeat(200)),
        ],
    )
}

const DENIED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

#[test]
fn what_is_not_sampled_allocates_nothing() {
    let rules: Vec<_> = (0..200)
        .map(|n| json!({"match": {"path": {"prefix": format!("/{n}/")}}, "action": "force"}))
        .collect();
    let state = ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    for (why, keys, lines) in [
        (
            "by the sampler",
            json!({"sampler": {"ratio": 0}}),
            request(),
        ),
        (
            "by the caller",
            json!({}),
            with(request(), &[("traceparent", DENIED), state]),
        ),
        (
            "by a caller with B3",
            json!({}),
            with(request(), &[("b3", "0")]),
        ),
        (
            "by the sampler, and no rule of many",
            json!({"sampler": {"ratio": 0}, "rules": rules}),
            request(),
        ),
        (
            "by a rule",
            json!({"rules": [{"match": {"path": {"prefix": "/orders/"}}, "action": "disable"}]}),
            request(),
        ),
        (
            "in a trace that starts anew",
            json!({"sampler": {"ratio": 0}, "propagation": {"incoming": "restart"}}),
            with(request(), &[("traceparent", DENIED), state]),
        ),
    ] {
        let mut source = source(&keys);
        let mut is_recorded = true;
        let allocated = measure(|| {
            let info = &Info::default();
            let direction = Direction::Inbound;
            let started = source.on_request(&lines, &info.at(direction, 1), &mut Nowhere);
            is_recorded = started.stream.is_some();
        });
        assert!(!is_recorded, "{why}");
        assert_eq!(allocated.count_total, 0, "{why}");
    }
}

/// What is kept of the request, and when it ends the bytes of its attributes
/// and those of its custom tags; its queue has room.
#[test]
fn what_is_sampled_allocates_at_most_three_times() {
    let tags = json!([
        {"tag": "tenant", "request_header": {"name": "x-tenant"}},
        {"tag": "environment", "literal": {"value": "production"}},
    ]);
    let mut source = source(&json!({"custom_tags": tags}));
    let lines = request();
    let response = Response {
        direction: Some(Direction::Inbound),
        protocol: Some("HTTP/1.1"),
        source_address: Some("192.0.2.7:50123"),
        response_size: Some(10),
        attempts: 1,
        cluster: Some("orders"),
        upstream: Some("10.0.0.5:8080"),
        ..Response::status(200)
    };
    let allocated = measure(|| {
        let info = &Info::default();
        let started = source.on_request(&lines, &info.at(Direction::Inbound, 1), &mut Nowhere);
        let stream = started.stream.expect("sampled");
        assert!(source.on_end(stream, &response, 2).is_some());
    });
    assert!(
        allocated.count_total <= 3,
        "{} allocations",
        allocated.count_total
    );
    assert!(
        allocated.bytes_total < 1500,
        "{} bytes",
        allocated.bytes_total
    );
}
