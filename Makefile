# lighter: see README.md for the two commands that matter, ARCHITECTURE.md for the house.
GO      ?= go
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags 2>/dev/null || echo 0.1.0-dev.$$(git rev-list --count HEAD 2>/dev/null || echo 0))
COMMIT  ?= $(shell git describe --always --exclude '*' --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -s -w -X lighter/api.Release=$(VERSION) -X lighter/api.Commit=$(COMMIT)
PROGRAMS = lighter lighterd lighterhub

export CGO_ENABLED = 0

.PHONY: build check test test-v2 fuzz crash soak bench bench-check docs picture dist test-dist test-boot test-fresh install quickstart clean

build: ## three static programs in bin/
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ $(PROGRAMS:%=./cmd/%)
	@# The linker writes its output page by page, and so the kernel caches it. Written in one go it
	@# is cached in large pieces, as an installed program is: a start maps it 0.3 ms sooner.
	@for p in $(PROGRAMS); do dd if=bin/$$p of=bin/.$$p bs=64M status=none && chmod 755 bin/.$$p && mv -f bin/.$$p bin/$$p || exit 1; done

check: ## under a minute, no root: format, vet, staticcheck, the house, unit tests
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	GOOS=darwin $(GO) vet ./client ./cli
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/lighter
	$(GO) test -short ./...

test: ## all tiers; as root, else those that need it say so and are skipped
	scripts/test.sh

test-v2: ## packages' tests in a virtual machine with cgroup version 2 alone
	scripts/test-v2.sh

fuzz: ## each fuzzer for a minute (FUZZTIME=1m): docs/security.md
	scripts/fuzz.sh

crash: ## 500 deaths of engine, keeper, both or a client under load; or FAULT=power, eio, full: of the disk; SEED=… draws the same again
	$(GO) test ./stories -run '^$(if $(FAULT),TestFaults,TestCrashes)$$' -count=1 -timeout 3h -v -crash.seed $(or $(SEED),0) \
		-crash.rounds $(or $(CRASHES),500) -fault.rounds $(or $(CRASHES),100) $(if $(FAULT),-fault.kinds '$(FAULT)')

soak: ## SOAKRUNS=10000 containers, 1000 running at once, 200 clients, for SOAKTIME=1h; writes its figures to docs/reliability.md
	$(GO) test ./stories -run '^TestSoak$$' -count=1 -timeout 6h -v -soak.runs $(or $(SOAKRUNS),10000) -soak.at-once $(or $(SOAKATONCE),1000) \
		-soak.clients $(or $(SOAKCLIENTS),200) -soak.time $(or $(SOAKTIME),1h) -soak.docs docs/reliability.md

bench: build ## ours beside PEER="docker=unix://… podman=…", in turn; writes docs/benchmarks.{md,svg,json}
	$(GO) run ./bench -peer '$(PEER)' -docs docs $(BENCHFLAGS)

bench-check: build ## fails when a ratio is a fifth below that of docs/benchmarks.json
	$(GO) run ./bench -peer '$(PEER)' -check docs/benchmarks.json $(BENCHFLAGS)

docs: ## docs/reference anew, out of the commands' own words; as root also what the pages' commands print
	$(GO) test ./cli ./cmd/lighterd ./cmd/lighterhub -run '^TestReference$$' -count=1 -docs.write
	$(GO) test ./stories -run '^TestDocs$$' -count=1 -docs.write

picture: build ## docs/terminal.svg anew, out of a session in a terminal
	scripts/picture.sh

dist: ## tarballs for amd64 and arm64 and Debian packages, in dist/
	VERSION='$(VERSION)' LDFLAGS='$(LDFLAGS)' scripts/dist.sh

test-dist: dist ## installs the packages into a fresh Debian root and runs a container there
	scripts/test-dist.sh

test-boot: dist ## boots systemd in a virtual machine, installs the package and lives with it: socket, restarts, upgrade, journal, reboot
	scripts/test-boot.sh

test-fresh: ## the first command of the README in a fresh Debian root that has Go
	scripts/test-fresh.sh

install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(PROGRAMS:%=bin/%) $(DESTDIR)$(PREFIX)/bin/

quickstart:
	scripts/quickstart.sh

clean:
	rm -rf bin dist
