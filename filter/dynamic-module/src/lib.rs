//! Sidespan as a native Envoy module: an HTTP filter, and a tracer.
//!
//! ```text
//! worker threads                                      main thread
//! filter, tracer ─▶ SpanSource ─▶ worker queue ─┐
//! filter, tracer ─▶ SpanSource ─▶ worker queue ─┴──▶ ExportState ─▶ stream to the collector
//!                                   ▲ swapped out        ▲ a thread that wakes it
//! ```
//!
//! `hooks` is called by Envoy, and `envoy` calls it; every hook goes through
//! the panic guard of the runtime.

mod attempt;
mod documents;
mod envoy;
mod envoy_1_38;
mod export;
mod filter_config;
mod hooks;
mod http_filter;
mod logger;
mod metadata_types;
mod metrics;
mod node;
mod request_properties;
mod stream_properties;
mod system;
mod tracer;
