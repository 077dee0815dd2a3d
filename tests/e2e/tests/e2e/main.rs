//! What a user sees of Sidespan through a real Envoy.

mod configuration;
mod export;
mod module;
mod propagation;
mod reload;
mod spans;
mod stage;
mod w3c;
