//! The settings of propagation.

/// How a context that came in is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Incoming {
    /// It goes on.
    #[default]
    Continue,
    /// A new trace starts; what came is dropped.
    Restart,
    /// As restart, and the new span links to what came.
    Link,
    /// Its trace goes on, and whether it is sampled is decided anew.
    Resample,
    /// As continue, and what comes without a context is not traced.
    Require,
}

/// What becomes of a context that came with a request which is not sampled
/// (`propagation.unsampled`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsampledContext {
    /// It is forwarded byte for byte where it is valid and canonical.
    #[default]
    Unchanged,
    /// Each hop writes a span id of its own.
    Rewrite,
}

/// How a host that chooses the route anew for each header write hands the
/// context on (`propagation.carrier`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carrier {
    /// In the request's headers.
    #[default]
    Headers,
    /// In the stream's filter state, for a filter behind this one that writes
    /// the headers.
    FilterState,
}
