//! What a user sees of Sidespan through a real Envoy.

mod comparison;
mod docs;
mod examples;
mod func_e;
mod image;
mod istio;
mod live_check;
mod panics;
mod process;
mod routes;
mod size;
mod tracer;
mod trap;

// One list for both artefacts; each knows by its own name which it runs.
#[path = "scenarios.rs"]
#[allow(clippy::duplicate_mod)]
mod module;
#[path = "scenarios.rs"]
mod wasm;
