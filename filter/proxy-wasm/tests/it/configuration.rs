//! Documents that the host configures a root with.

use crate::fake_host::{self, ERROR, INFO, REQUEST_HEADERS};
use crate::module::{self, ROOT, configure, create, describe_inbound, document, set_request};
use crate::spans;
use sidespan_core::stats::{
    CONFIG_REJECTED, CONFIG_STALE, EXPORT_TIME, Level, Stat, VERSION_NUMBER,
};

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const HISTOGRAM: u32 = 2;

/// The context that a request goes on with, if it has one.
fn context_written(context_id: u32, root_id: u32) -> Option<String> {
    set_request(&[]);
    module::stream(context_id, root_id);
    fake_host::header(REQUEST_HEADERS, "traceparent").pop()
}

#[test]
fn accepted_document_is_in_force_and_logged_once() {
    describe_inbound();
    for root_id in [1, 2] {
        create(root_id, 0);
        assert!(configure(root_id, document("").as_bytes()));
    }
    let logs = fake_host::take_logs();
    let [(INFO, line)] = &logs[..] else {
        panic!("{logs:?}");
    };
    assert!(line.starts_with("sidespan: version "), "{line}");
    assert!(line.contains("plugin \"shop.sidespan\""), "{line}");
    assert!(context_written(10, 2).is_some());
}

#[test]
fn metrics_are_defined_at_zero() {
    module::configured("");
    let counters = Stat::ALL.iter().map(|stat| (stat.name(), COUNTER));
    let gauges = Level::ALL.iter().map(|level| (level.name(), GAUGE));
    let others = [
        (EXPORT_TIME, HISTOGRAM),
        (CONFIG_REJECTED, COUNTER),
        (CONFIG_STALE, GAUGE),
        (VERSION_NUMBER, GAUGE),
    ];
    let expected: Vec<_> = counters.chain(gauges).chain(others).collect();
    fake_host::with(|host| {
        let metrics = host.metrics.iter();
        let kinds: Vec<_> = metrics.map(|metric| (&*metric.name, metric.kind)).collect();
        assert_eq!(kinds, expected);
        for metric in &host.metrics {
            assert_eq!(
                metric.value != 0,
                metric.name == VERSION_NUMBER,
                "{}",
                metric.name
            );
        }
    });
}

#[test]
fn rejected_document_leaves_requests_untraced() {
    describe_inbound();
    let invalid = document(r#", "sampler": 1"#);
    for root_id in [1, 2] {
        create(root_id, 0);
        assert!(configure(root_id, invalid.as_bytes()), "the module stays");
    }
    let logs = fake_host::take_logs();
    let [(ERROR, line)] = &logs[..] else {
        panic!("{logs:?}");
    };
    let expected = "sidespan: configuration rejected, requests go through untraced, ";
    assert!(line.starts_with(expected), "{line}");
    assert_eq!(fake_host::metric(CONFIG_REJECTED), Some(1));
    fake_host::take_calls();
    assert_eq!(context_written(10, 1), None);
    module::tick(1);
    assert_eq!(fake_host::with(|host| host.http_calls.len()), 0);
}

/// Whether a request is traced though its root's document was rejected, after one
/// for another collector was accepted.
fn is_traced_by_the_last_good_document(root_id: &str) -> bool {
    fake_host::set_property("plugin_root_id", root_id.as_bytes());
    module::configured("");
    create(2, 0);
    let other = document(r#", "sampler": 1"#).replace("collector", "tenant-b");
    assert!(configure(2, other.as_bytes()));
    context_written(10, 2).is_some()
}

#[test]
fn rejected_document_of_a_plugin_with_root_id_keeps_the_last_good_one() {
    assert!(is_traced_by_the_last_good_document("shop"));
}

/// The last good one may be another tenant's.
#[test]
fn rejected_document_of_a_plugin_without_identity_keeps_none() {
    assert!(!is_traced_by_the_last_good_document(""));
}

/// Istio names a WasmPlugin by its namespace and its own name.
#[test]
fn rejected_document_of_a_plugin_of_istio_keeps_the_last_good_one() {
    fake_host::set_property("xds.node.metadata.ISTIO_VERSION", b"1.28.0");
    assert!(is_traced_by_the_last_good_document(""));
}

#[test]
fn rejected_document_is_refused_where_strict() {
    fake_host::set_environment(&[("PATH", "/"), ("SIDESPAN_STRICT", "1")]);
    create(ROOT, 0);
    assert!(!configure(ROOT, b"{}"));
    let logs = fake_host::take_logs();
    assert!(
        logs[0].1.contains("refused, SIDESPAN_STRICT is 1"),
        "{logs:?}"
    );
    assert!(
        configure(ROOT, document("").as_bytes()),
        "a valid one is taken"
    );
}

#[test]
fn empty_document_is_rejected() {
    create(ROOT, 0);
    assert!(configure(ROOT, b""));
    assert_eq!(fake_host::metric(CONFIG_REJECTED), Some(1));
}

/// A field of protobuf that has a length, under 128.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let size = u8::try_from(content.len()).unwrap();
    assert!(size < 128);
    [&[number << 3 | 2, size], content].concat()
}

/// An entry of `google.protobuf.Struct.fields`.
fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, key.as_bytes()), field(2, value)].concat())
}

#[test]
fn document_is_read_from_an_encoded_struct() {
    describe_inbound();
    let text = |text: &str| field(3, text.as_bytes());
    let object = |entries: &[u8]| field(5, entries);
    let exporter = object(&entry(
        "otlp_grpc",
        &object(&entry("cluster", &text("collector"))),
    ));
    // A double, field 2.
    let zero = [&[2 << 3 | 1], &0f64.to_le_bytes()[..]].concat();
    let document = [
        entry("exporter", &exporter),
        entry("sampler", &object(&entry("ratio", &zero))),
    ];
    create(ROOT, 0);
    assert!(configure(ROOT, &document.concat()));
    let context = context_written(10, ROOT).expect("a context");
    assert!(context.ends_with("-02"), "{context}");
}

#[test]
fn service_of_the_document_is_in_the_resource() {
    module::configured(r#", "resource_attributes": {"tier": "web"}"#);
    fake_host::advance(2 * fake_host::SECOND);
    context_written(10, ROOT);
    fake_host::advance(2 * fake_host::SECOND);
    module::tick(ROOT);
    let calls = fake_host::take_http_calls();
    let resource = spans::message(&calls[0]).resource_spans.remove(0).resource;
    let attributes = resource.expect("a resource").attributes;
    let attribute = |key| spans::attribute(&attributes, key);
    assert_eq!(attribute("service.name").as_deref(), Some("shop"));
    assert_eq!(attribute("tier").as_deref(), Some("web"));
}
