# make help lists the targets. CI runs .ci/run, which calls `make test`.

GO         ?= go
# Added to `go test`, such as TESTFLAGS='-run TestName -shuffle=on'.
TESTFLAGS  ?=
# Packages to test.
PKGS       ?= ./...
# How long each fuzz target runs, and all of them together, in seconds.
FUZZTIME   ?= 10
FUZZTOTAL  ?= 90
# Added to the benchmark, such as BENCHFLAGS='-run reliable'; -h lists its flags.
BENCHFLAGS ?=
# How long the fault suite runs, and what decides its schedule; 0 picks a seed.
DURATION   ?= 2m
SEED       ?= 0
# How many devices `make soak` connects, and how many sends a second it makes.
DEVICES    ?= 10000
RATE       ?= 500
GOLANGCI_VERSION = v2.15.0

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: test
test: ## run every test against the embedded and the real backends, starting what is missing
	@scripts/test-services run -- scripts/run-tests $(PKGS) -- $(TESTFLAGS)

.PHONY: fmt
fmt: ## format the code
	gofmt -w .

.PHONY: vet
vet: ## go vet, in the bench module too
	$(GO) vet ./...
	cd bench && $(GO) vet ./...

.PHONY: lint
lint: ## golangci-lint with the policy of .golangci.yml, in the bench module too
	@scripts/golangci-lint $(GOLANGCI_VERSION) run ./...
	@cd bench && ../scripts/golangci-lint $(GOLANGCI_VERSION) run ./...

.PHONY: chaos
chaos: ## break everything on a schedule and account for every message (DURATION, SEED, CHAOSFLAGS)
	@scripts/build-chaos
	@.cache/chaos -old .cache/chaos-old -duration $(DURATION) -seed $(SEED) $(CHAOSFLAGS)

.PHONY: soak
soak: ## hold DEVICES=10000 under a steady load for DURATION=10m; fails if anything grows without bound
	@cd bench && $(GO) build -o ../.cache/bench .
	@scripts/test-services run -- .cache/bench -soak $(if $(filter file,$(origin DURATION)),10m,$(DURATION)) -devices $(DEVICES) -rate $(RATE)

.PHONY: fuzz
fuzz: ## run every fuzz target for a short time (FUZZTIME, FUZZTOTAL in seconds)
	@FUZZTIME=$(FUZZTIME) FUZZTOTAL=$(FUZZTOTAL) scripts/fuzz

.PHONY: vuln
vuln: ## look for known vulnerabilities (needs vuln.go.dev)
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...

.PHONY: api
api: ## write docs/api.txt, what the public packages export; CI compares
	@scripts/api > docs/api.txt

.PHONY: services
services: ## hold Redis, MySQL and RabbitMQ for tests until Ctrl-C, and print their addresses
	@scripts/test-services up

.PHONY: bench
bench: ## measure against peers and limits, in under ten minutes (BENCHFLAGS='-run realtime -short')
	@cd bench && $(GO) build -o ../.cache/bench . # not `go run`: it would hide the exit code
	@scripts/test-services run -- .cache/bench -json .cache/bench.json $(BENCHFLAGS)

.PHONY: quickstart
quickstart: ## run the quickstart on the embedded backend
	$(GO) run ./examples/quickstart

.PHONY: ci
ci: ## run what CI runs
	bash .ci/run
