//! Attribute names, one constant each, with the registry's page.
//!
//! Conventions 1.42, HTTP stable, RPC release candidate: <https://opentelemetry.io/docs/specs/semconv/>

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/http/>
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// The method as it came, where it is none of the known ones.
pub const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
/// An int.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";

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
/// The name of a gRPC status code.
pub const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";

/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/service/>
pub const SERVICE_NAME: &str = "service.name";
/// <https://opentelemetry.io/docs/specs/semconv/attributes-registry/telemetry/>
pub const TELEMETRY_SDK_NAME: &str = "telemetry.sdk.name";
/// Always `rust`.
pub const TELEMETRY_SDK_LANGUAGE: &str = "telemetry.sdk.language";
/// The version of this crate.
pub const TELEMETRY_SDK_VERSION: &str = "telemetry.sdk.version";

/// The rule that decided, by its name. Ours.
pub const SIDESPAN_RULE: &str = "sidespan.rule";
/// Why a span was kept that was not sampled: `error`, `status_code`, `slow`,
/// `response_flags` or `retried`. Ours.
pub const SIDESPAN_KEEP_REASON: &str = "sidespan.keep_reason";
