//! A proxy with a configuration and a host, and the spans that it exports, as
//! tests look at them.

use super::exports::Reply;
use super::{
    Headers, Host, Info, InfoAt, Response, attributes, count, decode, flush, hex, message, request,
    spans, take_stats,
};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Map, Value, json};
use sidespan_core::config::Config;
use sidespan_core::export::callout::Callout;
use sidespan_core::headers::header_map::Extractor;
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::environment::Environment;
use sidespan_core::host::request_info::{Direction, RequestInfo};
use sidespan_core::host::response_info::ResponseInfo;
use sidespan_core::stats::Stat;
use sidespan_core::tracer::Tracer;

/// When every request of these tests comes.
pub(crate) const START: u64 = 1_790_000_000_000_000_000;
/// When it has ended.
pub(crate) const END: u64 = START + 250_000_000;

/// A configuration with these keys beside the one that is required.
pub(crate) fn configured(keys: &Value) -> Config {
    let mut document = keys.clone();
    document["exporter"]["otlp_grpc"] = json!({"cluster": "collector"});
    sidespan_config::parse(document.to_string().as_bytes())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

/// A sidecar or gateway of Istio, as its node says.
pub(crate) fn istio() -> Host {
    Host {
        node: json!({
            "id": "sidecar~10.1.2.3~cart-5d4.shop~shop.svc.cluster.local",
            "cluster": "cart.shop",
            "locality": {"region": "eu-central-1", "zone": "eu-central-1b"},
            "metadata": {
                "ISTIO_VERSION": "1.27.0",
                "NAMESPACE": "shop",
                "NAME": "cart-5d4",
                "WORKLOAD_NAME": "cart",
                "MESH_ID": "cluster.local",
                "CLUSTER_ID": "east",
                "LABELS": {
                    "service.istio.io/canonical-name": "cart",
                    "service.istio.io/canonical-revision": "v2",
                },
            },
        }),
        ..Host::default()
    }
}

/// A span as tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    /// Empty for a root.
    pub(crate) parent_id: String,
    pub(crate) trace_state: String,
    pub(crate) flags: u32,
    pub(crate) kind: SpanKind,
    pub(crate) name: String,
    pub(crate) times: (u64, u64),
    pub(crate) is_error: bool,
    pub(crate) links: usize,
    /// `dropped_attributes_count`.
    pub(crate) dropped: u32,
    pub(crate) attributes: Map<String, Value>,
}

impl Seen {
    pub(crate) fn read(span: opentelemetry_proto::tonic::trace::v1::Span) -> Self {
        let code = span.status.clone().unwrap_or_default().code();
        Self {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            trace_state: span.trace_state.clone(),
            flags: span.flags,
            kind: span.kind(),
            times: (span.start_time_unix_nano, span.end_time_unix_nano),
            is_error: code == StatusCode::Error,
            links: span.links.len(),
            dropped: span.dropped_attributes_count,
            attributes: attributes(&span.attributes).into_iter().collect(),
            name: span.name,
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.get(key)
    }

    pub(crate) fn str(&self, key: &str) -> &str {
        let value = self.get(key).unwrap_or_else(|| panic!("{key} is missing"));
        value.as_str().unwrap_or_else(|| panic!("{key} is no text"))
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.attributes.keys().map(String::as_str).collect()
    }

    /// Asserts that these are all attributes that there are.
    #[track_caller]
    pub(crate) fn is(&self, wanted: &Value, what: &str) {
        let wanted = wanted.as_object().expect("attributes are an object");
        let mut differences = Vec::new();
        for (key, value) in wanted {
            match self.get(key) {
                Some(found) if found == value => {}
                found => differences.push(format!("{key} is {found:?}, not {value}")),
            }
        }
        for (key, value) in &self.attributes {
            if !wanted.contains_key(key) {
                differences.push(format!("{key} is there: {value}"));
            }
        }
        assert!(differences.is_empty(), "{what}: {differences:#?}");
    }

    /// Asserts that each of these is there so, or not there if it is null.
    #[track_caller]
    pub(crate) fn has(&self, wanted: &Value, what: &str) {
        for (key, value) in wanted.as_object().expect("attributes are an object") {
            let found = self.get(key).unwrap_or(&Value::Null);
            assert_eq!(found, value, "{what}: {key}");
        }
    }
}

/// A proxy.
pub(crate) struct Proxy {
    pub(crate) tracer: Tracer,
    /// The same, of a host that gives all headers in one buffer.
    of_pairs: Tracer,
}

/// What came of one request.
#[derive(Debug)]
pub(crate) struct Sent {
    /// The proxy's own span, if one was exported.
    pub(crate) own: Option<Seen>,
    /// The span of the call upstream, if there is one.
    pub(crate) call: Option<Seen>,
    /// The headers that went upstream.
    pub(crate) headers: Headers,
    /// The export.
    pub(crate) bytes: Vec<u8>,
    /// Spans that were kept though not sampled.
    pub(crate) kept: u64,
}

impl Proxy {
    /// One with these keys of a document, on a host that knows nothing.
    pub(crate) fn new(keys: Value) -> Self {
        Self::on(&Host::default(), keys)
    }

    /// One on a host.
    pub(crate) fn on(host: &impl Environment, keys: Value) -> Self {
        let tracer = || Tracer::new(configured(&keys), host, [7; 32]);
        Self {
            tracer: tracer(),
            of_pairs: tracer(),
        }
    }

    /// A request goes through, and its response comes back.
    pub(crate) fn send(
        &mut self,
        direction: Direction,
        lines: &Headers,
        info: &Info,
        response: &Response,
    ) -> Sent {
        let response = Response {
            direction: Some(direction),
            ..response.to(info)
        };
        self.send_by(direction, lines, info, &response)
    }

    /// As [`send`](Self::send), by any host, whose response has the same
    /// direction.
    pub(crate) fn send_by(
        &mut self,
        direction: Direction,
        lines: &Headers,
        info: &impl RequestInfo,
        response: &impl ResponseInfo,
    ) -> Sent {
        let pairs = Pairs(lines.in_one_buffer());
        let (tracer, of_pairs) = (&mut self.tracer, &mut self.of_pairs);
        let (headers, kept, callout) = exchange(tracer, direction, lines, lines, info, response);
        // Whichever way a host gives headers.
        let same = exchange(of_pairs, direction, &pairs, lines, info, response);
        let message_of = |callout: &Option<Callout>| callout.as_ref().map(|c| message(c).to_vec());
        assert_eq!((&same.0, same.1), (&headers, kept));
        assert_eq!(message_of(&same.2), message_of(&callout));
        let exported = callout.iter().flat_map(spans);
        let mut seen: Vec<Seen> = exported.map(Seen::read).collect();
        let bytes = message_of(&callout).unwrap_or_default();
        assert!(seen.len() <= 2, "{} spans of one request", seen.len());
        let is_call = |span: &Seen| seen.iter().any(|other| other.span_id == span.parent_id);
        let call = seen.iter().position(is_call);
        let call = call.map(|at| seen.remove(at));
        let own = seen.pop();
        assert!(seen.is_empty(), "two spans that do not belong together");
        Sent {
            own,
            call,
            headers,
            bytes,
            kept,
        }
    }
}

/// What became of a request's headers, how many of its spans were kept though
/// not sampled, and what was exported.
fn exchange(
    tracer: &mut Tracer,
    direction: Direction,
    lines: &impl Extractor,
    upstream: &Headers,
    info: &impl RequestInfo,
    response: &impl ResponseInfo,
) -> (Headers, u64, Option<Callout>) {
    take_stats(tracer);
    let mut headers = upstream.clone();
    let started = tracer.on_request(
        lines,
        &InfoAt {
            info,
            direction,
            now: START,
        },
        &mut headers,
    );
    if let Some(mut stream) = started.stream {
        stream.add_request_body(response.request_size().unwrap_or(0));
        tracer.on_end(stream, response, END);
    }
    let kept = count(&take_stats(tracer), Stat::Kept);
    let callout = flush(tracer);
    assert!(flush(tracer).is_none(), "two exports");
    if let Some(callout) = &callout {
        Reply::OK.tell(tracer, callout.id, END);
    }
    (headers, kept, callout)
}

impl Sent {
    /// The proxy's own span, which must be there.
    #[track_caller]
    pub(crate) fn own(&self) -> &Seen {
        self.own.as_ref().expect("the proxy's own span")
    }

    /// The span of the call upstream, which must be there.
    #[track_caller]
    pub(crate) fn call(&self) -> &Seen {
        self.call.as_ref().expect("the span of the call upstream")
    }

    /// Every span.
    pub(crate) fn spans(&self) -> impl Iterator<Item = &Seen> {
        self.own.iter().chain(&self.call)
    }

    /// Whether a text is anywhere in the export.
    pub(crate) fn contains(&self, text: &str) -> bool {
        let mut windows = self.bytes.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    }
}

/// One request through a proxy with this configuration that knows nothing.
pub(crate) fn send(
    keys: Value,
    direction: Direction,
    lines: &Headers,
    response: &Response,
) -> Sent {
    Proxy::new(keys).send(direction, lines, &Info::default(), response)
}

/// The attributes of the resource.
pub(crate) fn resource(tracer: &mut Tracer) -> Map<String, Value> {
    let lines = get("/");
    let (stream, _) = request(tracer, &lines, &Info::default(), Direction::Inbound, START);
    tracer.on_end(stream.expect("sampled"), &Response::status(200), END);
    let message = decode(&flush(tracer).expect("an export"));
    let resource = message.resource_spans[0].resource.clone();
    attributes(&resource.expect("a resource").attributes)
        .into_iter()
        .collect()
}

/// A request with a method and a path.
pub(crate) fn ask(method: &str, path: &str) -> Headers {
    Headers::from_wire([
        (":method", method),
        (":scheme", "http"),
        (":authority", "shop.example"),
        (":path", path),
    ])
}

/// A request for a path.
pub(crate) fn get(path: &str) -> Headers {
    ask("GET", path)
}

/// A gRPC call.
pub(crate) fn grpc(path: &str) -> Headers {
    Headers::from_wire([
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "shop.example:50051"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ])
}

/// The response to one.
pub(crate) fn grpc_status(status: &str) -> Response {
    Response {
        trailers: vec![("grpc-status", status.into())],
        ..answered(200)
    }
}

/// A response that came from the upstream at the first attempt.
pub(crate) fn answered(status: u16) -> Response {
    Response {
        attempts: 1,
        details: Some("via_upstream"),
        ..Response::status(status)
    }
}

/// The same lines and more of them.
pub(crate) fn with(mut lines: Headers, more: &[(&str, &str)]) -> Headers {
    lines.0.extend(Headers::from_wire(more.iter().copied()).0);
    lines
}
