//! Envoy by func-e, as many people run it.

use crate::wasm::stage::{EXPORTER, QUICK_EXPORTER, Stage};
use harness::{client, envoy};
use std::process::{Command, Stdio};

#[test]
fn func_e_runs_the_filter() {
    let there = Command::new("func-e")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if there.is_err() {
        eprintln!("skipped func_e_runs_the_filter: func-e is not on PATH");
        return;
    }
    let stage = Stage::edge_with(|edge| {
        edge.replace(EXPORTER, QUICK_EXPORTER)
            // An Envoy that is there already, so that nothing is downloaded.
            .env("ENVOY_PATH", envoy::find_binary())
            .prefix_command(["func-e", "run"])
    });
    assert_eq!(client::get(stage.addr(), "/").status, 200);
    assert_eq!(stage.span().service_name(), "edge");
}
