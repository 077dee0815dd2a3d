#!/usr/bin/env bash
# Installs the application's packages below build/, unless they are there.
# --check only says what of the runtime is missing, and fails if anything is.
set -euo pipefail
cd "$(dirname "$0")"

for program in node npm; do
    command -v "$program" >/dev/null || { echo "$program is not on PATH"; exit 1; }
done
node -e 'const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 20 || (major === 20 && minor >= 6) || (major === 18 && minor >= 19) ? 0 : 1)' ||
    { echo "node is older than 20.6"; exit 1; }
[ "${1:-}" != --check ] || exit 0

to=../../../build/applications/node
key=$(cat package-lock.json && node --version)
[ "$(cat "$to/installed" 2>/dev/null)" != "$key" ] || exit 0
echo "installing the packages of the Node.js application" >&2
rm -rf "$to"
mkdir -p "$to"
cp package.json package-lock.json "$to"
# No package of the lock file needs its scripts.
npm ci --prefix "$to" --ignore-scripts --omit=dev --no-audit --no-fund --loglevel=error >&2
echo "$key" >"$to/installed"
