//! Recording: what is stored of a stream until it ends, and the spans that are
//! built of it.

pub mod deferrable;
pub mod envoy_span;
mod envoy_tags;
pub mod envoy_tracer;
mod grpc;
mod grpc_status;
mod http;
mod proxy;
pub mod recorder;
pub mod response_view;
pub mod settings;
pub mod snapshot;
mod span_name;
mod stored_headers;
pub mod stream;
