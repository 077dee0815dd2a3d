//! Access to the headers of a request, as a propagator reads and writes them.

use crate::headers::serialized_map::Pairs;

/// Read access to a carrier (OpenTelemetry specification, Propagators API:
/// Getter): the headers of a request, every line of a repeated one, in order.
///
/// Names are lower case, as HTTP/2 has them and Envoy delivers them.
pub trait Extractor {
    /// All header lines. Bytes come from peers and need not be UTF-8.
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])>;

    /// The first line with this name.
    fn header(&self, name: &[u8]) -> Option<&[u8]> {
        self.headers().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// All of them in one buffer, if that is how the host gave them.
    fn as_pairs(&self) -> Option<&Pairs> {
        None
    }
}

impl Extractor for Pairs {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines()
    }

    fn as_pairs(&self) -> Option<&Pairs> {
        Some(self)
    }
}

/// Write access to a carrier (OpenTelemetry specification, Propagators API:
/// Setter).
pub trait Injector {
    /// Sets a header to this one value, in place of every line it has.
    fn set(&mut self, name: &'static str, value: &str);
    /// Removes every line of a header.
    fn remove(&mut self, name: &'static str);
}

/// A carrier that takes nothing: for a request that goes no further.
impl Injector for () {
    fn set(&mut self, _name: &'static str, _value: &str) {}

    fn remove(&mut self, _name: &'static str) {}
}
