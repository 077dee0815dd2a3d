//! What the tests share: a host made of plain values, the tables, and OTLP
//! read back by somebody else's types.

pub(crate) mod exports;
pub(crate) mod headers;
pub(crate) mod spans;
pub(crate) mod twin;

pub(crate) use headers::{CONTEXT_HEADERS, Headers, Seen, hex, random_flag, read_upstream, split};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;
use sidespan_core::config::Config;
use sidespan_core::context::id::{SpanId, TraceId};
use sidespan_core::export::callout::Callout;
use sidespan_core::host::environment::Environment;
use sidespan_core::host::request_info::{Direction, RequestInfo};
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::{End, MetadataKind, ResponseInfo};
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::propagation::format::Format;
use sidespan_core::propagation::settings::UnsampledContext;
use sidespan_core::recording::stream::StreamTracer;
use sidespan_core::stats::Stat;
use sidespan_core::tracer::Tracer;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What a host knows of a request beside its headers: of the route at once, of
/// the rest when the stream ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    pub(crate) protocol: Option<&'static str>,
    pub(crate) source_address: Option<&'static str>,
    /// The `filter_metadata` of the route.
    pub(crate) route: Value,
}

impl RequestInfo for Info {
    fn listener_direction(&self) -> Direction {
        Direction::Unspecified
    }

    fn now(&self) -> u64 {
        0
    }

    fn route_bool(&self, namespace: &str, key: &str) -> Option<bool> {
        self.route[namespace][key].as_bool()
    }

    fn route_text(&self, namespace: &str, key: &str) -> Option<String> {
        self.route[namespace][key].as_str().map(str::to_owned)
    }

    fn route_number(&self, namespace: &str, key: &str) -> Option<f64> {
        self.route[namespace][key].as_f64()
    }
}

impl Info {
    /// The same on a listener of this direction, at this time.
    pub(crate) fn at(&self, direction: Direction, now: u64) -> InfoAt<'_, Self> {
        LISTENER.set(direction);
        InfoAt {
            info: self,
            direction,
            now,
        }
    }
}

thread_local! {
    /// The direction of the test's listener.
    static LISTENER: Cell<Direction> = const { Cell::new(Direction::Unspecified) };
}

/// What a host knows of a request, of its listener and of the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InfoAt<'a, I> {
    pub(crate) info: &'a I,
    pub(crate) direction: Direction,
    pub(crate) now: u64,
}

impl<I: RequestInfo> RequestInfo for InfoAt<'_, I> {
    fn listener_direction(&self) -> Direction {
        self.direction
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn route_bool(&self, namespace: &str, key: &str) -> Option<bool> {
        self.info.route_bool(namespace, key)
    }

    fn route_text(&self, namespace: &str, key: &str) -> Option<String> {
        self.info.route_text(namespace, key)
    }

    fn route_number(&self, namespace: &str, key: &str) -> Option<f64> {
        self.info.route_number(namespace, key)
    }
}

/// What a host knows of a stream that has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Response {
    /// By default that of the listener which the last request came to.
    pub(crate) direction: Option<Direction>,
    pub(crate) protocol: Option<&'static str>,
    pub(crate) source_address: Option<&'static str>,
    pub(crate) headers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) trailers: Vec<(&'static str, Vec<u8>)>,
    pub(crate) flags: u64,
    pub(crate) details: Option<&'static str>,
    pub(crate) request_size: Option<u64>,
    pub(crate) response_size: Option<u64>,
    pub(crate) attempts: u64,
    pub(crate) route: Option<&'static str>,
    pub(crate) cluster: Option<&'static str>,
    pub(crate) upstream: Option<&'static str>,
    /// `:path` and `:authority` of the request that was sent upstream.
    pub(crate) sent: Option<[&'static str; 2]>,
    pub(crate) connection_wait: Option<Duration>,
    pub(crate) upstream_latency: Option<Duration>,
    pub(crate) transport_failure: Option<&'static str>,
    /// Downstream, upstream.
    pub(crate) tls_peers: [Option<&'static str>; 2],
    /// Downstream, upstream: fields of a workload.
    pub(crate) workloads: [BTreeMap<&'static str, &'static str>; 2],
    /// `request`, `route`, `cluster`, `host`: their `filter_metadata`.
    pub(crate) metadata: Value,
    /// By their path, its parts joined by a dot.
    pub(crate) properties: BTreeMap<&'static str, Vec<u8>>,
}

impl Response {
    /// A response that came whole.
    pub(crate) fn status(status: impl std::fmt::Display) -> Self {
        Self {
            headers: vec![(":status", status.to_string().into_bytes())],
            ..Self::default()
        }
    }

    /// To a request of which the host knows this.
    pub(crate) fn to(&self, info: &Info) -> Self {
        Self {
            protocol: info.protocol,
            source_address: info.source_address,
            ..self.clone()
        }
    }
}

fn end_index(end: End) -> usize {
    match end {
        End::Downstream => 0,
        End::Upstream => 1,
    }
}

fn line<'a>(lines: &'a [(&'static str, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let found = lines.iter().find(|(n, _)| *n == name);
    found.map(|(_, value)| value.as_slice())
}

impl ResponseInfo for Response {
    fn listener_direction(&self) -> Direction {
        self.direction.unwrap_or_else(|| LISTENER.get())
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        self.protocol.map(Cow::Borrowed)
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        self.source_address.map(Cow::Borrowed)
    }

    fn response_header(&self, name: &str) -> Option<&[u8]> {
        line(&self.headers, name)
    }

    fn response_trailer(&self, name: &str) -> Option<&[u8]> {
        line(&self.trailers, name)
    }

    fn response_flags(&self) -> ResponseFlags {
        ResponseFlags(self.flags)
    }

    fn response_code_details(&self) -> Option<Cow<'_, str>> {
        self.details.map(Cow::Borrowed)
    }

    fn request_size(&self) -> Option<u64> {
        self.request_size
    }

    fn response_size(&self) -> Option<u64> {
        self.response_size
    }

    fn attempt_count(&self) -> u64 {
        self.attempts
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        self.route.map(Cow::Borrowed)
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        self.cluster.map(Cow::Borrowed)
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        self.upstream.map(Cow::Borrowed)
    }

    fn sent_path(&self) -> Option<Cow<'_, [u8]>> {
        self.sent.map(|[path, _]| Cow::Borrowed(path.as_bytes()))
    }

    fn sent_authority(&self) -> Option<Cow<'_, [u8]>> {
        self.sent
            .map(|[_, authority]| Cow::Borrowed(authority.as_bytes()))
    }

    fn connection_wait(&self) -> Option<Duration> {
        self.connection_wait
    }

    fn upstream_latency(&self) -> Option<Duration> {
        self.upstream_latency
    }

    fn transport_failure(&self) -> Option<Cow<'_, str>> {
        self.transport_failure.map(Cow::Borrowed)
    }

    fn tls_peer(&self, end: End) -> Option<Cow<'_, str>> {
        self.tls_peers[end_index(end)].map(Cow::Borrowed)
    }

    fn workload(&self, end: End, field: &str) -> Option<Cow<'_, str>> {
        let workload = &self.workloads[end_index(end)];
        workload.get(field).map(|&value| Cow::Borrowed(value))
    }

    fn metadata(&self, kind: MetadataKind, namespace: &str, path: &[String]) -> Option<Value> {
        let kind = match kind {
            MetadataKind::Request => "request",
            MetadataKind::Route => "route",
            MetadataKind::Cluster => "cluster",
            MetadataKind::Host => "host",
        };
        let object = self.metadata.get(kind)?.get(namespace)?;
        let found = path.iter().try_fold(object, |value, key| value.get(key));
        found.cloned()
    }

    fn property(&self, path: &[String]) -> Option<Vec<u8>> {
        self.properties.get(path.join(".").as_str()).cloned()
    }
}

/// What a host knows of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) variables: BTreeMap<&'static str, &'static str>,
    /// Envoy's node as JSON.
    pub(crate) node: Value,
}

impl Environment for Host {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|&value| value.to_owned())
    }

    fn node(&self, path: &[&str]) -> Option<String> {
        let found = path
            .iter()
            .try_fold(&self.node, |value, key| value.get(key))?;
        found.as_str().map(str::to_owned)
    }
}

/// Writes nowhere, so that what a host allocates does not count.
pub(crate) struct Nowhere;

impl sidespan_core::headers::header_map::Injector for Nowhere {
    fn set(&mut self, _: &'static str, _: &str) {}
    fn remove(&mut self, _: &'static str) {}
}

/// A configuration with these keys beside the one that is required.
pub(crate) fn config(batch: Value, propagation: Value) -> Config {
    let document = serde_json::json!({
        "exporter": {"otlp_grpc": {"cluster": "collector"}, "batch": batch},
        "propagation": propagation,
    });
    sidespan_config::parse(document.to_string().as_bytes()).expect("a valid document")
}

/// A configuration with every default.
pub(crate) fn default_config() -> Config {
    config(serde_json::json!({}), serde_json::json!({}))
}

/// A tracer whose ids are the same in every run.
pub(crate) fn tracer(config: &Config) -> Tracer {
    Tracer::new(config.clone(), &Host::default(), [7; 32])
}

/// A tracer that sends each span on its own.
pub(crate) fn tracer_of_single_spans() -> Tracer {
    tracer(&config(
        serde_json::json!({"max_export_batch_size": 1, "max_concurrent_exports": 1000}),
        serde_json::json!({}),
    ))
}

/// A request with `lines` goes through; gives the stream, if it is recorded,
/// and the headers that go upstream.
pub(crate) fn request(
    tracer: &mut Tracer,
    lines: &Headers,
    info: &Info,
    direction: Direction,
    now: u64,
) -> (Option<StreamTracer>, Headers) {
    let mut upstream = lines.clone();
    let started = tracer.on_request(lines, &info.at(direction, now), &mut upstream);
    (started.stream, upstream)
}

/// All that waits goes, as long after the last span as it takes.
pub(crate) fn flush(tracer: &mut Tracer) -> Option<Callout> {
    tracer.on_tick(u64::MAX);
    tracer.next_callout(u64::MAX)
}

/// The message of an export, without what carries it.
pub(crate) fn message(callout: &Callout) -> &[u8] {
    let (prefix, message) = callout.body.split_at(5);
    assert_eq!(prefix[0], 0, "it is not compressed");
    let len = u32::from_be_bytes(prefix[1..].try_into().expect("four bytes"));
    assert_eq!(len as usize, message.len(), "gRPC's length");
    message
}

/// The request of an export, read with OTLP's own types.
pub(crate) fn decode(callout: &Callout) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(message(callout)).expect("an OTLP message")
}

/// All spans of an export.
pub(crate) fn spans(callout: &Callout) -> Vec<Span> {
    let resource_spans = decode(callout).resource_spans;
    let scopes = resource_spans.into_iter().flat_map(|r| r.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// The only span of the only export that is ready.
pub(crate) fn only_span(tracer: &mut Tracer) -> Span {
    let callout = flush(tracer).expect("an export is ready");
    assert!(flush(tracer).is_none(), "a second export is ready too");
    let mut spans = spans(&callout);
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

/// Attributes as `key → text` or `key → number`; a repeated key is an error.
pub(crate) fn attributes(list: &[KeyValue]) -> BTreeMap<String, Value> {
    let mut map = BTreeMap::new();
    for pair in list {
        let value = match pair.value.as_ref().and_then(|any| any.value.as_ref()) {
            Some(AnyValue::StringValue(s)) => Value::from(s.as_str()),
            Some(AnyValue::IntValue(i)) => Value::from(*i),
            Some(AnyValue::BoolValue(b)) => Value::from(*b),
            Some(AnyValue::DoubleValue(d)) => Value::from(*d),
            other => panic!("{}: {other:?} is no value that a span has", pair.key),
        };
        let earlier = map.insert(pair.key.clone(), value);
        assert_eq!(earlier, None, "{} is there twice", pair.key);
    }
    map
}

/// One counter out of what was counted.
pub(crate) fn count(counted: &[(Stat, u64)], stat: Stat) -> u64 {
    counted
        .iter()
        .filter(|(s, _)| *s == stat)
        .map(|(_, n)| n)
        .sum()
}

/// What was counted since the last time.
pub(crate) fn take_stats(tracer: &mut Tracer) -> Vec<(Stat, u64)> {
    tracer.stats().take().collect()
}

// ---------------------------------------------------------------- the tables

/// Checks that every row holds, and reports all that do not.
pub(crate) fn check_table(rows: &[Value], check: impl Fn(&Value)) {
    let mut failed = Vec::new();
    for row in rows {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(row))) else {
            continue;
        };
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()))
            .unwrap_or_default();
        failed.push(format!(
            "{}\n  because: {}\n  {message}",
            row["name"], row["why"]
        ));
    }
    assert!(
        failed.is_empty(),
        "{} of {} rows fail\n\n{}",
        failed.len(),
        rows.len(),
        failed.join("\n\n")
    );
}

/// One row about headers.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) propagator: Propagator,
    pub(crate) headers: Headers,
    pub(crate) expect: Value,
}

/// Reads a table of rows about headers.
pub(crate) fn table(text: &str) -> Vec<Row> {
    let rows: Vec<Value> = serde_json::from_str(text).expect("a table is a JSON list");
    assert!(!rows.is_empty());
    rows.iter().map(Row::read).collect()
}

impl Row {
    fn read(row: &Value) -> Self {
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let lines = row["headers"].as_array().expect("headers are a list");
        let lines = lines.iter().map(|line| {
            let name = line[0].as_str().expect("a name is text");
            (name.to_owned(), bytes(&line[1]))
        });
        Self {
            name: text("name").expect("a row has a name"),
            why: text("why").expect("a row has a reason"),
            propagator: propagator(&row["config"]),
            headers: Headers::from_wire(lines),
            expect: row["expect"].clone(),
        }
    }
}

/// A value of a table: text, or `{"hex": …}` where it is none.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => unhex(other["hex"].as_str().expect("text or hex")),
    }
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2));
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal"))
        .collect()
}

fn propagator(config: &Value) -> Propagator {
    let default = Propagator::default();
    let formats = |key: &str, default| match config[key].as_array() {
        None => default,
        Some(names) => names
            .iter()
            .map(|name| format(name.as_str().expect("a format's name")))
            .collect(),
    };
    Propagator {
        extract: formats("extract", default.extract),
        inject: formats("inject", default.inject),
        unsampled: match config["unsampled"].as_str() {
            None | Some("unchanged") => UnsampledContext::Unchanged,
            Some("rewrite") => UnsampledContext::Rewrite,
            Some(other) => panic!("{other}"),
        },
    }
}

pub(crate) fn format(name: &str) -> Format {
    let found = Format::ALL.into_iter().find(|f| f.name() == name);
    found.unwrap_or_else(|| panic!("{name} is no format"))
}

/// The id with these digits.
pub(crate) fn trace_id(hex: &str) -> TraceId {
    TraceId::from_hex(hex.as_bytes()).expect("a trace id")
}

/// The id with these digits.
pub(crate) fn span_id(hex: &str) -> SpanId {
    SpanId::from_hex(hex.as_bytes()).expect("a span id")
}
