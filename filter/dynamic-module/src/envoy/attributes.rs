//! Envoy's attributes.

use crate::envoy::version::Version;

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Truth,
}

/// `envoy_dynamic_module_type_attribute_id`, with the first version that
/// answers: 1.38 writes an error to its log for each that it does not know.
#[derive(Clone, Copy)]
pub(crate) struct Attribute {
    /// As CEL has it
    /// (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes>).
    pub(crate) name: &'static str,
    pub(crate) id: u32,
    pub(crate) kind: Kind,
    pub(crate) since: Version,
}

macro_rules! attributes {
    ($($constant:ident = $name:literal, $id:literal, $kind:ident, $since:ident;)+) => {
        impl Attribute {
            $(pub(crate) const $constant: Self = Self {
                name: $name, id: $id, kind: Kind::$kind, since: Version::$since,
            };)+
            /// Every one.
            pub(crate) const ALL: &[Self] = &[$(Self::$constant),+];
        }
    };
}

attributes! {
    REQUEST_PATH = "request.path", 0, Text, V1_38;
    REQUEST_URL_PATH = "request.url_path", 1, Text, V1_38;
    REQUEST_HOST = "request.host", 2, Text, V1_38;
    REQUEST_SCHEME = "request.scheme", 3, Text, V1_38;
    REQUEST_METHOD = "request.method", 4, Text, V1_38;
    REQUEST_REFERER = "request.referer", 6, Text, V1_38;
    REQUEST_USER_AGENT = "request.useragent", 7, Text, V1_38;
    REQUEST_ID = "request.id", 9, Text, V1_38;
    REQUEST_PROTOCOL = "request.protocol", 10, Text, V1_38;
    REQUEST_QUERY = "request.query", 11, Text, V1_38;
    REQUEST_SIZE = "request.size", 13, Number, V1_40;
    REQUEST_TOTAL_SIZE = "request.total_size", 14, Number, V1_40;
    RESPONSE_CODE = "response.code", 15, Number, V1_38;
    RESPONSE_CODE_DETAILS = "response.code_details", 16, Text, V1_39;
    RESPONSE_FLAGS = "response.flags", 17, Number, V1_39;
    RESPONSE_GRPC_STATUS = "response.grpc_status", 18, Number, V1_40;
    RESPONSE_SIZE = "response.size", 21, Number, V1_39;
    RESPONSE_TOTAL_SIZE = "response.total_size", 22, Number, V1_40;
    SOURCE_ADDRESS = "source.address", 24, Text, V1_38;
    SOURCE_PORT = "source.port", 25, Number, V1_38;
    DESTINATION_ADDRESS = "destination.address", 26, Text, V1_38;
    DESTINATION_PORT = "destination.port", 27, Number, V1_38;
    CONNECTION_ID = "connection.id", 28, Number, V1_38;
    CONNECTION_MTLS = "connection.mtls", 29, Truth, V1_38;
    CONNECTION_REQUESTED_SERVER_NAME = "connection.requested_server_name", 30, Text, V1_39;
    CONNECTION_TLS_VERSION = "connection.tls_version", 31, Text, V1_38;
    CONNECTION_SUBJECT_LOCAL = "connection.subject_local_certificate", 32, Text, V1_38;
    CONNECTION_SUBJECT_PEER = "connection.subject_peer_certificate", 33, Text, V1_38;
    CONNECTION_DNS_SAN_LOCAL = "connection.dns_san_local_certificate", 34, Text, V1_38;
    CONNECTION_DNS_SAN_PEER = "connection.dns_san_peer_certificate", 35, Text, V1_38;
    CONNECTION_URI_SAN_LOCAL = "connection.uri_san_local_certificate", 36, Text, V1_38;
    CONNECTION_URI_SAN_PEER = "connection.uri_san_peer_certificate", 37, Text, V1_38;
    CONNECTION_SHA256_PEER = "connection.sha256_peer_certificate_digest", 38, Text, V1_38;
    CONNECTION_TRANSPORT_FAILURE = "connection.transport_failure_reason", 39, Text, V1_39;
    CONNECTION_TERMINATION = "connection.termination_details", 40, Text, V1_39;
    UPSTREAM_ADDRESS = "upstream.address", 41, Text, V1_38;
    UPSTREAM_PORT = "upstream.port", 42, Number, V1_38;
    UPSTREAM_TLS_VERSION = "upstream.tls_version", 43, Text, V1_39;
    UPSTREAM_SUBJECT_LOCAL = "upstream.subject_local_certificate", 44, Text, V1_39;
    UPSTREAM_SUBJECT_PEER = "upstream.subject_peer_certificate", 45, Text, V1_39;
    UPSTREAM_DNS_SAN_LOCAL = "upstream.dns_san_local_certificate", 46, Text, V1_39;
    UPSTREAM_DNS_SAN_PEER = "upstream.dns_san_peer_certificate", 47, Text, V1_39;
    UPSTREAM_URI_SAN_LOCAL = "upstream.uri_san_local_certificate", 48, Text, V1_39;
    UPSTREAM_URI_SAN_PEER = "upstream.uri_san_peer_certificate", 49, Text, V1_39;
    UPSTREAM_SHA256_PEER = "upstream.sha256_peer_certificate_digest", 50, Text, V1_39;
    UPSTREAM_LOCAL_ADDRESS = "upstream.local_address", 51, Text, V1_39;
    UPSTREAM_TRANSPORT_FAILURE = "upstream.transport_failure_reason", 52, Text, V1_39;
    UPSTREAM_ATTEMPT_COUNT = "upstream.request_attempt_count", 53, Number, V1_39;
    XDS_LISTENER_DIRECTION = "xds.listener_direction", 59, Number, V1_40;
    XDS_ROUTE_NAME = "xds.route_name", 61, Text, V1_38;
    XDS_VIRTUAL_HOST_NAME = "xds.virtual_host_name", 63, Text, V1_39;
    XDS_FILTER_CHAIN_NAME = "xds.filter_chain_name", 66, Text, V1_40;
}
