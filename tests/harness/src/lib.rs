//! The test harness of Sidespan.
//!
//! Everything here is synchronous: a test is a plain `#[test]` function that starts the servers it
//! needs, and each of them ends when it is dropped. Every server listens on a port of its own.

pub mod client;
pub mod collector;
pub mod envoy;
pub mod example;
pub mod istio;
pub mod load;
pub mod relay;
pub mod upstream;
pub mod waterfall;

mod config;
mod garbage;
mod linkerd;
mod process;
mod program;
mod server;
mod span;
mod temp;
mod wait;

pub use collector::{Behaviour, Call, MockCollector};
pub use config::free_port;
pub use envoy::{Artefact, Envoy, EnvoyBuilder, StartError};
pub use garbage::Garbage;
pub use span::ReceivedSpan;
pub use upstream::{Seen, Upstream};
pub use wait::eventually;

/// The OTLP messages as generated from the protocol's definitions.
pub use opentelemetry_proto::tonic as otlp;
pub use tonic::Code;

use std::path::{Path, PathBuf};

/// The root directory of the workspace: `SIDESPAN_ROOT` if set, else where this crate was built.
pub fn workspace_root() -> PathBuf {
    if let Some(root) = std::env::var_os("SIDESPAN_ROOT") {
        return PathBuf::from(root);
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Waits until the process is asked to end by SIGINT or SIGTERM, which from now on do not end it.
pub fn wait_for_termination() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler");
        let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
}
