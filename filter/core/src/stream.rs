//! One HTTP stream, from its request headers to its end, as a span.

use crate::keep::{Ending, Keep};
use crate::request::{Direction, Request, RequestHead, RequestInfo, ResponseInfo};
use crate::semconv;
use crate::span::{Span, SpanKind};
use crate::span_context::SpanContext;
use crate::url::{redact_query, split_host_port, split_target, without_user_info};
use std::borrow::Cow;
use std::time::Duration;

/// A stream whose span is recorded.
#[derive(Debug)]
pub struct StreamTracer {
    span: Span,
    is_grpc: bool,
}

impl Direction {
    /// Outbound is a client of what lies behind; all else serves.
    fn span_kind(self) -> SpanKind {
        match self {
            Direction::Outbound => SpanKind::Client,
            Direction::Inbound | Direction::Unspecified => SpanKind::Server,
        }
    }
}

impl StreamTracer {
    /// Starts the span of a request.
    pub(crate) fn start<H>(
        request: &Request<'_, H, impl RequestInfo>,
        context: SpanContext,
    ) -> Self {
        let head = &request.head;
        let mut span = Span::new(context, request.direction.span_kind(), request.now);
        let is_grpc = head.is_grpc();
        record_method(head, &mut span);
        if is_grpc {
            record_grpc_call(head, &mut span);
        }
        record_url(head, &mut span);
        if let Some(user_agent) = head.user_agent {
            span.set_bytes(semconv::USER_AGENT_ORIGINAL, user_agent);
        }
        if span.kind == SpanKind::Server {
            record_client(request.info, &mut span);
        }
        Self { span, is_grpc }
    }

    /// The span, to add what the stream knows nothing of.
    pub(crate) fn span(&mut self) -> &mut Span {
        &mut self.span
    }

    /// Records how the stream ended and gives its span. One that was not
    /// sampled is given only if it is to be kept.
    pub(crate) fn end(
        mut self,
        response: &impl ResponseInfo,
        keep: &Keep,
        now: u64,
    ) -> Option<Span> {
        let (status, is_grpc_error) = self.record_response(response);
        if !self.span.context.flags.is_sampled() {
            let started = self.span.start_unix_nanos;
            let ending = Ending {
                is_error: keep.errors && (is_grpc_error || is_failure(status, response)),
                status,
                duration: Duration::from_nanos(now.saturating_sub(started)),
            };
            let reason = keep.reason(ending, response)?;
            self.span.set_str(semconv::SIDESPAN_KEEP_REASON, reason);
        }
        Some(self.span)
    }

    /// Records the response, if there was one, and gives its status, and
    /// whether its gRPC status is an error.
    fn record_response(&mut self, response: &impl ResponseInfo) -> (Option<u16>, bool) {
        let status = response
            .response_header(":status")
            .and_then(|status| std::str::from_utf8(&status).ok()?.parse::<u16>().ok());
        if let Some(status) = status {
            self.span
                .set_int(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
        }
        if self.span.kind == SpanKind::Client
            && let Some(upstream) = response.upstream_address()
        {
            record_peer(&upstream, &mut self.span);
        }
        let grpc_error = if self.is_grpc {
            self.record_grpc_status(response)
        } else {
            None
        };
        let is_grpc_error = grpc_error.is_some();
        let error = grpc_error
            .map(Cow::Borrowed)
            .or_else(|| http_error(self.span.kind, status, response));
        if let Some(error) = error {
            self.span.is_error = true;
            self.span.set_str(semconv::ERROR_TYPE, &error);
        }
        (status, is_grpc_error)
    }

    /// The status from the trailers, or from the headers of a trailers-only
    /// response. Gives its name if it is an error on this side.
    fn record_grpc_status(&mut self, response: &impl ResponseInfo) -> Option<&'static str> {
        let value = response
            .response_trailer("grpc-status")
            .or_else(|| response.response_header("grpc-status"))?;
        let code = std::str::from_utf8(&value).ok()?.parse::<usize>().ok()?;
        let name = GRPC_STATUS_NAMES.get(code).copied().unwrap_or("UNKNOWN");
        self.span.set_str(semconv::RPC_RESPONSE_STATUS_CODE, name);
        let is_error = match self.span.kind {
            SpanKind::Client => name != "OK",
            SpanKind::Server => GRPC_SERVER_ERRORS.contains(&name),
        };
        is_error.then_some(name)
    }
}

/// The methods that the conventions know (`http.request.method`); all others
/// are `_OTHER`, so that no peer can grow the number of span names.
const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY",
];

fn record_method(head: &RequestHead<'_>, span: &mut Span) {
    let known = METHODS.iter().find(|m| m.as_bytes() == head.method);
    match known {
        Some(method) => {
            span.name = Cow::Borrowed(method);
            span.set_str(semconv::HTTP_REQUEST_METHOD, method);
        }
        None => {
            // "If the HTTP request method isn't known, `{method}` in the name
            // MUST be `HTTP`."
            span.name = Cow::Borrowed("HTTP");
            span.set_str(semconv::HTTP_REQUEST_METHOD, "_OTHER");
            span.set_bytes(semconv::HTTP_REQUEST_METHOD_ORIGINAL, head.method);
        }
    }
}

fn record_url(head: &RequestHead<'_>, span: &mut Span) {
    let scheme = String::from_utf8_lossy(head.scheme);
    let target = String::from_utf8_lossy(head.path);
    let authority = String::from_utf8_lossy(head.authority);
    let authority = without_user_info(&authority);
    let (path, query) = split_target(&target);
    let query = query.filter(|q| !q.is_empty()).map(redact_query);
    match span.kind {
        SpanKind::Server => {
            span.set_str(semconv::URL_SCHEME, &scheme);
            span.set_str(semconv::URL_PATH, path);
            if let Some(query) = query {
                span.set_str(semconv::URL_QUERY, &query);
            }
        }
        SpanKind::Client => {
            // "Absolute URL": CONNECT has none. The target `*` has no path.
            if !scheme.is_empty() {
                let path = if path == "*" { "" } else { path };
                let mut full = format!("{scheme}://{authority}{path}");
                if let Some(query) = query {
                    full.push('?');
                    full.push_str(&query);
                }
                span.set_str(semconv::URL_FULL, &full);
            }
        }
    }
    let (host, port) = split_host_port(authority);
    if !host.is_empty() {
        span.set_str(semconv::SERVER_ADDRESS, host);
        let default = match &*scheme {
            "https" => 443,
            _ => 80,
        };
        span.set_int(semconv::SERVER_PORT, i64::from(port.unwrap_or(default)));
    }
}

fn record_client(info: &impl RequestInfo, span: &mut Span) {
    if let Some(version) = info
        .protocol()
        .as_deref()
        .and_then(|p| p.strip_prefix("HTTP/"))
    {
        span.set_str(semconv::NETWORK_PROTOCOL_VERSION, version);
    }
    let Some(source) = info.source_address() else {
        return;
    };
    let (address, port) = split_host_port(&source);
    span.set_str(semconv::CLIENT_ADDRESS, address);
    // Without a port the address is from a header, and not the peer's.
    if port.is_some_and(|port| port != 0) {
        record_peer(&source, span);
    }
}

/// `address:port` of the other end of the connection; a pipe has no port.
fn record_peer(peer: &str, span: &mut Span) {
    let (address, port) = split_host_port(peer);
    span.set_str(semconv::NETWORK_PEER_ADDRESS, address);
    if let Some(port) = port {
        span.set_int(semconv::NETWORK_PEER_PORT, i64::from(port));
    }
}

fn record_grpc_call(head: &RequestHead<'_>, span: &mut Span) {
    span.set_str(semconv::RPC_SYSTEM_NAME, "grpc");
    let target = String::from_utf8_lossy(head.path);
    let (path, _) = split_target(&target);
    let method = path.strip_prefix('/').unwrap_or(path);
    if method.is_empty() {
        // "If `rpc.method` is unavailable […], the span name SHOULD be
        // `{rpc.system.name}`."
        span.name = Cow::Borrowed("grpc");
        return;
    }
    span.set_str(semconv::RPC_METHOD, method);
    // The attribute's limit holds for the name too.
    let cut = method.floor_char_boundary(crate::span::MAX_ATTRIBUTE_LENGTH);
    span.name = Cow::Owned(method.get(..cut).unwrap_or_default().to_owned());
}

/// <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>
const GRPC_STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The server's errors among them
/// (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>, Server).
const GRPC_SERVER_ERRORS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// Bits of Envoy's `CoreResponseFlag` that say that a response was cut short:
/// upstream request timeout, local reset, upstream remote reset, upstream
/// connection termination, stream idle timeout, max stream duration,
/// duration timeout, upstream protocol error.
const CUT_SHORT: u64 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 16 | 1 << 19 | 1 << 22 | 1 << 23;

/// A 5xx or a reset, whatever a 4xx is to the span.
fn is_failure(status: Option<u16>, response: &impl ResponseInfo) -> bool {
    match status {
        None | Some(500..) => true,
        Some(101) => false,
        Some(_) => response.response_flags() & CUT_SHORT != 0,
    }
}

/// Whether the stream failed, and `error.type`
/// (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status>).
///
/// A client that goes away while a response flows (server-sent events, a
/// download) is no error; one that goes away before is.
fn http_error(
    kind: SpanKind,
    status: Option<u16>,
    response: &impl ResponseInfo,
) -> Option<Cow<'static, str>> {
    let reason = || {
        let details = response.response_code_details().unwrap_or_default();
        // What stands in braces varies: `…{connection_termination}`.
        let reason = details.split('{').next().unwrap_or_default();
        Cow::Owned(if reason.is_empty() { "_OTHER" } else { reason }.to_owned())
    };
    match status {
        None => Some(reason()),
        Some(500..) => status.map(|s| Cow::Owned(s.to_string())),
        Some(400..) => match kind {
            SpanKind::Client => status.map(|s| Cow::Owned(s.to_string())),
            SpanKind::Server => None,
        },
        // An upgraded connection ends when either side closes it.
        Some(101) => None,
        Some(_) => (response.response_flags() & CUT_SHORT != 0).then(reason),
    }
}
