#!/usr/bin/env bash
# Builds the Collector below build/, unless it is there.
# --check only says what of the runtime is missing, and fails if anything is.
set -euo pipefail
cd "$(dirname "$0")"

command -v go >/dev/null || { echo "go is not on PATH"; exit 1; }
# Since 1.21 an older one fetches what go.mod asks for.
go list -m >/dev/null 2>&1 || { echo "go is older than go.mod asks for"; exit 1; }
[ "${1:-}" != --check ] || exit 0

to=../../../build/collector
key=$(cat go.mod go.sum main.go && go version)
[ "$(cat "$to/installed" 2>/dev/null)" != "$key" ] || exit 0
echo "building the Collector, which takes some minutes" >&2
rm -rf "$to"
mkdir -p "$to"
# Without what only a debugger needs.
go build -buildvcs=false -ldflags='-s -w' -o "$to/collector" .
echo "$key" >"$to/installed"
