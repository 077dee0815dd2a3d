#!/usr/bin/env bash
# usage: run.sh SECONDS TARGET...
#
# Fuzzes each target for SECONDS, from the rows of tests/vectors on. Installs
# cargo-fuzz if it is missing. Sanitizers are switched on by unstable flags;
# RUSTC_BOOTSTRAP lets the stable compiler take them.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=$1
shift
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "installing cargo-fuzz" >&2
    cargo install --quiet --locked cargo-fuzz --version 0.13.2
fi
python3 fuzz/seeds.py
export RUSTC_BOOTSTRAP=1
for target in "$@"; do
    log="fuzz/$target.log"
    echo "fuzz: $target for $seconds s"
    if ! cargo fuzz run "$target" -- -max_total_time="$seconds" -print_final_stats=1 >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "fuzz: $target failed; the input is below filter/core/fuzz/artifacts/$target" >&2
        exit 1
    fi
    grep -h 'stat::number_of_executed_units' "$log"
done
