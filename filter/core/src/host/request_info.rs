//! What a host knows of a request beside its headers.

use std::cell::Cell;

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

/// Something that the host tells with a request, or how to ask for it: few
/// decisions need it, and a host can be dear to ask.
#[derive(Clone, Copy, Debug)]
pub enum Told<T> {
    /// It is known.
    Known(T),
    /// This asks the host.
    Ask(fn() -> T),
}

impl<T> From<T> for Told<T> {
    fn from(known: T) -> Self {
        Self::Known(known)
    }
}

/// What a host knows of a request beside its headers, asked for only where it
/// is needed: answers can be dear.
pub trait RequestInfo {
    /// A bool in the `filter_metadata` of the route.
    fn route_bool(&self, namespace: &str, key: &str) -> Option<bool>;
    /// A text there.
    fn route_text(&self, namespace: &str, key: &str) -> Option<String>;
    /// A number there.
    fn route_number(&self, namespace: &str, key: &str) -> Option<f64>;
}

/// Asks for it once.
pub(crate) fn told<T: Copy>(told: &Cell<Told<T>>) -> T {
    let answer = match told.get() {
        Told::Known(answer) => answer,
        Told::Ask(ask) => ask(),
    };
    told.set(Told::Known(answer));
    answer
}
