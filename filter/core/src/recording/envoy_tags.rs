//! The names and values that Envoy's own tracers use, and in Istio those that
//! Istio adds, for dashboards that were made for them
//! (Envoy, `source/common/tracing/http_tracer_impl.cc`). All are strings.

use crate::headers::header_map::Extractor;
use crate::headers::request::RequestHead;
use crate::headers::url::{split_host_port, split_target, without_user_info};
use crate::host::environment::{Environment, is_istio};
use crate::host::response_flags::ResponseFlags;
use crate::host::response_info::ResponseInfo;
use crate::recording::grpc_status;
use crate::recording::grpc_status::Status;
use crate::recording::response_view::Outcome;
use crate::span::attributes::Attributes;
use crate::span::redaction::QueryPolicy;
use crate::span::span::Span;
use crate::span::text::utf8_lossy;

/// What stands on every span.
#[derive(Debug)]
pub(super) struct EnvoyNames {
    node: Vec<(&'static str, String)>,
    istio: Vec<(&'static str, String)>,
}

/// Istio's own tags: the attribute, where its value stands in the node's
/// metadata, and the value if there is none.
const ISTIO: [(&str, &[&str], &str); 5] = [
    (
        "istio.canonical_service",
        &["metadata", "LABELS", "service.istio.io/canonical-name"],
        "unknown",
    ),
    (
        "istio.canonical_revision",
        &["metadata", "LABELS", "service.istio.io/canonical-revision"],
        "latest",
    ),
    ("istio.mesh_id", &["metadata", "MESH_ID"], "unknown"),
    ("istio.namespace", &["metadata", "NAMESPACE"], "default"),
    ("istio.cluster_id", &["metadata", "CLUSTER_ID"], "unknown"),
];

impl EnvoyNames {
    /// The request headers that they ask for beside the usual ones.
    pub(super) const HEADERS: [&'static str; 5] = [
        "x-request-id",
        "x-envoy-downstream-service-cluster",
        "x-client-trace-id",
        "grpc-timeout",
        "x-envoy-original-path",
    ];

    /// Of a proxy.
    pub(super) fn new(environment: &impl Environment) -> Self {
        let node = |path: &[&str]| environment.node(path).unwrap_or_default();
        let tag = |(key, path, default): (_, &[_], &str)| {
            let value = node(path);
            let value = if value.is_empty() {
                default.to_owned()
            } else {
                value
            };
            (key, value)
        };
        Self {
            istio: match is_istio(environment) {
                true => ISTIO.into_iter().map(tag).collect(),
                false => Vec::new(),
            },
            node: vec![
                ("node_id", node(&["id"])),
                ("zone", node(&["locality", "zone"])),
            ],
        }
    }

    pub(super) fn record_request(
        &self,
        request: &impl Extractor,
        head: &RequestHead<'_>,
        url_query: &QueryPolicy,
        span: &mut Span,
    ) {
        let attributes = &mut span.attributes;
        for (key, value) in &self.node {
            attributes.set_str(key, value);
        }
        let header = |name: &str| request.header(name.as_bytes());
        let mut set_header = |key: &str, name: &str, default: Option<&[u8]>| {
            if let Some(value) = header(name).or(default) {
                attributes.set_bytes(key, value);
            }
        };
        set_header("guid:x-request-id", "x-request-id", None);
        set_header("http.method", ":method", None);
        set_header(
            "downstream_cluster",
            "x-envoy-downstream-service-cluster",
            Some(b"-"),
        );
        set_header("user_agent", "user-agent", Some(b"-"));
        set_header("guid:x-client-trace-id", "x-client-trace-id", None);
        if head.is_grpc() {
            set_header("grpc.content_type", "content-type", None);
            set_header("grpc.timeout", "grpc-timeout", None);
        }
        let authority = utf8_lossy(head.authority);
        let authority = without_user_info(&authority);
        let limit = attributes.max_length();
        let path = target(head.path, url_query, limit);
        if head.is_grpc() {
            attributes.set_str("grpc.authority", authority);
            attributes.set_str("grpc.path", &path);
        }
        // As it came, before any rewriting.
        let original = request.header(b"x-envoy-original-path");
        let path = original.map_or(path, |original| target(original, url_query, limit));
        let scheme = utf8_lossy(head.scheme);
        attributes.set_str("http.url", &format!("{scheme}://{authority}{path}"));
    }

    /// Who asked, and over what.
    pub(super) fn record_caller(response: &impl ResponseInfo, span: &mut Span) {
        let protocol = response.protocol();
        let attributes = &mut span.attributes;
        attributes.set_str("http.protocol", protocol.as_deref().unwrap_or("-"));
        if let Some(source) = response.source_address() {
            attributes.set_str("peer.address", split_host_port(&source).0);
        }
    }

    fn record_istio(&self, attributes: &mut Attributes) {
        for (key, value) in &self.istio {
            attributes.set_str(key, value);
        }
    }

    pub(super) fn record_response(
        &self,
        outcome: &Outcome<'_, impl ResponseInfo>,
        request_size: Option<u64>,
        span: &mut Span,
        upstream: Option<&mut Span>,
    ) {
        for (key, size) in [
            ("request_size", request_size),
            ("response_size", outcome.response.response_size()),
        ] {
            let size = size.unwrap_or_default().to_string();
            span.attributes.set_str(key, &size);
        }
        record_common(outcome, outcome.status, outcome.flags, &mut span.attributes);
        record_grpc(outcome, &mut span.attributes);
        self.record_istio(&mut span.attributes);
        if let Some(upstream) = upstream {
            let attributes = &mut upstream.attributes;
            // Time is up for the request, or its client gone, and that cancels
            // the call.
            if outcome.flags.is_cancelled() {
                attributes.set_str("canceled", "true");
            }
            let flags = outcome.flags.of_call();
            record_common(outcome, outcome.upstream_status(), flags, attributes);
            if outcome.is_from_upstream() {
                record_grpc(outcome, attributes);
            }
            if outcome.attempts > 1 {
                let retries = (outcome.attempts - 1).to_string();
                attributes.set_str("retry.count", &retries);
            }
            self.record_istio(attributes);
            if let Some(address) = outcome.upstream_address() {
                attributes.set_str("upstream_address", address);
                attributes.set_str("peer.address", address);
            }
            if let Some(reason) = outcome.details().and_then(reset_reason) {
                attributes.set_str("error.reason", &reason);
            }
        }
    }
}

fn record_grpc(outcome: &Outcome<'_, impl ResponseInfo>, attributes: &mut Attributes) {
    if outcome.grpc_status.is_none() {
        return;
    }
    for (key, name) in [
        ("grpc.status_code", "grpc-status"),
        ("grpc.message", "grpc-message"),
    ] {
        if let Some(value) = grpc_status::trailer(outcome.response, name) {
            attributes.set_bytes(key, value);
        }
    }
}

/// Why the call upstream was reset, which stands in the details with
/// underscores: `upstream_reset_before_response_started{remote_reset}`.
fn reset_reason(details: &str) -> Option<String> {
    let (_, reason) = details.strip_suffix('}')?.split_once('{')?;
    let reason = reason.split('|').next()?;
    Some(reason.replace('_', " "))
}

/// What Envoy says of both spans of a request.
fn record_common(
    outcome: &Outcome<'_, impl ResponseInfo>,
    status: Option<u16>,
    flags: ResponseFlags,
    attributes: &mut Attributes,
) {
    if let Some(cluster) = outcome.cluster() {
        attributes.set_str("upstream_cluster", cluster);
        attributes.set_str("upstream_cluster.name", cluster);
    }
    let is_grpc_error =
        status.is_some() && outcome.grpc_status.is_some_and(Status::is_envoys_error);
    let is_error = is_grpc_error || status.is_none_or(|status| status >= 500);
    attributes.set_str("http.status_code", &status.unwrap_or_default().to_string());
    let flags = match flags.is_empty() {
        true => "-".to_owned(),
        false => flags.to_string(),
    };
    attributes.set_str("response_flags", &flags);
    if is_error {
        attributes.set_str("error", "true");
    }
}

/// A path with that of its query which the configuration shows.
fn target(target: &[u8], url_query: &QueryPolicy, limit: usize) -> String {
    let target = utf8_lossy(target);
    let (path, query) = split_target(&target);
    match query.and_then(|query| url_query.apply(query, limit)) {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}
