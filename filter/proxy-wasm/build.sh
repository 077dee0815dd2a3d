#!/usr/bin/env bash
# Builds dist/sidespan.wasm and its .sha256 with whichever wasm32 toolchain is
# there: rustup's target, else Debian's packages, else whichever of the two
# can be installed. With the name of a feature: build/sidespan-FEATURE.wasm, for
# tests. With PACKAGE and OUT in the environment: another package, for the bench.
set -euo pipefail
cd "$(dirname "$0")/../.."

feature=${1:-}
target=wasm32-unknown-unknown
package=${PACKAGE:-sidespan-proxy-wasm}
debian_packages="rustc-web cargo-web rust-web-src lld-19"
# Apart from target/: another compiler, other artefacts.
export CARGO_TARGET_DIR="$PWD/build/wasm"

have_rustup_target() {
    command -v rustup >/dev/null && rustup target list --installed 2>/dev/null | grep -qx "$target"
}

have_debian_toolchain() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/wasm-ld-19 ] && [ -d /usr/lib/rustlib/src/rust/library/std ]
}

add_rustup_target() {
    command -v rustup >/dev/null && rustup target add "$target" >build/rustup.log 2>&1
}

add_debian_toolchain() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "installing Debian's wasm32 toolchain: $debian_packages" >&2
    {
        apt-get update &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $debian_packages
    } >build/apt.log 2>&1
}

# What a panic says of its place is no path of the machine that built it, so
# that the same compiler makes the same module of the same sources anywhere.
# Crates must be there for that.
#
# And what is called once is not inlined where it is large. Envoy compiles all
# of a module when it loads it, the memory that this takes grows faster than the
# largest functions do, and it stays with the process: 6 MiB less, for less than
# 1 us of CPU time a request. LLVM has a bonus of 15,000 for such calls and no
# option for it, so all else is 30 times its usual 5 and 25 (a threshold of one
# instruction, of ten where the source says `inline`).
flags() {
    "$1" fetch --quiet --locked || true
    local flags="--remap-path-prefix=$PWD/=" crates
    flags+=$'\x1f-Cllvm-args=-inline-instr-cost=150 -inline-call-penalty=750'
    flags+=$'\x1f-Cllvm-args=-inline-threshold=150 -inlinehint-threshold=1500'
    for crates in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
        flags+=$'\x1f'"--remap-path-prefix=$crates="
    done
    export CARGO_ENCODED_RUSTFLAGS="$flags"
}

build_with_rustup() {
    flags cargo
    cargo rustc --quiet --locked --release --target "$target" -p "$package" --crate-type cdylib \
        ${feature:+--features "$feature"}
}

# Debian ships no precompiled std for wasm32, but its source.
build_with_debian() {
    flags /usr/bin/cargo
    RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \
        /usr/bin/cargo rustc --quiet --locked --release --target "$target" -p "$package" --crate-type cdylib \
        ${feature:+--features "$feature"} -Zbuild-std=std,panic_abort
}

mkdir -p build dist
if have_rustup_target; then
    build_with_rustup
elif have_debian_toolchain; then
    build_with_debian
elif add_rustup_target; then
    build_with_rustup
elif add_debian_toolchain && have_debian_toolchain; then
    build_with_debian
else
    cat >&2 <<MESSAGE
make wasm: no compiler for wasm32 is here, and none could be installed.
Either of these mends it:
  rustup target add $target                 (see build/rustup.log for why it failed)
  apt-get install $debian_packages   (as root, on Debian 12 or later)
MESSAGE
    exit 1
fi

built="build/wasm/$target/release/${package//-/_}.wasm"
out=${OUT:-dist/sidespan.wasm}
if [ -n "$feature" ]; then
    out="build/sidespan-$feature.wasm"
fi
if ! cmp -s "$built" "$out"; then
    cp "$built" "$out"
fi
if [ -z "$feature${PACKAGE:-}" ]; then
    (cd dist && sha256sum sidespan.wasm >sidespan.wasm.sha256)
    echo "$out  $(wc -c <"$out") bytes"
fi
