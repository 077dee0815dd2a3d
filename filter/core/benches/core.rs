//! What each step of a request costs in the core, in time and in allocations:
//! reading its context, deciding, recording its span, encoding it, and handing
//! out a batch; what a decision costs with two hundred rules; and the attributes
//! and the encoding of a span beside `opentelemetry-proto` with `prost`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use allocation_counter::measure;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sidespan_core::config::Config;
use sidespan_core::export::callout::CalloutOutcome;
use sidespan_core::export::pipeline::Delivery;
use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::host::environment::Environment;
use sidespan_core::host::request_info::{Direction, RequestInfo};
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::{End, MetadataKind, ResponseInfo};
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::recording::stream::Ended;
use sidespan_core::source::{SpanSource, Started};
use sidespan_core::span::attributes::{Attributes, Value};
use sidespan_core::stats::Stats;
use std::borrow::Cow;
use std::hint::black_box;
use std::time::Duration;

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
    fn listener_direction(&self) -> Direction {
        Direction::Inbound
    }

    fn now(&self) -> u64 {
        1
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

/// An answer of an upstream, as Envoy tells of one.
struct Answered;

fn text(text: &'static str) -> Option<Cow<'static, str>> {
    Some(Cow::Borrowed(text))
}

impl ResponseInfo for Answered {
    fn listener_direction(&self) -> Direction {
        Direction::Inbound
    }

    fn status(&self) -> Option<u16> {
        Some(200)
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        text("HTTP/1.1")
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        text("192.0.2.7:50123")
    }

    fn response_header(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn response_trailer(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn response_flags(&self) -> ResponseFlags {
        ResponseFlags(0)
    }

    fn response_code_details(&self) -> Option<Cow<'_, str>> {
        text("via_upstream")
    }

    fn request_size(&self) -> Option<u64> {
        Some(0)
    }

    fn response_size(&self) -> Option<u64> {
        Some(1234)
    }

    fn attempt_count(&self) -> u64 {
        1
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        text("orders")
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        text("orders")
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        text("10.0.0.5:8080")
    }

    fn connection_wait(&self) -> Option<Duration> {
        Some(Duration::from_micros(12))
    }

    fn upstream_latency(&self) -> Option<Duration> {
        Some(Duration::from_micros(1234))
    }

    fn transport_failure(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn tls_peer(&self, _: End) -> Option<Cow<'_, str>> {
        None
    }

    fn workload(&self, _: End, _: &str) -> Option<Cow<'_, str>> {
        None
    }

    fn metadata(&self, _: MetadataKind, _: &str, _: &[String]) -> Option<serde_json::Value> {
        None
    }

    fn property(&self, _: &[String]) -> Option<Vec<u8>> {
        None
    }
}

fn config(ratio: u32, rules: &[serde_json::Value]) -> Config {
    let document = serde_json::json!({
        "exporter": {"otlp_grpc": {"cluster": "c"}},
        "sampler": {"ratio": ratio},
        "custom_tags": [
            {"tag": "tenant", "request_header": {"name": "x-tenant"}},
            {"tag": "app.version", "request_header": {"name": "x-app-version"}},
            {"tag": "environment", "literal": {"value": "production"}},
        ],
        "rules": rules,
    });
    sidespan_config::parse(document.to_string().as_bytes()).unwrap()
}

fn source(ratio: u32, rules: &[serde_json::Value]) -> SpanSource {
    SpanSource::new(config(ratio, rules), &Nowhere, [1; 32])
}

fn start(source: &mut SpanSource, headers: &Headers) -> Started {
    source.on_request(black_box(headers), &Nowhere, &mut Nowhere)
}

/// A span of a request that was sampled.
fn ended(source: &mut SpanSource, headers: &Headers) -> Ended {
    let stream = start(source, headers).stream.unwrap();
    source.on_end(stream, &Answered, 2).unwrap()
}

/// A batch that is full, and the collector's word that it has it.
fn export(delivery: &mut Delivery) {
    let callout = delivery.next_callout(3).unwrap();
    black_box(&callout.body);
    let outcome = CalloutOutcome::Answered {
        headers: &[(b":status", b"200"), (b"content-type", b"application/grpc")],
        body: b"\0\0\0\0\0",
        trailers: &[(b"grpc-status", b"0")],
    };
    delivery.on_callout_end(callout.id, outcome, 4, || 0.5);
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
        (b"x-tenant", b"acme"),
        (b"x-app-version", b"4.2.1"),
        (b"x-forwarded-for", b"198.51.100.7"),
        (b"x-forwarded-proto", b"https"),
        (b"x-request-id", b"e339632b-1eda-4302-a084-d2ae954b94ba"),
    ])
}

/// The same with a caller's context.
fn continued() -> Headers {
    let mut headers = request();
    headers.0.extend([
        (
            b"traceparent" as &[u8],
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" as &[u8],
        ),
        (b"tracestate", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
    ]);
    headers
}

/// The steps, each on its own.
fn steps(criterion: &mut Criterion) {
    let (plain, continued) = (request(), continued());
    let propagator = Propagator::default();
    criterion.bench_function("extract", |bencher| {
        bencher.iter(|| black_box(propagator.extract(black_box(&continued)).parent));
    });
    for (name, ratio) in [("decide (not sampled)", 0), ("decide and record", 1)] {
        let mut source = source(ratio, &[]);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| black_box(start(&mut source, &plain).decision.verdict));
        });
    }
    let mut source = source(1, &[]);
    criterion.bench_function("end", |bencher| {
        let streams = |source: &mut SpanSource| start(source, &plain).stream.unwrap();
        let mut other = self::source(1, &[]);
        bencher.iter_batched(
            || streams(&mut other),
            |stream| source.on_end(stream, &Answered, 2),
            BatchSize::SmallInput,
        );
    });
    let delivery = || Delivery::new(config(1, &[]).delivery(), &Nowhere);
    let span = ended(&mut source, &plain);
    let mut stats = Stats::default();
    criterion.bench_function("encode", |bencher| {
        let mut delivery = delivery();
        let mut count = 0;
        bencher.iter(|| {
            delivery.queue().add(black_box(&span), &mut stats, 2);
            count += 1;
            if count % 512 == 0 {
                export(&mut delivery);
            }
        });
    });
    let mut full = || {
        let mut delivery = delivery();
        (0..512).for_each(|_| delivery.queue().add(&span, &mut stats, 2));
        delivery
    };
    criterion.bench_function("flush (512 spans)", |bencher| {
        bencher.iter_batched(
            &mut full,
            |mut delivery| {
                export(&mut delivery);
                delivery
            },
            // Many queues at once, half a MiB each, would not be in the caches.
            BatchSize::PerIteration,
        );
    });
    allocations(&plain, &continued);
}

/// What the same steps allocate, exactly.
fn allocations(plain: &Headers, continued: &Headers) {
    let propagator = Propagator::default();
    let told = |step: &str, of: allocation_counter::AllocationInfo| {
        println!(
            "{step:<24} {:>4} allocations {:>8} bytes",
            of.count_total, of.bytes_total
        );
    };
    told(
        "extract",
        measure(|| drop(black_box(propagator.extract(continued)))),
    );
    let (mut none, mut all) = (source(0, &[]), source(1, &[]));
    told(
        "decide (not sampled)",
        measure(|| drop(black_box(start(&mut none, plain)))),
    );
    let mut stream = None;
    told(
        "decide and record",
        measure(|| stream = start(&mut all, plain).stream),
    );
    let mut span = None;
    told(
        "end",
        measure(|| span = stream.take().and_then(|s| all.on_end(s, &Answered, 2))),
    );
    let span = span.unwrap();
    let mut delivery = Delivery::new(config(1, &[]).delivery(), &Nowhere);
    let mut stats = Stats::default();
    delivery.queue().add(&span, &mut stats, 2);
    told(
        "encode",
        measure(|| delivery.queue().add(&span, &mut stats, 2)),
    );
    (2..512).for_each(|_| delivery.queue().add(&span, &mut stats, 2));
    told("flush (512 spans)", measure(|| export(&mut delivery)));
}

/// The span of a request, read from an export with OTLP's own types.
fn model(ended: &Ended) -> Span {
    const GRPC_PREFIX: usize = 5;
    let mut delivery = Delivery::new(config(1, &[]).delivery(), &Nowhere);
    let mut stats = Stats::default();
    (0..512).for_each(|_| delivery.queue().add(ended, &mut stats, 2));
    let body = delivery.next_callout(3).unwrap().body;
    let request = ExportTraceServiceRequest::decode(&body[GRPC_PREFIX..]).unwrap();
    request.resource_spans[0].scope_spans[0].spans[0].clone()
}

/// The attributes of a span, encoded as they are set.
fn attributes(span: &Span) -> Attributes {
    const MAX_LENGTH: usize = 1024;
    const EXPECTED_BYTES: usize = 896;
    let mut attributes = Attributes::new(MAX_LENGTH, EXPECTED_BYTES);
    for KeyValue { key, value, .. } in &span.attributes {
        let value = match value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => Value::Str(text),
            Some(any_value::Value::IntValue(number)) => Value::Int(*number),
            Some(any_value::Value::DoubleValue(number)) => Value::Double(*number),
            other => panic!("{key}: {other:?}"),
        };
        attributes.set(key, value);
    }
    attributes
}

/// The same span as a message of `opentelemetry-proto`, of the same borrowed values.
fn message(span: &Span) -> Span {
    let text = |text: &str| any_value::Value::StringValue(text.to_owned());
    let attributes = span.attributes.iter().map(|attribute| {
        let value = match attribute.value.as_ref().and_then(|v| v.value.as_ref()) {
            Some(any_value::Value::StringValue(value)) => text(value),
            other => other.unwrap().clone(),
        };
        KeyValue {
            key: attribute.key.as_str().to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        }
    });
    Span {
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        name: span.name.clone(),
        kind: span.kind,
        start_time_unix_nano: span.start_time_unix_nano,
        end_time_unix_nano: span.end_time_unix_nano,
        attributes: attributes.collect(),
        flags: span.flags,
        ..Span::default()
    }
}

/// Attributes and encoding, by hand and by `prost`, each into the buffer of a batch.
fn encodings(criterion: &mut Criterion) {
    let mut source = source(1, &[]);
    let ended = ended(&mut source, &request());
    let span = model(&ended);
    let len = span.encoded_len();
    println!(
        "the span: {} attributes, {len} bytes",
        span.attributes.len()
    );
    assert_eq!(message(&span), span);
    let mut group = criterion.benchmark_group("attributes and encode");
    let mut delivery = Delivery::new(config(1, &[]).delivery(), &Nowhere);
    let mut stats = Stats::default();
    let mut count = 0;
    let mut by_hand = || {
        black_box(attributes(black_box(&span)));
        delivery.queue().add(black_box(&ended), &mut stats, 2);
        count += 1;
        if count % 512 == 0 {
            export(&mut delivery);
        }
    };
    group.bench_function("by hand", |bencher| bencher.iter(&mut by_hand));
    let mut batch = Vec::with_capacity(512 * (len + 3));
    let mut by_prost = || {
        if batch.len() + len + 3 > batch.capacity() {
            batch.clear();
        }
        let message = message(black_box(&span));
        message.encode_length_delimited(&mut batch).unwrap();
        black_box(&batch);
    };
    group.bench_function("prost", |bencher| bencher.iter(&mut by_prost));
    group.finish();
    for (name, of) in [("by hand", measure(by_hand)), ("prost", measure(by_prost))] {
        println!(
            "attributes and encode, {name:<8} {:>4} allocations {:>8} bytes",
            of.count_total, of.bytes_total
        );
    }
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

fn rules(criterion: &mut Criterion) {
    let kinds = ["exact", "prefix", "suffix", "contains", "safe_regex"];
    let mut group = criterion.benchmark_group("rules");
    let mut bench = |name: String, rules: &[serde_json::Value]| {
        let mut source = source(0, rules);
        let request = request();
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(start(&mut source, &request).decision.verdict));
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

criterion_group!(benches, steps, encodings, rules);
criterion_main!(benches);
