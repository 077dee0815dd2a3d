#!/usr/bin/env bash
# Installs the application's packages below build/, unless they are there.
# --check only says what of the runtime is missing, and fails if anything is.
set -euo pipefail
cd "$(dirname "$0")"

command -v python3 >/dev/null || { echo "python3 is not on PATH"; exit 1; }
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "python3 is older than 3.10"; exit 1; }
# Debian has them in a package of their own.
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "python3 has no module venv"; exit 1; }
[ "${1:-}" != --check ] || exit 0

to=../../../build/applications/python
key=$(cat requirements.txt && python3 --version)
[ "$(cat "$to/installed" 2>/dev/null)" != "$key" ] || exit 0
echo "installing the packages of the Python application" >&2
rm -rf "$to"
python3 -m venv "$to"
# The list is whole, so that nothing is left to choose.
"$to/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement requirements.txt >&2
echo "$key" >"$to/installed"
