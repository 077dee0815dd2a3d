use std::fmt::Write;
use std::time::Duration;

use crate::otlp::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use crate::otlp::trace::v1::{ResourceSpans, Span, span::SpanKind, status::StatusCode};

/// A span with the resource and the scope that it was exported in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedSpan {
    /// The attributes of the resource.
    pub resource: Vec<KeyValue>,
    /// The instrumentation scope; empty when the exporter sent none.
    pub scope: InstrumentationScope,
    /// The span as sent.
    pub span: Span,
}

impl ReceivedSpan {
    /// The resource's `service.name`, "" when there is none.
    pub fn service_name(&self) -> &str {
        match self.resource_attr("service.name") {
            Some(Value::StringValue(name)) => name,
            _ => "",
        }
    }

    /// The span's name.
    pub fn name(&self) -> &str {
        &self.span.name
    }

    /// The span's kind; `Unspecified` for a number the protocol does not know.
    pub fn kind(&self) -> SpanKind {
        self.span.kind()
    }

    /// The trace's id in lower-case hexadecimal.
    pub fn trace_id_hex(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// The span's id in lower-case hexadecimal.
    pub fn span_id_hex(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The parent's id in lower-case hexadecimal, "" when there is no parent.
    pub fn parent_span_id_hex(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// The value of the first attribute of this key.
    pub fn attr(&self, key: &str) -> Option<&Value> {
        find(&self.span.attributes, key)
    }

    /// The value of a string attribute; `None` when it is absent or of another type.
    pub fn str_attr(&self, key: &str) -> Option<&str> {
        match self.attr(key) {
            Some(Value::StringValue(value)) => Some(value),
            _ => None,
        }
    }

    /// The value of an integer attribute; `None` when it is absent or of another type.
    pub fn int_attr(&self, key: &str) -> Option<i64> {
        match self.attr(key) {
            Some(Value::IntValue(value)) => Some(*value),
            _ => None,
        }
    }

    /// The value of a boolean attribute; `None` when it is absent or of another type.
    pub fn bool_attr(&self, key: &str) -> Option<bool> {
        match self.attr(key) {
            Some(Value::BoolValue(value)) => Some(*value),
            _ => None,
        }
    }

    /// The time from start to end; zero when the end is before the start.
    pub fn duration(&self) -> Duration {
        let (start, end) = (self.span.start_time_unix_nano, self.span.end_time_unix_nano);
        Duration::from_nanos(end.saturating_sub(start))
    }

    /// The code of the span's status; `Unset` when there is no status.
    pub fn status_code(&self) -> StatusCode {
        self.span
            .status
            .as_ref()
            .map_or(StatusCode::Unset, |status| status.code())
    }

    /// The value of the first resource attribute of this key.
    pub fn resource_attr(&self, key: &str) -> Option<&Value> {
        find(&self.resource, key)
    }
}

/// Gives each span its resource and scope.
pub(crate) fn flatten(all: &[ResourceSpans]) -> Vec<ReceivedSpan> {
    let mut out = Vec::new();
    for resource_spans in all {
        let resource = resource_spans
            .resource
            .clone()
            .unwrap_or_default()
            .attributes;
        for scope_spans in &resource_spans.scope_spans {
            let scope = scope_spans.scope.clone().unwrap_or_default();
            out.extend(scope_spans.spans.iter().map(|span| ReceivedSpan {
                resource: resource.clone(),
                scope: scope.clone(),
                span: span.clone(),
            }));
        }
    }
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    let pair = attributes.iter().find(|pair| pair.key == key)?;
    match &pair.value {
        Some(AnyValue { value }) => value.as_ref(),
        None => None,
    }
}
