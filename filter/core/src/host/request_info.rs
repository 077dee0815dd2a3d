//! What a host knows of a request beside its headers.

/// The side of the proxy that a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the workload behind the proxy.
    Inbound,
    /// From the workload behind the proxy.
    Outbound,
    /// A gateway or an edge.
    Unspecified,
}

/// What a host knows of a request beside its headers, asked for only where it
/// is needed: answers can be dear.
pub trait RequestInfo {
    /// The traffic direction of the listener.
    fn listener_direction(&self) -> Direction;
    /// Unix time in nanoseconds.
    fn now(&self) -> u64;
    /// A bool in the `filter_metadata` of the route.
    fn route_bool(&self, namespace: &str, key: &str) -> Option<bool>;
    /// A text there.
    fn route_text(&self, namespace: &str, key: &str) -> Option<String>;
    /// A number there.
    fn route_number(&self, namespace: &str, key: &str) -> Option<f64>;
}
