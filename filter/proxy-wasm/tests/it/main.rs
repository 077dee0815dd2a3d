//! The proxy-wasm module against a host that is not there: the test program
//! defines what the module imports and calls what it exports.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod abi;
mod carrier;
mod configuration;
mod export;
mod expression;
mod fake_host;
mod host_calls;
mod hostility;
mod module;
mod roots;
mod spans;
mod stream;
