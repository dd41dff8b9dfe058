# hearth: build, run, test. "make" alone lists what there is.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

GO       ?= go
FUZZTIME ?= 60s
BENCH    ?= .
CACHE    := $(CURDIR)/.cache

# A release is named by its tag; VERSION=v1.2.3 names one by hand.
VERSION  ?=
STAMP    := $(if $(VERSION),-X hearth/internal/cli.stamped=$(VERSION))
LDFLAGS  := -s -w -funcalign=16 $(STAMP)

GOLANGCI_VERSION    := v2.15.0
GOLANGCI            := $(CACHE)/bin/golangci-lint-$(GOLANGCI_VERSION)
GOVULNCHECK_VERSION := v1.1.4

# The race detector watches all but SQLite, which is C in Go's clothes with its memory outside of Go's, that memory's allocator, and
# the cipher of password hashes: watched, they are three and ten times slower. No package with generic functions or locks of its
# own may join them: the linker would take its copies for everybody, and the detector no longer see what orders our accesses. SQLite's
# C library has locks: it is watched, without the checks of each conversion of a pointer.
RACE := -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/memory=-race=false \
	-gcflags=modernc.org/libc=-d=checkptr=0 -gcflags=golang.org/x/crypto/blowfish=-race=false

# One way to compile for all targets: what one has compiled, the others find in Go's cache. The race detector alone needs C.
export CGO_ENABLED := 0
export GOFLAGS     := $(filter-out -trimpath,$(shell $(GO) env GOFLAGS)) -trimpath

PLATFORMS := linux/amd64 linux/arm64 linux/arm darwin/arm64

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: build ## build hearth and start the demo: a server with an account and real devices
	bin/hearth demo

.PHONY: build
build: ## build bin/hearth, one static binary
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/hearth ./cmd/hearth

.PHONY: cross
cross: build ## build dist/hearth-OS-ARCH for every platform
	@mkdir -p dist; for platform in $(PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/}; \
		echo "$$os/$$arch"; \
		if [[ $$platform == $$($(GO) env GOHOSTOS)/$$($(GO) env GOHOSTARCH) ]]; then cp bin/hearth dist/hearth-$$os-$$arch; continue; fi; \
		GOOS=$$os GOARCH=$$arch $(GO) build -ldflags '$(LDFLAGS)' -o dist/hearth-$$os-$$arch ./cmd/hearth; \
	done

# UNWATCHED are tests that compute on one thing for long, in code that other tests run with the race detector. It would make most of
# them hold less: bodies cost twice what they may, and are one in 97 instead of 29; the data set of two million rows is left out.
UNWATCHED := ^(TestEveryFactOfRealDataComesBack|TestEveryFormatHoldsEveryLogOfRealData|TestNoBodyCostsMoreThanItsSize|TestNoTextInAnyParameterBreaksAnOperation|TestTheRealDataGivesTheFactsBack)$$

.PHONY: test
test: services ## install what the tests need, then run them all with the race detector
	@# e2e comes by itself: it measures how long calls take while something is broken. It has no detector: what it tests is a program
	@# of its own, and to write the bodies of large requests took most of its processor time. It is compiled as "make build" does.
	@# The others often wait for a database or for time to pass: four of a package run at a time on any machine. GOGC=200 spares them
	@# a part of collecting garbage, GORACE the second that the detector waits at the end of each process. "make lint" vets them.
	@trap 'scripts/mongodb.sh stop' EXIT; set -ex; export GORACE=atexit_sleep_ms=50; \
		CGO_ENABLED=1 GOGC=200 $(GO) test $(RACE) -vet=off -parallel 4 -timeout 40m -skip '$(UNWATCHED)' $$($(GO) list ./... | grep -v '/e2e$$'); \
		CGO_ENABLED=1 $(GO) -C client/go test -race -vet=off ./...; \
		$(GO) test -vet=off -parallel 4 -timeout 40m -run '$(UNWATCHED)' ./internal/app ./internal/store/sqlite ./internal/store/mongodb; \
		$(GO) test -vet=off -timeout 40m ./e2e

.PHONY: test-short
test-short: ## run the tests without the race detector
	$(GO) test ./...
	$(GO) -C client/go test ./...

.PHONY: test-fleet
test-fleet: services ## run the tests of several instances behind nginx, over Redis and a MongoDB-wire server
	$(GO) test -timeout 20m -run 'Fleet|BothModes|Nginx' ./e2e

.PHONY: test-clients
test-clients: ## run the JavaScript and TypeScript clients, under Node and in Chromium
	@RACE='$(RACE)' scripts/clients.sh

.PHONY: services
services: ## install what the tests need and is missing
	@scripts/services.sh test

.PHONY: lint
lint: $(GOLANGCI) ## check format, words, vet, lint, scripts and known vulnerabilities
	@scripts/services.sh lint
	@scripts/gofmt.sh
	@scripts/words.sh
	$(GO) vet -tags clients ./...
	$(GO) -C bench vet ./...
	$(GO) -C client/go vet ./...
	$(GOLANGCI) run ./...
	cd client/go && $(GOLANGCI) run --config ../../.golangci.yml ./...
	@scripts/shell.sh
	@GOVULNCHECK_VERSION=$(GOVULNCHECK_VERSION) scripts/vulnerabilities.sh

$(GOLANGCI):
	@mkdir -p $(@D)
	GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(@D)/golangci-lint $@

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME each
	@FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

.PHONY: mutants
mutants: ## break security checks, one after another, and see the tests fail each time
	@scripts/mutants.sh

.PHONY: bench
bench: ## run the Go benchmarks that match BENCH
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

.PHONY: compare
compare: build ## measure hearth beside a bare floor and beside PocketBase; takes about ten minutes
	cd bench && $(GO) run . -hearth ../bin/hearth $(COMPARE)

.PHONY: console
console: ## build the web console from console/ into the files that the program serves
	@scripts/console.sh build

.PHONY: console-check
console-check: ## check the types of the console, and that its built files are current
	@scripts/services.sh console
	@scripts/console.sh check

.PHONY: console-pictures
console-pictures: ## take the pictures of the console that the README and the guide show
	mkdir -p docs/images
	CONSOLE_PICTURES=$(CURDIR)/docs/images $(GO) test -tags clients -count=1 -run ThePicturesOfTheConsole ./e2e

.PHONY: openapi
openapi: ## write docs/openapi.json anew
	@scripts/openapi.sh write

.PHONY: openapi-lint
openapi-lint: ## check that docs/openapi.json is current and well made
	@scripts/services.sh lint
	@scripts/openapi.sh check
	@scripts/openapi.sh lint

.PHONY: openapi-generate
openapi-generate: ## compile what openapi-typescript and oapi-codegen write from docs/openapi.json
	@scripts/openapi.sh generate

.PHONY: clients
clients: ## write the generated parts of client/ anew, from docs/openapi.json
	$(GO) run ./scripts/clientgen

.PHONY: clients-check
clients-check: ## check that the generated parts of client/ are current
	$(GO) run ./scripts/clientgen -check

.PHONY: docs
docs: ## write the generated parts of docs/ anew
	$(GO) test ./internal/config -run Guide -update

.PHONY: docs-site
docs-site: ## build the static site of docs/ that the program serves at /docs/guide
	@scripts/docs-site.sh

.PHONY: docs-check
docs-check: ## check the links of the documentation, and that the static site is current
	$(GO) test -count=1 -run Documentation .
	TEST_DOCS_SITE=1 $(GO) test -count=1 ./internal/console/guide

.PHONY: deploy-check
deploy-check: build ## check rules, alerts, units, compose file, image and package
	@scripts/services.sh deploy
	@scripts/deploy.sh

.PHONY: litestream-check
litestream-check: build ## walk a point-in-time restore with Litestream, which is built once, for minutes
	@scripts/litestream.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist $(CACHE)
	$(GO) clean -testcache
