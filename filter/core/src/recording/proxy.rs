//! What only a proxy knows, in a namespace of our own.

use crate::host::response_info::{End, ResponseInfo};
use crate::recording::response_view::Outcome;
use crate::span::attributes::{Attributes, Value};
use crate::span::semconv;
use crate::span::span::{Span, SpanKind};
use std::time::Duration;

/// Records it: what is of the call upstream on the span of that call, if it
/// has one of its own.
pub(super) fn record(
    outcome: &Outcome<'_, impl ResponseInfo>,
    knows_workloads: bool,
    span: &mut Span,
    upstream: Option<&mut Span>,
) {
    record_stream(outcome, &mut span.attributes);
    if knows_workloads && span.kind == SpanKind::Server {
        record_workload(End::Downstream, &SOURCE, outcome, &mut span.attributes);
    }
    let call = upstream.unwrap_or(span);
    record_call(outcome, call);
    if knows_workloads && call.kind == SpanKind::Client {
        record_workload(End::Upstream, &DESTINATION, outcome, &mut call.attributes);
    }
}

fn record_stream(outcome: &Outcome<'_, impl ResponseInfo>, attributes: &mut Attributes) {
    if !outcome.flags.is_empty() {
        let flags = outcome.flags.to_string();
        attributes.set_str(semconv::SIDESPAN_RESPONSE_FLAGS, &flags);
    }
    if let Some(details) = outcome.details() {
        attributes.set_str(semconv::SIDESPAN_RESPONSE_CODE_DETAILS, details);
    }
    if let Some(peer) = outcome.response.tls_peer(End::Downstream) {
        attributes.set_str(semconv::SIDESPAN_DOWNSTREAM_TLS_PEER, &peer);
    }
}

fn record_call(outcome: &Outcome<'_, impl ResponseInfo>, call: &mut Span) {
    let (kind, attributes) = (call.kind, &mut call.attributes);
    let response = outcome.response;
    if let Some(cluster) = outcome.cluster() {
        attributes.set_str(semconv::SIDESPAN_UPSTREAM_CLUSTER, cluster);
    }
    if outcome.attempts == 0 {
        return;
    }
    // A client's `network.peer.*` says it already.
    if kind == SpanKind::Server
        && let Some(address) = outcome.upstream_address()
    {
        attributes.set_str(semconv::SIDESPAN_UPSTREAM_ADDRESS, address);
    }
    if outcome.attempts > 1 {
        let attempts = i64::try_from(outcome.attempts).unwrap_or(i64::MAX);
        attributes.set_int(semconv::SIDESPAN_UPSTREAM_ATTEMPTS, attempts);
    }
    let millis = |duration: Duration| Value::Double(duration.as_nanos() as f64 / 1e6);
    if let Some(wait) = response.connection_wait() {
        attributes.set(semconv::SIDESPAN_UPSTREAM_CONNECTION_WAIT_MS, millis(wait));
    }
    if let Some(latency) = response.upstream_latency() {
        attributes.set(semconv::SIDESPAN_UPSTREAM_LATENCY_MS, millis(latency));
    }
    let may_have_failed = outcome.attempts > 1 || !outcome.flags.is_empty();
    if may_have_failed && let Some(reason) = response.transport_failure().filter(|r| !r.is_empty())
    {
        attributes.set_str(semconv::SIDESPAN_UPSTREAM_TRANSPORT_FAILURE, &reason);
    }
    if let Some(peer) = response.tls_peer(End::Upstream) {
        attributes.set_str(semconv::SIDESPAN_UPSTREAM_TLS_PEER, &peer);
    }
}

/// Fields of a workload, and the attributes that hold them.
type Fields = [(&'static str, &'static str); 3];

const SOURCE: Fields = [
    ("workload", "sidespan.source.workload"),
    ("namespace", "sidespan.source.namespace"),
    ("service", "sidespan.source.service"),
];

const DESTINATION: Fields = [
    ("workload", "sidespan.destination.workload"),
    ("namespace", "sidespan.destination.namespace"),
    ("service", "sidespan.destination.service"),
];

fn record_workload(
    end: End,
    fields: &Fields,
    outcome: &Outcome<'_, impl ResponseInfo>,
    attributes: &mut Attributes,
) {
    for (field, key) in fields {
        // Who is unknown is so in every field.
        let Some(value) = outcome.response.workload(end, field) else {
            return;
        };
        if !value.is_empty() {
            attributes.set_str(key, &value);
        }
    }
}
