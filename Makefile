# Picket. `make help` lists the targets; docs/development.md says more.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build demo demo-benign images release test test-tools test-images lint fmt deny fuzz transparency extremes old-kernel aarch64 bench bench-admission bench-coverage bench-relay bench-rotation schemas false-positives clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the static release binaries into dist/bin
	@scripts/build.sh

demo: build ## Run the main job: admission, injection, three attacks, three findings
	dist/bin/picket demo

demo-benign: build ## The same with an honest workload: succeeds only without findings
	dist/bin/picket demo --benign

images: build ## Build both images as OCI archives in dist/, without a registry
	@scripts/images.sh

release: ## Build everything of a release into dist/release, both architectures
	@scripts/release.sh

test: test-tools images test-images ## Install what the tests need, then run every test
	@scripts/test.sh

test-tools: ## Install podman and build kube-apiserver, kube-controller-manager, etcd and kubectl, once
	@scripts/test-tools.sh

test-images: build ## Build the image of the application that the tests protect
	@scripts/test-images.sh

lint: ## Check formatting, clippy, licences and banned dependencies
	@scripts/lint.sh

fmt: ## Format the sources
	cargo fmt --all

deny: ## Check licences and banned dependencies only
	@scripts/deny.sh

fuzz: ## Fuzz what comes from outside, FUZZ_SECONDS (60) for each target
	@scripts/fuzz.sh

transparency: ## Run other software's own test suites traced and untraced; SUITE=cpython|stress-ng|software and FROM=NAME for a part
	@scripts/transparency.sh

extremes: ## Trace 25,000 processes at once, and print what they cost
	cargo test --release --locked -p picket-tracer --test extremes -- --ignored --nocapture

old-kernel: ## Run the tracer's tests on a real Linux 5.10, emulated; SUITES="calls events" for a part
	@scripts/guest.sh amd64 $(SUITES)

aarch64: ## Build the tracer for aarch64 and run it on a real Linux 5.10, emulated
	@scripts/cross.sh
	@scripts/guest.sh arm64

bench-admission: ## Measure the webhook under load, beside a bare TLS and JSON echo
	cargo run --release --locked --target $$(uname -m)-unknown-linux-musl -p picket-operator --example admission_load

bench-coverage: build test-tools ## Measure coverage of up to 10,000 pods in a real API server
	cargo run --release --locked -p picket-tests --features control-plane --example coverage_scale

schemas: build ## Hold the chart against the schemas of every supported Kubernetes version
	@scripts/schemas.sh

bench-rotation: build test-tools ## Create 10,000 pods (PICKET_ADMISSIONS) while the webhook's authority changes; none may fail
	PICKET_ADMISSIONS=$${PICKET_ADMISSIONS:-10000} cargo test --locked -p picket-tests --features control-plane --test control_plane_load -- --nocapture authority

bench-relay: build test-tools ## Measure the relay with 1,000 agents at a real operator and API server
	cargo run --release --locked -p picket-tests --features control-plane --example relay_scale

bench: build ## Measure what tracing costs: BENCH="find make --rounds 9" narrows it down
	@scripts/bench.sh $(BENCH)

false-positives: build ## Load real applications under the default rules for LOAD_SECONDS (600) each
	@scripts/false-positives.sh

clean: ## Remove what was built in the tree (caches outside it stay)
	cargo clean
	rm -rf dist
