//! The environment: variables, and what the proxy knows of its node.

/// What a host knows of itself.
pub trait Environment {
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// A text in Envoy's node: `["id"]`, `["cluster"]`, `["locality",
    /// "region"]`, `["metadata", "NAMESPACE"]` …
    fn node(&self, path: &[&str]) -> Option<String>;
}

/// Whether the proxy is one of Istio's.
pub(crate) fn is_istio(environment: &impl Environment) -> bool {
    environment.node(&["metadata", "ISTIO_VERSION"]).is_some()
}

/// Whether it is one of Istio's gateways: `router~10.0.0.1~pod.ns~…`.
pub(crate) fn is_istio_gateway(environment: &impl Environment) -> bool {
    let id = || environment.node(&["id"]);
    is_istio(environment) && id().is_some_and(|id| id.starts_with("router~"))
}
