# Every command of this repository. `make help` lists them.
#
# Build results are kept outside the clone, so that a fresh clone of another
# version builds what changed and no more. Set CARGO_TARGET_DIR to keep them
# elsewhere.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(HOME)/.cache/unifyit/target
# The build embeds the web pages of this clone, also where clones share results.
export UNIFYIT_CLONE := $(CURDIR)

BIN := $(CARGO_TARGET_DIR)/debug
STATE ?= .dev
DEVICES ?= 200
# First of eight consecutive ports, instead of 8080, 4001, 8883, 8443, 9443, 9464, 3142, 9465.
PORTS ?=
PREFIX ?= /usr/local

# A failing test must not hide the others.
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)
ifdef NEXTEST
TEST := cargo nextest run --no-fail-fast
else
TEST := cargo test --no-fail-fast
endif

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: install-deps
install-deps: ## Install from the distribution what building and testing need
	@deploy/dev/install-deps test

.PHONY: deps-run
deps-run:
	@deploy/dev/install-deps run

.PHONY: deps-bench
deps-bench:
	@deploy/dev/install-deps bench

.PHONY: web
web: deps-run ## Build console and local UI, when their sources changed
	@deploy/dev/build-web

.PHONY: build
# With the examples, other crates get the features that the tests ask for too, so
# that they are not built once more for those.
build: web
	cargo build --locked --workspace --bins --examples

.PHONY: run
run: build ## Cloud, relay and a real agent on this machine, state under .dev/
	@exec $(BIN)/unifyit-dev run --state $(STATE) $(if $(PORTS),--port-base $(PORTS))

.PHONY: demo
demo: build ## As run, with simulated devices: make demo DEVICES=200
	@exec $(BIN)/unifyit-dev run --state $(STATE) $(if $(PORTS),--port-base $(PORTS)) --devices $(DEVICES)

.PHONY: lint
lint: install-deps web ## Formatting, clippy, Windows' types, licences and advisories
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	deploy/windows/check
	cargo fetch --locked
	@if command -v cargo-deny >/dev/null 2>&1; then \
		cargo deny --offline check bans licenses sources; \
	else \
		echo "cargo-deny is not installed: licences and sources are not checked (cargo install cargo-deny --locked)."; \
	fi

.PHONY: test-web
test-web: install-deps web
	cd web && npm test

.PHONY: test-rust
test-rust: install-deps build
	$(TEST) --locked --workspace

# A sample area is added to a copy: what it takes, and that it works.
.PHONY: test-sample
test-sample: install-deps build
	tests/sample/run

# An installation of an earlier commit is upgraded in place.
.PHONY: test-upgrade
test-upgrade: install-deps build
	tests/upgrade/run

.PHONY: browser
browser: install-deps build ## A person's way through console and local UI in a real browser
	bash tests/e2e/run

# As the other whole-stack tests: one that fails is tried once more.
.PHONY: test-browser
test-browser: install-deps build
	bash tests/e2e/run || { echo "The journey failed; it is tried once more."; bash tests/e2e/run; }

# Speed is that of what ships.
.PHONY: release
release: web
	cargo build --locked --release --bins -p unifyit-relay -p unifyit-cloud -p unifyit-tests
	cargo build --locked --profile agent --bin unifyit-agent -p unifyit-agent

SHIPPED := UNIFYIT_BIN_DIR=$(CARGO_TARGET_DIR)/agent BIN_DIR=$(CARGO_TARGET_DIR)/release

.PHONY: lighthouse
lighthouse: install-deps release ## Lighthouse's scores of the console's main pages
	cd tests/e2e && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --ignore-scripts --loglevel=error; }
	$(SHIPPED) bash tests/e2e/run lighthouse

.PHONY: timing
timing: install-deps release ## Milliseconds a step in the list of 10,000 devices
	$(SHIPPED) bash tests/e2e/run timing

.PHONY: screenshots
screenshots: install-deps build ## Every page at three widths in both themes, to look at
	bash tests/e2e/run screenshots

.PHONY: pictures
pictures: install-deps build ## The README's pictures, anew (a quarter of an hour)
	bash tests/e2e/run pictures

.PHONY: test
test: ## Everything that must hold
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory test-web
	@$(MAKE) --no-print-directory test-rust
	@$(MAKE) --no-print-directory test-sample
	@$(MAKE) --no-print-directory test-upgrade
	@$(MAKE) --no-print-directory test-browser

.PHONY: soak
soak: deps-bench build ## The fault tests at full length (about four hours, twelve at most)
	UNIFYIT_SOAK=50 UNIFYIT_CACHE_ROUNDS=1000 timeout --signal=INT 12h cargo test --locked --workspace --test it -- --nocapture --test-threads 1 --include-ignored kill_ soak_

.PHONY: bench
bench: deps-bench release ## Print the figures beside their goals
	cargo build --locked --release --examples -p unifyit-protocol
	@UNIFYIT_BIN_DIR=$(CARGO_TARGET_DIR)/agent exec $(CARGO_TARGET_DIR)/release/unifyit-bench

.PHONY: packages
packages: web ## Build .deb, .rpm and static programs into dist/
	@deploy/dev/install-deps package
	deploy/packages/build dist

.PHONY: test-install
# With PACKAGES=dist what `make packages` built is installed, also on systems that
# take nothing but static programs.
test-install: build ## Paste the install lines on clean systems, follow the operator's guide under systemd, undo it all (as root)
	@deploy/dev/install-deps try
	tests/install/run $(PACKAGES)
	tests/install/guide $(PACKAGES)
	tests/install/restore

.PHONY: fresh
fresh: ## make test in a fresh clone with empty caches, as on a new machine
	@tests/fresh

.PHONY: fuzz
fuzz: ## Fuzz every decoder for a minute each (needs cargo-fuzz: cargo install cargo-fuzz)
	@protocol/fuzz/run 60

.PHONY: install
install: web ## Install binaries and unit files on this machine (as root)
	cargo build --locked --release --bins -p unifyit-relay -p unifyit-cloud
	cargo build --locked --profile agent --bin unifyit-agent -p unifyit-agent
	@deploy/systemd/install "$(CARGO_TARGET_DIR)" "$(DESTDIR)$(PREFIX)"
