//! The least that any native filter or tracer must have Envoy do that says what
//! ours says: it reads the headers, writes one, reads what a span says, and exports
//! one. It decides nothing, and the span is always the same.
//!
//! All but the filter on a stream and the tracer is ours.
#![allow(dead_code, missing_docs, unreachable_pub)]

#[path = "../../../../../filter/dynamic-module/src/attempt.rs"]
mod attempt;
#[path = "../../../../../filter/dynamic-module/src/documents.rs"]
mod documents;
#[path = "../../../../../filter/dynamic-module/src/envoy/mod.rs"]
mod envoy;
#[path = "../../../../../filter/dynamic-module/src/envoy_1_38.rs"]
mod envoy_1_38;
#[path = "../../../../../filter/dynamic-module/src/export/mod.rs"]
mod export;
#[path = "../../../../../filter/dynamic-module/src/filter_config.rs"]
mod filter_config;
#[path = "../../../../../filter/dynamic-module/src/hooks/mod.rs"]
mod hooks;
mod http_filter;
#[path = "../../../../../filter/dynamic-module/src/logger.rs"]
mod logger;
#[path = "../../../../../filter/dynamic-module/src/metadata_types.rs"]
mod metadata_types;
#[path = "../../../../../filter/dynamic-module/src/metrics.rs"]
mod metrics;
#[path = "../../../../../filter/dynamic-module/src/node.rs"]
mod node;
#[path = "../../../../../filter/dynamic-module/src/request_properties.rs"]
mod request_properties;
#[path = "../../../../../filter/dynamic-module/src/stream_properties.rs"]
mod stream_properties;
#[path = "../../../../../filter/dynamic-module/src/system.rs"]
mod system;
mod tracer;
