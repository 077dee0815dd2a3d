//! The artefact itself.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use wasmparser::{ExternalKind, Parser, Payload};

/// The most that `sidespan.wasm` may have, whatever `tests/size.toml` says.
const CEILING: u64 = 450_000;

/// The artefacts by their names in `dist/`.
type Sizes = BTreeMap<String, Size>;

/// What `tests/size.toml` records of an artefact.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    bytes: u64,
    /// Why it last grew.
    reason: String,
}

fn read(path: &str) -> Vec<u8> {
    let path = harness::workspace_root().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn module() -> Vec<u8> {
    read("dist/sidespan.wasm")
}

/// How much an artefact may grow before its record must change, in percent.
const TOLERANCE: u64 = 2;

#[test]
fn artefacts_are_no_larger_than_recorded() {
    let sizes = String::from_utf8(read("tests/size.toml")).expect("text");
    let sizes: Sizes = toml::from_str(&sizes).expect("tests/size.toml");
    let names: Vec<_> = sizes.keys().collect();
    assert_eq!(names, ["libsidespan.so", "sidespan.wasm"]);
    for (name, recorded) in &sizes {
        assert!(!recorded.reason.is_empty(), "{name} has no reason");
        let size = read(&format!("dist/{name}")).len() as u64;
        let most = recorded.bytes + recorded.bytes * TOLERANCE / 100;
        assert!(
            size <= most,
            "{name} has {size} bytes, more than {TOLERANCE} % over the recorded {}: \
             make it smaller, or update bytes and reason in tests/size.toml",
            recorded.bytes
        );
    }
}

#[test]
fn the_module_is_below_the_ceiling() {
    let size = module().len() as u64;
    assert!(size < CEILING, "{size} bytes, at most {CEILING}");
}

/// What a panic names is a file of the sources, wherever they were built.
#[test]
fn the_module_has_no_path_of_the_machine_that_built_it() {
    let bytes = module();
    let has = |text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
    assert!(has("filter/core/src/"), "it has the files' names");
    let root = harness::workspace_root();
    for path in [root.to_str().expect("text"), "/registry/src/", "/home/"] {
        assert!(!has(path), "{path}");
    }
}

/// Envoy calls every callback that a module exports, and each call costs.
#[test]
fn the_module_exports_what_it_uses_and_nothing_else() {
    let bytes = module();
    let mut exports = BTreeSet::new();
    for payload in Parser::new(0).parse_all(&bytes) {
        if let Payload::ExportSection(section) = payload.unwrap() {
            let functions = section
                .into_iter()
                .map(Result::unwrap)
                .filter(|export| export.kind == ExternalKind::Func);
            exports.extend(functions.map(|export| export.name.to_owned()));
        }
    }
    let expected = [
        "proxy_abi_version_0_2_1",
        "proxy_on_configure",
        "proxy_on_context_create",
        "proxy_on_done",
        "proxy_on_http_call_response",
        "proxy_on_log",
        "proxy_on_memory_allocate",
        "proxy_on_request_body",
        "proxy_on_request_headers",
        "proxy_on_response_headers",
        "proxy_on_tick",
    ];
    assert_eq!(exports, expected.map(str::to_owned).into());
}

#[test]
fn the_checksum_beside_the_module_is_its_own() {
    let dist = harness::workspace_root().join("dist");
    let checked = std::process::Command::new("sha256sum")
        .args(["--check", "--status", "sidespan.wasm.sha256"])
        .current_dir(dist)
        .status()
        .expect("sha256sum runs");
    assert!(checked.success());
}
