#!/usr/bin/env bash
# Builds dist/libsidespan.so. With the name of a feature:
# build/FEATURE/libsidespan.so, for tests. With PACKAGE and OUT in the environment:
# another package, for the bench.
set -euo pipefail
cd "$(dirname "$0")/../.."

feature=${1:-}
out=${OUT:-dist}
package=${PACKAGE:-sidespan-dynamic-module}
library=libsidespan.so
if [ -n "${PACKAGE:-}" ]; then
    library="lib${package//-/_}.so"
fi
if [ -n "$feature" ]; then
    out="build/$feature"
fi
# Another feature, other artefacts.
CARGO_TARGET_DIR="$PWD/build/module${feature:+-$feature}" \
    cargo rustc --quiet --locked --profile module -p "$package" --crate-type cdylib \
    ${feature:+--features "$feature"}
built="build/module${feature:+-$feature}/module/$library"
mkdir -p "$out"
if ! cmp -s "$built" "$out/libsidespan.so"; then
    # In one step: an Envoy may have the old one loaded.
    cp "$built" "$out/libsidespan.so.new"
    mv "$out/libsidespan.so.new" "$out/libsidespan.so"
fi
if [ -z "$feature${PACKAGE:-}" ]; then
    echo "$out/libsidespan.so  $(wc -c <"$out/libsidespan.so") bytes"
fi
