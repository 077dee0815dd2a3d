#!/usr/bin/env bash
# Runs the Collector, which install.sh has built, with this configuration.
set -euo pipefail
exec "$(dirname "$0")/../../../build/collector/collector" --config "$1"
