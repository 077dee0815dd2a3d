#!/usr/bin/env bash
# Builds dist/libsidespan.so. With the name of a feature:
# build/FEATURE/libsidespan.so, for tests and the bench.
set -euo pipefail
cd "$(dirname "$0")/../.."

feature=${1:-}
out=dist
if [ -n "$feature" ]; then
    out="build/$feature"
fi
# Another feature, other artefacts.
CARGO_TARGET_DIR="$PWD/build/module${feature:+-$feature}" \
    cargo rustc --quiet --locked --profile module -p sidespan-dynamic-module --crate-type cdylib \
    ${feature:+--features "$feature"}
built="build/module${feature:+-$feature}/module/libsidespan.so"
mkdir -p "$out"
if ! cmp -s "$built" "$out/libsidespan.so"; then
    # In one step: an Envoy may have the old one loaded.
    cp "$built" "$out/libsidespan.so.new"
    mv "$out/libsidespan.so.new" "$out/libsidespan.so"
fi
if [ -z "$feature" ]; then
    echo "$out/libsidespan.so  $(wc -c <"$out/libsidespan.so") bytes"
fi
