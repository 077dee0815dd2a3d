//! What Envoy calls: one file for each of its extension points.
#![allow(unsafe_code)]

mod export_stream;
mod http_filter;
mod program;
mod tracer;
mod unused;
