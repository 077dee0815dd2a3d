#!/usr/bin/env bash
# `make test-istio`: Istio's own code on the manifests, and real Envoys on what
# it makes of them. RECORD=1 keeps that for the tests that run without Go.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
    echo "make test-istio: $1" >&2
    exit 1
}
command -v go >/dev/null || fail "it needs Go 1.26 or later on PATH (https://go.dev/dl), to build Istio's control plane from its modules"
# Since 1.21 an older one fetches what go.mod asks for.
go list -m >/dev/null 2>&1 || fail "$(go version) is older than go.mod asks for: $(sed -n 's/^go //p' go.mod)"
make -C ../.. image fault-injection envoy

# Istio's release, its modules, and the Envoy that it is built on.
releases="
1.30 istio-1.30.mod 1.38.2
1.31 go.mod 1.39.3
"
out=$PWD/../../build/istio
mkdir -p "$out"
while read -r release modules envoy; do
    [ -n "$release" ] || continue
    echo "test-istio: Istio $release: building its control plane, which takes some minutes at first"
    go build -modfile="$modules" -buildvcs=false -ldflags='-s -w' -o "$out/controlplane-$release" ./controlplane
    ../harness/install-envoy.sh "$envoy" >"$out/envoy-$release"
    echo "test-istio: Istio $release: its validation of the manifests"
    MODFILE="$modules" go test -modfile="$modules" -count 1 . >"$out/test-$release.log" 2>&1 || {
        grep -vE '^[0-9T:.Z-]+\s+(info|debug)\b' "$out/test-$release.log" >&2 || true
        fail "Istio $release finds fault, see above and build/istio/test-$release.log"
    }
    tail -n 1 "$out/test-$release.log"
done <<<"$releases"

../../filter/proxy-wasm/image.py build/sidespan-fault-injection.wasm build/istio/image-trap >/dev/null
echo "test-istio: real Envoys on what Istio makes of the manifests"
cd ../..
cargo test --quiet --locked -p sidespan-e2e -- --ignored istio::
