//! What is the same whichever artefact stands for the filter: the tests in
//! these files run for the Wasm module and for the native one.

pub use super::ARTEFACT;

mod attributes;
mod calls;
mod configuration;
mod decisions;
mod delivery;
mod envoy_names;
mod export;
mod propagation;
mod rejected;
pub mod reload;
mod route_selection;
mod soak;
mod spans;
pub mod stage;
mod upstream_filter;
mod vectors;
mod w3c;
