//! Export: the queue, retries, the transports and what collectors answer.

pub mod exporter;
mod otlp_grpc;
mod otlp_http;
pub mod queue;
pub mod response;
pub mod retry;
