//! Envoy by func-e, as many people run it.

use crate::wasm::stage::{EXPORTER, QUICK_EXPORTER, Stage};
use harness::{client, envoy};

#[test]
#[ignore = "needs func-e: make test-runtimes"]
fn func_e_runs_the_filter() {
    let stage = Stage::edge_with(|edge| {
        edge.replace(EXPORTER, QUICK_EXPORTER)
            // An Envoy that is there already, so that nothing is downloaded.
            .env("ENVOY_PATH", envoy::find_binary())
            .prefix_command(["func-e", "run"])
    });
    assert_eq!(client::get(stage.addr(), "/").status, 200);
    assert_eq!(stage.span().service_name(), "edge");
}
