//! HTTP: the stable conventions
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>).

use crate::headers::request::RequestHead;
use crate::headers::url::{split_host_port, split_target, without_user_info};
use crate::host::environment::Environment;
use crate::host::response_info::ResponseInfo;
use crate::recording::response_view::Outcome;
use crate::span::attributes::Attributes;
use crate::span::redaction::QueryPolicy;
use crate::span::semconv;
use crate::span::span::{Span, SpanKind};
use crate::span::text::utf8_lossy;
use std::borrow::Cow;

/// The methods that are told by name (`http.request.method`); all others are
/// `_OTHER`, so that no peer can grow the number of span names.
#[derive(Debug)]
pub(super) struct Methods(Vec<Cow<'static, str>>);

/// Those that the conventions know.
const METHODS: &str = "GET,POST,PUT,DELETE,HEAD,OPTIONS,PATCH,CONNECT,TRACE,QUERY";

/// OpenTelemetry's variable for another list.
const KNOWN_METHODS: &str = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS";

fn methods(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|m| !m.is_empty())
}

impl Methods {
    /// "This environment variable MUST support a comma-separated list of
    /// case-sensitive known HTTP methods", and it is a full override.
    pub(super) fn new(environment: &impl Environment) -> Self {
        let list = environment.variable(KNOWN_METHODS);
        Self(match &list {
            Some(list) => methods(list).map(|m| Cow::Owned(m.to_owned())).collect(),
            None => methods(METHODS).map(Cow::Borrowed).collect(),
        })
    }

    /// What an operator should know, if the environment names none.
    pub(super) fn warning(&self) -> Option<String> {
        self.0.is_empty().then(|| {
            format!("{KNOWN_METHODS} of the environment names no method, the method of each request is _OTHER")
        })
    }

    /// The request's method, if it is one of them.
    pub(super) fn known(&self, head: &RequestHead<'_>) -> Option<&Cow<'static, str>> {
        self.0.iter().find(|m| m.as_bytes() == head.method)
    }
}

/// What is asked, and of whom.
pub(super) fn record_request(
    head: &RequestHead<'_>,
    method: Option<&str>,
    url_query: &QueryPolicy,
    span: &mut Span,
) {
    let (kind, attributes) = (span.kind, &mut span.attributes);
    match method {
        Some(method) => attributes.set_str(semconv::HTTP_REQUEST_METHOD, method),
        None => {
            attributes.set_str(semconv::HTTP_REQUEST_METHOD, semconv::OTHER);
            if !head.method.is_empty() {
                attributes.set_bytes(semconv::HTTP_REQUEST_METHOD_ORIGINAL, head.method);
            }
        }
    }
    let scheme = utf8_lossy(head.scheme);
    let target = utf8_lossy(head.path);
    let authority = utf8_lossy(head.authority);
    let authority = without_user_info(&authority);
    let (path, query) = split_target(&target);
    let limit = attributes.max_length();
    let query = query.and_then(|query| url_query.apply(query, limit));
    let (host, port) = split_host_port(authority);
    match kind {
        SpanKind::Server => {
            for (key, value) in [(semconv::URL_SCHEME, &*scheme), (semconv::URL_PATH, path)] {
                if !value.is_empty() {
                    attributes.set_str(key, value);
                }
            }
            if let Some(query) = query {
                attributes.set_str(semconv::URL_QUERY, &query);
            }
        }
        SpanKind::Client => {
            // "Absolute URL": CONNECT has none, nor has a request without a
            // host. The target `*` has no path.
            if !scheme.is_empty() && !host.is_empty() {
                let path = if path == "*" { "" } else { path };
                let mut full = format!("{scheme}://{authority}{path}");
                if let Some(query) = query {
                    full.push('?');
                    full.push_str(&query);
                }
                attributes.set_str(semconv::URL_FULL, &full);
            }
        }
    }
    if !host.is_empty() {
        attributes.set_str(semconv::SERVER_ADDRESS, host);
        let default = match &*scheme {
            "https" => 443,
            _ => 80,
        };
        attributes.set_int(semconv::SERVER_PORT, i64::from(port.unwrap_or(default)));
    }
}

/// Who asks, as the request itself says.
pub(super) fn record_user_agent(head: &RequestHead<'_>, span: &mut Span) {
    if let Some(user_agent) = head.user_agent {
        span.attributes
            .set_bytes(semconv::USER_AGENT_ORIGINAL, user_agent);
    }
}

/// Who asked, and over what.
pub(super) fn record_caller(response: &impl ResponseInfo, span: &mut Span) {
    let (kind, attributes) = (span.kind, &mut span.attributes);
    if kind == SpanKind::Client {
        // It is about the connection that the call is made on, and that is
        // not the caller's.
        return;
    }
    if let Some(version) = response
        .protocol()
        .as_deref()
        .and_then(|p| p.strip_prefix("HTTP/"))
    {
        attributes.set_str(semconv::NETWORK_PROTOCOL_VERSION, version);
    }
    let Some(source) = response.source_address() else {
        return;
    };
    let (address, port) = split_host_port(&source);
    if address.is_empty() {
        return;
    }
    attributes.set_str(semconv::CLIENT_ADDRESS, address);
    // Without a port the address is from a header, and not the peer's.
    if port.is_some_and(|port| port != 0) {
        record_peer_address(address, port, attributes);
    }
}

/// `address:port` of the other end of the connection; a pipe has no port.
pub(super) fn record_peer(peer: &str, attributes: &mut Attributes) {
    let (address, port) = split_host_port(peer);
    record_peer_address(address, port, attributes);
}

fn record_peer_address(address: &str, port: Option<u16>, attributes: &mut Attributes) {
    attributes.set_str(semconv::NETWORK_PEER_ADDRESS, address);
    if let Some(port) = port {
        attributes.set_int(semconv::NETWORK_PEER_PORT, i64::from(port));
    }
}

/// What is known of both bodies when the request came.
#[derive(Debug)]
pub(super) struct Bodies {
    request: Body,
    /// "Any response to a HEAD request […] does not include content" (RFC
    /// 9110, 6.4.1), and what flows through a tunnel is none.
    has_response: bool,
}

#[derive(Debug)]
enum Body {
    /// It has none, or none that means anything.
    None,
    /// `content-length`.
    Announced(i64),
    /// One that is as long as it is.
    Open,
}

impl Bodies {
    pub(super) fn of(head: &RequestHead<'_>) -> Self {
        let request = match head.content_length {
            Some(length) => length_of(length).map_or(Body::Open, Body::Announced),
            // "Content received in a […] request has no generally defined
            // semantics" (RFC 9110, 9.3), so there is hardly ever any.
            None if matches!(
                head.method,
                b"GET" | b"HEAD" | b"DELETE" | b"OPTIONS" | b"TRACE" | b"CONNECT"
            ) =>
            {
                Body::None
            }
            None => Body::Open,
        };
        Self {
            request,
            has_response: !matches!(head.method, b"HEAD" | b"CONNECT"),
        }
    }
}

impl Bodies {
    /// Whether the request may have one.
    pub(super) fn has_request(&self) -> bool {
        !matches!(self.request, Body::None)
    }

    /// Whether a header announced how long that of the request would be.
    pub(super) fn is_announced(&self) -> bool {
        matches!(self.request, Body::Announced(_))
    }

    /// Whether only the host knows how long that of the request was.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.request, Body::Open)
    }

    /// Whether a response with this status may have one: "[…] any response
    /// with a 1xx, 204, or 304 status code" has none.
    pub(super) fn has_response(&self, status: Option<u16>) -> bool {
        self.has_response && !matches!(status, None | Some(100..=199 | 204 | 304))
    }
}

/// "Content-Length = 1*DIGIT" (RFC 9110, 8.6).
fn length_of(header: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(header).ok()?;
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Records the sizes of the bodies, in bytes that were transferred. A size that
/// the request announced counts only if as many bytes were received: it can end
/// before its body does, in a timeout, a reset, or an early answer.
pub(super) fn record_sizes(
    bodies: &Bodies,
    received: u64,
    outcome: &Outcome<'_, impl ResponseInfo>,
    attributes: &mut Attributes,
) {
    let response = outcome.response;
    let counted = |size: Option<u64>| size.and_then(|size| i64::try_from(size).ok());
    let request = match bodies.request {
        Body::None => None,
        Body::Announced(length) => Some(length).filter(|n| u64::try_from(*n) == Ok(received)),
        Body::Open => counted(response.request_size()),
    };
    if let Some(size) = request {
        attributes.set_int(semconv::HTTP_REQUEST_BODY_SIZE, size);
    }
    if !bodies.has_response(outcome.status) {
        return;
    }
    if let Some(size) = counted(response.response_size()) {
        attributes.set_int(semconv::HTTP_RESPONSE_BODY_SIZE, size);
    }
}

/// The name of a route, if it is the template of a path: who gives a route
/// such a name means it so.
pub(super) fn route_template(name: &str) -> Option<&str> {
    name.starts_with('/').then_some(name)
}

/// What a server may say of the route.
pub(super) fn record_route(route: Option<&str>, span: &mut Span) {
    let Some(name) = route else {
        return;
    };
    let key = match (route_template(name), span.kind) {
        (Some(_), SpanKind::Server) => semconv::HTTP_ROUTE,
        _ => semconv::SIDESPAN_ROUTE,
    };
    span.attributes.set_str(key, name);
}

/// What came back, and from where.
pub(super) fn record_response(
    status: Option<u16>,
    error: Option<&str>,
    outcome: &Outcome<'_, impl ResponseInfo>,
    span: &mut Span,
) {
    let (kind, attributes) = (span.kind, &mut span.attributes);
    if let Some(status) = status {
        attributes.set_int(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status));
    }
    if let Some(error) = error {
        attributes.set_str(semconv::ERROR_TYPE, error);
    }
    if kind == SpanKind::Client {
        if let Some(upstream) = outcome.upstream_address() {
            record_peer(upstream, attributes);
        }
        if outcome.attempts > 1 {
            let resent = i64::try_from(outcome.attempts - 1).unwrap_or(i64::MAX);
            attributes.set_int(semconv::HTTP_REQUEST_RESEND_COUNT, resent);
        }
    }
}

/// Whether the stream failed, and `error.type`: a 5xx, for a client also a
/// 4xx, and what was cut short.
///
/// A client that goes away while a response flows (server-sent events, a
/// download) is no error; one that goes away before is one of the server's.
/// "If […] the request was cancelled intentionally by the caller […], the
/// cancellation SHOULD NOT be treated as an error" of a client.
pub(super) fn error(
    kind: SpanKind,
    status: Option<u16>,
    outcome: &Outcome<'_, impl ResponseInfo>,
) -> Option<Cow<'static, str>> {
    let reason = || {
        let details = outcome.details().unwrap_or_default();
        // What stands in braces varies: `…{connection_termination}`.
        let reason = details.split('{').next().unwrap_or_default();
        let reason = if reason.is_empty() {
            semconv::OTHER
        } else {
            reason
        };
        Cow::Owned(reason.to_owned())
    };
    match status {
        None if kind == SpanKind::Client && outcome.flags.is_left_by_client() => None,
        None => Some(reason()),
        Some(500..) => status.map(|s| Cow::Owned(s.to_string())),
        Some(400..) => match kind {
            SpanKind::Client => status.map(|s| Cow::Owned(s.to_string())),
            SpanKind::Server => None,
        },
        // An upgraded connection ends when either side closes it.
        Some(101) => None,
        Some(_) => outcome.flags.is_cut_short().then(reason),
    }
}
