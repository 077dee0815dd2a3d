//! A stand-in for Linkerd's proxy.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::TcpStream;

use crate::client;
use crate::otlp::collector::trace::v1::ExportTraceServiceRequest;
use crate::otlp::common::v1::any_value::Value;
use crate::otlp::common::v1::{AnyValue, KeyValue};
use crate::otlp::resource::v1::Resource;
use crate::otlp::trace::v1::span::SpanKind;
use crate::otlp::trace::v1::{ResourceSpans, ScopeSpans, Span};
use crate::server::Server;
use crate::span::hex;

/// Does with trace contexts what Linkerd's proxy does in front of a meshed service, as read in its
/// source (linkerd2-proxy, August 2026, `linkerd/trace-context`). Drop ends it.
///
/// It reads `traceparent`, and `x-b3-traceid`, `-spanid` and `-sampled` if that is missing or
/// wrong; what it reads is the version 00 alone, and of the sampled ones `1` alone. It puts a span
/// id of its own in the place of the one that came, in the format that came, and touches nothing
/// else; first as a server, then as a client. Without a context it does nothing: it starts no
/// trace. What is sampled it exports as a SERVER and a CLIENT span. Left out is `grpc-trace-bin`,
/// which nobody here speaks.
pub(crate) struct LinkerdProxy {
    server: Server,
}

impl LinkerdProxy {
    /// Listens on an address in front of a service and exports to a collector over HTTP.
    pub(crate) fn start_on(addr: SocketAddr, next: SocketAddr, collector: SocketAddr) -> Self {
        let server = Server::start("linkerd-proxy", addr, move |stream| {
            serve(next, collector, stream)
        });
        Self { server }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.server.addr()
    }
}

/// A context as it came.
#[derive(Debug, PartialEq)]
struct Context {
    is_w3c: bool,
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
}

impl Context {
    fn read(headers: &HeaderMap) -> Option<Self> {
        Self::read_w3c(headers).or_else(|| Self::read_b3(headers))
    }

    fn read_w3c(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("traceparent")?.to_str().ok()?;
        let mut parts = text.splitn(4, '-');
        if parts.next() != Some("00") {
            return None;
        }
        let (trace_id, parent_id) = (bytes(parts.next()?)?, bytes(parts.next()?)?);
        let [flags] = bytes(parts.next()?)?;
        let is_valid = trace_id != [0; 16] && parent_id != [0; 8];
        is_valid.then_some(Self {
            is_w3c: true,
            trace_id,
            parent_id,
            flags,
        })
    }

    fn read_b3(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name)?.to_str().ok();
        Some(Self {
            is_w3c: false,
            trace_id: bytes(text("x-b3-traceid")?)?,
            parent_id: bytes(text("x-b3-spanid")?)?,
            flags: u8::from(text("x-b3-sampled") == Some("1")),
        })
    }

    /// Puts a span id in the place of the one that came.
    fn write(&self, span_id: [u8; 8], headers: &mut HeaderMap) {
        let span_id = hex(&span_id);
        let (name, value) = if self.is_w3c {
            let trace_id = hex(&self.trace_id);
            let value = format!("00-{trace_id}-{span_id}-{:02x}", self.flags);
            ("traceparent", value)
        } else {
            ("x-b3-spanid", span_id)
        };
        let value = HeaderValue::from_str(&value).expect("hex");
        headers.insert(name, value);
    }
}

/// Hex digits as bytes, with zeros in front where there are fewer.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let count = text.len() / 2;
    if !text.len().is_multiple_of(2) || count > N || !text.is_ascii() {
        return None;
    }
    for (index, byte) in out.iter_mut().skip(N - count).enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(out)
}

async fn serve(next: SocketAddr, collector: SocketAddr, stream: TcpStream) {
    let service = service_fn(move |request| proxy(next, collector, request));
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn proxy(
    next: SocketAddr,
    collector: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answered = tokio::task::spawn_blocking(move || {
        let (mut head, _) = request.into_parts();
        let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
        let path = path.to_owned();
        let kinds = [SpanKind::Server, SpanKind::Client];
        let mut spans: Vec<_> = kinds
            .into_iter()
            .filter_map(|kind| {
                let context = Context::read(&head.headers)?;
                let span_id = RandomState::new().build_hasher().finish().to_be_bytes();
                context.write(span_id, &mut head.headers);
                context.span(span_id, kind, &head.method, &path)
            })
            .collect();
        let headers: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let answer = client::request(next, head.method.as_str(), &path, &headers, b"");
        for span in &mut spans {
            let status = answer.as_ref().map_or(502, |answer| answer.status);
            let status = attribute("http.response.status_code", &status.to_string());
            span.attributes.push(status);
            span.end_time_unix_nano = now();
        }
        if !spans.is_empty() {
            let headers: &[(&str, &[u8])] = &[("content-type", b"application/x-protobuf")];
            let _ = client::request(collector, "POST", "/v1/traces", headers, &export(spans));
        }
        answer
    });
    let (status, body) = match answered.await {
        Ok(Ok(answer)) => (answer.status, answer.body),
        _ => (502, Vec::new()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok(response)
}

impl Context {
    /// The span below it, if it is sampled. All attributes are texts.
    fn span(
        &self,
        span_id: [u8; 8],
        kind: SpanKind,
        method: &hyper::Method,
        path: &str,
    ) -> Option<Span> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        (self.flags & 1 == 1).then(|| Span {
            trace_id: self.trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: self.parent_id.to_vec(),
            name: path.to_owned(),
            kind: kind.into(),
            start_time_unix_nano: now(),
            attributes: vec![
                attribute("direction", "inbound"),
                attribute("http.request.method", method.as_str()),
                attribute("url.path", path),
                attribute("url.query", query),
            ],
            ..Default::default()
        })
    }
}

fn export(spans: Vec<Span>) -> Vec<u8> {
    let export = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "linkerd-proxy")],
                ..Default::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..Default::default()
            }],
            ..Default::default()
        }],
    };
    export.encode_to_vec()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..Default::default()
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Option<Context> {
        let pairs = headers.iter().map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (hyper::header::HeaderName::from_static(name), value)
        });
        Context::read(&pairs.collect())
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn what_is_read() {
        let w3c = format!("00-{TRACE}-{SPAN}-03");
        let b3 = [
            ("x-b3-traceid", TRACE),
            ("x-b3-spanid", SPAN),
            ("x-b3-sampled", "1"),
        ];
        let context = |is_w3c, flags| Context {
            is_w3c,
            trace_id: bytes(TRACE).expect("hex"),
            parent_id: bytes(SPAN).expect("hex"),
            flags,
        };
        assert_eq!(read(&[("traceparent", &w3c)]), Some(context(true, 3)));
        assert_eq!(read(&b3), Some(context(false, 1)));
        assert_eq!(read(&b3[..2]), Some(context(false, 0)));
        let both = [&[("traceparent", &*w3c)], &b3[..]].concat();
        assert_eq!(read(&both), Some(context(true, 3)));
        // The other format is asked when this one is wrong.
        for wrong in [
            w3c.replace("00-", "01-"),
            w3c.replace(SPAN, "0000000000000000"),
            w3c.replace("-03", "-0x"),
        ] {
            let both = [&[("traceparent", &*wrong)], &b3[..]].concat();
            assert_eq!(read(&both), Some(context(false, 1)), "{wrong}");
        }
        assert_eq!(read(&b3[1..]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn what_is_written_is_a_span_id_in_the_format_that_came() {
        let mut headers = HeaderMap::new();
        headers.insert("x-b3-spanid", HeaderValue::from_static(SPAN));
        let context = Context {
            is_w3c: false,
            trace_id: [1; 16],
            parent_id: [2; 8],
            flags: 0,
        };
        context.write([3; 8], &mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["x-b3-spanid"], "0303030303030303");
        let w3c = Context {
            is_w3c: true,
            ..context
        };
        w3c.write([4; 8], &mut headers);
        let expected = "00-01010101010101010101010101010101-0404040404040404-00";
        assert_eq!(headers["traceparent"], expected);
        assert_eq!(headers["x-b3-spanid"], "0303030303030303");
    }
}
