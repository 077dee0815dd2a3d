//! Spans as the collector reads them.

use crate::fake_host::{self, HttpCall, SECOND};
use crate::module;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

pub(crate) const SERVER: i32 = 2;
pub(crate) const CLIENT: i32 = 3;

/// The message of a gRPC call.
pub(crate) fn message(call: &HttpCall) -> ExportTraceServiceRequest {
    let (prefix, message) = call.body.split_at(5);
    let size = u32::try_from(message.len()).unwrap();
    assert_eq!(prefix, [&[0][..], &size.to_be_bytes()].concat());
    ExportTraceServiceRequest::decode(message).unwrap()
}

pub(crate) fn spans(call: &HttpCall) -> Vec<Span> {
    let resources = message(call).resource_spans.into_iter();
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Has a root export all that waits.
pub(crate) fn flush(root_id: u32) -> Vec<Span> {
    fake_host::advance(2 * SECOND);
    module::tick(root_id);
    let calls = fake_host::take_http_calls();
    calls.iter().flat_map(spans).collect()
}

/// The only span that a root exports.
pub(crate) fn flush_one(root_id: u32) -> Span {
    let mut spans = flush(root_id);
    let span = spans.pop().expect("a span");
    assert_eq!(spans, []);
    span
}

/// An attribute as text.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let mut attributes = attributes.iter();
    let attribute = attributes.find(|attribute| attribute.key == key)?;
    Some(text(attribute.value.as_ref()?))
}

fn text(value: &AnyValue) -> String {
    match value.value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        Value::ArrayValue(list) => list.values.iter().map(text).collect::<Vec<_>>().join(","),
        value => panic!("{value:?}"),
    }
}

/// Compares some of a span's attributes.
pub(crate) fn assert_attributes(span: &Span, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        let actual = attribute(&span.attributes, key);
        assert_eq!(actual.as_deref(), Some(*value), "{key} of {span:#?}");
    }
}

pub(crate) fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
