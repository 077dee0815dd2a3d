#!/usr/bin/env bash
# Runs the application, which install.sh has installed.
set -euo pipefail
cd "$(dirname "$0")"
NODE_PATH="$PWD/../../../build/applications/node/node_modules" exec node app.js
