//! What a user sees of Sidespan through a real Envoy.

mod attributes;
mod comparison;
mod configuration;
mod decisions;
mod delivery;
mod docs;
mod envoy_names;
mod examples;
mod export;
mod func_e;
mod image;
mod istio;
mod live_check;
mod module;
mod propagation;
mod reload;
mod soak;
mod spans;
mod stage;
mod trap;
mod vectors;
mod w3c;
