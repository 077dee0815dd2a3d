//! Trace identity: ids, span contexts, `tracestate` and `baggage`.

pub mod baggage;
pub mod id;
pub mod id_generator;
pub mod span_context;
pub mod trace_state;
