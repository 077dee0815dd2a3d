# Sidespan. `make help` lists what there is.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help run example test test-unit test-e2e test-runtimes test-istio check bench bench-core fuzz validate schema w3c live-check soak wasm module fault-injection sdk-probe baselines image envoy clean

# Seconds of each fuzz target.
FUZZ_SECONDS ?= 20
# Seconds of each failure; five times that for a dead collector.
SOAK_SECONDS ?= 60
# What the proxy-wasm crate exports beside the callbacks of tests/bench/baselines/wasm.
# proxy_on_delete stays: without it, the crate never frees a stream's context.
UNUSED_CALLBACKS := $(addprefix proxy_on_, vm_start tick queue_ready http_call_response foreign_function \
    new_connection downstream_data downstream_connection_close upstream_data upstream_connection_close \
    request_trailers response_body response_trailers \
    grpc_receive_initial_metadata grpc_receive grpc_receive_trailing_metadata grpc_close)
FUZZ_TARGETS := traceparent tracestate b3 configuration

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

run: wasm envoy ## A small mesh of four Envoys that prints its traces; ONCE=1 ends by itself
	@cargo run --quiet --locked -p sidespan-harness --bin mesh

example: wasm envoy ## One of examples/, by NAME=
	@cargo run --quiet --locked -p sidespan-harness --bin example -- $(NAME)

test: wasm module fault-injection sdk-probe envoy ## Everything that proves it: units, tables, properties, real Envoys (ENVOY_VERSION=1.38.2 for another)
	@cargo test --quiet --locked --workspace

test-unit: ## What needs no Envoy
	@cargo test --quiet --locked -p sidespan-core

test-e2e: wasm module fault-injection sdk-probe envoy ## What needs one
	@cargo test --quiet --locked -p sidespan-e2e

test-runtimes: wasm envoy ## What needs Go, Node.js, Python or func-e: the examples with programs of their own, Envoy by func-e; installs what is missing
	@./tests/e2e/runtimes.sh

test-istio: ## Istio's own control plane on istio/, and real Envoys on what it makes; needs Go
	@./tests/istio/test.sh

check: ## Format, lints, who may import whom, docs
	@./tests/check.sh

bench: wasm module envoy $(if $(FLOOR),baselines) ## Envoy with and without us, beside its own tracer; QUICK=1 is short, GROWTH=1 tells how it grows, MEMORY=1 what it needs for ten minutes, FLOOR=1 what none could cost less than, AGAINST=DIR older artefacts; ONLY="floor;wasm filter" restricts it
	@AGAINST="$(abspath $(AGAINST))" cargo run --quiet --locked -p sidespan-bench

bench-core: ## What each step costs in the core, in time and allocations, and 200 rules
	@cargo bench --quiet --locked -p sidespan-core --bench core

fuzz: ## Each parser for FUZZ_SECONDS
	@./filter/core/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)

soak: wasm module envoy ## Failing collectors for long, under full load: SOAK_SECONDS=60 each
	@SOAK_SECONDS=$(SOAK_SECONDS) cargo test --quiet --locked -p sidespan-e2e -- --ignored --nocapture --test-threads 1 soak::

w3c: wasm module envoy ## The official W3C trace-context suite against the filter; W3C_SUITE=DIR uses a clone that is there
	@./tests/w3c/run.sh

live-check: wasm envoy ## OpenTelemetry's weaver against real spans; WEAVER= and SEMCONV= name what is there
	@./tests/live-check/run.sh

validate: ## Checks a document, or what it finds in a manifest, offline: FILE=
	@$(if $(FILE),,echo 'usage: make validate FILE="PATH..."' >&2;) cargo run --quiet --locked -p sidespan-validate -- $(FILE)

schema: ## filter/config.schema.json, from the code
	@cargo run --quiet --locked -p sidespan-validate -- --schema >build/schema && mv build/schema filter/config.schema.json

wasm: ## dist/sidespan.wasm
	@./filter/proxy-wasm/build.sh

module: ## dist/libsidespan.so, the native module
	@./filter/dynamic-module/build.sh

image: wasm ## dist/image, an OCI image of it, and its digest
	@./filter/proxy-wasm/image.py

# A filter on the proxy-wasm crate, which shows its panics.
sdk-probe:
	@PACKAGE=sidespan-sdk-probe OUT=build/sidespan-sdk-probe.wasm ./filter/proxy-wasm/build.sh

fault-injection: wasm module
	@./filter/proxy-wasm/build.sh fault-injection
	@./filter/dynamic-module/build.sh fault-injection

baselines: wasm module
	@PACKAGE=sidespan-baseline-wasm OUT=build/sidespan-baseline.wasm ./filter/proxy-wasm/build.sh
	@PACKAGE=sidespan-baseline-wasm-sdk OUT=build/sidespan-baseline-sdk.wasm ./filter/proxy-wasm/build.sh
	@cargo run --quiet --locked -p sidespan-prune -- build/sidespan-baseline-sdk.wasm \
	    build/sidespan-baseline-sdk-pruned.wasm $(UNUSED_CALLBACKS)
	@PACKAGE=sidespan-baseline-native OUT=build/baseline ./filter/dynamic-module/build.sh

envoy: ## Finds or installs an Envoy; ENVOY_PATH or ENVOY_VERSION choose one
	@./tests/harness/find-envoy.sh

clean: ## Removes what was built and installed here
	rm -rf target build dist filter/core/fuzz/target
