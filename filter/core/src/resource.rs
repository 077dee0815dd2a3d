//! The resource: who sends the spans.

use crate::attribute::{Value, put_key_value};
use crate::semconv;

/// The name of the instrumentation scope and of the SDK.
pub(crate) const SDK_NAME: &str = "sidespan";
/// The version of both.
pub(crate) const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The field of OTLP's `Resource` that holds its attributes.
const ATTRIBUTES: u32 = 1;

/// What the resource is made of, gathered by the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The variable `OTEL_SERVICE_NAME`.
    pub otel_service_name: Option<String>,
    /// `node.cluster` of the proxy, its `--service-cluster`.
    pub node_cluster: Option<String>,
}

/// The resource of every span that one tracer makes, encoded once.
#[derive(Debug)]
pub struct Resource(Vec<u8>);

impl Resource {
    /// `service_name` is the configured one. Who says nothing is named after
    /// the environment, then the proxy's cluster, then as OpenTelemetry
    /// demands: `unknown_service:` and the program.
    pub fn new(service_name: &str, environment: &Environment) -> Self {
        let name = [
            Some(service_name),
            environment.otel_service_name.as_deref(),
            environment.node_cluster.as_deref(),
        ]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .unwrap_or("unknown_service:envoy");
        let mut bytes = Vec::new();
        for (key, value) in [
            (semconv::SERVICE_NAME, name),
            (semconv::TELEMETRY_SDK_NAME, SDK_NAME),
            (semconv::TELEMETRY_SDK_LANGUAGE, "rust"),
            (semconv::TELEMETRY_SDK_VERSION, SDK_VERSION),
        ] {
            put_key_value(ATTRIBUTES, key, Value::Str(value), &mut bytes);
        }
        Self(bytes)
    }

    /// The encoded `Resource` message.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
