//! Sidespan as a proxy-wasm module: callbacks of Envoy to calls of the runtime
//! and the core, and their calls to hostcalls.

mod callbacks;
mod context_map;
mod environment;
mod header_injectors;
mod hostcalls;
mod http_context;
mod logger;
mod property_query;
mod request_properties;
mod root_context;
mod stream_properties;
mod types;
mod wasm_host;
