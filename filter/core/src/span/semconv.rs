//! Attribute names, one constant each, with the registry's page.
//!
//! Conventions 1.45, HTTP and RPC stable: <https://opentelemetry.io/docs/specs/semconv/>

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/http/>
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// What stands for a value that is not known, so that no peer can grow the
/// number of values.
pub const OTHER: &str = "_OTHER";
/// The method as it came, where it is none of the known ones.
pub const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
/// An int.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// The template of the path that the request was routed by.
pub const HTTP_ROUTE: &str = "http.route";
/// Bytes.
pub const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
/// Bytes.
pub const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
/// How often the request was sent again.
pub const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/url/>
pub const URL_SCHEME: &str = "url.scheme";
/// Without the query.
pub const URL_PATH: &str = "url.path";
/// Without the `?`, values of known secrets redacted.
pub const URL_QUERY: &str = "url.query";
/// Without user info, values of known secrets redacted.
pub const URL_FULL: &str = "url.full";

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/server/>
pub const SERVER_ADDRESS: &str = "server.address";
/// An int.
pub const SERVER_PORT: &str = "server.port";
/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/client/>
pub const CLIENT_ADDRESS: &str = "client.address";

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/network/>
pub const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
/// An int.
pub const NETWORK_PEER_PORT: &str = "network.peer.port";
/// `1.0`, `1.1`, `2` or `3`.
pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/user-agent/>
pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";
/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/error/>
pub const ERROR_TYPE: &str = "error.type";

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/rpc/>
pub const RPC_SYSTEM_NAME: &str = "rpc.system.name";
/// `package.Service/Method`.
pub const RPC_METHOD: &str = "rpc.method";
/// The method as it came, where the called does not know it.
pub const RPC_METHOD_ORIGINAL: &str = "rpc.method_original";
/// The name of a gRPC status code.
pub const RPC_STATUS_CODE: &str = "rpc.status_code";

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/service/>
pub const SERVICE_NAME: &str = "service.name";
/// Kubernetes' namespace, in a mesh.
pub const SERVICE_NAMESPACE: &str = "service.namespace";
/// A text of any form.
pub const SERVICE_VERSION: &str = "service.version";
/// Unique with the service's name and namespace.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/k8s/>
pub const K8S_CLUSTER_NAME: &str = "k8s.cluster.name";
/// The namespace of the pod.
pub const K8S_NAMESPACE_NAME: &str = "k8s.namespace.name";
/// The pod.
pub const K8S_POD_NAME: &str = "k8s.pod.name";
/// The machine.
pub const K8S_NODE_NAME: &str = "k8s.node.name";
/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/cloud/>
pub const CLOUD_REGION: &str = "cloud.region";
/// Within the region.
pub const CLOUD_AVAILABILITY_ZONE: &str = "cloud.availability_zone";
/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/telemetry/>
pub const TELEMETRY_SDK_NAME: &str = "telemetry.sdk.name";
/// Always `rust`.
pub const TELEMETRY_SDK_LANGUAGE: &str = "telemetry.sdk.language";
/// The version of this crate.
pub const TELEMETRY_SDK_VERSION: &str = "telemetry.sdk.version";

/// Always [`PROXY`]: how Envoy's own tracer marks its spans. In no registry.
pub const COMPONENT: &str = "component";
/// See [`COMPONENT`].
pub const PROXY: &str = "proxy";

// What only a proxy knows, in a namespace of ours. Told to users in
// docs/spans.md.

/// The rule that decided, by its name.
pub const SIDESPAN_RULE: &str = "sidespan.rule";
/// Why a span was kept that was not sampled: `error`, `status_code`, `slow`,
/// `response_flags` or `retried`.
pub const SIDESPAN_KEEP_REASON: &str = "sidespan.keep_reason";
/// The name of the route, where it is not [`HTTP_ROUTE`].
pub const SIDESPAN_ROUTE: &str = "sidespan.route";
/// Envoy's response flags, `UF,URX`.
pub const SIDESPAN_RESPONSE_FLAGS: &str = "sidespan.response_flags";
/// Envoy's response code details, if they say more than `via_upstream`.
pub const SIDESPAN_RESPONSE_CODE_DETAILS: &str = "sidespan.response_code_details";
/// The cluster that the request was meant for.
pub const SIDESPAN_UPSTREAM_CLUSTER: &str = "sidespan.upstream.cluster";
/// Address and port of its host, where `network.peer.*` is the caller's.
pub const SIDESPAN_UPSTREAM_ADDRESS: &str = "sidespan.upstream.address";
/// How often the request was sent, if more than once.
pub const SIDESPAN_UPSTREAM_ATTEMPTS: &str = "sidespan.upstream.attempts";
/// Milliseconds that it waited for a connection.
pub const SIDESPAN_UPSTREAM_CONNECTION_WAIT_MS: &str = "sidespan.upstream.connection_wait_ms";
/// Milliseconds from the first byte sent to the last one that came back, of the
/// last attempt.
pub const SIDESPAN_UPSTREAM_LATENCY_MS: &str = "sidespan.upstream.latency_ms";
/// Why there was no connection.
pub const SIDESPAN_UPSTREAM_TRANSPORT_FAILURE: &str = "sidespan.upstream.transport_failure";
/// Who the upstream's certificate belongs to.
pub const SIDESPAN_UPSTREAM_TLS_PEER: &str = "sidespan.upstream.tls_peer";
/// Who the caller's certificate belongs to.
pub const SIDESPAN_DOWNSTREAM_TLS_PEER: &str = "sidespan.downstream.tls_peer";

/// Whether an attribute has the name of one of those that spans have of
/// themselves, or one like theirs.
pub fn is_of_spans(name: &str) -> bool {
    const NAMESPACES: [&str; 9] = [
        "http.",
        "url.",
        "server.",
        "client.",
        "network.",
        "user_agent.",
        "error.",
        "rpc.",
        "sidespan.",
    ];
    name == COMPONENT || NAMESPACES.iter().any(|of| name.starts_with(of))
}

/// The names of gRPC's status codes, by code
/// (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
pub const GRPC_STATUS_NAMES: [&str; 17] = [
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
