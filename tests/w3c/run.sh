#!/usr/bin/env bash
# Runs the official W3C trace-context suite against the filter, and against
# the tracer that is built into Envoy. The suite is a clone in build/, or the
# one in W3C_SUITE.
set -euo pipefail
cd "$(dirname "$0")/../.."

commit=acab820
if [ -z "${W3C_SUITE:-}" ]; then
    W3C_SUITE="$PWD/build/w3c-trace-context"
    if [ ! -d "$W3C_SUITE/test" ]; then
        git clone --quiet https://github.com/w3c/trace-context "$W3C_SUITE" && git -C "$W3C_SUITE" checkout --quiet "$commit" || {
            echo "make w3c: the suite cannot be cloned; W3C_SUITE=DIR names a clone of github.com/w3c/trace-context" >&2
            exit 1
        }
    fi
fi
venv="$PWD/build/w3c-venv"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check aiohttp==3.14.5
fi
export W3C_SUITE W3C_PYTHON="$venv/bin/python"
cargo test --quiet --locked -p sidespan-e2e --test e2e w3c -- --ignored --nocapture --test-threads 1
