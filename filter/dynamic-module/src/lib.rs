//! Sidespan as a native Envoy module: an HTTP filter, and a tracer.
//!
//! ```text
//! worker threads                                main thread
//! filter, tracer ─▶ SpanSource ─▶ outbox ─┐
//! filter, tracer ─▶ SpanSource ─▶ outbox ─┴──▶ exporter ─▶ Delivery ─▶ stream to the collector
//!                                  ▲ swapped out     ▲ a thread that ticks
//! ```
//!
//! `ffi` is the one file that names Envoy's ABI; every hook in it goes
//! through `guard`.

mod attempt;
mod document;
mod environment;
mod exporter;
mod ffi;
mod filter;
mod floor;
mod guard;
mod per_worker;
mod reply;
mod stats;
mod tracer;
#[cfg(feature = "trap")]
mod trap;
