#!/usr/bin/env bash
# Runs the application, which install.sh has installed.
set -euo pipefail
cd "$(dirname "$0")"
exec ../../../build/applications/python/bin/python -B app.py
