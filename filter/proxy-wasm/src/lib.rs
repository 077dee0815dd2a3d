//! Sidespan as a proxy-wasm module: callbacks of Envoy to calls of the core,
//! and what the core gives back to calls of Envoy.
//!
//! `host.rs` is the ABI; `root.rs` is configuration and export, one context
//! for each worker and plugin; `http.rs` is streams, and `ended.rs` what the
//! host tells at their ends; `shared.rs` is what the workers tell each other, and
//! `stale.rs` counts documents that are not in force.

mod ended;
mod floor;
mod host;
mod http;
mod root;
mod shared;
mod stale;
