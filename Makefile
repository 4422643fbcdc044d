# Cygnet. 'make' alone says what there is.

GO      ?= go
# The lab's kernel: a user-mode Linux (uml), or this machine's own (host) where that has GRE and ESP.
LAB     ?= uml
T       ?=
# A Debian release whose user-mode Linux the lab uses, such as sid, which has the newest: fetched, not installed. Empty: this machine's.
KERNEL  ?=
# A Debian release whose strongSwan the lab uses, such as trixie, which has 6.0: fetched, not installed. Empty: this machine's.
STRONGSWAN ?=
KEEP    ?=
FUZZTIME ?= 30s
# Flags of the comparison with FRR: bin/bench -help lists them.
BENCH   ?=
SEED    ?= 1
VERSION ?= $(shell packaging/describe)

other   = $(CURDIR)/test/out/strongswan/$(STRONGSWAN)
kernel  = $(CURDIR)/test/out/kernel/$(KERNEL)
run     = $(if $(KERNEL),env UML_KERNEL=$(kernel) )$(CURDIR)/test/$(LAB)/run$(if $(STRONGSWAN), $(CURDIR)/test/strongswan/with $(other))
static  = CGO_ENABLED=0 $(GO)
program = $(static) build -trimpath -ldflags '-s -w -X cygnet/nhrpd/api.Version=$(VERSION)'
# Tests on a real kernel run in guests side by side: 0 has test/tiers find out how many this machine can
# run. On a kernel of this machine's own the tests would meet each other, so one follows the other.
GUESTS  ?= $(if $(filter uml,$(LAB)),0,1)
tiers   = $(static) run ./test/tiers -guests $(GUESTS) -run '$(run)'
# The packages that have benchmarks on a real kernel.
lab     = $(shell grep -rl --include='*_test.go' '^//go:build lab' . | xargs -r -n1 dirname | sort -u)

.PHONY: help
help: ## this list
	@echo "Cygnet: strongSwan sites as a dynamic multipoint VPN. Targets:"
	@sed -n 's/^\([a-z-]*\):[^#]*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 14
	@echo "LAB=host runs demo, tests and lab on this machine's kernel instead of user-mode Linux. It was never tried."
	@echo "KERNEL=trixie runs demo, tests, lab and bench on the Linux of that release of Debian. sid's takes half the time, but has no NAT:"
	@echo "what needs it is skipped."
	@echo "STRONGSWAN=trixie runs demo, tests and lab with strongSwan 6, as that release of Debian has it."

.PHONY: build
build: ## bin/cygnetd and bin/cygnet, static
	$(program) -o bin/ ./cmd/cygnetd ./cmd/cygnet

.PHONY: demo
demo: installed build ## a hub and two spokes become an encrypted mesh, step by step; KEEP=1 leaves them running
	@$(static) build -trimpath -o bin/demo ./test/demo
	@LAB=$(LAB) UML_KEEP=$(KEEP) $(run) bin/demo $(if $(KEEP),-keep)

.PHONY: check
check: ## gofmt, go vet, staticcheck and the host tests of what changed: less than a minute
	@test/changed

.PHONY: test
test: deps build lint test-host ## lint, tests on the host with the race detector, each promise once on a real kernel
	@$(tiers) -tier quick

.PHONY: test-all
test-all: deps build lint test-host ## everything but what is long by nature, each test once
	@$(tiers) -tier all

.PHONY: test-rest
test-rest: deps build ## what test leaves out of test-all
	@$(tiers) -tier rest

.PHONY: test-long
test-long: deps build ## what is long by nature: crowds, thousands of SAs, hours of simulated networks, fuzzing
	@$(tiers) -tier long
	@$(MAKE) --no-print-directory sim fuzz

.PHONY: test-host
test-host:
	$(GO) test -race ./...
	cd packaging && $(GO) test ./...
	cd test/browser && $(GO) test -count=1 -parallel 4 ./... # they read files of the other module; most of the time they wait

.PHONY: lab
lab: ## the scenarios on a real kernel: lists them, or runs one with T=NAME
ifeq ($(T),)
	@echo "Scenarios (make lab T=NAME runs one):"
	@$(GO) test -tags lab -list . ./test/scenario | sed -n 's/^Test/  /p'
else
	@$(GO) test -tags lab -list '^(Test)?$(T)$$' ./test/scenario | grep -q ^Test || \
		{ echo "There is no scenario $(T): 'make lab' lists them."; exit 1; }
	@$(MAKE) --no-print-directory installed build
	$(static) test -count=1 -v -timeout 15m -tags lab -exec '$(run)' -run '^(Test)?$(T)$$' ./test/scenario
endif

.PHONY: lint
lint: ## gofmt, go vet and staticcheck, with and without the tests on a real kernel; whether the eBPF objects fit their source
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
		[ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags lab ./...
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags lab ./...
	kernel/check-bpf.sh || [ $$? = 69 ] # 69: without clang it cannot be told
	staticcheck=$$($(GO) tool -n staticcheck) && for module in packaging test/browser; do \
		( cd "$$module" && $(GO) vet ./... && "$$staticcheck" ./... ) || exit 1; done

# On a busy machine Go before 1.27 may call the end of FUZZTIME a failure (golang/go#75804). A finding
# is an input that go test wrote beside the others, and that fails again.
nofinding = { [ -z "$$(git status --porcelain "$$dir/testdata")" ] && $(GO) test -count=1 -run "^$$name\$$" "$$dir"; }

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | while read -r dir name; do \
		echo "$$dir $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" || $(nofinding) || exit 1; done

.PHONY: bench
bench: installed build ## what a registration costs FRR, cygnetd and a bare loop, side by side, with 1 to 512 in flight; then all benchmarks; BENCH=FLAGS
	$(static) build -trimpath -o bin/bench ./test/bench
	UML_TIME=14400 $(run) bin/bench $(BENCH)
	$(GO) test -run '^$$' -bench . -benchmem ./...
	UML_TIME=3600 $(static) test -run '^$$' -bench . -benchmem -timeout 30m -tags lab -exec '$(run)' $(lab)

.PHONY: sim
sim: ## simulated networks in virtual time: thousands of hours in small ones, then one of 10,000 spokes; SEED=N for others
	$(GO) test ./test/sim -run TestNetwork -count=1 -v -timeout 2h -sim.seed=$(SEED) -sim.seeds=100 -sim.spokes=12 -sim.hours=24
	$(GO) test ./test/sim -run TestNetwork -count=1 -v -timeout 2h -sim.seed=$(SEED) -sim.seeds=4 -sim.spokes=300 -sim.hours=6
	$(GO) test ./test/sim -run TestNetwork -count=1 -v -timeout 2h -sim.seed=$(SEED) -sim.seeds=1 -sim.spokes=10000 -sim.hours=2

.PHONY: packages
packages: ## deb and rpm in dist/, for amd64 and arm64
	for arch in amd64 arm64; do \
		GOARCH=$$arch $(program) -o bin/$$arch/ ./cmd/cygnetd ./cmd/cygnet && \
		( cd packaging && $(static) run . -version '$(VERSION)' -arch $$arch -bin ../bin/$$arch ) || exit 1; done

.PHONY: deps
deps: installed ## the Debian packages that tests and demo need: installs what is lacking, starts no service; and the root of a machine with systemd
	@test/uml/root test/out/machine

.PHONY: installed
installed:
	@test/uml/deps
	$(if $(STRONGSWAN),@test/strongswan/fetch $(STRONGSWAN) $(other))
	$(if $(KERNEL),@test/uml/fetch $(KERNEL) $(kernel))

.PHONY: clean
clean: ## removes what was built and what failed tests left
	rm -rf bin dist test/out
