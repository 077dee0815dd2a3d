//! Sidespan as a proxy-wasm module: callbacks of Envoy to calls of the core,
//! and what the core gives back to calls of Envoy.
//!
//! `host.rs` is the ABI; `root.rs` is configuration and export, one context
//! for each worker and plugin; `http.rs` is streams; `shared.rs` is what the
//! workers tell each other. Built for wasm32 only.

#[cfg(target_arch = "wasm32")]
mod document;
#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
mod http;
#[cfg(target_arch = "wasm32")]
mod root;
#[cfg(target_arch = "wasm32")]
mod shared;
