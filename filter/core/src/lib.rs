//! Everything that tracing *is*, without a host: no clock, no randomness, no
//! call into a proxy, no thread.
//!
//! An adapter hands in what it sees and carries out what comes back:
//!
//! ```text
//! request headers ─▶ Propagator::extract ─▶ Policy::decide ─▶ Propagator::inject ─▶ request headers
//!                                             │
//!                                        StreamTracer
//!                                             │ end of the stream
//!                                           Span ─▶ BatchSpanProcessor ─▶ Callout ─▶ adapter
//!                                                                            │
//!                               Stats, Notice ◀── Exporter ◀── CalloutOutcome
//! ```
//!
//! [`tracer::Tracer`] is the façade over all of it, one for each worker and
//! configuration. A span's attributes are encoded to OTLP as they are set, the
//! span when its stream ends, straight into its batch; a flush puts a head before
//! them and hands the batch out as it is.

/// The version of Sidespan.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub mod config;
pub mod context;
pub mod export;
pub mod headers;
pub mod host;
pub mod otlp;
pub mod propagation;
pub mod protobuf;
pub mod recording;
pub mod sampling;
pub mod source;
pub mod span;
pub mod stats;
pub mod tracer;
