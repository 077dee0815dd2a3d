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
mod sdk;
mod size;
mod tracer;
mod trap;

// The scenarios run once for each artefact. Their module sees the one that it
// tests as `super::ARTEFACT`.
#[path = "."]
mod module {
    pub const ARTEFACT: harness::Artefact = harness::Artefact::Module;

    #[path = "scenarios.rs"]
    #[allow(clippy::duplicate_mod)]
    mod scenarios;
    pub use scenarios::stage;
}
#[path = "."]
mod wasm {
    pub const ARTEFACT: harness::Artefact = harness::Artefact::Wasm;

    #[path = "scenarios.rs"]
    mod scenarios;
    pub use scenarios::{reload, stage};
}
