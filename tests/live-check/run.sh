#!/usr/bin/env bash
# OpenTelemetry's own check of spans against the registry of the semantic
# conventions. WEAVER names the binary, else it is on PATH; SEMCONV names the
# `model` folder of a clone of the conventions, else weaver fetches it.
set -euo pipefail
cd "$(dirname "$0")/../.."

WEAVER="${WEAVER:-$(command -v weaver || true)}"
if [ -z "$WEAVER" ]; then
    echo "make live-check: weaver is not on PATH, and WEAVER does not name it; see github.com/open-telemetry/weaver" >&2
    exit 1
fi
export WEAVER
cargo test --quiet --locked -p sidespan-e2e --test e2e live_check -- --ignored --nocapture --test-threads 1
