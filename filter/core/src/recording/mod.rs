//! Recording: what is stored of a stream until it ends, and the spans that are
//! built of it.

mod envoy_tags;
pub mod envoy_tracer;
mod grpc;
mod http;
mod proxy;
pub mod recorder;
pub mod response_view;
pub mod snapshot;
mod stored_headers;
