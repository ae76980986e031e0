# Everything that one does with Roomcast. Each target brings along what it needs and keeps it below target/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# Steps share the cargo folder and the terminal.
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# One folder for everything that is built, whatever the caller's own settings are.
export CARGO_TARGET_DIR := $(CURDIR)/target
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export SAM_CLI_TELEMETRY := 0

PORT ?= 4566
DEMO_PORT ?= 8080
LOCAL_STATE ?= target/local
SUB ?=
ROOMS ?=
TTL ?=

TARGET ?=
MINUTES ?= 10

SHARD ?=
DIFF ?=

STACK ?= roomcast
ARCH ?= x86_64
PARAMS ?=
TAGS ?=
ROLE_ARN ?=
S3_BUCKET ?=
PURGE ?=
YES ?=

FUNCTIONS := authorizer session message relay fanout presence ephemeral sweeper
TEMPLATE := infra/template.yaml
STEP := infra/step

VENV := target/venv
LOCAL_PYTHON := $(VENV)/local/bin/python

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := target/tools/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
CARGO_MUTANTS_VERSION := 27.1.0
CARGO_MUTANTS := target/tools/cargo-mutants-$(CARGO_MUTANTS_VERSION)/bin/cargo-mutants

# Node.js 20 or newer where there is one, else that of $(VENV)/node.
NODE_IS_NEW := $(shell command -v npm >/dev/null 2>&1 && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && echo yes)
ifeq ($(NODE_IS_NEW),yes)
NODE :=
else
NODE := $(VENV)/node/.ready
export PATH := $(CURDIR)/$(VENV)/node/bin:$(PATH)
endif
CLIENT_MODULES := client/node_modules/.package-lock.json
CLIENT_RUNTIMES := client/test/runtimes/node_modules/.package-lock.json
DEMO_PAGE := client/demo/dist/index.html
CLIENT_SOURCES := $(shell find client/src client/demo client/scripts -type f -not -path '*/dist/*' 2>/dev/null)

# One of the client's packages, which checks every TypeScript file of the repository.
BIOME := client/node_modules/.bin/biome
RUFF := $(VENV)/ruff/bin/ruff

BENCH_MODULES := tests/bench/node/node_modules/.package-lock.json

STARTED := $(shell date +%s)

##@ Try it

.PHONY: local
local: ## The whole system on this machine (PORT=4566 DEMO_PORT=8080 PARAMS="Name=Value ..."); Ctrl-C stops it
local: override export PARAMS := $(value PARAMS)
local: ports setup lambda $(VENV)/local/.ready $(DEMO_PAGE)
	@exec $(LOCAL_PYTHON) infra/local/run.py --state $(LOCAL_STATE) --port $(PORT) --demo-port $(DEMO_PORT)

.PHONY: token
token: ## A token for the local stack: make token SUB=alice ROOMS='{"chat:*":["join","send"]}' TTL=60
# The values go by the environment, as they were typed: make and the shell would read quotes and dollars in them otherwise.
token: override export SUB := $(value SUB)
token: override export ROOMS := $(value ROOMS)
token: override export TTL := $(value TTL)
token: $(VENV)/local/.ready
	@$(LOCAL_PYTHON) infra/local/dev_token.py --state $(LOCAL_STATE)

.PHONY: logs
logs: $(VENV)/local/.ready ## The functions' logs on the local stack
	@$(LOCAL_PYTHON) infra/local/logs.py --state $(LOCAL_STATE)

##@ Build and check

.PHONY: build
build: setup ## All crates, in the profile that the tests use
	@$(STEP) build cargo build --workspace --locked

# --workspace, so that crates get the features that the tests build them with, and no second build; the names, so that
# nothing is built that only the tests need.
.PHONY: lambda
lambda: setup ## The functions' bootstraps for the local stack, in target/lambda
	@$(STEP) "functions" cargo build --workspace --locked $(addprefix --bin ,$(FUNCTIONS))
	@for name in $(FUNCTIONS); do \
		mkdir -p target/lambda/$$name && ln -f target/debug/$$name target/lambda/$$name/bootstrap || exit 1; \
	done

.PHONY: cli
cli: setup ## The operator's command: target/debug/roomcast
	@$(STEP) "roomcast" cargo build --workspace --locked --bin roomcast

.PHONY: test
test: ## Every check and every test; installs what is missing first
test: setup-test lint client rust-test
	@echo "==> all passed in $$(( $$(date +%s) - $(STARTED) )) s"

.PHONY: lint
lint: format clippy rustdoc typescript python licences template deploy-test release-test ## The checks that need no build of tests

.PHONY: format
format: setup
	@$(STEP) "format" cargo fmt --all --check

.PHONY: clippy
clippy: setup
	@$(STEP) "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings

.PHONY: rustdoc
rustdoc: setup
	@RUSTDOCFLAGS="-D warnings" $(STEP) "rustdoc" cargo doc --workspace --no-deps --locked

.PHONY: typescript
typescript: $(CLIENT_MODULES)
	@$(STEP) "typescript: format, faults" $(BIOME) check --error-on-warnings

.PHONY: python
python: $(VENV)/ruff/.ready
	@$(STEP) "python: format" $(RUFF) format --quiet --check
	@$(STEP) "python: faults" $(RUFF) check --quiet

.PHONY: tidy
tidy: setup $(CLIENT_MODULES) $(VENV)/ruff/.ready ## Formats Rust, TypeScript and Python, and mends what the linters can mend by themselves
	@$(STEP) "rust" cargo fmt --all
	@$(STEP) "typescript" $(BIOME) check --write --error-on-warnings
	@$(STEP) "python: faults" $(RUFF) check --quiet --fix
	@$(STEP) "python: format" $(RUFF) format --quiet

.PHONY: licences
licences: $(CARGO_DENY) ## Licences, bans and sources of the dependencies
	@$(STEP) "crates of all platforms" cargo fetch --locked
	@$(STEP) "licences" $(CARGO_DENY) --offline check licenses bans sources

.PHONY: template
template: $(VENV)/lint/.ready $(VENV)/checkov/.ready
	@$(STEP) "cfn-lint" $(VENV)/lint/bin/cfn-lint $(TEMPLATE)
	@$(STEP) "sam validate" $(VENV)/lint/bin/sam validate --lint --template $(TEMPLATE) --region us-east-1
	@LOG_LEVEL=CRITICAL $(STEP) "checkov" $(VENV)/checkov/bin/checkov --config-file infra/checkov.yaml --file $(TEMPLATE)

.PHONY: deploy-test
deploy-test: $(VENV)/lint/.ready $(VENV)/local/.ready
	@$(STEP) "deployment" $(VENV)/lint/bin/python -m unittest discover --quiet --buffer --start-directory infra/deploy/tests

.PHONY: client
client: $(CLIENT_MODULES) $(CLIENT_RUNTIMES)
	@$(STEP) "client: types" npm --prefix client run check
	@$(STEP) "client: tests" npm --prefix client test
	@$(STEP) "client: runtimes" npm --prefix client run test:runtimes
	@$(STEP) "client: browser tests" npm --prefix client run test:browser

.PHONY: docs
docs: $(CLIENT_MODULES) ## The reference of the client library, in target/docs/client
	@$(STEP) "client: reference" npm --prefix client run docs

.PHONY: rust-test
# Many tests wait more than they work, for servers of their own or for a time-out.
rust-test: export RUST_TEST_THREADS := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
# The client's packages are needed because its tests against the stack are among the end-to-end tests.
rust-test: lambda cli $(VENV)/local/.ready $(CLIENT_MODULES)
	@$(STEP) "tests" cargo test --workspace --locked

.PHONY: fuzz
fuzz: setup-fuzz ## Hostile input for a target until something breaks: make fuzz TARGET=frames MINUTES=10
	@tests/fuzz/run "$(TARGET)" "$(MINUTES)"

.PHONY: chaos
chaos: ## Everything goes wrong at once on a local stack, for a while: make chaos MINUTES=10; tests/chaos/REPORT.md
chaos: lambda $(VENV)/local/.ready
	@ROOMCAST_SEEDS=1 ROOMCAST_CHAOS_MINUTES="$(MINUTES)" $(STEP) "chaos for $(MINUTES) minutes" \
		cargo test --package tests --test e2e --locked -- --exact chaos::for_minutes

.PHONY: mutants
mutants: ## Which faults the tests notice: make mutants SHARD=0/100, or DIFF=file for those that a change touches: docs/mutants.md
mutants: setup $(CARGO_MUTANTS)
	@$(STEP) "mutants" infra/mutants/run $(CARGO_MUTANTS) $(if $(SHARD),--shard "$(SHARD)") $(if $(DIFF),--in-diff "$(abspath $(DIFF))")

##@ Measure

.PHONY: bench
bench: ## The benchmarks, about a quarter of an hour after building: tests/bench/RESULTS.md, target/bench/results.json
bench: setup-bench $(VENV)/bench/.ready $(BENCH_MODULES)
	@$(STEP) "optimised build" cargo build --release --workspace --bins --locked
	@$(STEP) "benchmarks" target/release/bench all

.PHONY: bench-tuning
bench-tuning: ## The measured curves of docs/tuning.md, about two minutes after building
	@$(STEP) "optimised build" cargo build --release --workspace --bins --locked
	@$(STEP) "curves" target/release/bench tuning

##@ Run it in AWS

.PHONY: deploy
deploy: ## To your AWS account: make deploy STACK=roomcast ARCH=arm64 PARAMS="Name=Value ..." (TAGS, ROLE_ARN, S3_BUCKET: docs/deploy.md)
# By the environment, as above.
deploy: override export PARAMS := $(value PARAMS)
deploy: override export TAGS := $(value TAGS)
deploy: setup $(VENV)/deploy/.ready
	@$(STEP) "check" $(DEPLOY) --check
	@$(STEP) "functions for $(ARCH)" infra/deploy/build $(ARCH) $(FUNCTIONS)
	@$(STEP) "deploy" $(DEPLOY)

DEPLOY = $(VENV)/deploy/bin/python infra/deploy/deploy.py --stack "$(STACK)" --arch "$(ARCH)" --role-arn "$(ROLE_ARN)" --s3-bucket "$(S3_BUCKET)"

.PHONY: undeploy
undeploy: ## Deletes the stack STACK; asks first, unless YES=1; PURGE=1 deletes messages, state and dead letters as well
undeploy: setup $(VENV)/deploy/.ready
	@$(VENV)/deploy/bin/python infra/deploy/undeploy.py --stack "$(STACK)" --role-arn "$(ROLE_ARN)" $(if $(YES),--yes) $(if $(PURGE),--purge)

##@ Other

.PHONY: setup
setup: ## What is needed to build and cannot be had below target/ (C compiler, Python's venv)
	@infra/system-packages build

.PHONY: setup-test
setup-test:
	@infra/system-packages test

.PHONY: setup-fuzz
setup-fuzz:
	@infra/system-packages fuzz

.PHONY: setup-bench
setup-bench:
	@infra/system-packages bench

# Releases are made in target/release-artifacts.
.PHONY: release
release: ## Functions, template and command of one architecture, as a release has them: make release ARCH=arm64
release: setup $(VENV)/deploy/.ready
	@$(STEP) "release for $(ARCH)" infra/release/build $(ARCH) $(FUNCTIONS)

.PHONY: release-client
release-client: $(CLIENT_MODULES) ## The client library's package
	@mkdir -p target/release-artifacts
	@$(STEP) "client: package" npm --prefix client pack --pack-destination $(CURDIR)/target/release-artifacts

.PHONY: release-test
release-test: setup
	@$(STEP) "release: tests" python3 -m unittest discover --start-directory infra/release

.PHONY: clean
clean: ## Removes all that was built or installed here
	rm -rf target client/node_modules client/test/runtimes/node_modules client/dist client/demo/dist tests/bench/node/node_modules

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ---------------------------------------------------------------- prerequisites

.PHONY: ports
ports:
	@python3 infra/local/ports.py PORT=$(PORT) DEMO_PORT=$(DEMO_PORT)

$(VENV)/%/.ready: infra/requirements/%.txt | setup
	@$(STEP) "Python packages: $*" infra/python-packages $(VENV)/$* $<
	@touch $@

# Tools are built in the debug profile: they work in seconds all the same, and take half as long to build.
$(CARGO_DENY): | setup
	@$(call install-tool,cargo-deny,$(CARGO_DENY_VERSION))

$(CARGO_MUTANTS): | setup
	@$(call install-tool,cargo-mutants,$(CARGO_MUTANTS_VERSION))

install-tool = $(STEP) "$1 $2" env -u CARGO_TARGET_DIR cargo install --quiet --debug --locked --version $2 --root target/tools/$1-$2 $1

$(BENCH_MODULES): tests/bench/node/package.json tests/bench/node/package-lock.json $(NODE)
	@$(STEP) "AWS SDK for JavaScript" npm --prefix tests/bench/node ci --no-audit --no-fund
	@touch $@

$(CLIENT_MODULES): client/package.json client/package-lock.json $(NODE)
	@$(STEP) "client: packages" npm --prefix client ci --no-audit --no-fund
	@touch $@

$(CLIENT_RUNTIMES): client/test/runtimes/package.json client/test/runtimes/package-lock.json $(NODE)
	@$(STEP) "client: Node.js, Deno, Bun to test in" npm --prefix client/test/runtimes ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(DEMO_PAGE): $(CLIENT_MODULES) $(CLIENT_SOURCES)
	@$(STEP) "demo page" npm --prefix client run build:demo
	@touch $@
