//! The tests of the core through its public API.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod allocations;
mod answers;
mod attributes;
mod bad_input;
mod batch;
mod common;
mod custom_tags;
mod decisions;
mod delivery;
mod docs;
mod envoy_names;
mod gateway;
mod memory;
mod otlp;
mod outbox;
mod plain;
mod propagation;
mod properties;
mod registry;
mod resource;
mod secrets;
mod stream;
mod tagged;
mod told;
