//! Sidespan as a proxy-wasm module: callbacks of Envoy to calls of the core,
//! and what the core gives back to calls of Envoy.

mod callbacks;
mod context_map;
mod floor;
mod header_injectors;
mod hostcalls;
mod http_context;
mod property_query;
mod request_properties;
mod root_context;
mod shared_data;
mod stale;
mod stream_properties;
mod types;
