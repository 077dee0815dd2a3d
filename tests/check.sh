#!/usr/bin/env bash
# What `make check` checks, one line a step.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
    echo "check: $1"
    shift
    "$@"
}

step "format" cargo fmt --all -- --check
step "format of the fuzz targets" cargo fmt --manifest-path filter/core/fuzz/Cargo.toml -- --check
step "lints" cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
step "lints of the fuzz targets" cargo clippy --quiet --manifest-path filter/core/fuzz/Cargo.toml -- -D warnings
step "layers" python3 tests/structure.py
step "the check of layers" python3 -B tests/structure_test.py --quiet
step "core and adapter for wasm32" ./filter/proxy-wasm/build.sh
step "docs" env RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --workspace --no-deps --document-private-items
