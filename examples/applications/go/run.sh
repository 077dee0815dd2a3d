#!/usr/bin/env bash
# Runs the application, which install.sh has built.
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../build/applications/go/app
