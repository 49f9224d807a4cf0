# minibot: build, demo and test. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
BIN := bin
export CGO_ENABLED ?= 0
GOFLAGS_BUILD := -trimpath -ldflags "-s -w -X minibot/control.Version=$(shell git describe --tags --always --dirty 2>/dev/null || echo dev)"
TOOLS := $(CURDIR)/$(BIN)/tools

.PHONY: help build demo test soak race lint bench install clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: ## both programs into bin/
	@mkdir -p $(BIN)
	go build $(GOFLAGS_BUILD) -o $(BIN)/ ./cmd/...

demo: ## the whole stack up from a store, healed and re-keyed, then taken down (KEEP=1 leaves it)
	@scripts/demo

test: ## unit, command scripts and the real engine
	@scripts/test

race: ## the packages that have no Docker in them, under the race detector
	CGO_ENABLED=1 go test -race -count=1 ./secrets/... ./supervisor/... ./control/... ./config/... ./rotation/... ./console/... ./hint/... ./audit/search

soak: ## the long runs; the last result is in docs/soak.md
	@scripts/soak

lint: ## gofmt, go vet, staticcheck, golangci-lint
	@scripts/lint $(TOOLS)

bench: ## the figures of docs/benchmarks.md
	@scripts/bench

install: build ## put both programs into ~/.local/bin, signed on a Mac
	@scripts/install.sh --from $(BIN) --programs-only

clean: ## remove bin/
	rm -rf $(BIN)
