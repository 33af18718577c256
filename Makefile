# Perch. Each target fetches what it needs: Go modules by itself, Debian packages through tools/need.

SHELL := /bin/bash

# The version in every binary is the commit's, read from debug.BuildInfo: hence -buildvcs, whatever GOFLAGS says.
BUILD := go build -buildvcs=true -trimpath

# Debian packages by what needs them. cgo: the V4L2 structures of go4vl. The armel compiler builds the armhf package,
# see packaging/deb.sh.
APT_BUILD := gcc libc6-dev git
APT_CROSS := $(APT_BUILD) gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-linux-gnueabi libc6-dev-armel-cross
APT_LINT  := $(APT_CROSS) shellcheck
APT_PACKAGES := $(APT_CROSS) lintian systemd qemu-user-static
APT_E2E   := $(APT_CROSS) qemu-system-arm qemu-utils qemu-user-static e2fsprogs kmod cpio xz-utils mount make

APT_BENCH := mosquitto

DEB_ARCHS := arm64 armhf amd64
CLIS      := $(foreach os,linux darwin windows,$(os)-amd64 $(os)-arm64)

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Agent, broker and CLI for this machine, in build/bin
	@tools/need $(APT_BUILD)
	$(BUILD) -o build/bin/perch-agent ./cmd/agent
	$(BUILD) -o build/bin/perch-broker ./cmd/broker
	$(BUILD) -o build/bin/perch ./cmd/perch

.PHONY: demo
demo: build ## Everything once on this machine: broker, agent, a snapshot, 100 frames
	go run ./e2e/demo

.PHONY: test
test: ## The whole hermetic suite: Go only, race detector, random order; at most 5 minutes
	@tools/need $(APT_BUILD)
	go test -race -shuffle=on ./...
	@# rsocket-go races by itself, so its part of the conformance suite runs without the detector.
	go test -shuffle=on ./pkg/peer/peertest

.PHONY: lint
lint: ## Format, vet for every target, staticcheck, modernisers, module file, dead code, shell scripts
	@tools/need $(APT_LINT)
	@tools/lint

.PHONY: deb
deb: $(DEB_ARCHS:%=deb-%) ## The Debian packages of agent, broker and CLI, in build/deb

.PHONY: $(DEB_ARCHS:%=deb-%)
$(DEB_ARCHS:%=deb-%):
	@tools/need $(APT_CROSS)
	packaging/deb.sh $(@:deb-%=%) build/deb

.PHONY: packages-check
packages-check: deb ## Packages: lintian, sizes, the units' exposure, starts on every Pi, the same bytes when built again
	@tools/need $(APT_PACKAGES)
	packaging/check.sh build/deb

.PHONY: cli
cli: $(CLIS:%=cli-%) ## The CLI for Linux, macOS and Windows, in build/cli

.PHONY: $(CLIS:%=cli-%)
$(CLIS:%=cli-%): os = $(word 1,$(subst -, ,$(@:cli-%=%)))
$(CLIS:%=cli-%): arch = $(word 2,$(subst -, ,$(@:cli-%=%)))
$(CLIS:%=cli-%):
	CGO_ENABLED=0 GOOS=$(os) GOARCH=$(arch) $(BUILD) -ldflags '-s -w' -o build/cli/perch-$(os)-$(arch)$(if $(filter windows,$(os)),.exe) ./cmd/perch

.PHONY: e2e
e2e: build deb-arm64 deb-armhf ## The virtual Pi: the package, a camera, broker and CLI on this machine; a quarter of an hour
	@tools/need $(APT_E2E)
	@mkdir -p build/e2e
	go test -tags e2e -count=1 -timeout 20m -v -artifacts -outputdir "$(CURDIR)/build/e2e" ./e2e

.PHONY: life
life: build deb-arm64 ## The long forms: 20 power cuts of a virtual Pi, and 40,000 laptops that come and go
	@tools/need $(APT_E2E)
	go test -tags e2e -count=1 -timeout 60m -v ./e2e -run '^(TestLife|TestFlat)$$' -life.cuts=20 -life.sessions=40000

.PHONY: bench-agent
bench-agent: build deb-arm64 ## What the agent costs on the virtual Pi, beside go2rtc; on a quiet machine, ten minutes
	@tools/need $(APT_E2E)
	@mkdir -p build/e2e
	go test -tags e2e -count=1 -timeout 15m -v -run '^TestCost$$' -artifacts -outputdir "$(CURDIR)/build/e2e" ./e2e -cost

.PHONY: page
page: build ## The live page in a real browser, on a broker and agents; at most 4 minutes
	@tools/need $(APT_BUILD)
	page/test.sh

SEED := $(or $(SEED),$(shell date +%s))

.PHONY: chaos
chaos: ## Links cut at random bytes for longer than the tests do, on both legs; SEED=N plays a run again
	@tools/need $(APT_BUILD)
	@echo "SEED=$(SEED)"
	go test -race -count=1 -timeout 30m ./pkg/session -run 'TestCut|TestBroken' -v -chaos.seed=$(SEED) -chaos.cuts=10000 -chaos.sockets=500

SOAK := $(or $(SOAK),30m)

.PHONY: soak
soak: ## The broker under churn, cuts and streams for half an hour, ends with nothing grown; SOAK=60s for less
	@tools/need $(APT_BUILD)
	go test -count=1 -timeout 40m ./pkg/broker -run TestSoak -soak $(SOAK) -v

.PHONY: interop
interop: build ## Others' peers and brokers: rsocket-js, rsocket-java, rsocket-go, rsocket-broker; at most 8 minutes
	e2e/interop/run.sh

# What make bench measures: BLOCKS of each, of all groups or of GROUP="one eight tls …". BLOCKS=3 is the quick form.
BLOCKS := 20
GROUP  :=

build/bin/bench: FORCE
	@tools/need $(APT_BUILD)
	go build -C bench -buildvcs=true -o ../build/bin/bench .

.PHONY: FORCE
FORCE:

.PHONY: bench
bench: build build/bin/bench ## Perch side by side with relay, HTTP, NATS, mosquitto and rsocket-go; half an hour (BLOCKS=3: five minutes)
	@tools/need $(APT_BENCH)
	go build -C bench -o ../build/bin/nats-server github.com/nats-io/nats-server/v2
	build/bin/bench -blocks $(BLOCKS) $(GROUP)
	@build/bin/bench -table >build/bench/table.md && echo "The whole table is in build/bench/table.md."

.PHONY: bench-guard
bench-guard: build build/bin/bench ## What CI guards of it: no allocation for a frame, and a wide ratio to a relay
	go test -count=1 -timeout 5m -run Allocat ./pkg/session ./pkg/broker ./pkg/peer
	build/bin/bench -guard -blocks 5

.PHONY: setup
setup: ## Install every Debian package that any target needs
	@tools/need $(APT_LINT) $(APT_PACKAGES) $(APT_E2E)

.PHONY: clean
clean: ## Remove what was built, the virtual Pi's image included
	rm -rf build
