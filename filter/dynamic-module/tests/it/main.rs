//! The native module against an Envoy that is not there: the test program
//! defines the callbacks that the module imports and calls its hooks.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod abi;
mod abi_config;
mod abi_stream;
mod abi_tracer;
mod configuration;
mod envoy_calls;
mod export;
mod exports;
mod fake_envoy;
mod hostility;
mod module;
mod shutdown;
mod spans;
mod stream;
mod tracer;
mod tracer_calls;
mod tracer_module;
