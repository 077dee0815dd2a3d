//! What a decision costs: with one path rule, with two hundred, and without.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use sidespan_core::propagation::{Extractor, Injector};
use sidespan_core::request::{Direction, RequestInfo};
use sidespan_core::resource::Environment;
use sidespan_core::tracer::Tracer;
use std::hint::black_box;

struct Headers(Vec<(&'static [u8], &'static [u8])>);

impl Extractor for Headers {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().copied()
    }
}

struct Nowhere;

impl Injector for Nowhere {
    fn set(&mut self, name: &'static str, value: &str) {
        black_box((name, value));
    }

    fn remove(&mut self, name: &'static str) {
        black_box(name);
    }
}

impl RequestInfo for Nowhere {
    fn protocol(&self) -> Option<String> {
        None
    }

    fn source_address(&self) -> Option<String> {
        None
    }

    fn route_bool(&self, _: &str, _: &str) -> Option<bool> {
        None
    }

    fn route_text(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn route_number(&self, _: &str, _: &str) -> Option<f64> {
        None
    }
}

impl Environment for Nowhere {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn node(&self, _: &[&str]) -> Option<String> {
        None
    }
}

fn tracer(rules: &[serde_json::Value]) -> Tracer {
    let document = serde_json::json!({
        "exporter": {"otlp_grpc": {"cluster": "c"}},
        "sampler": {"ratio": 0},
        "rules": rules,
    });
    let config = sidespan_config::parse(document.to_string().as_bytes()).unwrap();
    Tracer::new(config, &Nowhere, [1; 32])
}

/// A request as a browser sends it, which no rule matches.
fn request() -> Headers {
    Headers(vec![
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"shop.example"),
        (b":path", b"/api/v1/orders/4711?page=2"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"gzip, deflate, br"),
        (b"accept-language", b"en"),
        (b"cookie", b"session=0123456789abcdef"),
        (b"x-forwarded-for", b"198.51.100.7"),
        (b"x-forwarded-proto", b"https"),
        (b"x-request-id", b"e339632b-1eda-4302-a084-d2ae954b94ba"),
    ])
}

fn rule(kind: &str, index: usize) -> serde_json::Value {
    let text = match kind {
        "exact" => format!("/api/v1/service-{index}"),
        "prefix" => format!("/api/v1/service-{index}/"),
        "suffix" => format!("/probe-{index}"),
        "contains" => format!("/internal-{index}/"),
        _ => format!("/api/v1/items-{index}/[0-9]+/.*"),
    };
    serde_json::json!({"match": {"path": {kind: text}}, "action": "disable"})
}

fn decide(criterion: &mut Criterion) {
    let kinds = ["exact", "prefix", "suffix", "contains", "safe_regex"];
    let mut group = criterion.benchmark_group("decide");
    let mut bench = |name: String, rules: &[serde_json::Value]| {
        let mut tracer = tracer(rules);
        let request = request();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let started = tracer.on_request(
                    black_box(&request),
                    &Nowhere,
                    Direction::Inbound,
                    1,
                    &mut Nowhere,
                );
                black_box(started.decision.verdict)
            });
        });
    };
    bench("no rules".to_owned(), &[]);
    for kind in kinds {
        for count in [1, 200] {
            let rules: Vec<_> = (0..count).map(|index| rule(kind, index)).collect();
            bench(format!("{kind} x {count}"), &rules);
        }
    }
    let mixed: Vec<_> = (0..200)
        .map(|index| rule(kinds[index % kinds.len()], index))
        .collect();
    bench("mixed x 200".to_owned(), &mixed);
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
