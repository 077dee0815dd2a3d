//! What is the same whichever artefact stands for the filter: the tests in
//! these files run for the Wasm module and for the native one.

mod attributes;
mod configuration;
mod decisions;
mod delivery;
mod envoy_names;
mod export;
mod propagation;
pub mod reload;
mod soak;
mod spans;
pub mod stage;
mod vectors;
mod w3c;
