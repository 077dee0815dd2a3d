//! Export: the queue, retries, the transports and what collectors answer.

pub mod batch;
pub mod callout;
pub mod deferred_spans;
pub mod event;
pub(crate) mod exporter;
mod otlp_grpc;
mod otlp_http;
pub mod pipeline;
pub mod queue;
pub mod response;
pub mod retry;
pub mod settings;
mod transport;
